"""Many candidates: each beside the first, by the metric that matters most."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eval.question_values import higher_is_better
from eval.reports.comparison import Contrast, contrast
from eval.reports.outcomes import estimated, primary_of
from eval.results import Measured
from eval.statistics.clustered import Estimate
from rag_service.drift.multiple import holm


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    candidate: Measured
    estimate: Estimate | None
    """Of the primary metric; None where nothing can be said."""
    contrast: Contrast | None
    """With the first candidate, with its p-value corrected over all of them; None for the first itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    primary: str | None
    standings: tuple[Standing, ...]
    """Best first by the primary metric; in the order of the run where there is none."""


def standings_of(candidates: Sequence[Measured]) -> Standings:
    """The first is what the others are compared with, over the questions that both were asked."""
    primary = primary_of(candidates)
    if primary is None:
        return Standings(primary=None, standings=tuple(Standing(candidate=one, estimate=None, contrast=None) for one in candidates))
    found = [
        Standing(candidate=one, estimate=estimated(one.rows, primary), contrast=_with_first(candidates, place, primary))
        for place, one in enumerate(candidates)
    ]
    sign = -1.0 if higher_is_better(primary) else 1.0
    ordered = sorted(_corrected(found), key=lambda one: sign * one.estimate.mean if one.estimate else float("inf"))
    return Standings(primary=primary, standings=tuple(ordered))


def _with_first(candidates: Sequence[Measured], place: int, primary: str) -> Contrast | None:
    if place == 0:
        return None
    others = {row.id: row for row in candidates[place].rows}
    first = {row.id: row for row in candidates[0].rows if row.id in others}
    return contrast(first, {identifier: others[identifier] for identifier in first}, primary)


def _corrected(found: Sequence[Standing]) -> list[Standing]:
    tested = [one.contrast for one in found if one.contrast]
    p_values = iter(holm([one.paired.p_value for one in tested]))
    return [replace(one, contrast=replace(one.contrast, p_holm=next(p_values))) if one.contrast else one for one in found]
