"""What a metric says of one question: two candidates are compared by it, pair by pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.metrics.abstention import DECISIONS, Decision
from eval.metrics.catalogue import METRICS
from eval.results import Row
from eval.scores import Failed, Outcome, Undefined

CORRECT = "correct"
"""The metric by which a question is right or wrong."""

_OVER: Mapping[str, str] = {
    CORRECT: "questions",
    "coverage": "questions not known to be unanswerable",
    "false_abstain_rate": "answerable questions",
    "false_answer_rate": "unanswerable questions",
    "abstain_recall": "unanswerable questions",
    "net_utility": "questions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Values of two candidates at the same questions, (n,) each, in the order of the base's questions."""

    metric: str
    over: str
    """Which questions, in words."""
    higher_is_better: bool
    ids: Sequence[str]
    clusters: Sequence[str]
    base: Sequence[float]
    candidate: Sequence[float]
    undefined: Mapping[str, str]
    """Id → why it is left out: of one of the two, the metric has no value."""
    abstained: int
    """Left out as well: one of the two abstained, and the metric is about answers."""
    failed: int
    """The same where the pipeline failed at one of the two, and the metric is one that would be improved by that."""

    @property
    def left_out(self) -> int:
        """Questions that the metric is about and that are not compared."""
        return len(self.undefined) + self.abstained + self.failed

    @property
    def undefined_share(self) -> float:
        """Of the questions that should have a value under both."""
        expected = len(self.ids) + len(self.undefined)
        return len(self.undefined) / expected if expected else 0.0


def known_metrics() -> frozenset[str]:
    """Names that a policy may use."""
    return frozenset(METRICS)


def higher_is_better(metric: str) -> bool:
    return METRICS[metric].higher_is_better


def outcome(row: Row, metric: str) -> Outcome | None:
    """As it was scored; None where it does not apply. What follows from having answered or not is worked out where the run lacks it."""
    if metric in row.scores or metric not in DECISIONS:
        return row.scores.get(metric)
    status = row.sample.status
    if status == "not_asked":
        return None
    right = row.scores.get(CORRECT)
    return DECISIONS[metric](
        Decision(
            made=status,
            answerable=row.question.answerable,
            right=right >= 1 if isinstance(right, float) else None,
            code=row.sample.failures[0].code if row.sample.failures else "",
        )
    )


def value_of(row: Row, metric: str) -> float | None:
    """What the question adds to the mean; None where it adds nothing. As in the mean over a run, a failure of the pipeline counts 0 where
    higher is better; what is better the lower it is would be improved by it, so there it counts nothing.
    """
    found = outcome(row, metric)
    if isinstance(found, Failed):
        return 0.0 if higher_is_better(metric) else None
    return None if isinstance(found, Undefined) else found


def paired(base: Mapping[str, Row], candidate: Mapping[str, Row], metric: str) -> Pairs:
    """Rows by the id of their question; both of the same questions."""
    ids: list[str] = []
    values: list[tuple[float, float]] = []
    undefined: dict[str, str] = {}
    abstained = failed = 0
    for identifier, row in base.items():
        both = row, candidate[identifier]
        found = [outcome(one, metric) for one in both]
        if found == [None, None]:
            continue
        first, second = (value_of(one, metric) for one in both)
        if first is not None and second is not None:
            ids.append(identifier)
            values.append((first, second))
        elif any(isinstance(one, Failed) for one in found):
            failed += 1
        elif any(isinstance(one, Undefined) and row.sample.status == "abstained" for one, row in zip(found, both, strict=True)):
            abstained += 1
        else:
            why = next((one.reason for one in found if isinstance(one, Undefined)), "it applies to one of the two alone")
            undefined[identifier] = why
    return Pairs(
        metric=metric,
        over=_OVER.get(metric, "questions that have it"),
        higher_is_better=higher_is_better(metric),
        ids=ids,
        clusters=[base[identifier].cluster for identifier in ids],
        base=[first for first, _ in values],
        candidate=[second for _, second in values],
        undefined=undefined,
        abstained=abstained,
        failed=failed,
    )
