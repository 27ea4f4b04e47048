"""The bootstrap of clusters: whole clusters are drawn with replacement, as many as there are (Field and Welsh 2007, doi
10.1111/j.1467-9868.2007.00593.x).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np

from eval.statistics.grouped import Floats, Grouped, Positions, numbered
from eval.statistics.student import t_quantile

DRAWS = 10_000
SEED = 20261126
_AT_ONCE = 1 << 19
"""Numbers held at a time: some megabytes."""


def drawn_means(groups: Grouped, *, draws: int, seed: int) -> Floats:
    """(draws,): the mean over the values of the clusters that were drawn. Raises `ValueError` for fewer than one draw."""
    random, count = _generator(draws, seed), len(groups.sums)
    of_one_size = bool((groups.sizes == groups.sizes[0]).all())
    means = np.empty(draws)
    step = max(_AT_ONCE // count, 1)
    for begin in range(0, draws, step):
        chosen = random.integers(count, size=(min(step, draws - begin), count))
        sums = groups.sums.take(chosen).sum(axis=1)
        sizes = groups.sizes[0] * count if of_one_size else groups.sizes.take(chosen).sum(axis=1)
        means[begin : begin + len(chosen)] = sums / sizes
    return means


def drawn_positions(clusters: Sequence[str], *, draws: int = DRAWS, seed: int = SEED) -> Iterator[Positions]:
    """For each draw the positions in `clusters` that are in it, cluster by cluster; one drawn twice is in it twice."""
    random, numbers = _generator(draws, seed), numbered(clusters)
    members = np.split(np.argsort(numbers, kind="stable"), np.bincount(numbers).cumsum()[:-1])
    for _ in range(draws):
        yield np.concatenate([members[number] for number in random.integers(len(members), size=len(members))])


def _generator(draws: int, seed: int) -> np.random.Generator:
    if draws < 1:
        raise ValueError(f"{draws} draws: give at least one")
    return np.random.default_rng(seed)


@lru_cache(maxsize=1024)
def widened(tail: float, clusters: int) -> float:
    """The share of the draws to cut off below, so that `tail` of the intervals lie above the truth. Draws spread too little, by
    √((C−1)/C), and their percentiles stand where those of the normal distribution do and not where Student's do; this undoes both
    (the expanded percentiles of Hesterberg 2015, arXiv 1411.5279). Hardly smaller than `tail` with 100 clusters, a third of it with ten.
    """
    if clusters < 2:
        return 0.0
    return NormalDist().cdf(sqrt(clusters / (clusters - 1)) * t_quantile(tail, clusters - 1))
