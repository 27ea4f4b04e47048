"""What a confidence is worth: the risk of answering only the surest questions, and whether it is a probability.

Risk–coverage curves and the area under them are those of Geifman, Uziel & El-Yaniv 2019 (arXiv:1805.08206). Questions of equal confidence
have no order; every figure is the expectation over all of them, so that none depends on the order of the questions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from eval.scores import Undefined, Value

NO_CONFIDENCE = Undefined("no answer with a confidence could be judged")


@dataclass(frozen=True, slots=True)
class Judgement:
    """An answer, with the confidence in it and its loss: 1 if wrong, 0 if right."""

    confidence: float
    loss: float


@dataclass(frozen=True, slots=True)
class Point:
    """Answering where the confidence is at least `confidence` answers the share `coverage` of the questions, and errs at `risk` of
    those.
    """

    confidence: float
    coverage: float
    risk: float


@dataclass(frozen=True, slots=True)
class Bin:
    """The questions with a confidence in [`low`, `high`), the last bin with both. Means are 0 in an empty one."""

    low: float
    high: float
    count: int
    confidence: float
    """On average."""
    happened: float
    """Share of those in which what the confidence is about was so."""


def risk_coverage(judged: Sequence[Judgement]) -> tuple[Point, ...]:
    """One point a confidence that occurs, from the surest on; the last has coverage 1."""
    points: list[Point] = []
    count, lost = 0, 0.0
    for confidence, group in groupby(_surest_first(judged), key=lambda each: each.confidence):
        losses = [each.loss for each in group]
        count, lost = count + len(losses), lost + math.fsum(losses)
        points.append(Point(confidence, count / len(judged), lost / count))
    return tuple(points)


def aurc(judged: Sequence[Judgement]) -> Value:
    """1/n Σ_i (loss of the i surest / i). Lower is better."""
    return math.fsum(_risks(judged)) / len(judged) if judged else NO_CONFIDENCE


def excess_aurc(judged: Sequence[Judgement]) -> Value:
    """AURC less that of the best possible order: what the order costs, whatever the accuracy. Lower is better."""
    if not judged:
        return NO_CONFIDENCE
    best = [Judgement(-rank, loss) for rank, loss in enumerate(sorted(each.loss for each in judged))]
    return (math.fsum(_risks(judged)) - math.fsum(_risks(best))) / len(judged)


def accuracy_at(judged: Sequence[Judgement], coverage: float) -> Value:
    """Share of right answers among the surest, as many as make at least the share `coverage`, in (0, 1]."""
    if not judged:
        return NO_CONFIDENCE
    count = math.ceil(round(coverage * len(judged), 9))
    return 1.0 - list(_risks(judged))[count - 1]


def reliability(confidences: Sequence[float], happened: Sequence[bool], *, bins: int = 10) -> tuple[Bin, ...]:
    """Bins of equal width over [0, 1], in ascending order, empty ones too."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for confidence, was_so in zip(confidences, happened, strict=True):
        members[min(int(confidence * bins), bins - 1)].append((confidence, was_so))
    return tuple(
        Bin(
            low=number / bins,
            high=(number + 1) / bins,
            count=len(group),
            confidence=math.fsum(confidence for confidence, _ in group) / max(1, len(group)),
            happened=sum(was_so for _, was_so in group) / max(1, len(group)),
        )
        for number, group in enumerate(members)
    )


def ece(bins: Sequence[Bin]) -> Value:
    """Expected calibration error: Σ count · |happened − confidence| / Σ count (Guo et al. 2017). Lower is better."""
    total = sum(each.count for each in bins)
    if not total:
        return NO_CONFIDENCE
    return math.fsum(each.count * abs(each.happened - each.confidence) for each in bins) / total


def _surest_first(judged: Sequence[Judgement]) -> list[Judgement]:
    return sorted(judged, key=lambda each: -each.confidence)


def _risks(judged: Sequence[Judgement]) -> Iterator[float]:
    """Expected loss of the i surest / i, for i = 1 … n: in any order of its equals, each has their mean loss."""
    count, lost = 0, 0.0
    for _, group in groupby(_surest_first(judged), key=lambda each: each.confidence):
        losses = [each.loss for each in group]
        total = math.fsum(losses)
        for place in range(1, len(losses) + 1):
            yield (lost + total * place / len(losses)) / (count + place)
        count, lost = count + len(losses), lost + total
