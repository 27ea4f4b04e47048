"""A release that has been opened, and how far opening it has come."""

from collections.abc import Callable
from dataclasses import dataclass

from rag_service.ask import Pipeline

CHECKS = ("manifest", "encoder", "index", "canary", "generator")
"""What is proved before the first question, in this order."""

Report = Callable[[str, str], None]
"""Told (check, state) while a release opens; readiness shows it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """`pipeline.lineage.release` is what really runs. It differs from the stored release where code or models have changed since:
    `differences` then names the parts.
    """

    pipeline: Pipeline
    differences: tuple[str, ...]
