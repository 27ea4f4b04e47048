"""The dashboard that Grafana is given, as the tests look at it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.conftest import PROJECT

GRAFANA = PROJECT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "rag-service.json").read_text("utf-8"))
PANELS: tuple[dict[str, Any], ...] = tuple(panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


@dataclass(frozen=True)
class Target:
    panel: str
    expr: str
    exemplars: bool


def targets() -> Iterator[Target]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield Target(panel["title"], target["expr"], target.get("exemplar", False))


def link_urls() -> set[str]:
    return {link["url"] for holder in (DASHBOARD, *PANELS) for link in holder["links"]}


def filled(text: str, variables: Mapping[str, str]) -> str:
    """As Grafana does it. Longer names first: one may begin like another."""
    for name in sorted(variables, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", variables[name]).replace(f"${name}", variables[name])
    return text
