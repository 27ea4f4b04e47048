"""Quality against cost, a dot for each candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.question_values import higher_is_better
from eval.reports.charts import Axis, Dot, apart, around
from eval.reports.outcomes import estimated, measured_value
from eval.results import Measured

HEIGHT_PX = 300
_TOP_PX, _BOTTOM_PX = 14.0, 262.0
_COSTS = (
    ("p95_ms", "95th percentile of the time for an answer, in ms"),
    ("answer_tokens", "words of an answer (no times were taken)"),
    ("prompt_tokens", "tokens of a prompt (no times were taken)"),
)
"""The first that was measured of all candidates."""
_NAMED_DOTS = 10
"""Up to so many candidates all have their names; beyond, the first of the run and those that none beats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Quality upwards, cost to the right."""

    metric: str
    cost: str
    """Metric."""
    across_says: str
    across: Axis
    upwards: Axis
    """In pixels from above."""
    dots: tuple[Dot, ...]
    unbeaten: tuple[str, ...]
    """Names of the candidates that no other beats in both, cheapest first."""
    named: frozenset[str]
    not_drawn: tuple[str, ...]
    """Candidates that lack one of the two."""

    def dot(self, name: str) -> Dot:
        return next(dot for dot in self.dots if dot.name == name)


def scatter_of(candidates: Sequence[Measured], metric: str | None) -> Scatter | None:
    """None where fewer than two candidates have both a quality and a cost."""
    if metric is None:
        return None
    cost, says = next(
        ((name, words) for name, words in _COSTS if sum(measured_value(one, name) is not None for one in candidates) > 1), ("", "")
    )
    costs = {one.name: value for one in candidates if cost and (value := measured_value(one, cost)) is not None}
    reaches = {one.name: found for one in candidates if one.name in costs and (found := estimated(one.rows, metric)) is not None}
    if len(reaches) < 2:
        return None
    across = around([costs[name] for name in reaches], begin=13.0, end=96.0)
    upwards = around([bound for found in reaches.values() for bound in (found.low, found.high)], begin=_BOTTOM_PX, end=_TOP_PX)
    dots = [
        Dot(name, across.at(costs[name]), upwards.at(found.mean), upwards.at(found.low), upwards.at(found.high), upwards.at(found.mean))
        for name, found in reaches.items()
    ]
    unbeaten = _unbeaten({name: (costs[name], found.mean) for name, found in reaches.items()}, metric)
    return Scatter(
        metric=metric,
        cost=cost,
        across_says=says,
        across=across,
        upwards=upwards,
        dots=tuple(apart(dots, lowest=_BOTTOM_PX)),
        unbeaten=unbeaten,
        named=frozenset(reaches if len(reaches) <= _NAMED_DOTS else {*unbeaten, candidates[0].name}),
        not_drawn=tuple(one.name for one in candidates if one.name not in reaches),
    )


def _unbeaten(places: dict[str, tuple[float, float]], metric: str) -> tuple[str, ...]:
    """The Pareto front: from cheap to dear, each that is better than all cheaper ones."""
    sign = 1.0 if higher_is_better(metric) else -1.0
    front: list[str] = []
    best = float("-inf")
    for name, (_, quality) in sorted(places.items(), key=lambda item: (item[1][0], -sign * item[1][1])):
        if sign * quality > best:
            best = sign * quality
            front.append(name)
    return tuple(front)
