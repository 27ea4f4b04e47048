"""A real Prometheus scrapes what `Metrics` serves, and finds numbers, releases and traces in it."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rag_service.record import Lineage, Record
from rag_service.telemetry.gauges import Watched
from rag_service.telemetry.metrics import Metrics
from tests.prometheus import Prometheus, program, running_prometheus, wait_for

CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: rag
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def observed(make_record: Callable[..., Record], lineage: Callable[..., Lineage]) -> Metrics:
    """Three answers, one of them repeated from the cache, an abstention and an error."""
    metrics = Metrics()
    metrics.know(routes=["/ask"], fields=["question"])
    metrics.watch(
        Watched(
            ready=lambda: True,
            in_flight=lambda: 2,
            concurrency_limit=lambda: 2,
            queue_depth=lambda: 1,
            queue_limit=lambda: 8,
            open_streams=lambda: 0,
            cache_bytes=lambda: 9,
            activation_failed=lambda: False,
            lineage=lineage,
            skipped=lambda: {"empty": 2},
        )
    )
    abstained = {"status": "abstained", "abstain_reason": "low_confidence", "answer": None, "citations": ()}
    for record in (make_record(), make_record(), make_record(repeats="ans_1"), make_record(scores=(0.2, 0.1), **abstained)):
        metrics.request("/ask", 200, 0.2, record.trace_id)
        metrics.answered(record)
    metrics.request("/ask", 502, 3.0)
    metrics.failed("generator_error", "generate")
    return metrics


@pytest.fixture
def metrics(make_record: Callable[..., Record], lineage: Callable[..., Lineage]) -> Metrics:
    return observed(make_record, lineage)


@pytest.fixture
def target(metrics: Metrics) -> Iterator[int]:
    """The port at which `metrics` are served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = metrics.exposition(self.headers.get("accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def prometheus(target: int, tmp_path: Path) -> Iterator[Prometheus]:
    """One that scrapes `target`. It ends with the test."""
    with running_prometheus(CONFIG.format(port=target), tmp_path) as started:
        wait_for(lambda: started.ready)
        yield started


def test_prometheus_finds_numbers_releases_and_traces(prometheus: Prometheus, make_record: Callable[..., Record]) -> None:
    record = make_record()
    for query, expected in {
        'rag_answers_total{status="answered"}': 3,
        'rag_abstentions_total{reason="low_confidence"}': 1,
        "rag_cache_hits_total": 1,
        'rag_tokens_total{kind="completion"}': 3 * 42,
        'rag_stage_duration_seconds_count{stage="generate"}': 3,
        'rag_errors_total{code="generator_error",stage="generate"}': 1,
        'sum(rag_request_duration_seconds_count{route="/ask",status=~"5.."}) / sum(rag_request_duration_seconds_count{route="/ask"})': 0.2,
        "rag_top_score_sum / rag_top_score_count": (3 * 0.71 + 0.2) / 4,
        'rag_top_score_bucket{le="0.35"}': 1,
        "rag_ready": 1,
        "rag_in_flight": 2,
        "rag_queue_depth / rag_queue_limit": 0.125,
        'rag_index_skipped{reason="empty"}': 2,
        "rag_index_chunks": 9,
        "time() - rag_index_built_timestamp_seconds > bool 0": 1,
        f'rag_release_info{{release="{record.lineage.release.id}",index="handbook",prompt="answer/1"}}': 1,
    }.items():
        assert prometheus.value(query) == pytest.approx(expected), query
    joined = prometheus.series('rag_answers_total{status="answered"} * on (job, instance) group_left (release) rag_release_info')
    assert [(labels["release"], value) for labels, value in joined] == [(record.lineage.release.id, 3)]
    assert set(prometheus.exemplars('rag_top_score_bucket{le="0.2"}')) == {(record.trace_id, 0.2)}


def test_promtool_finds_nothing_to_complain_about(metrics: Metrics) -> None:
    body, _ = metrics.exposition("text/plain")
    done = subprocess.run([program("promtool"), "check", "metrics"], input=body, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
