"""`rag-service serve`: the HTTP service in this process."""

import errno
import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from rag_service.api.app import Doors, create_app
from rag_service.api.browsers import LOOPBACK_HOSTS, checked_hosts, checked_origins
from rag_service.api.connections import ConnectionLimits
from rag_service.api.schemas import Limits
from rag_service.api.server import DrainingServer, Ending, serve_until_signal
from rag_service.api.workers import Workers
from rag_service.catalog import Catalog
from rag_service.cli.options import IndexesOption, NameOption
from rag_service.console import EXIT_ERROR, err, errors_in_words, fail, tell
from rag_service.errors import Conflict, InvalidSettings, RagError, StorageFailed
from rag_service.keys import Keyring
from rag_service.opened import Opened
from rag_service.redaction import redact
from rag_service.release import Release
from rag_service.settings import RELEASE_FIELDS, Settings, explicitly_set, load_settings
from rag_service.telemetry import span_names as names
from rag_service.telemetry.logs import configure_logging
from rag_service.telemetry.otel_variables import exporting_by, exporting_metrics_by
from rag_service.telemetry.shared_metrics import Worker
from rag_service.wiring.desks import max_concurrent, max_queue, open_desk
from rag_service.wiring.generators import generator_spec
from rag_service.wiring.rerankers import reranker_spec
from rag_service.wiring.stores import open_catalog

logger = logging.getLogger("rag_service.cli")

_LAST_WORDS_S = 1.0
"""Beyond the longest answer: time for its last bytes."""

_BACKLOG = 2048
"""Connections that wait to be accepted; uvicorn's own figure."""


def serve(
    name: NameOption = None,
    host: Annotated[str | None, typer.Option(help="Address; default 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port; default 8000.", show_default=False)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer; default 1.", show_default=False)] = None,
    verify: Annotated[str | None, typer.Option(help="full: read every file of the index at the start.", show_default=False)] = None,
    indexes: IndexesOption = None,
) -> None:
    """Serve the active release of an index over HTTP. It follows later activations within a second, without a restart.

    Example: rag-service serve --name handbook --port 8000
    """
    with errors_in_words():
        settings = load_settings(name=name, host=host, port=port, workers=workers, verify=verify, indexes=indexes)
        catalog = open_catalog(settings)
        release = _active(catalog, settings.name)  # a missing or damaged one is said at once
        doors = _doors(settings, release)
        configure_logging(settings.log_level, settings.log_format, log_questions=settings.log_questions)
        if release is not None:
            _warn_of_settings_without_effect(settings, release)
        with _listening(settings) as listener:
            if settings.workers > 1:
                raise typer.Exit(_run_workers(settings, catalog, listener, doors))
            problem = _run(settings, catalog, listener, doors)
        if problem is not None:
            fail(problem)


def _active(catalog: Catalog, name: str) -> Release | None:
    """None where a database is away, which the server waits for."""
    try:
        return catalog.release(name, catalog.active_id(name))
    except StorageFailed:
        if not catalog.shares:
            raise
        return None
    finally:
        catalog.close()  # workers must not share its connections


def _run_workers(settings: Settings, catalog: Catalog, listener: socket.socket, doors: Doors) -> int:
    with tempfile.TemporaryDirectory(prefix="rag-service-") as folder:  # that only this user can enter

        def work(number: int, *, replaces: bool, ready: Callable[[], None]) -> int:
            mine = replace(doors, worker=Worker(number, Path(folder)))
            problem = _run(settings, catalog, listener, mine, on_ready=ready, open_first=replaces)
            if problem is not None:
                tell(problem)
            return EXIT_ERROR if problem is not None else 0

        return Workers(settings.workers, work).run()


def _run(
    settings: Settings,
    catalog: Catalog,
    listener: socket.socket,
    doors: Doors,
    *,
    on_ready: Callable[[], None] = lambda: None,
    open_first: bool = False,
) -> RagError | None:
    """Serves until a signal; gives what kept the service from ever being ready, if something did. With `open_first` it takes no connection
    before it is ready.
    """
    address: tuple[str, int] = listener.getsockname()[:2]  # asked now: the socket may be closed again before the service is ready
    problems: list[RagError] = []
    looked = threading.Event()

    def ready(opened: Opened) -> None:
        on_ready()
        _say_ready(settings, address, opened, doors.worker, again=open_first)
        looked.set()

    def failed(error: RagError) -> None:
        problems.append(error)
        server.stop()
        looked.set()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if not open_first:
            desk.service.start(ready=ready, failed=failed)
        yield
        desk.service.drain()

    desk = open_desk(settings, catalog)
    desk.recorder.start()
    app = create_app(desk, doors, lifespan=lifespan())
    server = DrainingServer(
        app.asgi,
        ConnectionLimits(settings.max_connections, settings.read_timeout_s, settings.keep_alive_s),
        Ending(drain_s=settings.drain_s, grace_s=settings.timeout_s + _LAST_WORDS_S),
        on_stop=desk.service.leave,
        on_closing=desk.service.drain,
        on_grace_over=app.open_streams.expire,
    )
    if open_first:
        desk.service.start(ready=ready, failed=failed)
        looked.wait()
    try:
        serve_until_signal(server, listener)
    finally:
        desk.recorder.close()
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


def _doors(settings: Settings, release: Release | None) -> Doors:
    """Raises `InvalidSettings` for an address that everybody can reach while nobody needs a key, and for what cannot be meant."""
    if settings.keys is not None and not settings.keys.is_file():
        raise InvalidSettings(
            f"keys is {settings.keys}, which is not a file",
            hint="make a key with `rag-service keys create --name NAME`, or correct the path",
            param="keys",
        )
    checked_hosts(settings.allowed_hosts)
    checked_origins(settings.cors_origins)
    keyring = Keyring(settings.keys or settings.indexes / "keys.json")
    keyring.load()
    loopback = _is_loopback(settings.host)
    if not (loopback or keyring.required or settings.allow_open):
        raise InvalidSettings(
            f"host is {settings.host}, which other machines can reach, and there are no keys",
            hint="make one with `rag-service keys create --name NAME`, or set RAG_ALLOW_OPEN=true to let everybody in",
            param="host",
        )
    concurrent = max_concurrent(settings, release)
    return Doors(
        limits=Limits(
            max_question_chars=settings.max_question_chars,
            max_history_turns=settings.max_history_turns,
            max_body_bytes=settings.max_body_bytes,
            max_top_k=settings.max_top_k,
            max_batch=settings.max_batch,
            timeout_s=settings.timeout_s,
            max_concurrent=concurrent,
            max_queue=max_queue(settings, concurrent),
        ),
        keyring=keyring,
        allowed_hosts=settings.allowed_hosts or (LOOPBACK_HOSTS if loopback and not keyring.required else ()),
        cors_origins=settings.cors_origins,
        public_url=settings.public_url,
        docs=settings.docs,
        openwebui_events=settings.openwebui_events,
        log_requests=settings.log_requests,
        exporting=exporting_by(os.environ, _declared(settings)),
        exporting_metrics=exporting_metrics_by(os.environ, _declared(settings)),
        redact=redact,
    )


def _declared(settings: Settings) -> dict[str, object]:
    """What the deployment says of itself, for the resource of exported spans."""
    images = (settings.container_image,) if settings.container_image else None
    said = {names.ENVIRONMENT: settings.environment, names.COMMIT: settings.code_commit, names.IMAGE_DIGESTS: images}
    return {name: value for name, value in said.items() if value is not None}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may mean anything


def _warn_of_settings_without_effect(settings: Settings, release: Release) -> None:
    """What a release fixes is not read from the environment; somebody who set it there expects that it is."""
    fixed = {
        "retrieval": release.retrieval.mode,
        "top_k": release.retrieval.top_k,
        "per_document": release.retrieval.per_document,
        "min_confidence": release.retrieval.min_confidence,
        "reranker": release.reranker.spec if release.reranker else "none",
        **({"rerank_depth": release.reranker.depth} if release.reranker else {}),
        "support": release.checks.support,
        "prompt": f"{release.prompt.name}/{release.prompt.version}",
        "generator": release.generator.spec,
        **{name: value for name, value in release.generator.options.items() if name in RELEASE_FIELDS},
    }
    asked = settings.model_copy(update={"generator": generator_spec(settings), "reranker": reranker_spec(settings)})
    differing = [name for name in fixed if name in explicitly_set() and getattr(asked, name) != fixed[name]]
    for name in differing:
        detail = (
            f"{name} is set to {getattr(settings, name)!r}, but the active release was made with "
            f"{fixed[name]!r} and that is what is served; to change it: rag-service index activate --name {settings.name}"
        )
        if settings.log_format == "json":
            logger.warning("%s", detail)
        else:
            err.print(f"[yellow]warning[/yellow] {escape(detail)}", soft_wrap=True)


def _say_ready(settings: Settings, address: tuple[str, int], opened: Opened, worker: Worker | None, *, again: bool) -> None:
    """Where the log is for programs, in a line of the log: every line of it is JSON. Of several workers the first says how to ask, once."""
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # what listens everywhere is reached from here
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if worker is not None:
        logger.info("worker %d of %d is ready", worker.number + 1, settings.workers)
        if worker.number or again:
            return
    if settings.log_format == "json":
        logger.info("ready at %s", url)
    else:
        _print_ready(url, opened)


def _print_ready(url: str, opened: Opened) -> None:
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
