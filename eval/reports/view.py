"""What stands on the page, section by section, worked out before anything is drawn."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.decision import Decision
from eval.metrics.catalogue import METRICS
from eval.reports.charts import Axis, around_zero
from eval.reports.comparison import Comparison, Contrast, compared
from eval.reports.outcomes import metrics_of, primary_of, reach, score_of
from eval.reports.scatter import Scatter, scatter_of
from eval.reports.standings import Standings, standings_of
from eval.results import Measured, Row, Run
from eval.scores import Score, Undefined
from eval.statistics.clustered import Estimate
from rag_service.errors import NotFound

_LISTED_IDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One metric under the candidates that are shown."""

    metric: str
    says: str
    higher_is_better: bool
    base: Score | None
    candidate: Score | None
    base_reach: Estimate | None
    reach: Estimate | None
    contrast: Contrast | None
    """None too where the score is no mean, since differences are of means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why some questions failed, or have no value of some metrics."""

    kind: Literal["failed", "undefined"]
    what: str
    """The failure, or the reason."""
    metrics: tuple[str, ...]
    questions: tuple[int, ...]
    """How many, of each candidate that is shown."""
    ids: tuple[str, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    run: Run
    runs: tuple[str, ...]
    """Ids of the runs that were put together."""
    candidate: Measured
    base: Measured | None
    """None where there is nothing to compare with."""
    comparison: Comparison | None
    decision: Decision | None
    standings: Standings
    primary: str | None
    lines: Mapping[str, tuple[ScoreLine, ...]]
    """Group → its metrics."""
    differences: Axis
    """Of all differences between scores that are shares."""
    scatter: Scatter | None
    troubles: tuple[Trouble, ...]

    @property
    def sides(self) -> tuple[Measured, ...]:
        """Base and candidate, or the candidate alone."""
        return (self.candidate,) if self.base is None else (self.base, self.candidate)

    @property
    def main(self) -> Contrast | None:
        return self.comparison.main if self.comparison else None


def view_of(
    run: Run, decision: Decision | None = None, *, base: str | None = None, candidate: str | None = None, runs: Sequence[str] = ()
) -> View:
    """`base` and `candidate` name what is compared: by default those that were decided on, else the first and the best of the others.

    Raises `NotFound` for a name that is not in the run, and what `compared` raises.
    """
    standings = standings_of(run.candidates)
    shown, beside = chosen(run, standings, decision, base, candidate)
    decision = decision_on(decision, shown, beside)
    comparison = None if beside is None else compared(beside, shown)
    primary = comparison.primary if comparison else primary_of([shown])
    contrasts = {one.metric: one for one in comparison.contrasts} if comparison else {}
    return View(
        run=run,
        runs=tuple(runs) or (run.id,),
        candidate=shown,
        base=beside,
        comparison=comparison,
        decision=decision,
        standings=standings,
        primary=primary,
        lines=_lines(shown, beside, contrasts),
        differences=_difference_axis(contrasts.values()),
        scatter=scatter_of(run.candidates, standings.primary),
        troubles=_troubles([side for side in (beside, shown) if side is not None]),
    )


def named(run: Run, name: str) -> Measured:
    """Raises `NotFound`."""
    found = next((one for one in run.candidates if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in run.candidates)
        raise NotFound(f"there is no candidate {name!r} in the run {run.id}", hint=f"its candidates: {known}")
    return found


def is_share(metric: str, *values: float) -> bool:
    """Whether values may be drawn on an axis of shares, with those of other metrics."""
    return not metric.endswith(("_ms", "_tokens", "_chars")) and all(-1 <= value <= 1 for value in values)


def chosen(
    run: Run, standings: Standings, decision: Decision | None = None, base: str | None = None, candidate: str | None = None
) -> tuple[Measured, Measured | None]:
    """What is shown, and what it is compared with: what is named; else what was decided on; else the best of the others, and the first.

    Raises `NotFound` for a name that is not in the run.
    """
    names = {one.name for one in run.candidates}
    if decision is not None and {decision.base.name, decision.candidate.name} <= names:
        base, candidate = base or decision.base.name, candidate or decision.candidate.name
    if len(run.candidates) == 1:
        return named(run, candidate) if candidate else run.candidates[0], None
    first = named(run, base) if base else run.candidates[0]
    best = next(one.candidate for one in standings.standings if one.candidate is not first)
    return named(run, candidate) if candidate else best, first


def decision_on(decision: Decision | None, shown: Measured, beside: Measured | None) -> Decision | None:
    """None where something else was decided than what is shown: the verdict on one candidate says nothing of another."""
    pair = (shown.name, beside.name if beside else None)
    return decision if decision is not None and (decision.candidate.name, decision.base.name) == pair else None


def _lines(shown: Measured, beside: Measured | None, contrasts: Mapping[str, Contrast]) -> Mapping[str, tuple[ScoreLine, ...]]:
    sides = [side for side in (beside, shown) if side is not None]
    grouped: dict[str, list[ScoreLine]] = {}
    for metric, group in metrics_of(sides).items():
        known = METRICS.get(metric)
        line = ScoreLine(
            metric=metric,
            says=known.says if known else "",
            higher_is_better=known.higher_is_better if known else True,
            base=score_of(beside, metric) if beside else None,
            candidate=score_of(shown, metric),
            base_reach=reach(beside, metric) if beside else None,
            reach=reach(shown, metric),
            contrast=contrasts.get(metric) if known is None or known.taken == "mean" else None,
        )
        grouped.setdefault(group, []).append(line)
    return {group: tuple(lines) for group, lines in grouped.items()}


def _difference_axis(contrasts: Iterable[Contrast]) -> Axis:
    """With room for every interval of a share."""
    reaches = [(one.metric, one.paired.low, one.paired.high) for one in contrasts]
    return around_zero([bound for metric, *bounds in reaches if is_share(metric, *bounds) for bound in bounds])


def _troubles(sides: Sequence[Measured]) -> tuple[Trouble, ...]:
    """Failures first, then what is undefined, each by how many questions it is about."""
    found: dict[tuple[Literal["failed", "undefined"], str], list[dict[str, None]]] = {}
    metrics: dict[str, dict[str, None]] = {}
    for place, side in enumerate(sides):
        for row in side.rows:
            for kind, what, metric in _row_troubles(row):
                found.setdefault((kind, what), [{} for _ in sides])[place][row.id] = None
                metrics.setdefault(what, {})[metric] = None
    troubles = [
        Trouble(
            kind=kind,
            what=what,
            metrics=tuple(metric for metric in metrics[what] if metric),
            questions=tuple(len(ids) for ids in of_sides),
            ids=tuple(dict.fromkeys(identifier for ids in of_sides for identifier in ids))[:_LISTED_IDS],
        )
        for (kind, what), of_sides in found.items()
    ]
    return tuple(sorted(troubles, key=lambda trouble: (trouble.kind, -max(trouble.questions))))


def _row_troubles(row: Row) -> Iterator[tuple[Literal["failed", "undefined"], str, str]]:
    for failure in row.sample.failures:
        where = f" in {failure.stage}" if failure.stage else ""
        yield "failed", f"{failure.code}{where}: {failure.message}", ""
    for metric, outcome in row.scores.items():
        if isinstance(outcome, Undefined):
            yield "undefined", outcome.reason, metric
