"""The dashboard: each panel asks what an operator asks, about metrics that there are, and leads to answers."""

import itertools
import json
import re
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from rag_service.telemetry.metric_catalogue import CATALOGUE
from tests.deploy.dashboard import DASHBOARD, GRAFANA, PANELS, filled, targets
from tests.deploy.rules import METRIC, alerts

SUFFIXES = ("_bucket", "_sum", "_count", "")
SERVED = {entry.name + suffix for entry in CATALOGUE for suffix in (SUFFIXES if entry.type == "histogram" else ("",))}
RECORDED = re.compile(r"rag:\w+(?::\w+)*")


def test_every_panel_is_a_question_with_an_explanation_and_a_way_to_the_answers_behind_it() -> None:
    assert len(PANELS) <= 20
    for panel in PANELS:
        assert panel["title"].endswith("?"), panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["links"], panel["title"]
        assert all(link["url"].startswith("${service_url}/") for link in panel["links"]), panel["title"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(identifiers) == len(set(identifiers))
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    asked = {
        name: expr
        for expr in (*(target.expr for target in targets()), *(alert.expr for alert in alerts()))
        for name in METRIC.findall(expr)
    }
    unknown = {name for name in asked if not name.startswith("rag_drift_")} - SERVED - {"up"}
    assert unknown == set()


def test_exemplars_are_asked_for_wherever_a_histogram_is_shown_over_time() -> None:
    histograms = {entry.name for entry in CATALOGUE if entry.type == "histogram"}
    for target in targets():
        shown = {name.removesuffix("_bucket") for name in METRIC.findall(target.expr) if name.endswith("_bucket")}
        assert not shown & histograms or target.exemplars, target.panel


def test_every_variable_that_is_used_is_defined() -> None:
    own = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", str(DASHBOARD)))
    assert used <= {*own, "__rate_interval", "__from", "__to", "__range"}
    assert filled("$job ${job}", {"job": "x", "jo": "y"}) == "x x"


def test_grafana_is_given_the_dashboard_its_source_and_the_way_from_an_exemplar_to_its_answer() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "rag.yml").read_text("utf-8"))["providers"]
    [variable] = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "datasource"]
    assert variable["current"]["value"] == source["uid"]
    [leads] = source["jsonData"]["exemplarTraceIdDestinations"]
    assert (leads["name"], leads["url"]) == ("trace_id", "$RAG_PUBLIC_URL/traces/$${__value.raw}")
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """By the types that Grafana publishes: a field that they do not have is lost on the way through them."""
    register_default_plugins()
    decoded = Dashboard.from_json(DASHBOARD)
    assert lost(DASHBOARD, json.loads(JSONEncoder(sort_keys=True).encode(decoded))) <= {
        "/annotations/list/0/step",  # of the data source, which these types leave to it
        "/annotations/list/0/titleFormat",
    }
    misspelt = {**DASHBOARD, "panls": []}
    assert "/panls" in lost(misspelt, json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(misspelt))))


def lost(before: Any, after: Any, path: str = "") -> set[str]:
    """Where the two differ."""
    match before:
        case dict() if isinstance(after, dict):
            parts = [lost(value, after[name], f"{path}/{name}") if name in after else {f"{path}/{name}"} for name, value in before.items()]
        case list() if isinstance(after, list) and len(after) == len(before):
            parts = [lost(one, other, f"{path}/{number}") for number, (one, other) in enumerate(zip(before, after, strict=True))]
        case _:
            return set() if before == after else {path}
    return set().union(*parts)
