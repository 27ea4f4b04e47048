"""Spans on their way: batches, bounds, and collectors that refuse, hang or fail. Nothing that they do may be noticed by an answer."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from rag_service.telemetry.otel_variables import Exporting
from rag_service.telemetry.otlp_collector import Collector
from rag_service.telemetry.span_export import DropReason, SpanExport
from rag_service.telemetry.span_tree import Place, Spun
from tests.telemetry.sink import Sink, running_sink, until

QUICK_S = 0.02
A_MOMENT_S = 0.3
"""What a call that waits for nobody may take on a busy machine."""


class Counts:
    def __init__(self) -> None:
        self.exported = 0
        self.dropped: dict[DropReason, int] = {"queue_full": 0, "export_failed": 0}

    def spans_exported(self, spans: int) -> None:
        self.exported += spans

    def spans_dropped(self, reason: DropReason, spans: int) -> None:
        self.dropped[reason] += spans


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


Opened = Callable[..., SpanExport]


@pytest.fixture
def export(counts: Counts) -> Iterator[Opened]:
    """`export(url, timeout_s=…, max_queue_spans=…)` opens one that ends with the test."""
    with ExitStack() as opened:

        def start(url: str, *, timeout_s: float = 10.0, flush_s: float = 1.5, delay_s: float = QUICK_S, **settings: int) -> SpanExport:
            collector = Collector(f"{url}/v1/traces", headers={"api-key": "k"}, timeout_s=timeout_s)
            exporting = Exporting(collector, ALWAYS_ON, {"service.name": "tested"}, schedule_delay_s=delay_s, **settings)
            return opened.enter_context(SpanExport(exporting, counts, flush_s=flush_s))

        yield start


def spans(number: int, name: str = "one") -> Callable[[], list[Spun]]:
    return lambda: [Spun(name, "internal", Place(1, span_id + 1, 0), 1, 2, {"n": span_id}) for span_id in range(number)]


@pytest.fixture
def hanging() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_spans_arrive_with_resource_scope_and_headers(export: Opened, sink: Sink, counts: Counts) -> None:
    export(sink.url).put(2, spans(2))
    sink.until(lambda sink: len(sink.spans) == 2)
    assert sink.spans[0].resource == {"service.name": "tested"}
    assert sink.spans[0].scope["name"] == "rag_service"
    assert sink.spans[0].scope["rag.semconv.genai"].startswith("semantic-conventions-genai")
    assert (sink.requests[0][":path"], sink.requests[0]["api-key"]) == ("/v1/traces", "k")
    assert sink.requests[0]["content-type"] == "application/x-protobuf"
    until(lambda: counts.exported == 2)


def test_a_full_batch_goes_out_at_once_and_none_is_larger(export: Opened, sink: Sink, counts: Counts) -> None:
    opened = export(sink.url, delay_s=60, max_batch_spans=10)
    for _ in range(5):
        opened.put(4, spans(4))
    sink.until(lambda sink: len(sink.spans) == 16)
    assert len(sink.requests) == 2
    opened.put(12, spans(12))
    until(lambda: counts.exported == 32)


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(export: Opened, sink: Sink, counts: Counts) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        gate.wait(20)

    sink.behave = wait
    opened = export(sink.url, max_queue_spans=20, max_batch_spans=5)
    opened.put(5, spans(5))
    assert arrived.wait(20)
    began_s = time.monotonic()
    for _ in range(100):
        opened.put(1, spans(1))
    assert time.monotonic() - began_s < A_MOMENT_S
    assert counts.dropped["queue_full"] == 80
    gate.set()
    until(lambda: counts.exported == 25)
    assert counts.dropped["export_failed"] == 0


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 302])
def test_a_batch_that_the_collector_does_not_want_is_dropped_at_once(export: Opened, sink: Sink, counts: Counts, status: int) -> None:
    sink.status, sink.reply_headers = status, {"location": "/elsewhere"}
    export(sink.url).put(3, spans(3))
    until(lambda: counts.dropped["export_failed"] == 3)
    assert len(sink.requests) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_collector_that_is_busy_is_asked_again_as_soon_as_it_says(export: Opened, sink: Sink, counts: Counts, status: int) -> None:
    sink.status, sink.reply_headers = status, {"retry-after": "0"}
    export(sink.url).put(3, spans(3))
    sink.until(lambda sink: len(sink.requests) >= 2)
    sink.status = 200
    until(lambda: counts.exported == 3)
    assert counts.dropped["export_failed"] == 0


def test_a_collector_that_wants_to_be_left_alone_for_longer_than_a_batch_may_take_loses_it(
    export: Opened, sink: Sink, counts: Counts
) -> None:
    sink.status, sink.reply_headers = 429, {"retry-after": "3600"}
    export(sink.url).put(3, spans(3))
    until(lambda: counts.dropped["export_failed"] == 3)


def test_spans_that_the_collector_says_it_did_not_keep_are_counted(export: Opened, sink: Sink, counts: Counts) -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    sink.reply = response.SerializeToString()
    export(sink.url).put(5, spans(5))
    until(lambda: counts.exported == 3)
    assert counts.dropped["export_failed"] == 2


@pytest.mark.parametrize("reply", [b"{}", b"\xff" * 100, b"x" * 100_000])
def test_a_reply_that_makes_no_sense_is_as_good_as_none(export: Opened, sink: Sink, counts: Counts, reply: bytes) -> None:
    sink.reply = reply
    export(sink.url).put(5, spans(5))
    until(lambda: counts.exported == 5)


def test_a_collector_that_hangs_loses_the_batch_when_its_time_is_over(export: Opened, hanging: str, counts: Counts) -> None:
    began_s = time.monotonic()
    export(hanging, timeout_s=0.2).put(3, spans(3))
    until(lambda: counts.dropped["export_failed"] == 3)
    assert time.monotonic() - began_s < 5


def test_a_collector_that_sends_a_byte_now_and_then_does_not_keep_the_batch_for_ever(export: Opened, counts: Counts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    for byte in b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.05)
                except OSError:
                    pass  # hung up on

        thread = threading.Thread(target=drip)
        thread.start()
        export(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.4).put(3, spans(3))
        until(lambda: counts.dropped["export_failed"] == 3)
        thread.join(10)
        assert not thread.is_alive()


def test_a_collector_that_is_back_gets_what_comes_then(
    export: Opened, sink: Sink, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="rag_service.telemetry")
    sink.status = 500
    opened = export(sink.url)
    for dropped in (1, 2, 3):
        opened.put(1, spans(1, "lost"))
        until(lambda dropped=dropped: counts.dropped["export_failed"] == dropped)
    sink.status = 200
    opened.put(1, spans(1, "kept"))
    sink.named("kept")
    until(lambda: counts.exported == 1)
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "spans are dropped" in line]) == 1
    assert "api-key" not in " ".join(said)
    until(lambda: "spans are exported again" in [record.getMessage() for record in caplog.records])


def test_spans_that_cannot_be_made_do_not_end_the_export(
    export: Opened, sink: Sink, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[Spun]:
        raise KeyError("a fault of ours")

    opened = export(sink.url, max_batch_spans=1)
    opened.put(1, broken)
    opened.put(1, spans(1, "after"))
    sink.named("after")
    assert counts.dropped["export_failed"] == 1
    assert "spans could not be made" in caplog.text


def test_the_end_waits_for_what_is_on_its_way(counts: Counts, export: Opened, sink: Sink) -> None:
    opened = export(sink.url, delay_s=60)
    opened.put(3, spans(3))
    opened.__exit__(None, None, None)
    assert len(sink.spans) == counts.exported == 3
    opened.put(1, spans(1))
    assert counts.dropped["queue_full"] == 1


@pytest.mark.parametrize("collector", ["hanging", "refusing", "busy"])
def test_the_end_is_bounded_whatever_the_collector_does(counts: Counts, hanging: str, sink: Sink, export: Opened, collector: str) -> None:
    sink.status = 503
    opened = export({"hanging": hanging, "refusing": refusing(), "busy": sink.url}[collector], flush_s=0.5, max_batch_spans=1)
    for _ in range(20):
        opened.put(1, spans(1))
    began_s = time.monotonic()
    opened.__exit__(None, None, None)
    assert time.monotonic() - began_s < 2
    until(lambda: sum(counts.dropped.values()) == 20)
    assert counts.exported == 0
