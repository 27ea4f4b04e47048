"""`python -m eval report`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from eval.cli.options import HomeOption
from eval.cli.written import check_target, display, write
from eval.decision import Decision, read_decision
from eval.results import Run
from eval.runs import DECISION_FILE, DEFAULT_HOME, read_run, run_folder
from rag_service.console import errors_in_words
from rag_service.errors import InvalidInput, NotFound

RunsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids, folders, or latest; default latest.", show_default=False)
]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write one HTML file that needs nothing else.", show_default=False)]
MdOption = Annotated[Path | None, typer.Option("--md", help="Write Markdown for a pull request; - for stdout.", show_default=False)]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write what was decided as JUnit XML.", show_default=False)]
BaseOption = Annotated[str | None, typer.Option("--base", help="Candidate to compare with; default the first.", show_default=False)]
CandidateOption = Annotated[
    str | None, typer.Option("--candidate", help="Candidate to look at; default the best of the others.", show_default=False)
]


def report(
    runs: RunsArgument = None,
    html: HtmlOption = None,
    md: MdOption = None,
    junit: JunitOption = None,
    base: BaseOption = None,
    candidate: CandidateOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show a run again, at the terminal or as files. Several runs over the same questions are shown as one.

    Where a gate decided on the run, the report begins with the verdict.

    Example: python -m eval report

    Example: python -m eval report latest --html report.html

    Example: python -m eval report 3f2a 91bc --html both.html --candidate hybrid
    """
    with errors_in_words():
        for path, option in ((html, "html"), (md, "md"), (junit, "junit")):
            check_target(path, option)
        run, decision, ids = _gathered(home, runs or ["latest"])
        if html is not None:
            from eval.reports.page import page
            from eval.reports.view import view_of

            write(html, page(view_of(run, decision, base=base, candidate=candidate, runs=ids)))
        if md is not None:
            from eval.reports.markdown import run_markdown

            write(md, run_markdown(run, decision, base=base, candidate=candidate))
        if junit is not None:
            write(junit, _junit(decision))
        if html is md is junit is None:
            if decision is not None:
                display(_decided(decision))
            _show(run, candidate)


def _show(run: Run, candidate: str | None) -> None:
    from eval.reports.table import candidate_table, table
    from eval.reports.view import named

    display(candidate_table(run, named(run, candidate)) if candidate else table(run))


def _decided(decision: Decision) -> Text:
    from eval.reports.legible import one_line

    verdict = f"{decision.verdict}: {one_line(decision.candidate.name)} against {one_line(decision.base.name)}"
    return Text(f"{verdict}, decided {decision.decided_at or 'earlier'}; {one_line(decision.reasons[0])}\n")


def _junit(decision: Decision | None) -> str:
    if decision is None:
        raise InvalidInput("nothing was decided on this run", hint="`python -m eval gate` decides; --junit writes its rules")
    from eval.reports.junit import decision_junit

    return decision_junit(decision)


def _gathered(home: Path, named: list[str]) -> tuple[Run, Decision | None, list[str]]:
    """The runs as one, what was decided on the first of them that has a decision, and their ids."""
    from eval.reports.gathered import gathered

    folders = list(dict.fromkeys(run_folder(home, name) for name in named))
    runs = [read_run(folder) for folder in folders]
    decided = next((folder for folder in folders if (folder / DECISION_FILE).is_file()), None)
    decision = read_decision(decided) if decided else None
    if decision is not None and decision.base.run not in {run.id for run in runs}:
        runs += _base_run(home, decision)
    return gathered(runs), _renamed(decision, runs), [run.id for run in runs]


def _base_run(home: Path, decision: Decision) -> list[Run]:
    """The run of the base, where the candidate was decided on against one of another run that is still there."""
    try:
        found = read_run(run_folder(home, decision.base.run))
    except NotFound:
        return []
    return [replace(found, candidates=tuple(one for one in found.candidates if one.name == decision.base.name))]


def _renamed(decision: Decision | None, runs: list[Run]) -> Decision | None:
    """With the names that candidates have where runs are put together."""
    names = [candidate.name for run in runs for candidate in run.candidates]
    if decision is None:
        return None
    base, candidate = (
        replace(party, name=f"{party.name}@{party.run}") if names.count(party.name) > 1 else party
        for party in (decision.base, decision.candidate)
    )
    return replace(decision, base=base, candidate=candidate)
