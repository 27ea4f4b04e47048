"""A collector on the loopback interface: takes OTLP over HTTP, and misbehaves as it is told."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from tests.telemetry.metric_sink import Point, points_of

WAIT_S = 20.0


@dataclass(frozen=True)
class Seen:
    """One span as it arrived. Ids are hex digits."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    error: str | None
    links: tuple[tuple[str, str], ...]
    resource: Mapping[str, Any]
    scope: Mapping[str, Any]
    trace_state: str


@dataclass
class Sink:
    """`status` is what it replies; `behave` is called first, and may take its time. What it takes with 200 is in `spans`, or in `exports`
    where it came to the path of metrics.
    """

    url: str = ""
    status: int = 200
    reply_headers: Mapping[str, str] = field(default_factory=dict)
    reply: bytes = b""
    behave: Callable[[], None] = lambda: None
    spans: list[Seen] = field(default_factory=list)
    exports: list[list[Point]] = field(default_factory=list)
    """Of metrics, in the order in which they came."""
    requests: list[Mapping[str, str]] = field(default_factory=list)
    """Headers of each, names in lower case, with its path as `:path`."""
    _news: threading.Condition = field(default_factory=threading.Condition)

    def until(self, enough: Callable[["Sink"], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: enough(self), WAIT_S), [span.name for span in self.spans]

    def named(self, *names: str) -> list[Seen]:
        """The first span of each name, once all are there."""
        self.until(lambda sink: set(names) <= {span.name for span in sink.spans})
        return [next(span for span in self.spans if span.name == name) for name in names]

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        self.behave()
        with self._news:
            self.requests.append(headers)
            if self.status == 200:
                body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                if headers[":path"].endswith("/metrics"):
                    self.exports.append(list(points_of(body)))
                else:
                    self.spans += seen(body)
            self._news.notify_all()


def seen(body: bytes) -> Iterator[Seen]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _plain(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            scope = {"name": of_scope.scope.name, **_plain(of_scope.scope.attributes)}
            for span in of_scope.spans:
                yield Seen(
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_plain(span.attributes),
                    error=span.status.message if span.status.code == 2 else None,
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    resource=resource,
                    scope=scope,
                    trace_state=span.trace_state,
                )


def _plain(attributes: Any) -> dict[str, Any]:
    def value(of: Any) -> Any:
        kind = of.WhichOneof("value")
        return [value(part) for part in of.array_value.values] if kind == "array_value" else getattr(of, kind)

    return {each.key: value(each.value) for each in attributes}


@contextmanager
def running_sink(port: int = 0) -> Iterator[Sink]:
    sink = Sink(reply=ExportTraceServiceResponse().SerializeToString())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sink.take({":path": self.path, **{name.lower(): value for name, value in self.headers.items()}}, body)
            try:
                self.send_response(sink.status)
                for name, value in {"content-length": str(len(sink.reply)), **sink.reply_headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sink.reply)
            except OSError:
                pass  # whoever sent did not wait

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    sink.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def until(true: Callable[[], bool]) -> None:
    """For what nobody announces."""
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
