"""What the rows of a candidate give, taken together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from eval.question_values import CORRECT, known_metrics, value_of
from eval.results import Measured, Row
from eval.scores import Score, Undefined
from eval.statistics.clustered import Estimate, estimate

_DECIDING = (CORRECT, "f1", "ndcg@10", "rr@10", "recall@10")
"""What candidates are ranked by: the first that is known. The others are for where no answers were asked for."""


KEY_METRICS = (
    CORRECT,
    "f1",
    "facts",
    "contains",
    "ndcg@10",
    "recall@5",
    "prompt_recall",
    "citation_validity",
    "supported",
    "gold_citation_recall",
    "coverage",
    "false_answer_rate",
    "false_abstain_rate",
    "selective_accuracy",
    "answer_tokens",
    "p50_ms",
    "p95_ms",
)
"""What to look at first. All others are there, one step further."""


def number(row: Row, metric: str) -> float | None:
    """What a row adds to the mean of a metric; None where it adds nothing, or nobody knows this metric any more."""
    return value_of(row, metric) if metric in known_metrics() else None


def estimated(rows: Sequence[Row], metric: str) -> Estimate | None:
    """The mean of a metric with its interval. None where no row has a number, or nothing can be said of other questions.

    Where every value is a share, the interval is cut at 0 and 1: no mean can lie beyond.
    """
    taken = [(value, row.cluster) for row in rows if (value := number(row, metric)) is not None]
    if not taken:
        return None
    values = [value for value, _ in taken]
    found = estimate(values, [cluster for _, cluster in taken])
    if not math.isfinite(found.se):
        return None
    shares = min(values) >= 0 and max(values) <= 1
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0)) if shares else found


def reach(candidate: Measured, metric: str) -> Estimate | None:
    """The interval of a score; None where the score is something else than the mean over questions, such as a median."""
    score = score_of(candidate, metric)
    if score is None or isinstance(score.value, Undefined):
        return None
    found = estimated(candidate.rows, metric)
    return found if found is not None and math.isclose(found.mean, score.value, rel_tol=1e-6, abs_tol=1e-9) else None


def score_of(candidate: Measured, metric: str) -> Score | None:
    """Whatever group it stands in. None where it was not measured."""
    return next((scores[metric] for scores in candidate.metrics.values() if metric in scores), None)


def measured_value(candidate: Measured, metric: str) -> float | None:
    score = score_of(candidate, metric)
    return None if score is None or isinstance(score.value, Undefined) else score.value


def primary_of(candidates: Iterable[Measured]) -> str | None:
    """The first metric, of those a decision may rest on, that every candidate has numbers of for most of the questions it is about: where
    references are whole sentences, hardly any can be looked for in an answer, and the few say nothing about the others.
    """
    measured = list(candidates)
    return next((metric for metric in _DECIDING if all(_told(candidate, metric) for candidate in measured)), None)


def _told(candidate: Measured, metric: str) -> bool:
    about = [row for row in candidate.rows if metric in row.scores]
    return 2 * sum(number(row, metric) is not None for row in about) > len(about)


def metrics_of(candidates: Iterable[Measured]) -> Mapping[str, str]:
    """Metric → its group, in the order in which scores are listed."""
    return {name: group for candidate in candidates for group, scores in candidate.metrics.items() for name in scores}
