"""Each alert fires when it should and is quiet when it should be, by Prometheus' own tool."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.rules import METRIC, PROMETHEUS, RULE_FILES, alerts
from tests.prometheus import program

REQUESTS = 'rag_request_duration_seconds_count{{job="rag-service",route="/ask",status="{status}"}}'
BUCKET = 'rag_request_duration_seconds_bucket{{job="rag-service",route="/ask",status="200",le="{le}"}}'
ANSWERS = 'rag_answers_total{job="rag-service",status="answered"}'


@dataclass(frozen=True)
class Case:
    """Series, as promtool writes them, that fire `alert` at `minute`, and those that do not."""

    alert: str
    fires: dict[str, str]
    quiet: dict[str, str]
    minute: int = 30
    every_minutes: int = 1


def gauge(name: str, labels: str = "") -> str:
    return f'{name}{{job="rag-service",instance="a"{labels}}}'


def steady(a_step: float, steps: int = 60) -> str:
    return f"0+{a_step:g}x{steps}"


def later(a_step: float, then: float) -> str:
    """Two days of one rate in steps of ten minutes, then three hours of another."""
    before, after = 288, 18
    return f"0+{a_step:g}x{before} {a_step * before + then:g}+{then:g}x{after}"


LAST = 3_055
SKIPPED = gauge("rag_index_skipped", ',reason="unreadable"')
CASES = [
    Case("RagDown", {gauge("up"): "1x10 0x50"}, {gauge("up"): "1x20 0 1x39"}),
    Case("RagNotReady", {gauge("rag_ready"): "1x10 0x50"}, {gauge("rag_ready"): "0x2 1x60"}),
    Case(
        "RagFails",
        {REQUESTS.format(status="200"): steady(90), REQUESTS.format(status="502"): steady(10)},
        {REQUESTS.format(status="200"): steady(90), REQUESTS.format(status="422"): steady(50), REQUESTS.format(status="502"): steady(2)},
    ),
    Case(
        "RagSlow",
        {BUCKET.format(le="10.0"): steady(90), BUCKET.format(le="20.0"): steady(100), BUCKET.format(le="+Inf"): steady(100)},
        {BUCKET.format(le="10.0"): steady(99), BUCKET.format(le="20.0"): steady(100), BUCKET.format(le="+Inf"): steady(100)},
    ),
    Case(
        "RagSheds",
        {REQUESTS.format(status="429"): steady(100), 'rag_shed_total{job="rag-service",reason="queue_full"}': steady(5)},
        {REQUESTS.format(status="429"): steady(100), 'rag_shed_total{job="rag-service",reason="rate_limited"}': steady(50)},
    ),
    Case(
        "RagQueueFills",
        {gauge("rag_queue_depth"): "6x60", gauge("rag_queue_limit"): "8x60"},
        {gauge("rag_queue_depth"): "0x20 8 0x40", gauge("rag_queue_limit"): "8x60"},
    ),
    Case(
        "RagRecordsLost",
        {gauge("rag_ledger_failures_total"): "0x24 1x40"},
        {gauge("rag_ledger_failures_total"): "7x60"},
    ),
    Case("RagActivationFailed", {gauge("rag_activation_failed"): "0x9 1x50"}, {gauge("rag_activation_failed"): "0x60"}),
    Case(
        "RagSpansLost",
        {gauge("rag_spans_dropped_total", ',reason="export_failed"'): steady(1)},
        {gauge("rag_spans_dropped_total", ',reason="export_failed"'): "0x5 9x55"},
    ),
    Case(
        "RagMetricsNotExported",
        {
            gauge("rag_metric_exports_total", ',outcome="failed"'): steady(1),
            gauge("rag_metric_exports_total", ',outcome="taken"'): "5x60",
        },
        {
            gauge("rag_metric_exports_total", ',outcome="failed"'): steady(1),
            gauge("rag_metric_exports_total", ',outcome="taken"'): steady(1),
        },
        minute=50,
    ),
    Case(
        "RagRequestsInvalid",
        {REQUESTS.format(status="422"): steady(10), 'rag_validation_failures_total{job="rag-service",field="top_k"}': steady(4)},
        {REQUESTS.format(status="422"): steady(1), 'rag_validation_failures_total{job="rag-service",field="top_k"}': steady(1)},
        minute=50,
    ),
    Case(
        "RagDeclines",
        {ANSWERS: steady(7, 120), 'rag_abstentions_total{job="rag-service",reason="generator_declined"}': steady(2, 120)},
        {ANSWERS: steady(7, 120), 'rag_abstentions_total{job="rag-service",reason="low_confidence"}': steady(2, 120)},
        minute=100,
    ),
    Case(
        "RagUnsupported",
        {
            'rag_sentences_total{job="rag-service",level="unsupported"}': steady(2, 120),
            'rag_sentences_total{job="rag-service",level="supported"}': steady(10, 120),
        },
        {
            'rag_sentences_total{job="rag-service",level="unsupported"}': steady(1, 120),
            'rag_sentences_total{job="rag-service",level="supported"}': steady(10, 120),
        },
        minute=100,
    ),
    Case(
        "RagCitationsInvalid",
        {
            'rag_warnings_total{job="rag-service",code="citation_dropped"}': steady(1, 120),
            'rag_citations_total{job="rag-service",verbatim="true"}': steady(9, 120),
        },
        {
            'rag_warnings_total{job="rag-service",code="citation_dropped"}': steady(1, 120),
            'rag_citations_total{job="rag-service",verbatim="true"}': steady(99, 120),
        },
        minute=100,
    ),
    Case(
        "RagTokensGrow",
        {ANSWERS: later(100, 100), 'rag_tokens_total{job="rag-service",kind="prompt"}': later(5000, 50_000)},
        {ANSWERS: later(100, 1000), 'rag_tokens_total{job="rag-service",kind="prompt"}': later(5000, 50_000)},
        minute=LAST,
        every_minutes=10,
    ),
    Case(
        "RagReplaysDiverge",
        {'rag_replays_total{job="rag-service",verdict="diverged_at"}': "0x20 1x60"},
        {'rag_replays_total{job="rag-service",verdict="exact"}': steady(1)},
    ),
    Case(
        "RagUncovered",
        {ANSWERS: later(100, 100), 'rag_uncovered_questions_total{job="rag-service"}': later(20, 50)},
        {ANSWERS: later(100, 100), 'rag_uncovered_questions_total{job="rag-service"}': later(20, 30)},
        minute=LAST,
        every_minutes=10,
    ),
    Case(
        "RagQueriesMoved",
        {
            'rag_query_distance_sum{job="rag-service",encoder="e"}': later(70, 90),
            'rag_query_distance_count{job="rag-service",encoder="e"}': later(100, 100),
        },
        {
            'rag_query_distance_sum{job="rag-service",encoder="e"}': later(70, 73),
            'rag_query_distance_count{job="rag-service",encoder="e"}': later(100, 100),
        },
        minute=LAST,
        every_minutes=10,
    ),
    Case(
        "RagIndexOld",
        {gauge("rag_index_built_timestamp_seconds"): f"{-2_593_000}x200"},
        {gauge("rag_index_built_timestamp_seconds"): "0x200"},
        minute=120,
    ),
    Case(
        "RagInputsSkipped",
        {SKIPPED: "6x60", gauge("rag_index_documents"): "94x60"},
        {SKIPPED: "4x60", gauge("rag_index_skipped", ',reason="duplicate"'): "50x60", gauge("rag_index_documents"): "96x60"},
    ),
    Case(
        "RagDrift",
        {gauge("rag_drift_alarm", ',signal="language"'): "1x60"},
        {gauge("rag_drift_alarm", ',signal="language"'): "0x60"},
    ),
    Case(
        "RagDriftUnwatched",
        {gauge("rag_drift_report_timestamp_seconds"): f"{-172_800}x200"},
        {gauge("rag_drift_report_timestamp_seconds"): "0x200"},
        minute=120,
    ),
    Case(
        "RagMixedReleases",
        {gauge("rag_release_info", f',index="i",release="{release}"'): "1x60" for release in ("one", "two")},
        {gauge("rag_release_info", f',index="{index}",release="one"'): "1x60" for index in ("i", "j")},
    ),
    Case(
        "RagMixedImages",
        {gauge("rag_deployment_info", f',image="{image}",commit="c",version="1"'): "1x60" for image in ("one", "two")},
        {gauge("rag_deployment_info", ',image="one",commit="c",version="1"'): "1x60"},
        minute=50,
    ),
]


def ran(folder: Path, *, firing: bool) -> None:
    """Those of one interval together: starting promtool takes longer than most of what it does. What it says names the alert."""
    for every_minutes in sorted({case.every_minutes for case in CASES}):
        path = folder / f"every_{every_minutes}.yml"
        tried = [_tried(case, firing=firing) for case in CASES if case.every_minutes == every_minutes]
        rules = [str(path) for path in RULE_FILES]
        path.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": f"{every_minutes}m", "tests": tried}))
        command = [program("promtool"), "test", "rules", path.name]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def _tried(case: Case, *, firing: bool) -> dict[str, Any]:
    query = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    series = case.fires if firing else case.quiet
    return {
        "interval": f"{case.every_minutes}m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": f"{case.minute}m", "exp_samples": [{"labels": "{}", "value": 1}] if firing else []}
        ],
    }


def test_every_alert_fires_when_it_should(tmp_path: Path) -> None:
    ran(tmp_path, firing=True)


def test_every_alert_is_quiet_when_it_should_be(tmp_path: Path) -> None:
    ran(tmp_path, firing=False)


def test_every_alert_has_been_tried() -> None:
    assert sorted(case.alert for case in CASES) == sorted(alert.name for alert in alerts())


def test_a_case_brings_what_its_alert_asks_for() -> None:
    """Otherwise a quiet case would be quiet because a name is misspelt."""
    asked = {alert.name: set(METRIC.findall(alert.expr)) for alert in alerts()}
    for case in CASES:
        given = {re.split(r"\{", name)[0] for name in (*case.fires, *case.quiet)}
        assert given <= {*asked[case.alert], "rag_release_info", "rag_deployment_info"}, case.alert


def test_prometheus_takes_the_rules_and_the_configuration(tmp_path: Path) -> None:
    config = (PROMETHEUS / "prometheus.yml").read_text("utf-8")
    (tmp_path / "key").write_text("")
    for path in RULE_FILES:
        (tmp_path / path.name).write_text(path.read_text("utf-8"))
    (tmp_path / "prometheus.yml").write_text(config.replace("/run/secrets/metrics-key", "key"))
    checked = subprocess.run(
        [program("promtool"), "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
