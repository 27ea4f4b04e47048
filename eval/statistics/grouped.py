"""The noun: values that come in clusters, and the sums that every statistic here is made of."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_CLUSTERS = 10
"""With fewer, intervals are too narrow and tests cannot be trusted: no gate decides on them."""

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Clusters stand in the order of their names, so that the order of the questions changes nothing."""

    values: Floats
    """(n,), as given."""
    numbers: Positions
    """(n,): the cluster of each value."""
    sums: Floats
    """(clusters,): of the values of each, rounded once."""
    sizes: Floats
    """(clusters,): how many values are in each."""

    @property
    def mean(self) -> float:
        """Over values, not over clusters."""
        return math.fsum(self.sums.tolist()) / len(self.values)


def grouped(values: Sequence[float], clusters: Sequence[str]) -> Grouped:
    """Raises `ValueError` where there is no value, one that is not finite, or not one cluster for each."""
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values and {len(clusters)} clusters: give every value the name of its cluster")
    if len(values) == 0:
        raise ValueError("there are no values: a statistic needs one at least")
    found = np.asarray(values, np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{int((~np.isfinite(found)).sum())} of {len(found)} values are not finite: leave out what is undefined")
    numbers = numbered(clusters)
    members: list[list[float]] = [[] for _ in range(int(numbers.max()) + 1)]
    for number, value in zip(numbers.tolist(), found.tolist(), strict=True):
        members[number].append(value)
    sums = np.array([math.fsum(each) for each in members])
    return Grouped(found, numbers, sums, np.array([len(each) for each in members], np.float64))


def numbered(clusters: Sequence[str]) -> Positions:
    """(n,): the place of each name among all of them, sorted."""
    places = {name: place for place, name in enumerate(sorted(set(clusters)))}
    return np.array([places[name] for name in clusters], np.intp)


def mean_cluster(clusters: Sequence[str]) -> float:
    """Questions in the cluster that a question sees on average, itself included: Σ m_c² / n. Never below n / C, which it equals where all
    clusters are of one size. It is what the variance of a mean depends on (Kish 1965, Survey Sampling, ch. 5). At least 1.
    """
    if not clusters:
        raise ValueError("there are no questions: give the cluster of each")
    return sum(size * size for size in Counter(clusters).values()) / len(clusters)


def intracluster(groups: Grouped) -> float:
    """How alike values of one cluster are, from 0 (as unlike as any two) to 1 (all the same): the intraclass correlation ICC(1) of a
    one-way analysis of variance, with clusters of unequal sizes (Donner 1986, doi 10.2307/1403259). Below 0 it is cut off. 0 where no
    cluster has two values, where there is one cluster, and where nothing varies: it cannot be known there.
    """
    n, count = len(groups.values), len(groups.sums)
    if count == 1 or count == n:
        return 0.0
    means = groups.sums / groups.sizes
    within = float(((groups.values - means[groups.numbers]) ** 2).sum()) / (n - count)
    between = float((groups.sizes * (means - groups.mean) ** 2).sum()) / (count - 1)
    size = (n - float((groups.sizes**2).sum()) / n) / (count - 1)
    if between <= within:
        return 0.0
    return (between - within) / (between + (size - 1) * within)
