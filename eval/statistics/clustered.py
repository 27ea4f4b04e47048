"""One run: a mean, a share or a quantile over questions that come in clusters, and its interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from eval.statistics.drawing import DRAWS, SEED, drawn_means, drawn_positions, widened
from eval.statistics.grouped import FEWEST_CLUSTERS, Floats, grouped
from eval.statistics.student import t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    mean: float
    se: float
    """Clustered standard error. Infinite with one cluster, which says nothing about others; so is the interval."""
    low: float
    high: float
    n: int
    clusters: int

    @property
    def too_few_clusters(self) -> bool:
        return self.clusters < FEWEST_CLUSTERS


def estimate(values: Sequence[float], clusters: Sequence[str], *, level: float = 0.95) -> Estimate:
    """The mean over questions with its clustered standard error (Miller 2024, arXiv 2411.00640, appendix A, times C/(C−1)) and the interval
    that Student's t with C−1 degrees of freedom gives. With every question a cluster of its own the error is s/√n.

    The interval may leave [0, 1]; for the share of something rare take `wilson`. Raises `ValueError` as `grouped` does.
    """
    _check(level)
    groups = grouped(values, clusters)
    n, count, mean = len(groups.values), len(groups.sums), groups.mean
    if count == 1:
        return Estimate(mean=mean, se=math.inf, low=-math.inf, high=math.inf, n=n, clusters=1)
    residuals = groups.sums - groups.sizes * mean
    se = math.sqrt(count / (count - 1) * float(residuals @ residuals)) / n
    reach = t_quantile((1 + level) / 2, count - 1) * se
    return Estimate(mean=mean, se=se, low=mean - reach, high=mean + reach, n=n, clusters=count)


def wilson(successes: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share, inside [0, 1] and never empty (Wilson 1927, doi 10.2307/2276774). For independent questions. Raises `ValueError`
    unless 0 ≤ successes ≤ n and n > 0.
    """
    _check(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no share")
    square = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (successes + square / 2) / (n + square)
    reach = math.sqrt(square * (successes * (n - successes) / n + square / 4)) / (n + square)
    low = 0.0 if successes == 0 else middle - reach
    high = 1.0 if successes == n else middle + reach
    return low, high


def zero_failures_bound(n: int) -> float:
    """How often something may still fail, with 95 % confidence, that failed in none of `n` independent tries: 1 − 0.05^(1/n)."""
    if n < 1:
        raise ValueError(f"{n} tries bound nothing")
    return float(-math.expm1(math.log(0.05) / n))


def mean(values: Floats) -> float:
    return float(values.mean())


def bootstrap(
    values: Sequence[float],
    clusters: Sequence[str],
    *,
    of: Callable[[Floats], float] = mean,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = 0.95,
    widen: bool = True,
) -> tuple[float, float]:
    """Percentile interval of `of(values)` from drawing whole clusters with replacement, moved outwards for few clusters: see `widened`.
    `widen=False` gives the plain percentiles, too narrow below 20 clusters.

    The mean is fast; any other `of` (a median, say) is called once for each draw, with the values that were drawn. One cluster gives
    an interval without width, which means nothing. Raises `ValueError` as `estimate` does.
    """
    _check(level)
    groups = grouped(values, clusters)
    if of is mean:
        drawn = drawn_means(groups, draws=draws, seed=seed)
    else:
        drawn = np.array([of(groups.values[positions]) for positions in drawn_positions(clusters, draws=draws, seed=seed)])
    tail = (1 - level) / 2
    return percentiles(drawn, widened(tail, len(groups.sums)) if widen else tail)


def percentiles(drawn: Floats, tail: float) -> tuple[float, float]:
    """What `tail` of the draws lie below, and what as many lie above."""
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level of {level} is not between 0 and 1")
