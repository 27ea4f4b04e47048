"""`python -m eval promote`, `rollback` and `status`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eval.behaviours.case import Case, Verdict
from eval.cli.options import HomeOption, IndexesOption, NameOption
from eval.cli.written import display
from eval.decision import Decision, read_decision
from eval.policy import Behaviours
from eval.reports.legible import one_line
from eval.runs import DECISION_FILE, DEFAULT_HOME, run_folder
from rag_service.catalog import check_name
from rag_service.console import BarProgress, err, errors_in_words, out
from rag_service.drift.reference import Reference
from rag_service.errors import InvalidInput, RagError
from rag_service.settings import load_settings

_SHOWN_DECISIONS = 5

RunArgument = Annotated[str, typer.Argument(metavar="[RUN]", help="Id of a run, the beginning of one, or its folder.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="The running service; default http://127.0.0.1 at the port of the settings.", show_default=False)
]
NoLiveOption = Annotated[bool, typer.Option("--no-live", help="No service runs: serve the release without asking one.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="EVAL_API_KEY", help="API key of that service, of the scope ask.", show_default=False)
]
WhyOption = Annotated[str, typer.Option("--why", help="For the history.", show_default=False)]


def promote(
    run: RunArgument = "latest",
    url: UrlOption = None,
    no_live: NoLiveOption = False,
    key: KeyOption = None,
    why: WhyOption = "",
    name: NameOption = None,
    home: HomeOption = DEFAULT_HOME,
    indexes: IndexesOption = None,
) -> None:
    """Serve the release that a gate decided to promote, and go back if the running service does not behave.

    Only with a decision PROMOTE for exactly this release against exactly the one that is served now. Every check of an activation is made
    first. The running service must follow within seconds and pass the behaviour suite; else what was served before is served again, and
    the exit code is 1.

    Example: python -m eval promote 3f2a

    Example: python -m eval promote latest --url http://rag.internal:8000 --why "more answers, no slower"
    """
    with BarProgress() as progress, errors_in_words(interrupted=lambda: "interrupted; see what is served: python -m eval status"):
        if no_live and url is not None:
            raise InvalidInput("--url and --no-live do not go together", hint="give one of them", param="url")
        from eval.behaviours import run_live  # loads FAISS, which reads OMP_NUM_THREADS then
        from eval.live_release import Live
        from eval.promote import plan
        from eval.promote import promote as promote_planned
        from rag_service.wiring.stores import open_catalog

        settings = load_settings(name=name, indexes=indexes)
        catalog = open_catalog(settings)
        planned = plan(run_folder(home, run), settings, catalog, name=name)
        live = None if no_live else Live(url or f"http://127.0.0.1:{settings.port}", key)
        cases = _live_cases(planned.decision)

        def suite() -> Sequence[Verdict]:
            return run_live(live.url, cases, live.key, progress=progress) if live else ()

        promoted = promote_planned(planned, settings, catalog, live=live, suite=suite, why=why, told=_told)
    out.print(f"[green]promoted[/green]: {promoted.name} serves release [bold]{promoted.release}[/bold], in place of {promoted.previous}")
    if promoted.behaviours is not None:
        out.print(
            f"  the running service follows and passes {promoted.behaviours:,} of {len(cases):,} cases, all that must pass among them"
        )
    out.print(f"  to undo that: python -m eval rollback --name {promoted.name}")
    if promoted.adopted:
        err.print("[dim]the index version was copied from that of the evaluation[/dim]")
    _print_reference(promoted.reference)


def rollback(
    name: NameOption = None,
    why: WhyOption = "",
    indexes: IndexesOption = None,
) -> None:
    """Serve the release that was served before. Running servers follow within a second.

    Example: python -m eval rollback --name handbook --why "it misses the annex"
    """
    with errors_in_words(interrupted=lambda: "interrupted: what was served is still served"):
        from eval.promote import keep_reference
        from rag_service.wiring.activating import activate, earlier, this_person
        from rag_service.wiring.stores import open_catalog

        settings = load_settings(name=name, indexes=indexes)
        catalog = open_catalog(settings)
        before = catalog.active_id(check_name(settings.name))
        release = earlier(catalog, settings.name, None)
        _, opened = activate(
            settings, catalog, settings.name, release, who=this_person(), why=why, action="rollback", expected=before, told=_told
        )
        out.print(f"[green]rolled back[/green]: {settings.name} serves release [bold]{release.id}[/bold] again, in place of {before}")
        _print_reference(keep_reference(settings, catalog, opened))


def status(name: NameOption = None, home: HomeOption = DEFAULT_HOME, indexes: IndexesOption = None) -> None:
    """What is served, since when and why, and what was decided last.

    Example: python -m eval status --name handbook
    """
    from rag_service.wiring.stores import open_catalog  # loads FAISS, which reads OMP_NUM_THREADS then

    with errors_in_words():
        settings = load_settings(name=name, indexes=indexes)
        catalog = open_catalog(settings)
        served = catalog.active_id(check_name(settings.name))
        last = catalog.history(settings.name).transitions[-1]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("served", Text(f"{settings.name}: release {served}, since {last.at}, by {one_line(last.who) or 'unknown'}"))
    if last.why:
        grid.add_row("why", Text(one_line(last.why)))
    if last.previous:
        grid.add_row("before", Text(f"release {last.previous}; go back to it: python -m eval rollback --name {settings.name}"))
    for decision in _last_decisions(home):
        said = f"{decision.verdict} {one_line(decision.candidate.name)} ({decision.candidate.release})"
        against = f"against {one_line(decision.base.name)} ({decision.base.release})"
        grid.add_row("decided", Text(f"{decision.decided_at} {said} {against}, run {decision.candidate.run}"))
    display(grid)


def _print_reference(found: Reference | RagError | None) -> None:
    """Of drift: the first of an encoder, or why there is none."""
    if isinstance(found, RagError):
        err.print(f"[yellow]no reference of drift was made[/yellow]: {escape(found.message)}", soft_wrap=True)
    elif found is not None:
        what = "what was evaluated, until there is one of traffic" if found.source == "evaluation" else "what was asked"
        err.print(f"[dim]reference {found.id} of drift is kept, of {what}[/dim]")


def _live_cases(decision: Decision) -> Sequence[Case]:
    """Those of the policy's file that are asked of a running service; without any there, the bundled ones."""
    from eval.behaviours import live_cases, read_cases

    asked = decision.policy.behaviours or Behaviours()
    mine = [case for case in read_cases([asked.file]) if case.kind == "live"] if asked.file is not None else []
    return mine or live_cases()


def _last_decisions(home: Path) -> list[Decision]:
    """Newest first. What cannot be read any more is left out."""
    found = []
    for path in (home / "runs").glob(f"*/{DECISION_FILE}"):
        try:
            found.append(read_decision(path.parent))
        except RagError:
            continue
    return sorted(found, key=lambda decision: decision.decided_at, reverse=True)[:_SHOWN_DECISIONS]


def _told(check: str, state: str) -> None:
    """The checks, one word each, where somebody looks."""
    if err.is_terminal and state != "checking":
        err.print(f"  [{'green' if state == 'ok' else 'red'}]{state:<6}[/] {check}")
