"""A real server on a free port of the loopback interface, and a client that sends exactly what a test says."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn

from rag_service.api.app import create_app
from rag_service.api.schemas import Limits
from rag_service.ask import Pipeline
from rag_service.opened import CHECKS, Opened, Report
from rag_service.serving import Service

LIMITS = Limits(max_question_chars=4000, max_body_bytes=2**20, max_top_k=50, timeout_s=30.0)


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

    def send(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """An iterable body goes out chunked, without a declared length."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def ask(self, payload: object, **headers: str) -> Reply:
        """`payload` as JSON, or as it is when it is bytes."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", "/ask", body, {"content-type": "application/json", **named})


@contextmanager
def running(service: Service, limits: Limits) -> Iterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(service, limits), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline_s = time.monotonic() + 10
            while not server.started:
                assert time.monotonic() < deadline_s, "the server did not start"
                time.sleep(0.01)
            yield Client(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=20)
        assert not thread.is_alive()


def serving(pipeline: Pipeline) -> Service:
    """A service that has opened `pipeline`."""

    def open_it(_: str, report: Report) -> Opened:
        for check in CHECKS:
            report(check, "ok")
        return Opened(pipeline, ())

    service, ready = Service(lambda: "active", open_it), threading.Event()
    service.start(ready=lambda _: ready.set(), failed=lambda _: None)
    assert ready.wait(10)
    return service


@pytest.fixture(scope="session")
def client(pipeline: Pipeline) -> Iterator[Client]:
    """Of a server that answers from the handbook."""
    with running(serving(pipeline), LIMITS) as client:
        yield client


Serve = Callable[..., Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(pipeline)` or `serve(service, **limits)` starts another server for one test."""
    with ExitStack() as servers:

        def start(what: Pipeline | Service, **limits: float) -> Client:
            service = what if isinstance(what, Service) else serving(what)
            return servers.enter_context(running(service, LIMITS.model_copy(update=limits)))

        yield start
