"""What intervals and tests promise, tried on questions drawn a few hundred times. Seeds are fixed: nothing here fails by chance."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from eval.statistics.clustered import estimate
from eval.statistics.paired import Paired, compare
from eval.statistics.power import detectable, noise_sources, questions_needed

REPEATS = 400


@dataclass(frozen=True)
class World:
    """Differences with a variance of 1, of which the share `alike` is common to a cluster."""

    clusters: int
    each: int
    alike: float
    effect: float = 0.0

    def draws(self, seed: int) -> Iterator[tuple[npt.NDArray[np.float64], list[str]]]:
        random = np.random.default_rng(seed)
        names = [str(number) for number in range(self.clusters) for _ in range(self.each)]
        for _ in range(REPEATS):
            common = np.repeat(random.normal(0, self.alike**0.5, self.clusters), self.each)
            yield self.effect + common + random.normal(0, (1 - self.alike) ** 0.5, len(names)), names


def _comparisons(world: World, seed: int, *, as_if_independent: bool = False) -> list[Paired]:
    found = []
    for differences, names in world.draws(seed):
        clusters = [str(number) for number in range(len(names))] if as_if_independent else names
        found.append(compare([0.0] * len(names), differences.tolist(), clusters, draws=400))
    return found


def _band(probability: float) -> tuple[float, float]:
    """What a share of `REPEATS` with this probability stays within in 998 of 1000 cases."""
    low, high = scipy.stats.binom.ppf([0.001, 0.999], REPEATS, probability) / REPEATS
    return float(low), float(high)


def _share(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes)


FIFTY_DOCUMENTS = World(clusters=50, each=10, alike=0.5)


def test_equal_candidates_differ_in_a_twentieth_of_the_tests() -> None:
    found = _comparisons(FIFTY_DOCUMENTS, seed=1)
    low, high = _band(0.05)
    assert low <= _share([one.p_value <= 0.05 for one in found]) <= high
    assert low <= _share([one.low > 0 or one.high < 0 for one in found]) <= high
    assert low <= _share([one.low_one_sided > 0 for one in found]) <= high


def test_as_if_questions_were_independent_equal_candidates_differ_in_a_third() -> None:
    found = _comparisons(FIFTY_DOCUMENTS, seed=1, as_if_independent=True)
    assert _share([one.p_value <= 0.05 for one in found]) > 0.33
    assert _share([one.low > 0 or one.high < 0 for one in found]) > 0.33


@pytest.mark.parametrize(
    "world",
    [World(clusters=15, each=8, alike=0.3), World(clusters=40, each=12, alike=0.1), World(clusters=120, each=1, alike=0.0)],
    ids=["few clusters", "like a set of documents", "single questions"],
)
def test_intervals_hold_the_true_difference_nineteen_times_of_twenty(world: World) -> None:
    world = World(world.clusters, world.each, world.alike, effect=0.4)
    low, high = _band(0.95)
    assert low <= _share([one.low <= 0.4 <= one.high for one in _comparisons(world, seed=2)]) <= high
    means = [estimate(differences.tolist(), names) for differences, names in world.draws(seed=2)]
    assert low <= _share([one.low <= 0.4 <= one.high for one in means]) <= high


@pytest.mark.parametrize(("clusters", "each", "alike"), [(200, 1, 0.0), (60, 8, 0.2)])
def test_what_is_called_detectable_is_detected_four_times_of_five(clusters: int, each: int, alike: float) -> None:
    effect = detectable(1.0, clusters * each, mean_cluster=each, intracluster=alike)
    found = _comparisons(World(clusters, each, alike, effect), seed=3)
    low, high = _band(0.8)
    assert low <= _share([one.p_value <= 0.05 for one in found]) <= high
    assert np.median([one.detectable for one in found]) == pytest.approx(effect, rel=0.05)


def test_clusters_of_unequal_sizes_count_as_a_question_sees_them() -> None:
    # The standard deviation of the mean of 10 clusters of 30 and 90 of 3, half of the variance common: 1 + (m − 1)/2 with m = Σm²/n.
    sizes = np.array([30] * 10 + [3] * 90)
    random, spread = np.random.default_rng(4), 0.5**0.5
    means = [(np.repeat(random.normal(0, spread, 100), sizes) + random.normal(0, spread, sizes.sum())).mean() for _ in range(4000)]
    names = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    size_seen = float((sizes**2).sum() / sizes.sum())
    se = detectable(1.0, len(names), mean_cluster=size_seen, intracluster=0.5) / 2.8016
    assert np.std(means) == pytest.approx(se, rel=0.05)


def test_what_sampling_adds_is_told_from_what_questions_add() -> None:
    random = np.random.default_rng(5)
    true = random.normal(0, 0.3, 3000)
    base = random.normal(0, 0.2, (3000, 4))
    candidate = true[:, None] + random.normal(0, 0.4, (3000, 3))
    found = noise_sources(base.tolist(), candidate.tolist())
    assert (found.questions, found.base, found.candidate) == pytest.approx((0.09, 0.04, 0.16), rel=0.1)


def test_as_many_questions_as_are_said_to_be_needed_are_enough() -> None:
    needed = questions_needed(0.2, 1.0, mean_cluster=5, intracluster=0.1)
    found = _comparisons(World(round(needed / 5), 5, 0.1, effect=0.2), seed=6)
    low, high = _band(0.8)
    assert low <= _share([one.p_value <= 0.05 for one in found]) <= high
