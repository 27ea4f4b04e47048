"""`rag-service release`: what could be served, what is, what was; activate and roll back."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rag_service.catalog import Catalog, check_name
from rag_service.cli.options import IndexesOption, JsonOption
from rag_service.console import BarProgress, err, errors_in_words, out
from rag_service.errors import NotFound, RagError
from rag_service.history import Action, Transition
from rag_service.opened import Opened
from rag_service.release import Release
from rag_service.settings import Settings, load_settings
from rag_service.shelf import Shelf
from rag_service.wiring.activating import activate as activate_release
from rag_service.wiring.activating import earlier, this_person
from rag_service.wiring.desks import records_of
from rag_service.wiring.first_reference import DAYS, keep_first_reference
from rag_service.wiring.releases import deployment_of
from rag_service.wiring.stores import open_catalog, open_ledger

app = typer.Typer(no_args_is_help=True, help="See which releases there are, serve another one, go back.")

NameArgument = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Index; default RAG_NAME or 'demo'.", show_default=False)]
WhyOption = Annotated[str, typer.Option("--why", help="For the history.", show_default=False)]


@app.command("list")
def list_releases(name: NameArgument = None, indexes: IndexesOption = None) -> None:
    """Every release of an index, newest first; the active one is marked."""
    with errors_in_words():
        settings, catalog = _opened(name, indexes)
        shelf = Shelf(catalog, settings.name)
        active = shelf.active()
        table = Table("release", "version", "encoder", "retrieval", "prompt", "generator", "code", "state", box=None, pad_edge=False)
        for found in shelf.releases():
            state = "[green]active[/green]" if found.id == active else ""
            if found.release is None:
                table.add_row(found.id, "", "", "", "", "", "", f"[red]{escape(found.problem or '')}[/red]")
                continue
            there = shelf.has_version(found.release.index.version)
            table.add_row(found.id, *_parts(found.release), state if there else "[red]its version is gone[/red]")
        if not table.row_count:
            err.print(f"no releases of {settings.name}; make one with: rag-service index activate --name {settings.name}")
            return
        out.print(table)


@app.command()
def show(
    name: NameArgument = None,
    release: Annotated[str | None, typer.Argument(help="Release id; default the active one.", show_default=False)] = None,
    indexes: IndexesOption = None,
) -> None:
    """Every part of a release, as JSON."""
    with errors_in_words():
        settings, catalog = _opened(name, indexes)
        found = catalog.release(settings.name, release or catalog.active_id(settings.name))
        out.print_json(data={"id": found.id, "digest": found.digest, "release": found.model_dump(mode="json", by_alias=True)})


@app.command()
def activate(
    name: Annotated[str, typer.Argument(help="Index.")],
    release: Annotated[str, typer.Argument(help="Release id; `release list` shows them.")],
    why: WhyOption = "",
    indexes: IndexesOption = None,
) -> None:
    """Serve a release that was made before. Every check first; running servers follow within a second.

    To make a release of a new index version or of changed settings, use `rag-service index activate`.

    Example: rag-service release activate handbook 5bb8a469f736 --why "the new one misses the annex"
    """
    with errors_in_words(interrupted=lambda: "interrupted: what was served is still served"):
        settings, catalog = _opened(name, indexes)
        serve_release(settings, catalog, catalog.release(settings.name, release), why=why, action="activate")


@app.command()
def rollback(
    name: NameArgument = None,
    release: Annotated[str | None, typer.Argument(help="Where to; default the release served before.", show_default=False)] = None,
    why: WhyOption = "",
    indexes: IndexesOption = None,
) -> None:
    """Serve the release that was served before. Once more goes back one further; `release history` shows the way.

    Example: rag-service release rollback handbook
    """
    with errors_in_words(interrupted=lambda: "interrupted: what was served is still served"):
        settings, catalog = _opened(name, indexes)
        serve_release(settings, catalog, earlier(catalog, settings.name, release), why=why, action="rollback")


@app.command()
def history(name: NameArgument = None, as_json: JsonOption = False, indexes: IndexesOption = None) -> None:
    """What was served when, since when, by whose doing, and why. Newest first."""
    with errors_in_words():
        settings, catalog = _opened(name, indexes)
        found = catalog.history(settings.name)
        if as_json:
            out.print_json(data=[transition.model_dump(mode="json") for transition in found.transitions])
            return
        if not found.transitions:
            raise NotFound(f"index {settings.name!r} has never served anything", hint="`rag-service index build` makes an index")
        table = Table("when", "what", "from", "to", "who", "why", box=None, pad_edge=False)
        for transition in reversed(found.transitions):
            table.add_row(*_told(transition))
        out.print(table)
        if found.damaged:
            err.print(f"[yellow]{found.damaged} damaged lines of the history were left out[/yellow]")


def serve_release(settings: Settings, catalog: Catalog, release: Release, *, why: str, action: Action) -> Opened:
    """Activates, and says what has changed."""
    transition, opened = activate_release(
        settings, catalog, settings.name, release, who=this_person(), why=why, action=action, told=tell_checks()
    )
    shown = f"release [bold]{release.id}[/bold] of version {release.index.version}"
    if transition is None:
        out.print(f"[green]active already[/green]: {shown}; nothing was changed")
    else:
        before = f", in place of {transition.previous}" if transition.previous else ""
        out.print(f"[green]active[/green]: {escape(settings.name)} {shown}{before}")
        if transition.previous:
            back = (
                f"activate {escape(settings.name)} {transition.previous}" if action == "rollback" else f"rollback {escape(settings.name)}"
            )
            out.print(f"  to undo that: rag-service release {back}")
    keep_reference(settings, catalog, opened)
    if opened.differences:
        running = opened.pipeline.lineage.release.id
        parts = " and ".join(opened.differences)
        err.print(f"[yellow]made with other {parts} than run here[/yellow]: what answers is release {running}", soft_wrap=True)
    return opened


def keep_reference(settings: Settings, catalog: Catalog, opened: Opened) -> None:
    """The first reference of drift of an encoder. Whatever comes of it, the release is served."""
    records = records_of(settings, catalog, open_ledger(settings), deployment=deployment_of(settings))
    try:
        with BarProgress() as progress:
            made = keep_first_reference(settings, catalog, records, opened.pipeline, progress)
    except RagError as error:
        err.print(f"[yellow]no reference of drift was made[/yellow]: {escape(error.message)}", soft_wrap=True)
        err.print("      [dim]`rag-service drift reference` makes one[/dim]")
    except KeyboardInterrupt:
        err.print("[yellow]interrupted[/yellow]: the release is served; `rag-service drift reference` makes a reference of drift")
    else:
        if made is not None:
            what = "asked" if made.source == "records" else "asked before this encoder"
            err.print(f"[dim]reference {made.id} of drift is kept: {made.side.questions:,} questions {what} in {DAYS} days[/dim]")


def tell_checks() -> Callable[[str, str], None]:
    """The checks, one word each, where somebody looks."""

    def told(check: str, state: str) -> None:
        if err.is_terminal and state != "checking":
            colour = "green" if state == "ok" else "red"
            err.print(f"  [{colour}]{state:<6}[/{colour}] {check}")

    return told


def _opened(name: str | None, indexes: object) -> tuple[Settings, Catalog]:
    settings = load_settings(name=name, indexes=indexes)
    check_name(settings.name)
    return settings, open_catalog(settings)


def _parts(release: Release) -> tuple[str, ...]:
    retrieval = f"{release.retrieval.mode} {release.retrieval.top_k}/{release.retrieval.min_confidence:g}"
    prompt = f"{release.prompt.name}/{release.prompt.version}"
    code = f"{release.code.version} {release.code.digest[7:19]}"
    return release.index.version, escape(release.encoder.name), retrieval, prompt, escape(release.generator.name), code


def _told(transition: Transition) -> tuple[str, ...]:
    what = {"activate": "activated", "rollback": "[yellow]rolled back[/yellow]", "unknown": "[dim]set by hand[/dim]"}[transition.action]
    return transition.at, what, transition.previous or "–", transition.release, escape(transition.who), escape(transition.why)
