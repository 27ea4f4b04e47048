"""How long it took and what it used. Only times of a serial pass without caches say anything, so only those are given here.

The 95th percentile of fewer than 59 questions, and the 99th of fewer than 299, has no upper bound at a confidence of 95 %: with
n ≥ ln .05 / ln p, the largest of n values exceeds the percentile p with that probability.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, get_args

import numpy as np

from eval.scores import ALL_FAILED, Score, Undefined
from rag_service.record import StageName

NOT_TIMED = Undefined("no timing pass: run with --timing")

STAGES: Final[tuple[str, ...]] = ("total", *get_args(StageName))

PERCENTILES: Final[Mapping[str, float]] = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
"""Lower is better."""

_BOUNDED_FROM: Final = 95.0
"""The median and the maximum are given whatever n is: n stands beside them."""


def name_of(stage: str, percentile: str) -> str:
    """`p95_ms` of the whole, `embed_p95_ms` of a stage."""
    return f"{percentile}_ms" if stage == "total" else f"{stage}_{percentile}_ms"


def least_n(percent: float) -> int:
    """Questions from which on a percentile has an upper bound: the smallest n with (percent / 100)^n ≤ .05."""
    return math.ceil(math.log(0.05) / math.log(percent / 100)) if _BOUNDED_FROM <= percent < 100.0 else 1


def percentile(durations_ms: Sequence[float], percent: float, *, n_error: int = 0) -> Score:
    """Linear between the two nearest ranks (Hyndman & Fan 1996, type 7). `n_error` questions took no time that could be compared."""
    n = len(durations_ms)
    if not n:
        return Score(ALL_FAILED if n_error else NOT_TIMED, n_error, 0, n_error=n_error)
    if n < least_n(percent):
        reason = Undefined(f"the {percent:g}th percentile needs {least_n(percent):,} timed questions: {n:,} were timed")
        return Score(reason, n + n_error, 0, n_undefined=n, n_error=n_error)
    return Score(float(np.percentile(durations_ms, percent)), n + n_error, n, n_error=n_error)


def percentiles(durations_ms: Mapping[str, Sequence[float]], *, n_error: int = 0) -> dict[str, Score]:
    """Of every stage of `durations_ms` that is one of `STAGES`, and of the whole in any case. Failed questions belong to the whole."""
    return {
        name_of(stage, name): percentile(durations_ms.get(stage, ()), percent, n_error=n_error if stage == "total" else 0)
        for stage in STAGES
        if stage == "total" or stage in durations_ms
        for name, percent in PERCENTILES.items()
    }
