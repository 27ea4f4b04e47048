"""The rules that Prometheus is given, as the tests look at them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.conftest import PROJECT

PROMETHEUS = PROJECT / "deploy" / "prometheus"
CONFIG: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
RULE_FILES = tuple(PROMETHEUS / name for name in CONFIG["rule_files"])
METRIC = re.compile(r"\b(?:rag_\w+|up)\b(?!:)")


@dataclass(frozen=True)
class Alert:
    name: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


def alerts() -> Iterator[Alert]:
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    yield Alert(rule["alert"], rule["expr"], rule["labels"], rule["annotations"])
