"""What exporting spans costs, and what a collector that is down, slow or full does to answers (which must be nothing).

First the spans alone, in this process: records of real answers through everything that follows an answer, to a collector in a process of
its own. Then five servers that differ in their collector, asked the same questions in turn, none of which the cache may answer.
"""

import asyncio
import os
import random
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.inputs import PROJECT
from benchmarks.server import Connection, Served, demo_indexes, percentile, process, service
from rag_service.catalog import Catalog
from rag_service.question import Question
from rag_service.record import Record
from rag_service.redaction import redact
from rag_service.settings import load_settings
from rag_service.telemetry.answer_spans import AnswerSpans
from rag_service.telemetry.answer_spans import Served as ServedRequest
from rag_service.telemetry.otel_variables import exporting_by
from rag_service.telemetry.span_export import DropReason
from rag_service.telemetry.spans import within
from rag_service.wiring.releases import open_release

RECORDS, REPEATS, ROUNDS = 50, 40, 5
WARM, QUESTIONS = 20, 400
_STATUS = "BENCHMARK_STATUS"
"""Variable that says with which status the sink replies."""


def run() -> None:
    with demo_indexes() as indexes, ExitStack() as opened:
        good = f"http://127.0.0.1:{opened.enter_context(_sink(200)).port}"
        _spans_alone(indexes, good)
        full = f"http://127.0.0.1:{opened.enter_context(_sink(429)).port}"
        collectors = {"none": None, "takes all": good, "refuses": _refusing(), "hangs": opened.enter_context(_hanging()), "429": full}
        environs = {name: {} if url is None else {"OTEL_EXPORTER_OTLP_ENDPOINT": url} for name, url in collectors.items()}
        servers = {name: opened.enter_context(service(indexes, environ)) for name, environ in environs.items()}
        asyncio.run(_servers(servers))


class _Counts:
    exported = dropped = 0

    def spans_exported(self, spans: int) -> None:
        self.exported += spans

    def spans_dropped(self, reason: DropReason, spans: int) -> None:  # noqa: ARG002 - what is counted here is only that
        self.dropped += spans


def _spans_alone(indexes: Path, url: str) -> None:
    settings, catalog = load_settings({}, indexes=indexes, name="demo"), Catalog(indexes)
    pipeline = open_release(settings, catalog, "demo", catalog.release("demo", catalog.active_id("demo"))).pipeline
    records = [pipeline.ask(Question(f"How do I roll back to release {number} of the index?")) for number in range(RECORDS)]
    rows: dict[str, list[float]] = {"no collector": [], "spans": [], "spans with content": []}
    capture = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    for _ in range(ROUNDS):
        rows["no collector"].append(_cost_ms(records, {}))
        rows["spans"].append(_cost_ms(records, {"OTEL_EXPORTER_OTLP_ENDPOINT": url}))
        rows["spans with content"].append(_cost_ms(records, {"OTEL_EXPORTER_OTLP_ENDPOINT": url} | capture))
    print(
        f"spans alone: CPU-ms an answer of {2 + len(records[0].stages)} spans, {ROUNDS} interleaved rounds of {RECORDS * REPEATS} answers"
    )
    for name, values in rows.items():
        print(f"{name:<20} median {statistics.median(values):6.3f}   min {min(values):6.3f}   max {max(values):6.3f}", flush=True)


def _cost_ms(records: list[Record], environ: dict[str, str]) -> float:
    """CPU of this process for one record, until its spans have arrived; the ids of its request count, too."""
    exporting, counts = exporting_by(environ, {}), _Counts()
    spans, sent = AnswerSpans(exporting, counts, redact), 0
    began_s = time.process_time()
    with spans.exporting():
        for _ in range(REPEATS):
            for record in records:
                request = spans.of_request(None, "/ask")
                with within(request):
                    spans.record(record)
                now_ns, answer_id = time.time_ns(), record.answer_id
                spans.served(ServedRequest(request, None, "POST", "/ask", 200, now_ns, now_ns, None, answer_id, record.lineage))
                sent += 2 + len(record.stages)
            while exporting is not None and counts.exported + counts.dropped < sent - 1024:
                time.sleep(0.001)  # as answers do, which take far longer than their spans
    if exporting is not None and counts.exported != sent:
        raise RuntimeError(f"{counts.exported} of {sent} spans arrived, {counts.dropped} were dropped")
    return (time.process_time() - began_s) * 1000 / (len(records) * REPEATS)


async def _servers(servers: dict[str, Served]) -> None:
    """Each question goes to all, in an order that chance decides."""
    took_ms: dict[str, list[float]] = {name: [] for name in servers}
    async with AsyncExitStack() as opened:
        clients = {name: await opened.enter_async_context(Connection(served.port)) for name, served in servers.items()}
        began_s: dict[str, float] = {}
        for number in range(-WARM, QUESTIONS):
            if number == 0:
                began_s = {name: served.cpu_s() for name, served in servers.items()}
            for name in random.sample(list(servers), len(servers)):
                asked_s = time.perf_counter()
                status, body = await clients[name].ask(f"How do I roll back to release number {number} of the index?", cache=False)
                if status != 200:
                    raise RuntimeError(f"{name}: {status} {body.decode()}")
                if number >= 0:
                    took_ms[name].append((time.perf_counter() - asked_s) * 1000)
        cpu_ms = {name: (served.cpu_s() - began_s[name]) * 1000 / QUESTIONS for name, served in servers.items()}
        print(f"servers: {QUESTIONS} answers each, asked in turn")
        print(
            f"{'collector':<12}{'CPU-ms':>9}{'ratio':>8}{'p50 ms':>9}{'ratio':>8}{'p95 ms':>9}{'ratio':>8}{'paired ms':>11}"
            "   spans exported, dropped"
        )
        none = took_ms["none"]
        for name, values in took_ms.items():
            p50, p95 = percentile(values, 0.5), percentile(values, 0.95)
            paired = statistics.median(value - other for value, other in zip(values, none, strict=True))  # what else runs weighs least here
            print(
                f"{name:<12}{cpu_ms[name]:>9.2f}{cpu_ms[name] / cpu_ms['none']:>8.3f}"
                f"{p50:>9.2f}{p50 / percentile(none, 0.5):>8.3f}{p95:>9.2f}{p95 / percentile(none, 0.95):>8.3f}{paired:>11.2f}"
                f"   {await _counted(clients[name])}"
            )


async def _counted(client: Connection) -> str:
    _, body = await client.send(b"GET", b"/metrics")
    lines = [line.rpartition(" ") for line in body.decode().splitlines()]
    found = {name: float(value) for name, _, value in lines if name.startswith("rag_spans_")}
    return f"{found['rag_spans_exported_total']:.0f}, {sum(found.values()) - found['rag_spans_exported_total']:.0f}"


@contextmanager
def _sink(status: int) -> Iterator[Served]:
    """A collector that reads what comes and replies with `status`."""
    with process([sys.executable, "-c", "from benchmarks.otlp import sink; sink()"], PROJECT, {_STATUS: str(status)}) as served:
        yield served


def sink() -> None:
    """What runs in the process of a collector."""
    status = int(os.environ[_STATUS])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


def _refusing() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@contextmanager
def _hanging() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
