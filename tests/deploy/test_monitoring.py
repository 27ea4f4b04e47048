"""A real service of two workers, a real Prometheus with our configuration, and every query of dashboard and alerts asked of it."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable

import httpx
import pytest

from rag_service.catalog import Catalog
from rag_service.key_file import create_key
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.conftest import Build
from tests.deploy.dashboard import Target, filled, link_urls, targets
from tests.deploy.rules import METRIC, PROMETHEUS, RULE_FILES, Alert, alerts
from tests.processes import ServerProcess
from tests.prometheus import Prometheus, program, running_prometheus, wait_for

QUESTIONS = (
    "How many days of holiday do I have?",
    "Who wears a yellow badge?",
    "How long must a password be?",
    "Wie viele Tage Urlaub hat ein Mitarbeiter im Jahr?",
    "What is the capital of France?",
)
ROUNDS = 12


@dataclass(frozen=True)
class Watched:
    service: str
    headers: dict[str, str]
    """With a key that may do everything."""
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, handbook: Path, build: Build) -> Iterator[Watched]:
    program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    root, documents = folder / "indexes", shutil.copytree(handbook, folder / "documents")
    (documents / "nothing.md").write_text("")
    root.mkdir()
    (root / "encoders").symlink_to(encoder_folder.parent)
    version = build(root, documents).manifest.version
    settings = load_settings({}, indexes=root)
    Catalog(root).activate("handbook", make_release(settings, Catalog(root), "handbook", version))
    _, everything = create_key(root / "keys.json", name="operator", scopes=("ask", "traces", "admin"))
    _, reading = create_key(root / "keys.json", name="prometheus", scopes=("traces",))
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--workers", "2", "--indexes", str(root)]
    process = Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=folder)
    with ExitStack() as later:
        later.callback(lambda: (process.kill(), process.communicate(timeout=30)))
        server = ServerProcess(process)
        wait_for(lambda: sum("is ready" in line for line in server.said) >= 2, within_s=60)
        config = _configuration(folder, target=f"127.0.0.1:{server.port}", key=reading)
        prometheus = later.enter_context(running_prometheus(config, folder))
        wait_for(lambda: prometheus.ready)
        found = Watched(server.url, {"authorization": f"Bearer {everything}"}, prometheus)
        _ask(found)
        answered = prometheus.value("sum(rag_answers_total)")
        wait_for(lambda: prometheus.value("sum(rag_answers_total)") == answered, within_s=5)
        time.sleep(1.5)  # five more scrapes of what was counted last
        yield found
        assert server.end() == 0


def _configuration(folder: Path, *, target: str, key: str) -> str:
    """Ours, but for the address, the place of the key, and the pace."""
    for path in RULE_FILES:
        shutil.copy(path, folder)
    (folder / "metrics-key").write_text(key)
    config = (PROMETHEUS / "prometheus.yml").read_text("utf-8")
    replaced = {"15s": "300ms", "10s": "300ms", "rag:8000": target, "/run/secrets/metrics-key": "metrics-key"}
    for ours, here in replaced.items():
        assert ours in config
        config = config.replace(ours, here)
    return config


def _ask(watched: Watched) -> None:
    """What every panel needs: answers and abstentions, requests that are wrong, one that fails, and one that is made again."""
    with httpx.Client(base_url=watched.service, headers=watched.headers, timeout=30) as client:
        for number in range(ROUNDS):
            for question in QUESTIONS:
                last = client.post("/ask", json={"question": question, "cache": number % 2 == 0}).raise_for_status().json()
            assert client.post("/ask", json={"question": QUESTIONS[0], "top_k": -1}).status_code == 422
            assert client.post("/ask", json={"question": QUESTIONS[0], "cache": False, "timeout_ms": 1}).status_code == 504
            time.sleep(0.1)  # so that there is a rate
        client.post(f"/traces/{last['answer_id']}/replay").raise_for_status()


def in_a_dashboard(expr: str) -> str:
    return filled(expr, {"job": "rag-service", "__rate_interval": "1m", "__range": "1h"})


@pytest.mark.parametrize("target", list(targets()), ids=lambda target: f"{target.panel} {target.expr[:40]}")
def test_every_query_of_the_dashboard_finds_numbers(watched: Watched, target: Target) -> None:
    found = watched.prometheus.series(in_a_dashboard(target.expr))
    assert found
    assert all(isfinite(value) for _, value in found), found


def test_every_histogram_of_the_dashboard_leads_to_answers(watched: Watched) -> None:
    for target in targets():
        if target.exemplars and "_bucket" in target.expr:
            traces = {trace for trace, _ in watched.prometheus.exemplars(in_a_dashboard(target.expr))}
            assert traces, target.expr
            for trace in sorted(traces)[:3]:
                page = httpx.get(f"{watched.service}/traces/{trace}", headers=watched.headers)
                assert page.status_code == 200, (target.expr, page.text)


def test_every_link_of_the_dashboard_leads_to_a_page_of_the_service(watched: Watched) -> None:
    now = {"service_url": watched.service, "__from:date:iso": "2026-01-01T00:00:00.000Z", "__to:date:iso": "2100-01-01T00:00:00.000Z"}
    for url in link_urls():
        page = httpx.get(filled(url, now), headers={**watched.headers, "accept": "text/html"})
        assert page.status_code == 200, (url, page.text)
        assert "text/html" in page.headers["content-type"]


@pytest.mark.parametrize("alert", [alert for alert in alerts() if "rag_drift" not in alert.expr], ids=lambda alert: alert.name)
def test_every_alert_looks_at_series_that_a_service_has(watched: Watched, alert: Alert) -> None:
    """A comparison that gives 0 or 1, in place of one that gives nothing, shows whether there is anything to compare."""
    expr = alert.expr
    compared = re.sub(r" (==|!=|>=|<=|>|<) ", r" \1 bool ", expr)
    assert compared != expr
    found = watched.prometheus.series(compared)
    assert found, compared
    assert {value for _, value in found} <= {0.0, 1.0}
    watched.prometheus.series(expr)


def test_prometheus_judges_the_rules_and_finds_what_is_wrong(watched: Watched) -> None:
    """A tenth of the requests ran out of time: that alert waits to fire, and none of those does that would mean a dead service."""
    rules = [rule for group in watched.prometheus.asked("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    states = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
    assert set(states) == {alert.name for alert in alerts()}
    assert states["RagFails"] == "pending"
    assert states["RagDown"] == states["RagNotReady"] == states["RagRecordsLost"] == states["RagMixedReleases"] == "inactive"


def test_every_worker_shows_what_is_new(watched: Watched) -> None:
    for metric in ("rag_confidence_count", "rag_uncovered_questions_total", "rag_concurrency_limit", 'rag_index_skipped{reason="empty"}'):
        assert {labels["worker"] for labels, _ in watched.prometheus.series(metric)} == {"1", "2"}, metric
    by_language = dict(
        (labels["language"], value) for labels, value in watched.prometheus.series("sum by (language) (rag_questions_total)")
    )
    assert by_language["de"] == ROUNDS
    assert by_language["en"] == ROUNDS * (len(QUESTIONS) - 1)


def test_the_metrics_that_rules_name_have_the_labels_that_they_ask_for(watched: Watched) -> None:
    """A label that is misspelt in a selector finds nothing, and then no alert ever fires."""
    for alert in alerts():
        for name, selector in re.findall(r"(rag_\w+)\{([^}]*)\}", alert.expr):
            if METRIC.fullmatch(name):
                assert watched.prometheus.series(f"{name}{{{selector}}}"), f"{name}{{{selector}}}"
