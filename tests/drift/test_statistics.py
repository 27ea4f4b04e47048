"""The statistics of drift, against SciPy and numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from rag_service.drift.categories import EMPTY_SHARE, category_shift, chi2, js_distance, psi, share_shift
from rag_service.drift.numbers import number_shift
from rag_service.drift.permuting import Sides, p_value, permuted_sides
from rag_service.drift.vectors import area, vector_shift

N, M = 150, 110


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def alone(n: int, m: int, draws: int = 999) -> Sides:
    """Every question a conversation of its own."""
    return permuted_sides([f"r{place}" for place in range(n)], [f"w{place}" for place in range(m)], draws=draws, seed=1)


def test_the_first_row_is_what_was_seen_and_every_other_has_as_many_conversations_in_the_window() -> None:
    sides = permuted_sides(["a", "a", "b", "c"], ["a", "d", "d"], draws=50, seed=3)
    assert sides.seen.tolist() == [False, False, False, False, True, True, True]
    first_of_each = [0, 2, 3, 4, 5]
    assert {int(row[first_of_each].sum()) for row in sides.window} == {2}
    assert all(row[0] == row[1] and row[5] == row[6] for row in sides.window)


def test_a_conversation_of_both_sides_is_two() -> None:
    sides = permuted_sides(["a"], ["a"], draws=1, seed=0)
    assert sides.clusters.tolist() == [0, 1]


def test_the_same_seed_gives_the_same_permutations() -> None:
    one, other, third = (permuted_sides(list("abcdef"), list("ghij"), draws=20, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.window, other.window)
    assert not np.array_equal(one.window, third.window)


@pytest.mark.parametrize(("reference", "window", "draws"), [([], ["a"], 9), (["a"], [], 9), (["a"], ["b"], 0)])
def test_nothing_is_permuted_where_there_is_nothing(reference: list[str], window: list[str], draws: int) -> None:
    with pytest.raises(ValueError, match="nothing can change sides"):
        permuted_sides(reference, window, draws=draws, seed=0)


def test_a_p_value_counts_what_was_seen_and_ties() -> None:
    assert p_value(np.array([3.0, 1.0, 3.0, 2.0])) == 0.5
    assert p_value(np.array([3.0, 1.0, 1.0, 1.0])) == 0.25
    assert p_value(np.array([0.1 + 0.2, 0.3, 0.0])) == pytest.approx(2 / 3), "rounding makes no difference"


@pytest.mark.parametrize("rounded", [False, True])
def test_ks_and_wasserstein_are_those_of_scipy_with_ties_and_without(random: np.random.Generator, rounded: bool) -> None:
    reference, window = random.normal(0, 1, N), random.normal(0.3, 1.2, M)
    if rounded:
        reference, window = reference.round(), window.round()
    shift = number_shift(np.concatenate([reference, window]), alone(N, M))
    assert shift.ks == pytest.approx(stats.ks_2samp(reference, window).statistic)
    assert shift.wasserstein == pytest.approx(stats.wasserstein_distance(reference, window))
    assert shift.wasserstein_sigma == pytest.approx(stats.wasserstein_distance(reference, window) / reference.std())


def test_the_p_value_of_ks_is_close_to_the_exact_one_of_scipy(random: np.random.Generator) -> None:
    for shift_by in (0.0, 0.25, 0.4):
        reference, window = random.normal(0, 1, N), random.normal(shift_by, 1, M)
        exact = stats.ks_2samp(reference, window, method="exact").pvalue
        found = number_shift(np.concatenate([reference, window]), alone(N, M, draws=9999)).p_value
        assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999) + 2e-4)


def test_numbers_that_do_not_vary_have_no_distance_in_standard_deviations() -> None:
    shift = number_shift(np.array([1.0] * 5 + [2.0] * 5), alone(5, 5, draws=19))
    assert (shift.ks, shift.wasserstein, shift.wasserstein_sigma) == (1.0, 1.0, None)


def test_chi2_is_that_of_scipy_and_its_p_value_close(random: np.random.Generator) -> None:
    reference = random.choice(["en", "de", "fr"], N, p=[0.8, 0.15, 0.05])
    window = random.choice(["en", "de", "fr"], M, p=[0.7, 0.2, 0.1])
    counts = np.array([[(side == label).sum() for label in ("de", "en", "fr")] for side in (reference, window)], float)
    expected = stats.chi2_contingency(counts, correction=False)
    shift = category_shift([*reference, *window], alone(N, M, draws=9999))
    assert shift.chi2 == pytest.approx(expected.statistic)
    assert shift.p_value == pytest.approx(expected.pvalue, abs=0.06), "that one is of a distribution that holds for many"
    assert chi2(counts[:1], counts[1:])[0] == pytest.approx(expected.statistic)


def test_jensen_and_shannon_is_that_of_scipy() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.4, 0.3, 0.2])
    assert js_distance(p, q) == pytest.approx(jensenshannon(p, q, base=2))
    assert js_distance(p, p) == 0
    assert js_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1


def test_psi_worked_by_hand() -> None:
    assert psi(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5))
    empty = psi(np.array([1.0, 0.0]), np.array([0.9, 0.1]))
    assert empty == pytest.approx(-0.1 * np.log(0.9) + (0.1 - EMPTY_SHARE) * np.log(0.1 / EMPTY_SHARE))


def test_the_p_value_of_two_shares_is_close_to_fishers() -> None:
    reference, window = [True] * 30 + [False] * 120, [True] * 36 + [False] * 74
    p, q, found = share_shift([*reference, *window], alone(N, M, draws=9999))
    assert (p, q) == (0.2, pytest.approx(36 / 110))
    assert found == pytest.approx(stats.fisher_exact([[30, 120], [36, 74]]).pvalue, abs=0.006)


def test_what_moved_is_what_chance_does_not_move(random: np.random.Generator) -> None:
    documents = [f"d{place}" for place in range(100)]
    reference, window = random.choice(documents, N), random.choice(documents, M)
    alike = category_shift([*reference, *window], alone(N, M))
    assert alike.moved < 0.1
    assert alike.p_value > 0.05
    assert alike.js > 0.4, "the plain distance of so many categories is chance alone"


@pytest.mark.parametrize("documents", [1, 10, 50])
def test_what_moved_is_about_the_share_of_the_window_that_other_documents_took(documents: int) -> None:
    moved = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        reference, window = random.choice(100, 400), random.choice(100, 300)
        window[:90] = 100 + random.choice(documents, 90)
        shift = category_shift([str(place) for place in (*reference, *window)], alone(400, 300, draws=199))
        assert shift.p_value == 1 / 200
        moved.append(shift.moved)
    assert np.mean(moved) == pytest.approx(0.3, abs=0.12)


def mmd2_by_hand(x: np.ndarray, y: np.ndarray) -> float:  # type: ignore[type-arg]
    """Unbiased, as Gretton et al. define it in lemma 6."""
    both = np.concatenate([x, y])
    distances = np.linalg.norm(both[:, None] - both[None, :], axis=2)
    sigma = np.median(distances[np.triu_indices(len(both), 1)])
    kernel = np.exp(-(distances**2) / (2 * sigma**2))
    n = len(x)

    def mean(block: np.ndarray) -> float:  # type: ignore[type-arg]
        return float((block.sum() - np.trace(block)) / (len(block) * (len(block) - 1)))

    return mean(kernel[:n, :n]) + mean(kernel[n:, n:]) - 2 * float(kernel[:n, n:].mean())


def test_mmd_is_the_unbiased_estimate_and_the_area_that_of_scipy(random: np.random.Generator) -> None:
    x, y = random.normal(0, 1, (60, 5)).astype(np.float32), random.normal(0.4, 1, (40, 5)).astype(np.float32)
    shift = vector_shift(np.concatenate([x, y]), alone(60, 40))
    assert shift.mmd2 == pytest.approx(mmd2_by_hand(x, y), abs=1e-5)
    assert shift.p_value < 0.01
    scores = random.integers(0, 5, 30).astype(float)
    positive = random.random(30) < 0.4
    expected = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic / (positive.sum() * (~positive).sum())
    assert area(scores, positive) == pytest.approx(expected)


def test_vectors_of_one_kind_are_not_told_apart_and_those_of_two_are(random: np.random.Generator) -> None:
    x, y = random.normal(0, 1, (300, 8)).astype(np.float32), random.normal(0, 1, (300, 8)).astype(np.float32)
    assert vector_shift(np.concatenate([x, y]), alone(300, 300)).auc < 0.58
    assert vector_shift(np.concatenate([x, y + 4]), alone(300, 300)).auc == 1


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_area_says_what_share_of_the_window_is_about_other_things(random: np.random.Generator, share: float) -> None:
    x, y = random.normal(0, 1, (400, 8)).astype(np.float32), random.normal(0, 1, (400, 8)).astype(np.float32)
    y[: int(400 * share)] += 6
    assert vector_shift(np.concatenate([x, y]), alone(400, 400, draws=19)).auc == pytest.approx(0.5 + share / 2, abs=0.06)


def test_equal_vectors_differ_by_nothing() -> None:
    shift = vector_shift(np.ones((20, 3), np.float32), alone(10, 10, draws=19))
    assert (shift.mmd2, shift.p_value) == (pytest.approx(0, abs=1e-6), 1.0)


def test_conversations_that_hold_together_do_not_pass_for_a_change() -> None:
    """Ten alike questions in each of forty conversations: taken one by one they cry wolf, taken together they do not."""
    wrong = {"apart": 0, "together": 0}
    for seed in range(40):
        random = np.random.default_rng(seed)
        values = np.repeat(random.normal(0, 1, 40), 10) + random.normal(0, 0.1, 400)
        names = [str(place) for place in np.repeat(np.arange(20), 10)]
        together = permuted_sides(names, names, draws=199, seed=seed)
        wrong["together"] += number_shift(values, together).p_value <= 0.05
        wrong["apart"] += number_shift(values, alone(200, 200, draws=199)).p_value <= 0.05
    assert wrong["together"] <= 5
    assert wrong["apart"] >= 20
