"""`rag-service drift`: whether what is asked, and what becomes of it, is still what it was."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from rag_service.catalog import Catalog, check_name
from rag_service.cli.drift_table import print_references, print_report
from rag_service.cli.ledger import LedgerOption
from rag_service.cli.options import IndexesOption, JsonOption, NameOption
from rag_service.cli.questions import read_texts
from rag_service.console import BarProgress, err, errors_in_words, out
from rag_service.drift.compare import ALPHA, LEAST, Policy, draws_for
from rag_service.drift.folder import DriftFolder
from rag_service.drift.reference import Reference
from rag_service.drift.report import Report
from rag_service.errors import InvalidInput
from rag_service.records import Records
from rag_service.settings import Settings, load_settings
from rag_service.wiring.desks import records_of
from rag_service.wiring.drifting import Span, make_report, reference_of_questions, reference_of_records
from rag_service.wiring.releases import deployment_of
from rag_service.wiring.stores import open_catalog, open_ledger

app = typer.Typer(no_args_is_help=True, help="See whether what is asked, and what becomes of it, is still what it was.")

EXIT_DRIFT = 3
EXIT_UNDECIDED = 4
_REFERENCE_DAYS = 28
_WINDOW_DAYS = 7

SinceOption = Annotated[datetime | None, typer.Option(help="From then on, UTC.", show_default=False)]
UntilOption = Annotated[datetime | None, typer.Option(help="Before then, UTC; default now.", show_default=False)]


@app.command()
def reference(
    since: SinceOption = None,
    until: UntilOption = None,
    questions: Annotated[
        Path | None,
        typer.Option(help="File of questions, asked now of the active release, in place of records.", show_default=False),
    ] = None,
    name: NameOption = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Keep what was asked in a time that was well, to compare later times with; default the last 28 days.

    Example: rag-service drift reference --since 2026-10-01 --until 2026-11-01
    """
    with errors_in_words():
        settings, catalog, folder = _opened(name, ledger_file, indexes)
        if questions is not None and (since or until):
            raise InvalidInput("questions of a file have no time", hint="leave out --since and --until")
        with BarProgress() as progress:
            if questions is not None:
                made = reference_of_questions(settings, catalog, read_texts(questions), progress)
            else:
                span = _span(since, until, timedelta(days=_REFERENCE_DAYS))
                made = reference_of_records(settings, catalog, _records(settings, catalog), span, progress)
        folder.add(made)
    side = made.side
    out.print(f"[green]reference[/green] [bold]{made.id}[/bold] of {side.questions:,} questions in {side.conversations:,} conversations")
    if side.conversations < LEAST:
        err.print(f"[yellow]few[/yellow]: below {LEAST} conversations a report says nothing")


@app.command()
def references(name: NameOption = None, indexes: IndexesOption = None) -> None:
    """The references of an index, newest first."""
    with errors_in_words():
        settings, catalog, folder = _opened(name, None, indexes)
        found = folder.references()
        if not found:
            err.print("no references yet; make one with: rag-service drift reference")
            return
        active = catalog.served_id(settings.name)
        encoder = catalog.release(settings.name, active).encoder.digest if active else None
        print_references(found, encoder)


@app.command()
def forget(
    identifier: Annotated[str, typer.Argument(metavar="REFERENCE", help="Its id.")],
    name: NameOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Remove a reference for good, and with it the vectors of the questions that it was made of."""
    with errors_in_words():
        _, _, folder = _opened(name, None, indexes)
        folder.forget(identifier)
    out.print(f"[green]removed[/green] reference {identifier}")


@app.command()
def report(
    since: SinceOption = None,
    until: UntilOption = None,
    against: Annotated[
        str | None, typer.Option("--reference", help="Its id; default the newest of the active encoder.", show_default=False)
    ] = None,
    alpha: Annotated[float, typer.Option(min=0.002, max=0.2, help="Chance of any false alarm in a report.")] = ALPHA,
    least: Annotated[int, typer.Option(min=20, help="Fewest conversations on either side.")] = LEAST,
    canaries: Annotated[bool, typer.Option(help="Ask the canary questions, too.")] = True,
    keep: Annotated[bool, typer.Option(help="Keep the report for the page and the metrics.")] = True,
    name: NameOption = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what was asked in a time with a reference; default the last 7 days, as far as they are not part of it.

    The exit code is 3 for an alarm, 4 where nothing could be compared, else 0.

    Example: rag-service drift report --since 2026-11-19
    """
    with errors_in_words():
        settings, catalog, folder = _opened(name, ledger_file, indexes)
        compared_with = _reference(settings, catalog, folder, against)
        span = _span(since, until, timedelta(days=_WINDOW_DAYS), not_before=compared_with.side.until)
        policy = Policy(alpha=alpha, least=least, draws=draws_for(alpha))
        with BarProgress() as progress:
            made = make_report(
                settings, catalog, _records(settings, catalog), compared_with, span, progress, policy=policy, ask_canaries=canaries
            )
        if keep:
            folder.write_report(made)
    if as_json:
        out.print_json(made.model_dump_json(by_alias=True))
    else:
        print_report(made)
    if (code := exit_code(made)) != 0:
        raise typer.Exit(code)


def exit_code(made: Report) -> int:
    if made.alarms or made.system.state == "alarm":
        return EXIT_DRIFT
    return 0 if made.defined else EXIT_UNDECIDED


def _opened(name: str | None, ledger_file: str | None, indexes: Path | None) -> tuple[Settings, Catalog, DriftFolder]:
    settings = load_settings(name=name, ledger=ledger_file, indexes=indexes)
    catalog = open_catalog(settings)
    return settings, catalog, DriftFolder(catalog.drift_folder(check_name(settings.name)))


def _records(settings: Settings, catalog: Catalog) -> Records:
    return records_of(settings, catalog, open_ledger(settings), deployment=deployment_of(settings))


def _reference(settings: Settings, catalog: Catalog, folder: DriftFolder, identifier: str | None) -> Reference:
    if identifier is not None:
        return folder.reference(identifier)
    encoder = catalog.release(settings.name, catalog.active_id(settings.name)).encoder
    return folder.newest_for(encoder.digest, encoder.name)


def _span(since: datetime | None, until: datetime | None, default: timedelta, *, not_before: str = "") -> Span:
    """Raises `InvalidInput` for one that is empty."""
    end = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    begin = since.replace(tzinfo=UTC) if since else end - default
    if since is None and not_before:
        begin = max(begin, datetime.fromisoformat(not_before))
    if begin >= end:
        raise InvalidInput(f"nothing is between {begin:%Y-%m-%d %H:%M:%S} and {end:%Y-%m-%d %H:%M:%S}", hint="let --until be later")
    return Span(begin, end)
