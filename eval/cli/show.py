"""`python -m eval show`."""

from typing import Annotated

import typer

from eval.cli.options import HomeOption
from eval.cli.written import display
from eval.counting import counted
from eval.results import Measured, Row, Run
from eval.runs import DEFAULT_HOME, read_run, run_folder
from rag_service.console import errors_in_words
from rag_service.errors import Conflict, InvalidSettings, NotFound

NamesArgument = Annotated[
    list[str], typer.Argument(metavar="[RUN] QUESTION", help="Id of a question, or its beginning; of the latest run.")
]
CandidateOption = Annotated[str | None, typer.Option("--candidate", help="Of one candidate; default all.", show_default=False)]


def show(names: NamesArgument, candidate: CandidateOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """Show everything about one question: what is right, what was found and stood in the prompt, the answer, its scores, and why it was
    labelled so.

    Example: python -m eval show q17

    Example: python -m eval show 3f2a q17 --candidate hybrid
    """
    from eval.reports.sheet import sheet
    from eval.reports.view import named

    with errors_in_words():
        if len(names) not in (1, 2):
            raise InvalidSettings(
                f"{counted(len(names), 'name')} given", hint="give a question, after the run it is in: show [RUN] QUESTION"
            )
        run = read_run(run_folder(home, names[0] if len(names) == 2 else "latest"))
        candidates = run.candidates if candidate is None else (named(run, candidate),)
        display(sheet(run, _rows(run, candidates, names[-1])))


def _rows(run: Run, candidates: tuple[Measured, ...], wanted: str) -> list[tuple[Measured, Row]]:
    """Raises `NotFound`, or `Conflict` where several ids begin so."""
    beginning = wanted.removesuffix("…")
    ids = dict.fromkeys(row.id for candidate in candidates for row in candidate.rows)
    found = [one for one in (wanted, beginning) if one in ids][:1] or [identifier for identifier in ids if identifier.startswith(beginning)]
    if not found:
        raise NotFound(f"there is no question {wanted!r} in the run {run.id}", hint="`python -m eval export csv` lists them")
    if len(found) > 1:
        raise Conflict(f"{len(found):,} questions begin with {beginning!r}", hint=", ".join(found[:5]))
    return [(candidate, row) for candidate in candidates for row in candidate.rows if row.id == found[0]]
