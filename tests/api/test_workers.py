"""Several processes on one port, started and ended as an operator does."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag_service.catalog import Catalog
from rag_service.key_file import create_key
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.conftest import Start
from tests.processes import ServerProcess
from tests.telemetry.sink import running_sink

QUESTION = {"question": "How many days of holiday do I have?", "cache": False}


class Served:
    """A service of two workers."""

    def __init__(self, process: "Popen[str]") -> None:
        self.process = process
        self.server = ServerProcess(process)
        self.url = self.server.url
        eventually(lambda: sum("is ready" in line for line in self.server.said) >= 2)

    def pids(self) -> set[int]:
        """Of the workers that run."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children}

    def ask(self, **headers: str) -> httpx.Response:
        """On a connection of its own, so that any worker may get it."""
        return httpx.post(f"{self.url}/ask", json=QUESTION, headers=headers, timeout=30)

    def metric(self, name: str) -> dict[str, float]:
        """Worker → sum over the other labels."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text):
            for sample in family.samples:
                if sample.name == name:
                    found[sample.labels["worker"]] = found.get(sample.labels["worker"], 0.0) + sample.value
        return found


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def served(start: Start, own_indexes: Path) -> Served:
    return Served(start("serve", "--name", "handbook", "--port", "0", "--workers", "2", "--indexes", own_indexes))


def test_all_workers_answer_and_each_tells_the_metrics_of_all(served: Served) -> None:
    releases = set()

    def asked_by_all() -> bool:
        releases.add(served.ask().raise_for_status().json()["trace"]["release"]["id"])
        return all(count > 0 for count in served.metric("rag_answers_total").values())

    eventually(asked_by_all)
    assert len(releases) == 1
    seen = [served.metric("rag_answers_total") for _ in range(6)]
    assert all(counts == seen[0] for counts in seen), "whichever worker is asked, it tells the same"
    assert set(seen[0]) == {"1", "2"}
    assert served.metric("rag_ready") == {"1": 1.0, "2": 1.0}


def test_a_worker_that_is_killed_is_replaced_while_the_other_answers(served: Served) -> None:
    before = served.pids()
    assert len(before) == 2
    killed = before.pop()
    os.kill(killed, signal.SIGKILL)
    for _ in range(5):
        assert served.ask().status_code == 200
    eventually(lambda: len(served.pids()) == 2 and killed not in served.pids())
    assert before <= served.pids(), "the other was left alone"
    eventually(lambda: served.metric("rag_ready") == {"1": 1.0, "2": 1.0})
    assert any(re.search(rf"process {killed}\) ended by signal 9 and is replaced", line) for line in served.server.said)


def test_a_worker_that_cannot_be_replaced_ends_nobody_and_is_tried_again(served: Served, own_indexes: Path) -> None:
    active = Catalog(own_indexes).active_path("handbook")
    pointer = active.read_bytes()
    active.write_bytes(b"damaged")
    os.kill(served.pids().pop(), signal.SIGKILL)
    eventually(lambda: any("with exit code 1 and is replaced" in line for line in served.server.said))
    assert served.ask().status_code == 200
    active.write_bytes(pointer)
    eventually(lambda: served.metric("rag_ready") == {"1": 1.0, "2": 1.0})


def test_all_workers_follow_an_activation_within_a_second_without_being_asked(served: Served, own_indexes: Path) -> None:
    catalog = Catalog(own_indexes)
    before = catalog.release("handbook", catalog.active_id("handbook"))
    release = make_release(load_settings({}, indexes=own_indexes, top_k=3), catalog, "handbook", before.index.version)
    catalog.activate("handbook", release)
    eventually(lambda: sum(f"serving release {release.id}" in line for line in served.server.said) == 2, within_s=2.0)


def test_every_worker_exports_its_own_metrics_to_a_collector(start: Start, own_indexes: Path) -> None:
    with running_sink() as sink:
        environ = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip",
            "OTEL_TRACES_EXPORTER": "none",
        }
        served = Served(start("serve", "--name", "handbook", "--port", "0", "--workers", "2", "--indexes", own_indexes, environ=environ))
        asked = 0

        def counted() -> dict[str, float]:
            points = [point for export in list(sink.exports) for point in export if point.name == "rag_answers_total"]
            return {worker: sum(point.value for point in points if point.labels["worker"] == worker) for worker in ("1", "2")}

        while not all(counted().values()):
            assert asked < 100
            assert served.ask().status_code == 200
            asked += 1
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=20) == 0
        assert sum(counted().values()) == asked, "the last export of each tells the rest"
        instances = {point.resource["service.instance.id"] for export in sink.exports for point in export}
        assert len(instances) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them_in_good_order(served: Served, number: signal.Signals) -> None:
    workers = served.pids()
    served.process.send_signal(number)
    assert served.process.wait(timeout=20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_whose_parent_is_killed_end_by_themselves(served: Served) -> None:
    workers = served.pids()
    served.process.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_rate_limit_counts_over_all_workers(start: Start, own_indexes: Path) -> None:
    _, key = create_key(own_indexes / "keys.json", name="slow", scopes=("ask",), rate_per_minute=6)
    served = Served(start("serve", "--name", "handbook", "--port", "0", "--workers", "2", "--indexes", own_indexes))
    answered = [served.ask(authorization=f"Bearer {key}").status_code for _ in range(24)]
    assert answered.count(200) in {6, 7}, "seven, if ten seconds went by"
    assert answered.count(429) == 24 - answered.count(200)


def test_an_index_that_cannot_be_served_ends_all_with_the_error_said(start: Start, own_indexes: Path) -> None:
    [vectors] = own_indexes.glob("handbook/versions/*/vectors.faiss")
    vectors.write_bytes(b"damaged")
    process = start("serve", "--name", "handbook", "--port", "0", "--workers", "2", "--indexes", own_indexes)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "vectors.faiss is damaged" in said
    assert "Traceback" not in said
