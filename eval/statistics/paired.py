"""Two runs over the same questions: the difference, its interval, and whether it may be chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.statistics.clustered import percentiles
from eval.statistics.drawing import DRAWS, SEED, drawn_means, widened
from eval.statistics.grouped import FEWEST_CLUSTERS, Grouped, grouped, intracluster, mean_cluster
from eval.statistics.power import detectable
from eval.statistics.signs import sign_flip_p


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Candidate − base. What is said at 95 % is said at the `level` that was asked for, and 5 % at one less it."""

    n: int
    """Questions."""
    clusters: int
    base: float
    candidate: float
    """Means over the questions."""
    difference: float
    low: float
    high: float
    """95 % interval of the difference from drawing whole clusters; see `drawing.widened`."""
    low_one_sided: float
    """With 95 % confidence the difference is not below it: what non-inferiority is decided on."""
    high_one_sided: float
    """With 95 % confidence the difference is not above it: the same, where lower is better."""
    p_value: float
    """Of no difference, two-sided, in (0, 1]; see `signs.sign_flip_p`."""
    mcnemar: float | None
    """Exact, as if questions were independent. None unless every value of both runs is 0 or 1."""
    wins: int
    """Questions at which the candidate has the higher value."""
    ties: int
    losses: int
    sd: float
    """Of the differences, with n − 1; 0 for one question."""
    intracluster: float
    """How alike the differences of one cluster are, in [0, 1]; see `grouped.intracluster`."""
    mean_cluster: float
    """Questions in the cluster that a question sees on average; see `grouped.mean_cluster`."""
    detectable: float
    """The smallest true difference that so many questions with differences such as these show in four of five cases, two-sided at 5 %.
    0 where no question differs: nothing is known of what could."""

    @property
    def too_few_clusters(self) -> bool:
        """Neither interval nor p-value can be trusted then."""
        return self.clusters < FEWEST_CLUSTERS


def compare(
    base: Sequence[float],
    candidate: Sequence[float],
    clusters: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = 0.95,
) -> Paired:
    """`base[i]`, `candidate[i]` and `clusters[i]` are those of one question. The order of the questions changes nothing, and exchanging the
    runs changes signs alone. Raises `ValueError` for unequal lengths, no questions, and values that are not finite.
    """
    differences = _differences(base, candidate, clusters)
    n, count = len(base), len(differences.sums)
    means = drawn_means(differences, draws=draws, seed=seed)
    low, high = percentiles(means, widened((1 - level) / 2, count))
    low_one_sided, high_one_sided = percentiles(means, widened(1 - level, count))
    wins, losses = int((differences.values > 0).sum()), int((differences.values < 0).sum())
    sd = float(differences.values.std(ddof=1)) if n > 1 else 0.0
    alike, size = intracluster(differences), mean_cluster(clusters)
    return Paired(
        n=n,
        clusters=count,
        base=math.fsum(base) / n,
        candidate=math.fsum(candidate) / n,
        difference=differences.mean,
        low=low,
        high=high,
        low_one_sided=low_one_sided,
        high_one_sided=high_one_sided,
        p_value=sign_flip_p(differences.sums, draws=draws, seed=seed),
        mcnemar=mcnemar(losses, wins) if {*base, *candidate} <= {0.0, 1.0} else None,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        sd=sd,
        intracluster=alike,
        mean_cluster=size,
        detectable=detectable(sd, n, mean_cluster=size, intracluster=alike, alpha=1 - level),
    )


def one_sided_low(
    base: Sequence[float],
    candidate: Sequence[float],
    clusters: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = 0.95,
) -> float:
    """`compare(…).low_one_sided` alone: with confidence `level` the candidate is not worse than the base by more than its negative."""
    differences = _differences(base, candidate, clusters)
    means = drawn_means(differences, draws=draws, seed=seed)
    return percentiles(means, widened(1 - level, len(differences.sums)))[0]


def mcnemar(only_base: int, only_candidate: int) -> float:
    """Exact two-sided p-value that a question which one run alone gets right is as likely to be the one's as the other's: a binomial test
    of a half (McNemar 1947, doi 10.1007/BF02295996). 1 where there is no such question. Raises `ValueError` for negative counts.
    """
    if min(only_base, only_candidate) < 0:
        raise ValueError(f"{only_base} and {only_candidate} are not counts of questions")
    n, fewer = only_base + only_candidate, min(only_base, only_candidate)
    ways = patterns = 1
    for taken in range(fewer):
        ways = ways * (n - taken) // (taken + 1)
        patterns += ways
    return min(1.0, patterns / (1 << max(n - 1, 0)))


def _differences(base: Sequence[float], candidate: Sequence[float], clusters: Sequence[str]) -> Grouped:
    if len(base) != len(candidate):
        raise ValueError(f"{len(base)} values of the base and {len(candidate)} of the candidate: give both of every question")
    return grouped(np.subtract(candidate, base, dtype=np.float64).tolist(), clusters)
