"""How the share of wrong answers grows with the share of questions that are answered: the curve to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.reports.charts import Axis, from_zero, steps, thinned
from eval.results import Measured
from eval.summary import risk_coverage

_HEIGHT_PX = 260
_MOST_POINTS = 400
_STEADY = 20
"""Answers before which the share of wrong ones jumps too much to be drawn."""


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    kind: Literal["a", "b"]
    points: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Risks:
    across: Axis
    upwards: Axis
    """In pixels from above."""
    curves: tuple[Curve, ...]
    height: int = _HEIGHT_PX


def risks_of(sides: Sequence[Measured]) -> Risks | None:
    """Of the base and the candidate, or of one. None where no answer with a confidence could be judged. Both axes begin at zero."""
    found: list[list[tuple[float, float]]] = []
    for side in sides:
        points = risk_coverage(side.rows)
        answered = max(1, side.counts.answered)
        found.append(thinned([(point.coverage, point.risk) for point in points if point.coverage * answered >= _STEADY], _MOST_POINTS))
    if not any(found):
        return None
    across = Axis(0.0, 1.0, 9.0, 98.0)
    highest = from_zero([risk for points in found for _, risk in points], at_least=0.1).high
    upwards = Axis(0.0, highest * 1.1, _HEIGHT_PX - 28.0, 14.0)
    kinds: tuple[Literal["a", "b"], ...] = ("a", "b") if len(sides) > 1 else ("b",)
    curves = [
        Curve(side.name, kind, steps(points, across, upwards)) for side, kind, points in zip(sides, kinds, found, strict=True) if points
    ]
    return Risks(across=across, upwards=upwards, curves=tuple(curves))
