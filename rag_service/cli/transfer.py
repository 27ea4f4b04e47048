"""`rag-service index push` and `pull`, and those of `rag-service encoder`: to object storage and back."""

import random
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape

from rag_service.catalog import Catalog, check_name
from rag_service.cli.options import IndexesOption
from rag_service.cli.release import WhyOption, serve_release, tell_checks
from rag_service.console import BarProgress, err, errors_in_words, out, shown_bytes, tell
from rag_service.errors import InvalidInput, InvalidName, RagError
from rag_service.ports import ObjectStore
from rag_service.pull import Pulled, pull_encoder, released_in
from rag_service.push import Pushed, push_encoder
from rag_service.settings import Settings, is_database_url, load_settings
from rag_service.wiring import remotes

_LONGEST_PAUSE_S = 600.0

WhatArgument = Annotated[
    str, typer.Argument(metavar="NAME[@ID]", help="Index, and the id of a version or release; default the active one.")
]
FromArgument = Annotated[str, typer.Argument(metavar="NAME[@ID]", help="Index, and an id; default what the store says is served.")]
UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="s3://BUCKET/PREFIX, or file:///FOLDER for a shared disk.")]
EncoderArgument = Annotated[str, typer.Argument(metavar="ID", help="Encoder id; `encoder list` shows them.")]
AgainOption = Annotated[bool, typer.Option("--again", help="Send what is there already as well, to mend what the store has damaged.")]


def push(
    what: WhatArgument,
    url: UrlArgument,
    activate: Annotated[bool, typer.Option("--activate", help="Those who follow the store shall serve it. Every check first.")] = False,
    again: AgainOption = False,
    why: WhyOption = "",
    indexes: IndexesOption = None,
) -> None:
    """Send an index version to object storage, with its encoder and its release. What is there already is not sent again.

    It can be pulled once all of it is there; a push that was interrupted goes on where it was. Needs the extra [s3].

    Example: rag-service index push handbook s3://bucket/indexes --activate
    """
    with errors_in_words(interrupted=lambda: "interrupted: what could be pulled before can be pulled still; push again to go on"):
        settings, catalog, name, identifier = _meant(what, indexes)
        remote = remotes.open_remote(settings, url)
        release = remotes.release_to_push(settings, catalog, name, identifier, tell_checks()) if activate else None
        with BarProgress(counts_bytes=True) as progress:
            chosen = release.id if release else identifier
            pushed = remotes.push(catalog, name, chosen, remote, progress, again=again)
        _print_pushed(pushed, f"{escape(name)} version [bold]{pushed.version}[/bold]", remote)
        if release is not None and remotes.say_served(remote, name, release, why=why):
            out.print(f"  [green]active[/green] there: release [bold]{release.id}[/bold]; whoever follows the store will serve it")
        elif release is not None:
            out.print("  active there already")


def pull(
    what: FromArgument,
    url: UrlArgument,
    activate: Annotated[bool, typer.Option("--activate", help="Serve it. Every check first.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and follow what the store says is served.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks at the store.", min=1, max=86_400)] = 30.0,
    why: WhyOption = "",
    indexes: IndexesOption = None,
) -> None:
    """Fetch an index version from object storage, with its encoder and its release. Every file is compared with its SHA-256 first.

    What is served is untouched, whatever the store does, until --activate has succeeded. A pull that was interrupted goes on where it
    was. Needs the extra [s3].

    Example: rag-service index pull handbook s3://bucket/indexes --activate
    """
    with errors_in_words(interrupted=lambda: "interrupted: what is served is untouched; pull again to go on"):
        settings, catalog, name, identifier = _meant(what, indexes)
        if watch and identifier is not None:
            raise InvalidName(f"{what!r} names one version to watch", hint="give the index alone: its versions change", param="what")
        remote = remotes.open_remote(settings, url)
        if not watch:
            _pull(settings, catalog, name, identifier, remote, activate=activate, why=why)
            return
        _follow(
            lambda: released_in(remote, name),
            lambda release: _pull(settings, catalog, name, release, remote, activate=activate, why=why),
            every_s=every,
        )


def encoder_push(identifier: EncoderArgument, url: UrlArgument, again: AgainOption = False, indexes: IndexesOption = None) -> None:
    """Send an exported encoder to object storage. Needs the extra [s3].

    Example: rag-service encoder push 0f7e5b5a1c22 s3://bucket/indexes
    """
    with errors_in_words(interrupted=lambda: "interrupted: push again to go on"):
        settings = load_settings(indexes=indexes)
        remote = remotes.open_remote(settings, url)
        with BarProgress(counts_bytes=True) as progress:
            pushed = push_encoder(Catalog(settings.indexes), identifier, remote, progress, again=again)
        _print_pushed(pushed, f"encoder [bold]{pushed.encoder}[/bold]", remote)


def encoder_pull(identifier: EncoderArgument, url: UrlArgument, indexes: IndexesOption = None) -> None:
    """Fetch an exported encoder from object storage. Every file is compared with its SHA-256 first. Needs the extra [s3].

    Example: rag-service encoder pull 0f7e5b5a1c22 s3://bucket/indexes
    """
    with errors_in_words(interrupted=lambda: "interrupted: pull again to go on"):
        settings = load_settings(indexes=indexes)
        remote = remotes.open_remote(settings, url)
        with BarProgress(counts_bytes=True) as progress:
            pulled = pull_encoder(Catalog(settings.indexes), identifier, remote, progress)
        _print_pulled(pulled, f"encoder [bold]{pulled.encoder}[/bold]")


def _pull(
    settings: Settings, catalog: Catalog, name: str, identifier: str | None, remote: ObjectStore, *, activate: bool, why: str
) -> None:
    with BarProgress(counts_bytes=True) as progress:
        pulled = remotes.pull(catalog, name, identifier, remote, progress)
    release = f", release [bold]{pulled.release}[/bold]" if pulled.release else ""
    _print_pulled(pulled, f"{escape(name)} version [bold]{pulled.version}[/bold]{release}")
    if activate:
        found = remotes.release_pulled(settings, catalog, name, pulled)
        serve_release(settings, catalog, found, why=why or f"pulled from {remote.shown}", action="activate")
    elif pulled.release:
        out.print(f"  not served yet; to serve it: rag-service release activate {escape(name)} {pulled.release}")
    else:
        out.print(f"  not served yet; to serve it: rag-service index activate {pulled.version} --name {escape(name)}")


def _follow(served: Callable[[], str], take: Callable[[str], None], *, every_s: float, pause: Callable[[float], Any] = time.sleep) -> None:
    """Takes what `served` names whenever that is another than was taken last, until Ctrl-C. What fails is told and tried again later,
    less and less often: somebody who rolls back here is not overruled before the store names another release.
    """
    taken, failures = None, 0
    while True:
        try:
            if (release := served()) != taken:
                take(release)
                taken = release
            failures = 0
        except RagError as error:
            failures += 1
            tell(error)
            err.print("[dim]what is served is untouched; trying again[/dim]")
        longest = max(every_s, _LONGEST_PAUSE_S)
        pause(min(every_s * 2 ** min(failures, 20), longest) * random.uniform(0.9, 1.1))


def _meant(what: str, indexes: Any) -> tuple[Settings, Catalog, str, str | None]:
    name, at, identifier = what.partition("@")
    settings = load_settings(name=check_name(name), indexes=indexes)
    if at and not identifier:
        raise InvalidName(f"{what!r} lacks the id behind the @", hint="write NAME, or NAME@ID", param="what")
    if is_database_url(settings.store):
        raise InvalidInput(
            "versions in a database are neither pushed nor pulled: every machine that knows its URL has them",
            hint="set RAG_STORE=auto to move versions that are files",
        )
    return settings, Catalog(settings.indexes), name, identifier or None


def _print_pushed(pushed: Pushed, what: str, remote: ObjectStore) -> None:
    tally = pushed.tally
    verb = "there already" if pushed.existed and not tally.sent else "pushed"
    out.print(f"[green]{verb}[/green]: {what} at {escape(remote.shown)}")
    sent = f"{tally.sent} files sent, {shown_bytes(tally.sent_bytes)}"
    out.print(f"  {sent}; {tally.there} were there, {shown_bytes(tally.there_bytes)}")


def _print_pulled(pulled: Pulled, what: str) -> None:
    out.print(f"[green]{'there already' if pulled.existed else 'pulled'}[/green]: {what}, {shown_bytes(pulled.fetched_bytes)} fetched")
