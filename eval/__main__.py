"""The command line of evaluation: `python -m eval`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from eval.metrics.retrieval import DEEPEST_CUT
from eval.questions import read_questions
from eval.report import Report, to_json
from eval.run import DEFAULT_DEPTH, evaluate
from eval.table import table
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.console import EXIT_ERROR, BarProgress, err, errors_in_words, out
from rag_service.durable import write_atomically
from rag_service.errors import InvalidInput
from rag_service.release import Release, Retrieval
from rag_service.settings import Settings, load_settings

app = typer.Typer(
    name="python -m eval",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold documents and keys
    help="Measure how well a release answers, on the very pipeline that serves it.",
    epilog="Begin with: python -m eval run QUESTIONS --name INDEX",
)


_TABLE_COLUMNS = 80
"""In a pipe, too, a table is for people."""

QuestionsArgument = Annotated[
    Path, typer.Argument(help="JSONL file, SQuAD JSON file, or BEIR folder (queries.jsonl, qrels/).", show_default=False)
]
NameOption = Annotated[str | None, typer.Option("--name", "-n", help="Index; default RAG_NAME or 'demo'.", show_default=False)]
SplitOption = Annotated[str | None, typer.Option(help="Judgements of a BEIR folder; default the only ones.", show_default=False)]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Ask the first N questions only.", show_default=False)]
DepthOption = Annotated[int, typer.Option(min=DEEPEST_CUT, max=10_000, help="Chunks to retrieve for the retrieval metrics.")]
RetrievalOnlyOption = Annotated[bool, typer.Option("--retrieval-only", help="Search, but ask for no answers.")]
TopKOption = Annotated[int | None, typer.Option("--top-k", "-k", help="Passages to answer from.", show_default=False)]
MinConfidenceOption = Annotated[float | None, typer.Option(help="Confidence below which to abstain, 0 to 1.", show_default=False)]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", help="Write the whole report, with a row per question, to a file.", show_default=False)
]
IndexesOption = Annotated[
    Path | None, typer.Option("--indexes", help="Folder of indexes; default RAG_INDEXES or 'indexes'.", show_default=False)
]


@app.callback()
def root() -> None:
    """A callback makes `run` a command of its own, so that others can stand beside it."""


@app.command()
def run(
    questions: QuestionsArgument,
    name: NameOption = None,
    split: SplitOption = None,
    limit: LimitOption = None,
    depth: DepthOption = DEFAULT_DEPTH,
    retrieval_only: RetrievalOnlyOption = False,
    top_k: TopKOption = None,
    min_confidence: MinConfidenceOption = None,
    json_file: JsonFileOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Ask every question of a set and score what comes back: retrieval, answers, abstention, latency.

    The active release of the index is measured. --top-k and --min-confidence measure one that differs in them; it has an id of its own
    and is not stored.

    A row of a JSONL file: {"id": "q1", "question": "…", "answers": ["…"], "relevant_ids": ["doc-7"], "answerable": true}. Only id and
    question are needed; what is not known is not measured.

    Example: python -m eval run questions.jsonl --name handbook --json report.json

    Example: python -m eval run dev-v2.0.json --name squad --limit 200

    Example: python -m eval run scifact/ --name scifact --split test --retrieval-only
    """
    with BarProgress() as progress, errors_in_words(interrupted=lambda: interrupted(progress)):
        settings = load_settings(name=name, indexes=indexes, top_k=top_k, min_confidence=min_confidence)
        question_set = read_questions(questions, split=split)
        _check_target(json_file)
        pipeline, notes = _open(settings, top_k=top_k, min_confidence=min_confidence)
        report = evaluate(
            pipeline, question_set, depth=depth, limit=limit, answers=not retrieval_only, timeout_s=settings.timeout_s, progress=progress
        )
        report = replace(report, warnings=(*notes, *report.warnings))
        if json_file is not None:
            write_atomically(json_file, to_json(report).encode())
    _show(report, json_file)


def interrupted(progress: BarProgress) -> str:
    """How far a run had come when Ctrl-C ended it."""
    reached = "before the first question" if progress.total is None else f"after {progress.done:,} of {progress.total:,} questions"
    return f"interrupted {reached}; nothing was written"


def _open(settings: Settings, *, top_k: int | None, min_confidence: float | None) -> tuple[Pipeline, list[str]]:
    """The active release, or one that differs from it as told, opened; and what to say about it."""
    from rag_service.wiring.releases import open_release  # loads FAISS, which reads OMP_NUM_THREADS then

    catalog = Catalog(settings.indexes)
    active = catalog.release(settings.name, catalog.active_id(settings.name))
    release = _overridden(active, top_k=top_k, min_confidence=min_confidence)
    opened = open_release(settings, catalog, settings.name, release)
    notes = []
    if release != active:
        notes.append(f"this is not the active release {active.id}, which has {_shown(active.retrieval)}")
    if opened.differences:
        notes.append(f"{', '.join(opened.differences)} changed since release {active.id} was activated; what is here now was measured")
    return opened.pipeline, notes


def _overridden(release: Release, *, top_k: int | None, min_confidence: float | None) -> Release:
    given = {"top_k": top_k, "min_confidence": min_confidence}
    changes = {name: value for name, value in given.items() if value is not None}
    return release.model_copy(update={"retrieval": release.retrieval.model_copy(update=changes)})


def _shown(retrieval: Retrieval) -> str:
    return f"top_k {retrieval.top_k} and min_confidence {retrieval.min_confidence:g}"


def _check_target(file: Path | None) -> None:
    """Before the first question, not after the last."""
    if file is None:
        return
    if file.is_dir() or not file.absolute().parent.is_dir():
        what = "is a folder" if file.is_dir() else "lies in a folder that does not exist"
        raise InvalidInput(f"--json {file} {what}", hint="give the path of a file in a folder that exists", param="json")


def _show(report: Report, json_file: Path | None) -> None:
    out.print(table(report), width=min(out.width, _TABLE_COLUMNS))
    if json_file is not None:
        err.print(f"[dim]written: {json_file}[/dim]", soft_wrap=True)
    if report.counts.errors == report.counts.questions:
        first = report.rows[0].failures[0]
        err.print(f"[bold red]error[/bold red] every question failed; the first: {first.code}: ", end="")
        err.print(first.message, markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_ERROR)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the server does: what is measured is what is served
    app()


if __name__ == "__main__":
    main()
