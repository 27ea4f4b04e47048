"""A real Prometheus scrapes what `Metrics` serves, and finds numbers, releases and traces in it."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rag_service.record import Lineage, Record
from rag_service.telemetry.metrics import Metrics, Watched

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
            ready=lambda: True, in_flight=lambda: 2, queue_depth=lambda: 1, open_streams=lambda: 0, cache_bytes=lambda: 9, lineage=lineage
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
def prometheus(target: int, tmp_path: Path) -> Iterator[str]:
    """Address of a Prometheus that scrapes `target`. It ends with the test."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(port=target))
    flags = ["--enable-feature=exemplar-storage", "--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={tmp_path / 'data'}"]
    hidden = ["--scrape.discovery-reload-interval=100ms"]  # five seconds otherwise, until it looks at its targets
    command = [program, f"--config.file={config}", *flags, *hidden]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        yield f"http://127.0.0.1:{port_of(process)}"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def port_of(process: "subprocess.Popen[str]") -> int:
    """The port that it took, from its log, which is read to its end so that it never waits for a reader."""
    found: list[int] = []
    listening = threading.Event()
    lines: list[str] = []

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', line):
                found.append(int(match[1]))
                listening.set()
        listening.set()

    threading.Thread(target=follow, daemon=True).start()
    assert listening.wait(20), "it does not start"
    assert found, "".join(lines)
    return found[0]


def asked(prometheus: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=5) as reply:
        return json.loads(reply.read())["data"]


def value(prometheus: str, query: str) -> float | None:
    """Of a query with one result; None where there is none."""
    result = asked(prometheus, "query", query=query)["result"]
    assert len(result) <= 1, result
    return float(result[0]["value"][1]) if result else None


def wait_for(true: Callable[[], bool], within_s: float = 20.0) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)


def ready(prometheus: str) -> bool:
    try:
        return value(prometheus, "up") == 1
    except OSError:  # it listens before it answers
        return False


def test_prometheus_finds_numbers_releases_and_traces(prometheus: str, make_record: Callable[..., Record]) -> None:
    wait_for(lambda: ready(prometheus))
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
        "rag_index_chunks": 9,
        "time() - rag_index_built_timestamp_seconds > bool 0": 1,
        f'rag_release_info{{release="{record.lineage.release.id}",index="handbook",prompt="answer/1"}}': 1,
    }.items():
        assert value(prometheus, query) == pytest.approx(expected), query
    joined = asked(
        prometheus, "query", query='rag_answers_total{status="answered"} * on (job, instance) group_left (release) rag_release_info'
    )
    assert [(each["metric"]["release"], each["value"][1]) for each in joined["result"]] == [(record.lineage.release.id, "3")]

    now_s = time.time()
    found = asked(prometheus, "query_exemplars", query='rag_top_score_bucket{le="0.2"}', start=str(now_s - 60), end=str(now_s + 60))
    assert {(each["labels"]["trace_id"], each["value"]) for series in found for each in series["exemplars"]} == {(record.trace_id, "0.2")}


def test_promtool_finds_nothing_to_complain_about(metrics: Metrics) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    body, _ = metrics.exposition("text/plain")
    done = subprocess.run([program, "check", "metrics"], input=body, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
