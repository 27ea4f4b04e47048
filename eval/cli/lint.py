"""`python -m eval lint`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.cli.chosen import BUNDLED_QUESTIONS
from eval.cli.options import IndexesOption, SplitOption
from eval.cli.written import display
from eval.clusters import cluster_of
from eval.counting import counted
from eval.findings import Finding
from eval.lint import faults
from eval.lint import lint as lint_set
from eval.questions import QuestionSet, read_questions
from eval.text_file import read_text
from rag_service.console import EXIT_ERROR, errors_in_words, out
from rag_service.ports import ChunkTable
from rag_service.settings import load_settings

_PLACE_COLUMNS = 24
_MOST_SHOWN = 5
"""Of one kind; --json has all."""


def lint(
    questions: Annotated[
        Path | None, typer.Argument(help="JSONL file, SQuAD JSON file, or BEIR folder; default the bundled set.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Index to look for the gold in; default none.", show_default=False)
    ] = None,
    split: SplitOption = None,
    test_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of clusters that a run keeps for testing.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the division into dev and test.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    indexes: IndexesOption = None,
) -> None:
    """Look for what is wrong with a question set, before anything is spent on it. Exit code 1 if there are errors.

    Found are questions that are asked twice or stand in both parts, gold that the index does not have, answers that do not stand in their
    gold or stand in their question, questions that a prompt gives as examples, and sets that are too small to decide anything.

    Example: python -m eval lint questions.jsonl --name handbook

    Example: python -m eval lint questions.jsonl --test-share 0.3 --json
    """
    with errors_in_words():
        path = questions or BUNDLED_QUESTIONS
        found, read = _unreadable(path), None
        if not found:
            read = read_questions(path, split=split)
            chunks, index = (None, "") if name is None else _chunks(name, indexes)
            found = lint_set(read, chunks=chunks, index=index, templates=_templates(), test_share=test_share, seed=seed)
    errors = sum(finding.severity == "error" for finding in found)
    if as_json:
        out.print_json(data={"errors": errors, "warnings": len(found) - errors, "findings": [asdict(finding) for finding in found]})
    else:
        display(_shown(path.name, read, found, errors))
    if errors:
        raise typer.Exit(EXIT_ERROR)


def _unreadable(path: Path) -> list[Finding]:
    """Of our own form every row that is wrong; other forms are told about by the first error that reading them raises."""
    return faults(read_text(path), path) if path.suffix == ".jsonl" else []


def _chunks(name: str, indexes: Path | None) -> tuple[ChunkTable, str]:
    """Of the index version that is served. No model is loaded for it."""
    from rag_service.wiring.releases import open_chunks  # loads FAISS, which reads OMP_NUM_THREADS then
    from rag_service.wiring.stores import open_catalog

    settings = load_settings(name=name, indexes=indexes)
    catalog = open_catalog(settings)
    release = catalog.release(settings.name, catalog.active_id(settings.name))
    return open_chunks(catalog, settings.name, release.index.version), settings.name


def _templates() -> Mapping[str, str]:
    """Every prompt of this version, by `<name>/<version>`."""
    folder = files("rag_service") / "prompts"
    return {
        f"{name.name}/{version.name.removesuffix('.txt')}": version.read_text("utf-8")
        for name in folder.iterdir()
        if name.is_dir()
        for version in name.iterdir()
        if version.name.endswith(".txt")
    }


def _shown(name: str, read: QuestionSet | None, found: Sequence[Finding], errors: int) -> RenderableType:
    parts: list[RenderableType] = [] if read is None else [_head(read)]
    shown: Counter[tuple[str, str]] = Counter()
    for finding in found:
        kind = (finding.severity, finding.code)
        shown[kind] += 1
        if shown[kind] <= _MOST_SHOWN:
            parts.append(_row(finding))
    for (_, code), number in shown.items():
        if number > _MOST_SHOWN:
            parts.append(Text(f"and {number - _MOST_SHOWN:,} more of the kind {code}; --json lists them", style="dim"))
    verdict = f"{counted(errors, 'error')}, {counted(len(found) - errors, 'warning')} in {name}" if found else f"nothing wrong in {name}"
    return Group(*parts, Text(verdict, style="bold red" if errors else "yellow" if found else "green"))


def _head(read: QuestionSet) -> Text:
    asked = read.questions
    answerable = sum(question.answerable is True for question in asked)
    unanswerable = sum(question.answerable is False for question in asked)
    clusters = len({cluster_of(question) for question in asked})
    return Text(
        f"{counted(len(asked), 'question')}, {answerable:,} answerable, {unanswerable:,} unanswerable, {counted(clusters, 'cluster')}"
    )


def _row(finding: Finding) -> Table:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=7, no_wrap=True)
    row.add_column(width=_PLACE_COLUMNS, overflow="fold")
    row.add_column(overflow="fold")
    style = "bold red" if finding.severity == "error" else "yellow"
    row.add_row(Text(finding.severity, style=style), Text(finding.place, style="dim"), Text(finding.message))
    row.add_row("", "", Text(finding.hint, style="dim"))
    return row
