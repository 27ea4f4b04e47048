"""Quantiles of Student's t distribution, for whole degrees of freedom. SciPy has them, too, but takes seconds to import."""

import math
from functools import lru_cache


@lru_cache(maxsize=1024)
def t_quantile(probability: float, df: int) -> float:
    """Below which a t variable with `df` degrees of freedom lies with this probability, to 9 digits. Raises `ValueError` outside (0, 1)."""
    if not 0 < probability < 1 or df < 1:
        raise ValueError(f"there is no quantile {probability} of t with {df} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, df)
    low, high = 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        if _within(middle, df) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan(low)


def _within(angle: float, df: int) -> float:
    """P(|t| ≤ √df · tan(angle)), a finite sum: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = df % 2
    term = math.cos(angle) if odd else 1.0
    total = term if df > 1 else 0.0
    for step in range(2 + odd, df - 1, 2):
        term *= square * (step - 1) / step
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
