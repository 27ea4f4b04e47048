"""Two candidates, question by question: what differs between them, how sure that is, where, and at which questions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from eval.metrics.abstention import DECISIONS
from eval.metrics.catalogue import METRICS
from eval.question_values import higher_is_better, known_metrics, paired
from eval.reports.outcomes import primary_of
from eval.results import Measured, Row
from eval.statistics.paired import Paired, compare
from rag_service.difference import PartDifference, release_differences
from rag_service.drift.multiple import holm
from rag_service.errors import InvalidInput, Mismatch

SMALLEST_SLICE = 30
"""Questions below which a slice is listed and not tested: whatever it shows is chance."""
RIGHT = 0.5
"""From here on an answer counts as right, where the metric knows more than right and wrong."""

Says = Literal["better", "worse", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One metric under both, over the questions of which both have a number."""

    metric: str
    higher_is_better: bool
    paired: Paired
    left_out: int = 0
    """Questions to which it applies and at which one of the two has no number."""
    p_holm: float | None = None
    """Where several were tested: the p-value corrected for their number."""

    @property
    def p(self) -> float:
        return self.paired.p_value if self.p_holm is None else self.p_holm

    @property
    def says(self) -> Says:
        """Of the candidate, where both the interval and the p-value leave no doubt, and there are clusters enough to trust them."""
        found = self.paired
        if found.too_few_clusters or self.p > 0.05 or found.low <= 0 <= found.high:
            return "nothing"
        return "better" if (found.low > 0) == self.higher_is_better else "worse"

    @property
    def wins(self) -> int:
        """Questions at which the candidate is better."""
        return self.paired.wins if self.higher_is_better else self.paired.losses

    @property
    def losses(self) -> int:
        return self.paired.losses if self.higher_is_better else self.paired.wins


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The questions with one tag."""

    tag: str
    questions: int
    contrast: Contrast | None
    """Of the primary metric. None where fewer than `SMALLEST_SLICE` questions have a number, or they are of so few clusters that neither
    an interval nor a p-value could be trusted.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A question that is right under one of the two and wrong under the other."""

    base: Row
    candidate: Row
    broken: bool
    """Right under the base, wrong under the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    base: Measured
    candidate: Measured
    primary: str | None
    """Metric; None where neither has numbers that could decide."""
    contrasts: tuple[Contrast, ...]
    """The primary metric first, then the others in the order of the catalogue."""
    slices: tuple[Slice, ...]
    flips: tuple[Flip, ...]
    """Right → wrong first, each kind in the order of the questions."""
    settings: tuple[PartDifference, ...]
    """Parts of the release that differ."""
    unmatched: int
    """Questions that only one of the two was asked; they are left out."""

    @property
    def main(self) -> Contrast | None:
        return next((contrast for contrast in self.contrasts if contrast.metric == self.primary), None)

    @property
    def broken(self) -> tuple[Flip, ...]:
        return tuple(flip for flip in self.flips if flip.broken)

    @property
    def mended(self) -> tuple[Flip, ...]:
        return tuple(flip for flip in self.flips if not flip.broken)


Rows = Mapping[str, Row]
"""Question id → row."""


def compared(
    base: Measured, candidate: Measured, *, primary: str | None = None, by: str | None = None, only: Collection[str] | None = None
) -> Comparison:
    """`primary` is the metric that matters most, by default the first of those that both have. `by` keeps slices to tags that begin so:
    `type` is `type`, `type:short`, and `type=long`. `only` limits which metrics are compared beside the primary one.

    Raises `Mismatch` where they share no question, or a question of one id reads differently; `InvalidInput` where neither has `primary`.
    """
    rows, others = _shared(base, candidate)
    metrics = _metrics([*rows.values(), *others.values()])
    primary = _primary(primary, metrics, base, candidate)
    wanted = [metric for metric in metrics if only is None or metric in only or metric == primary]
    contrasts = [found for metric in wanted if (found := contrast(rows, others, metric)) is not None]
    contrasts.sort(key=lambda found: found.metric != primary)
    return Comparison(
        base=base,
        candidate=candidate,
        primary=primary,
        contrasts=tuple(contrasts),
        slices=_slices(rows, others, primary, by) if primary else (),
        flips=_flips(rows, others, primary) if primary else (),
        settings=release_differences(base.release.content, candidate.release.content),
        unmatched=len(base.rows) + len(candidate.rows) - 2 * len(rows),
    )


def contrast(rows: Rows, others: Rows, metric: str) -> Contrast | None:
    """Of the rows of both, with the same questions. None where no question has a number under both."""
    pairs = paired(rows, others, metric)
    if not pairs.ids:
        return None
    found = compare(pairs.base, pairs.candidate, pairs.clusters)
    return Contrast(metric=metric, higher_is_better=pairs.higher_is_better, paired=found, left_out=pairs.left_out)


def _shared(base: Measured, candidate: Measured) -> tuple[Rows, Rows]:
    """The rows of both at the questions that both were asked, in the order of the base."""
    known = {row.id: row for row in candidate.rows}
    rows = {row.id: row for row in base.rows if row.id in known}
    for identifier, row in rows.items():
        if row.question != known[identifier].question:
            raise Mismatch(
                f"the question {identifier!r} is not the same for {base.name} and {candidate.name}",
                hint="compare candidates that were asked one question set: evaluate both on it",
            )
    if not rows:
        raise Mismatch(
            f"{base.name} and {candidate.name} were asked no question in common", hint="compare candidates that were asked one question set"
        )
    return rows, {identifier: known[identifier] for identifier in rows}


def _primary(wanted: str | None, metrics: Sequence[str], base: Measured, candidate: Measured) -> str | None:
    if wanted is None:
        return primary_of((base, candidate))
    if wanted not in metrics:
        raise InvalidInput(f"no question has a value of {wanted!r} under both candidates", hint=f"there are: {', '.join(metrics)}")
    return wanted


def _metrics(rows: Iterable[Row]) -> list[str]:
    """That any row has, in the order of the catalogue."""
    found = {metric for row in rows for metric in row.scores} | DECISIONS.keys()
    known = known_metrics()
    return [metric for metric in dict.fromkeys([*METRICS, *DECISIONS]) if metric in found and metric in known]


def _slices(rows: Rows, others: Rows, primary: str, by: str | None) -> tuple[Slice, ...]:
    """Largest first. P-values are corrected over all slices that are tested."""
    tagged: dict[str, dict[str, Row]] = {}
    for identifier, row in rows.items():
        for tag in row.question.tags:
            if by is None or tag == by or (tag.startswith(by) and not tag[len(by)].isalnum()):
                tagged.setdefault(tag, {})[identifier] = row
    order = sorted(tagged, key=lambda tag: (-len(tagged[tag]), tag))
    tested = {tag: found for tag in order if (found := _tested(tagged[tag], others, primary)) is not None}
    corrected = dict(zip(tested, holm([found.paired.p_value for found in tested.values()]), strict=True))
    return tuple(
        Slice(tag=tag, questions=len(tagged[tag]), contrast=replace(tested[tag], p_holm=corrected[tag]) if tag in tested else None)
        for tag in order
    )


def _tested(rows: Rows, others: Rows, primary: str) -> Contrast | None:
    found = contrast(rows, others, primary) if len(rows) >= SMALLEST_SLICE else None
    return found if found is not None and found.paired.n >= SMALLEST_SLICE and not found.paired.too_few_clusters else None


def _flips(rows: Rows, others: Rows, primary: str) -> tuple[Flip, ...]:
    pairs = paired(rows, others, primary)
    found = [
        Flip(base=rows[identifier], candidate=others[identifier], broken=is_right(before, primary))
        for identifier, before, after in zip(pairs.ids, pairs.base, pairs.candidate, strict=True)
        if is_right(before, primary) != is_right(after, primary)
    ]
    return tuple(sorted(found, key=lambda flip: not flip.broken))


def is_right(value: float, metric: str) -> bool:
    return value >= RIGHT if higher_is_better(metric) else value < RIGHT
