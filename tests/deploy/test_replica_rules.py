"""The rules about replicas that do not agree fire when they should, by Prometheus' own tool, and speak of metrics that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rag_service.telemetry.metric_catalogue import CATALOGUE
from tests.conftest import PROJECT

RULES = PROJECT / "deploy" / "prometheus" / "replicas.yml"
REPLICA = 'rag_release_info{{job="rag",index="handbook",release="{release}",instance="{instance}"}}'
BUILD = 'rag_deployment_info{{job="rag",image="{image}",commit="c",version="1",instance="{instance}"}}'
Series = dict[str, str]


def ran(folder: Path, series: Series, alert: str, minute: int, values: dict[str, str] | None) -> None:
    """Whether `alert` has fired by that minute, with these labels; None for not at all."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    [severity] = [rule["labels"]["severity"] for group in rules["groups"] for rule in group["rules"] if rule.get("alert") == alert]
    [notes] = [rule["annotations"] for group in rules["groups"] for rule in group["rules"] if rule.get("alert") == alert]
    said = {
        name: text.replace("{{ $labels.job }}", "rag").replace("{{ $labels.index }}", "handbook").replace("{{ $value }}", "2")
        for name, text in notes.items()
    }
    expected = [] if values is None else [{"exp_labels": {"severity": severity, **values}, "exp_annotations": said}]
    described = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": shown} for name, shown in series.items()],
                "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(described))
    ended = subprocess.run([program, "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def replica(instance: str, release: str) -> str:
    return REPLICA.format(instance=instance, release=release)


def test_replicas_of_one_release_are_in_order(tmp_path: Path) -> None:
    ran(tmp_path, {replica("a", "one"): "1x60", replica("b", "one"): "1x60"}, "RagMixedReleases", 60, None)


def test_a_replica_that_stays_behind_is_told_after_ten_minutes(tmp_path: Path) -> None:
    followed = {replica("a", "one"): "1x5 stale", replica("a", "two"): "_x5 1x60", replica("b", "one"): "1x60"}
    ran(tmp_path, followed, "RagMixedReleases", 14, None)
    ran(tmp_path, followed, "RagMixedReleases", 17, {"job": "rag", "index": "handbook"})


def test_an_activation_that_all_follow_and_a_rolling_upgrade_of_minutes_tell_nobody(tmp_path: Path) -> None:
    upgraded = {
        replica("a", "one"): "1x5 stale",
        replica("a", "two"): "_x5 1x60",
        replica("b", "one"): "1x11 stale",
        replica("b", "two"): "_x11 1x60",
    }
    for minute in (4, 8, 12, 16, 30):
        ran(tmp_path, upgraded, "RagMixedReleases", minute, None)


def test_two_indexes_may_serve_two_releases(tmp_path: Path) -> None:
    other = REPLICA.format(instance="b", release="two").replace("handbook", "annex")
    ran(tmp_path, {replica("a", "one"): "1x60", other: "1x60"}, "RagMixedReleases", 60, None)


def test_a_rollout_that_has_come_to_a_stop_is_told_after_half_an_hour(tmp_path: Path) -> None:
    builds = {BUILD.format(instance="a", image="one"): "1x90", BUILD.format(instance="b", image="two"): "_x5 1x90"}
    ran(tmp_path, builds, "RagMixedImages", 34, None)
    ran(tmp_path, builds, "RagMixedImages", 37, {"job": "rag"})


def test_the_rules_speak_of_metrics_and_labels_that_there_are() -> None:
    text = RULES.read_text("utf-8")
    known = {entry.name: set(entry.labels) for entry in CATALOGUE}
    assert set(re.findall(r"\brag_\w+_info\b", text)) <= known.keys()
    for by, name in re.findall(r"count by \(([^)]*)\) \((rag_\w+)\)", text):
        assert set(by.split(", ")) - {"job", "instance"} <= known[name], (by, name)
