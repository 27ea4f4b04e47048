"""A real server on a free port of the loopback interface, and a client that sends exactly what a test says."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import fastapi.dependencies.models
import pytest

from rag_service.answer_cache import AnswerCache
from rag_service.api.app import Doors, create_app
from rag_service.api.connections import ConnectionLimits
from rag_service.api.schemas import Limits
from rag_service.api.server import DrainingServer, Ending
from rag_service.archive import Archive
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.desk import Desk
from rag_service.digests import short_id
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import NotFound
from rag_service.keys import Keyring
from rag_service.manifest import Manifest
from rag_service.opened import CHECKS, Opened, Report
from rag_service.pinned import Pinned
from rag_service.ports import Embedder
from rag_service.recording import Recorder
from rag_service.serving import Service
from rag_service.settings import Settings, load_settings
from rag_service.wiring import desks
from rag_service.wiring.desks import open_desk
from rag_service.wiring.encoders import Encoders
from tests.doubles import no_records

LIMITS = Limits(
    max_question_chars=4000,
    max_history_turns=50,
    max_body_bytes=2**20,
    max_top_k=50,
    max_batch=32,
    timeout_s=30.0,
    max_concurrent=2,
    max_queue=100,
)
NO_KEYS = Path("there are no keys")
START_WITHIN_S = 20


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""

    def with_key(self, key: str) -> "Client":
        return Client(self.port, {"authorization": f"Bearer {key}"})

    def send(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """An iterable body goes out chunked, without a declared length."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, headers=_named(headers))

    def post(self, path: str, payload: object, **headers: str) -> Reply:
        """`payload` as JSON, or as it is when it is bytes."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.send("POST", path, body, {"content-type": "application/json", **_named(headers)})

    def ask(self, payload: object, **headers: str) -> Reply:
        return self.post("/ask", payload, **headers)

    def batch(self, payload: object, **headers: str) -> Reply:
        return self.post("/ask/batch", payload, **headers)

    def search(self, payload: object, **headers: str) -> Reply:
        return self.post("/search", payload, **headers)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def running(desk: Desk, **settings: Any) -> Iterator[Client]:
    """`settings` are fields of `Limits`, `Doors`, `ConnectionLimits` and `Ending`, and `keys`, a file of keys."""

    def those_of(kind: Any) -> dict[str, Any]:
        names = kind.model_fields if kind is Limits else kind.__dataclass_fields__
        return {name: settings.pop(name) for name in list(settings) if name in names}

    limits = LIMITS.model_copy(update=those_of(Limits))
    keyring = Keyring(settings.pop("keys", NO_KEYS), look_every_s=0)
    keyring.load()
    connections = ConnectionLimits(**{"max_connections": 1000, "read_timeout_s": 10.0, **those_of(ConnectionLimits)})
    ending = Ending(**{"grace_s": 10.0, **those_of(Ending)})
    app = create_app(desk, Doors(limits, keyring, **those_of(Doors)))
    assert not settings, f"unknown: {settings}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        service = desk.service
        server = DrainingServer(
            app.asgi, connections, ending, on_stop=service.leave, on_closing=service.drain, on_grace_over=app.open_streams.expire
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline_s = time.monotonic() + START_WITHIN_S
            while not server.started:
                assert time.monotonic() < deadline_s, "the server did not start"
                time.sleep(0.01)
            yield Client(port)
        finally:
            server.stop()
            thread.join(timeout=30)
            desk.recorder.close()
            _forget_routes()
        assert not thread.is_alive()


def _forget_routes() -> None:
    """FastAPI remembers thousands of functions that routes had, and with them the servers, releases and encoders of earlier tests."""
    for remembering in vars(fastapi.dependencies.models).values():
        if hasattr(remembering, "cache_clear"):
            remembering.cache_clear()


def started(desk: Desk) -> Desk:
    """With its active release open."""
    ready = threading.Event()
    desk.service.start(ready=lambda _: ready.set(), failed=lambda _: None)
    assert ready.wait(START_WITHIN_S)
    return desk


def desk_for(service: Service) -> Desk:
    """With nothing beside the active release, and no memory of earlier answers."""

    def no_release(identifier: str) -> Any:
        raise NotFound(f"there is no release or version {identifier}")

    def no_chunks(version: str) -> Any:
        raise NotFound(f"there is no version {version}")

    return Desk(
        service,
        cache=AnswerCache(0),
        pinned=Pinned(no_release, most=1),
        archive=Archive(list, no_chunks),
        release_of_version=no_release,
        recorder=Recorder(None),
        records=no_records(),
    )


def serving(pipeline: Pipeline) -> Desk:
    """What answers by `pipeline`."""

    def open_it(_: str, report: Report) -> Opened:
        for check in CHECKS:
            report(check, "ok")
        return Opened(pipeline, ())

    return started(desk_for(Service(lambda: "active", open_it)))


def desk_on(indexes: Path, name: str = "handbook", **settings: Any) -> Desk:
    """What a server has that serves `name` of `indexes`: other releases, earlier answers, and the chunks of old versions."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(desks, "Encoders", EncodersOfTheSession)
        return started(open_desk(load_settings({}, indexes=indexes, name=name, **settings), Catalog(indexes)))


class EncodersOfTheSession(Encoders):
    """Opens the encoder that all tests share once for all of them, which takes a tenth of a second; any other as a server does."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        super().__init__(settings, catalog)
        self._shared = catalog.encoders_folder() if catalog.encoders_folder().is_symlink() else None

    def of(self, manifest: Manifest) -> Embedder:
        if self._shared is None:
            return super().of(manifest)
        return _opened((self._shared / short_id(manifest.encoder.digest)).resolve())


_opened = cache(OnnxEmbedder.open)


@pytest.fixture(scope="session")
def client(served_indexes: Path) -> Iterator[Client]:
    """Of a server that answers from the handbook, as `rag-service serve` puts it together."""
    with running(desk_on(served_indexes)) as client:
        yield client


Serve = Callable[..., Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(pipeline)`, `serve(service)`, `serve(desk)` or `serve(indexes, name)` starts another server for one test.

    Other arguments are what `running` takes. Earlier answers are remembered only with a desk or a folder of indexes.
    """
    with ExitStack() as servers:

        def start(what: Pipeline | Service | Desk | Path, name: str = "handbook", **settings: Any) -> Client:
            match what:
                case Pipeline():
                    desk = serving(what)
                case Service():
                    desk = desk_for(what)
                case Path():
                    desk = desk_on(what, name)
                case _:
                    desk = what
            return servers.enter_context(running(desk, **settings))

        yield start
