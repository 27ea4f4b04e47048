"""How long it took. A percentile of few questions says little: read `n_scored` beside it."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from eval.metrics.scores import Score, Undefined

PERCENTILES: Final[Mapping[str, float]] = {"p50_ms": 50.0, "p95_ms": 95.0}
"""Lower is better."""


def percentile(durations_ms: Sequence[float], percent: float, *, n_error: int = 0) -> Score:
    """Linear between the two nearest ranks (Hyndman & Fan 1996, type 7). `n_error` questions took no time that could be compared."""
    n_scored = len(durations_ms)
    value = float(np.percentile(durations_ms, percent)) if n_scored else Undefined("no question was timed")
    return Score(value, n_scored + n_error, n_scored, n_error=n_error)
