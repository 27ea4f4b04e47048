"""`python -m eval import`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from eval.cli.options import IndexesOption, SplitOption
from eval.importing import Imported, Source, import_questions, import_records, write_questions
from rag_service.console import err, errors_in_words, out
from rag_service.errors import InvalidInput
from rag_service.settings import load_settings


def import_(
    source: Annotated[Source, typer.Argument(help="Where the questions come from.", show_default=False)],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files; BEIR is a folder, TREC topics and qrels, records a ledger (default: the service's).", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL file to write.")] = Path("questions.jsonl"),
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="COLUMN=FIELD of a table; may be given more than once.", show_default=False),
    ] = None,
    split: SplitOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    indexes: IndexesOption = None,
) -> None:
    """Turn questions of other tools, or rated answers of the service, into a question set of this one. What cannot be carried over is
    counted and named.

    Tables (csv, tsv, jsonl) have one question a row. Columns are known by the usual names, or told by --map: question, id, answers, facts,
    answerable, relevant_ids, quotes, gold_texts, group, split, tags.

    Example: python -m eval import csv faq.csv --map Frage=question --map Antwort=answers -o faq.jsonl

    Example: python -m eval import trec topics.tsv qrels.txt -o trec.jsonl

    Example: python -m eval import records -o rated.jsonl
    """
    with errors_in_words():
        _check_target(output, force)
        told = _told(maps or [])
        if source == "records" and not paths:
            imported = _of_the_service(indexes, told, split)
        else:
            imported = import_questions(source, list(paths or []), told=told, split=split)
        write_questions(output, imported.questions.questions)
    _show(imported, output)


def _of_the_service(indexes: Path | None, told: Mapping[str, str], split: str | None) -> Imported:
    from rag_service.wiring.stores import ledger_path, ledger_url, open_ledger  # loads what serves

    settings = load_settings(indexes=indexes)
    if ledger_url(settings) is None:
        return import_questions("records", [ledger_path(settings)], told=told, split=split)
    return import_records(open_ledger(settings), "the database", told=told, split=split)


def _told(maps: Sequence[str]) -> Mapping[str, str]:
    told: dict[str, str] = {}
    for one in maps:
        column, equals, field = (part.strip() for part in one.rpartition("="))
        if not (column and equals and field):
            raise InvalidInput(f"--map {one} is not COLUMN=FIELD", hint="write, for example, --map query=question", param="map")
        if field in told.values():
            raise InvalidInput(f"--map {one}: {field} is told already", hint="one column for each field", param="map")
        told[column] = field
    return told


def _check_target(file: Path, force: bool) -> None:
    """Before anything is read."""
    if file.is_dir() or not file.absolute().parent.is_dir():
        what = "is a folder" if file.is_dir() else "lies in a folder that does not exist"
        raise InvalidInput(f"--output {file} {what}", hint="give the path of a file in a folder that exists", param="output")
    if file.exists() and not force:
        raise InvalidInput(f"{file} is there already", hint="give another name with -o, or replace it with --force", param="output")


def _show(imported: Imported, output: Path) -> None:
    asked = imported.questions.questions
    answerable = sum(question.answerable is True for question in asked)
    unanswerable = sum(question.answerable is False for question in asked)
    gold = sum(bool(question.relevant or question.gold_texts or question.places) for question in asked)
    out.print(
        f"[green]written[/green] {escape(str(output))}: {len(asked):,} questions, {answerable:,} answerable, "
        f"{unanswerable:,} unanswerable, {gold:,} with gold",
        soft_wrap=True,
    )
    for what, count in imported.left_out.items():
        err.print(f"[yellow]left out[/yellow] {count:,} × {escape(what)}", soft_wrap=True)
    err.print(f"[dim]look through it with: python -m eval lint {escape(str(output))}[/dim]", soft_wrap=True)
