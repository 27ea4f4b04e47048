"""`rag-service serve`: the HTTP service in this process."""

import errno
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from rag_service.api.app import create_app
from rag_service.api.schemas import Limits
from rag_service.catalog import Catalog
from rag_service.cli.options import IndexesOption, NameOption
from rag_service.console import err, errors_in_words, fail
from rag_service.errors import Conflict, RagError
from rag_service.release import Release
from rag_service.serving import Service
from rag_service.settings import RELEASE_FIELDS, Settings, explicitly_set, load_settings
from rag_service.wiring.generators import generator_spec
from rag_service.wiring.releases import Opened, Report, deployment_of, open_release, remember

logger = logging.getLogger("rag_service.serve")

_BACKLOG = 2048
"""Connections that wait to be accepted; uvicorn's own figure."""


def serve(
    name: NameOption = None,
    host: Annotated[str | None, typer.Option(help="Address; default 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port; default 8000.", show_default=False)] = None,
    indexes: IndexesOption = None,
) -> None:
    """Serve the active release of an index over HTTP. It follows later activations without a restart.

    Example: rag-service serve --name handbook --port 8000
    """
    with errors_in_words():
        settings = load_settings(name=name, host=host, port=port, indexes=indexes)
        catalog = Catalog(settings.indexes)
        release = catalog.release(settings.name, catalog.active_id(settings.name))  # a missing or damaged one is said at once
        _configure_logging(settings)
        _warn_of_settings_without_effect(settings, release)
        with _listening(settings) as listener:
            problem = _run(settings, catalog, listener)
        if problem is not None:
            fail(problem)


def _run(settings: Settings, catalog: Catalog, listener: socket.socket) -> RagError | None:
    """Serves until a signal; gives what kept the service from ever being ready, if something did."""
    deployment = deployment_of(settings)
    address: tuple[str, int] = listener.getsockname()[:2]  # asked now: the socket may be closed again before the service is ready
    problems: list[RagError] = []

    def open_one(release_id: str, report: Report) -> Opened:
        release = catalog.release(settings.name, release_id)
        opened = open_release(settings, catalog, settings.name, release, deployment=deployment, report=report)
        if opened.differences:
            remember(catalog, settings.name, opened)
        return opened

    def failed(error: RagError) -> None:
        problems.append(error)
        server.should_exit = True

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        service.start(ready=lambda opened: _print_ready(address, opened), failed=failed)
        yield
        service.drain()

    service = Service(lambda: catalog.active_id(settings.name), open_one)
    app = create_app(service, _limits(settings), lifespan=lifespan())
    grace_s = round(settings.timeout_s)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=grace_s, server_header=False)
    server = uvicorn.Server(config)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        """For a signal before uvicorn handles them; and after it, which raises it again: a clean stop is exit code 0."""
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets=[listener])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # who does not want to wait for a model that is still loading says it once more
    return problems[0] if problems else None


def _listening(settings: Settings) -> socket.socket:
    """A listening socket, before anything is loaded: a port in use is said at once. Raises `Conflict`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with ExitStack() as opened:
        try:
            listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host, settings.port))
            listener.listen(_BACKLOG)  # two servers can be bound to one port, but only one can listen
        except (OSError, UnicodeError) as error:  # a host that cannot be a name is a UnicodeError
            in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            hint = "choose another with --port, or stop what uses it" if in_use else "check --host and --port"
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            raise Conflict(f"cannot listen on {settings.host}:{settings.port}: {why}", hint=hint) from error
        opened.pop_all()
    return listener


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_question_chars=settings.max_question_chars,
        max_body_bytes=settings.max_body_bytes,
        max_top_k=settings.max_top_k,
        timeout_s=settings.timeout_s,
    )


def _warn_of_settings_without_effect(settings: Settings, release: Release) -> None:
    """What a release fixes is not read from the environment; somebody who set it there expects that it is."""
    fixed = {
        "top_k": release.retrieval.top_k,
        "min_score": release.retrieval.min_score,
        "prompt": f"{release.prompt.name}/{release.prompt.version}",
        "generator": release.generator.spec,
        **{name: value for name, value in release.generator.options.items() if name in RELEASE_FIELDS},
    }
    asked = settings.model_copy(update={"generator": generator_spec(settings)})
    differing = [name for name in fixed if name in explicitly_set() and getattr(asked, name) != fixed[name]]
    for name in differing:
        err.print(
            f"[yellow]warning[/yellow] {name} is set to {getattr(settings, name)!r}, but the active release was made with "
            f"{fixed[name]!r} and that is what is served; to change it: rag-service index activate --name {settings.name}",
            soft_wrap=True,
        )


def _print_ready(address: tuple[str, int], opened: Opened) -> None:
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # what listens everywhere is reached from here
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    lineage = opened.pipeline.lineage
    body = json.dumps({"question": f"What do the documents say about {_subject(opened)}?"}, ensure_ascii=False).replace("'", "’")
    err.print(
        f"[green]ready[/green]: release [bold]{lineage.release.id}[/bold] of index [bold]{lineage.index.name}[/bold] at {url}",
        soft_wrap=True,
    )
    err.print("try it:")
    err.print(f"  curl -s {url}/ask -H 'content-type: application/json' -d '{body}'", soft_wrap=True, markup=False)
    err.print(f"[dim]API reference: {url}/docs · stop with Ctrl-C[/dim]")


def _subject(opened: Opened) -> str:
    """The title of a document, so that the example that is printed fits the documents at hand."""
    return opened.pipeline.chunks.chunks([0])[0].title.rstrip("?!. ") or "this"


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
    )
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
