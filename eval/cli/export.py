"""`python -m eval export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from eval.cli.options import HomeOption
from eval.cli.written import STDOUT, check_target, write
from eval.results import Measured, Run
from eval.runs import DEFAULT_HOME, read_run, run_folder
from rag_service.console import err, errors_in_words
from rag_service.errors import InvalidSettings

Format = Literal["trec", "qrels", "csv", "ragas"]

FormatArgument = Annotated[Format, typer.Argument(help="trec: rankings; qrels: judgements; csv: all questions; ragas: JSON lines.")]
RunArgument = Annotated[str, typer.Argument(metavar="[RUN]", help="Id, folder, or latest.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="File; - for stdout.")]
CandidateOption = Annotated[
    str | None, typer.Option("--candidate", help="Whose rankings, judgements or answers; csv holds all.", show_default=False)
]


def export(
    format_: FormatArgument,
    run: RunArgument = "latest",
    output: OutputOption = STDOUT,
    candidate: CandidateOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write a run for other tools: trec_eval, a spreadsheet, Ragas.

    Example: python -m eval export csv -o answers.csv

    Example: python -m eval export trec 3f2a --candidate hybrid -o hybrid.run
    """
    with errors_in_words():
        check_target(output, "output")
        found = read_run(run_folder(home, run))
        write(output, _text(format_, found, candidate))


def _text(format_: Format, run: Run, candidate: str | None) -> str:
    from eval.reports import ragas, spreadsheet, trec

    match format_:
        case "csv":
            return spreadsheet.as_csv(run)
        case "ragas":
            return ragas.as_ragas(run, _one(run, candidate))
        case "qrels":
            return trec.qrels(_one(run, candidate))
        case "trec":
            one = _one(run, candidate)
            if shorter := trec.shortened(one):
                said = f"a run keeps the best chunks alone: of {shorter:,} questions, this file gives other figures than the run"
                err.print(f"[yellow]{said}[/yellow]", soft_wrap=True)
            return trec.trec_run(one)


def _one(run: Run, candidate: str | None) -> Measured:
    """Raises `NotFound`, or `InvalidSettings` where there are several and none is named."""
    from eval.reports.view import named

    if candidate is None and len(run.candidates) > 1:
        names = ", ".join(one.name for one in run.candidates)
        raise InvalidSettings(f"the run {run.id} has {len(run.candidates)} candidates", hint=f"name one with --candidate: {names}")
    return named(run, candidate) if candidate is not None else run.candidates[0]
