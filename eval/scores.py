"""What a metric gives: a value for one question, and a score for many that says what it was taken over."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median as middle
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class Undefined:
    """There is no value, and why. It is never 0 and never NaN: both would pass for a measurement."""

    reason: Annotated[str, Field(alias="undefined")]


@dataclass(frozen=True, slots=True)
class Failed:
    """The pipeline raised before there was anything to measure. `code` is that of the `RagError`."""

    code: Annotated[str, Field(alias="failed")]


ALL_FAILED = Undefined("the pipeline failed at every such question")

Value = float | Undefined
"""What a metric says of one question."""

Outcome = float | Undefined | Failed
"""What became of a metric at one question to which it applies."""


@dataclass(frozen=True, slots=True)
class Score:
    """A value over many questions. `n_applicable` questions had what the metric needs: `n_scored` gave a value, `n_undefined` could
    not, and in `n_error` the pipeline failed.
    """

    value: Value
    n_applicable: int
    n_scored: int
    n_undefined: int = 0
    n_error: int = 0

    def __post_init__(self) -> None:
        if self.n_scored + self.n_undefined + self.n_error != self.n_applicable:
            raise ValueError(f"{self.n_scored} + {self.n_undefined} + {self.n_error} questions are not {self.n_applicable}")


def mean(outcomes: Sequence[Outcome], *, nothing: str, failures_count: bool = True) -> Score:
    """The mean over scored and failed questions, a failure counting 0: what breaks must not look better than what answers badly.

    Of what is better the lower it is, a failure would look best of all: without `failures_count` it is left out, and counted beside the
    mean. `nothing` is the reason given where no question applies.
    """
    failures = sum(isinstance(outcome, Failed) for outcome in outcomes) if failures_count else 0

    def average(values: Sequence[float]) -> float:
        return math.fsum(values) / (len(values) + failures)

    return _score(outcomes, average, nothing=nothing, failures_count=failures_count)


def median(outcomes: Sequence[Outcome], *, nothing: str) -> Score:
    """The median of what was scored. Failures have no size or duration; they are counted beside it."""
    return _score(outcomes, middle, nothing=nothing, failures_count=False)


def _score(outcomes: Sequence[Outcome], summary: Callable[[Sequence[float]], float], *, nothing: str, failures_count: bool) -> Score:
    values = [outcome for outcome in outcomes if isinstance(outcome, float)]
    reasons = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, Undefined))
    n_error = sum(isinstance(outcome, Failed) for outcome in outcomes)
    value: Value
    if values or (failures_count and n_error):
        value = summary(values)
    elif reasons:
        value = Undefined(reasons.most_common(1)[0][0])
    elif n_error:
        value = ALL_FAILED
    else:
        value = Undefined(nothing)
    return Score(value, n_applicable=len(outcomes), n_scored=len(values), n_undefined=reasons.total(), n_error=n_error)
