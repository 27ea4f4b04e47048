"""`python -m eval compare`."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.named import PAIR, PAIR_HELP, named_pair
from eval.cli.options import HomeOption
from eval.cli.written import STDOUT, check_target, display, write
from eval.comparable import Side, differing
from eval.policy import Policy
from eval.results import Measured, Run
from eval.runs import DEFAULT_HOME
from rag_service.console import errors_in_words
from rag_service.errors import Mismatch

NamesArgument = Annotated[list[str], typer.Argument(metavar=PAIR, help=PAIR_HELP)]
MetricOption = Annotated[str | None, typer.Option("--metric", help="What matters most; default correct.", show_default=False)]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Slices by tags that are, or begin with, this; default all.", show_default=False)
]
FlipsOption = Annotated[bool, typer.Option("--flips", help="List every question that became right or wrong.")]
AllOption = Annotated[bool, typer.Option("--all", help="Compare every metric.")]
MdOption = Annotated[Path | None, typer.Option("--md", help="Write Markdown for a pull request; - for stdout.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def compare(
    names: NamesArgument,
    metric: MetricOption = None,
    by: ByOption = None,
    flips: FlipsOption = False,
    every: AllOption = False,
    md: MdOption = None,
    as_json: JsonOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compare two candidates question by question: what differs in settings and scores, how sure that is, where, and which questions
    became right or wrong. Nothing is decided: see `gate`.

    Example: python -m eval compare served hybrid

    Example: python -m eval compare 3f2a base hybrid --by language --flips

    Example: python -m eval compare hybrid@3f2a hybrid@91bc
    """
    from eval.reports.comparison import compared
    from eval.reports.outcomes import KEY_METRICS

    with errors_in_words():
        check_target(md, "md")
        run, base, candidate = _sides(home, names)
        found = compared(base, candidate, primary=metric, by=by, only=None if every else KEY_METRICS)
        if as_json:
            from eval.reports.comparison_json import comparison_json

            write(STDOUT, comparison_json(found))
        if md is not None:
            from eval.reports.markdown import comparison_markdown

            write(md, comparison_markdown(found, run.questions.name))
        if not as_json and md is None:
            from eval.reports.comparison_table import comparison_table

            display(comparison_table(found, all_flips=flips))


def _sides(home: Path, names: list[str]) -> tuple[Run, Measured, Measured]:
    """The run of the base, and the two. Raises `Mismatch` where they are of runs that cannot be compared."""
    base, candidate = named_pair(home, names)
    one, other = (Side.of(named.run, named.name, "all") for named in (base, candidate))
    if one.run is not other.run:
        reasons = [reason for reason in differing(one, other, Policy()) if not reason.startswith("release:")]
        if reasons:
            both = f"{base.name}@{base.run.id} and {candidate.name}@{candidate.run.id}"
            raise Mismatch(f"{both} cannot be compared: {'; '.join(reasons)}", hint="run both on one question set")
    return one.run, one.measured, other.measured
