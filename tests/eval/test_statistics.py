"""Intervals, tests and corrections: worked by hand, against SciPy, and by what must always hold."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.statistics.clustered import bootstrap, estimate, mean, wilson, zero_failures_bound
from eval.statistics.drawing import drawn_means, drawn_positions, widened
from eval.statistics.grouped import grouped, intracluster, mean_cluster
from eval.statistics.paired import Paired, compare, mcnemar, one_sided_low
from eval.statistics.signs import EXACT_UP_TO, sign_flip_p
from eval.statistics.student import t_quantile
from rag_service.drift.multiple import holm


def _alone(n: int) -> list[str]:
    return [str(number) for number in range(n)]


# One run


def test_a_clustered_standard_error_worked_by_hand() -> None:
    found = estimate([1, 1, 0, 1, 0, 0, 1, 1], list("aaabbccd"))
    # Residuals by cluster: 2 − 3·⅝, 1 − 2·⅝, 1 − 2·⅝, 1 − ⅝, that is ⅛ −¼ −¼ ⅜; their squares sum to 9/32; 4/3 of it is 3/8 (√ = .6124).
    assert found.mean == 0.625
    assert found.se == pytest.approx(0.07655, abs=5e-6)
    assert found.se == pytest.approx(math.sqrt(3 / 8) / 8)
    assert (found.n, found.clusters, found.too_few_clusters) == (8, 4, True)
    assert found.high == pytest.approx(0.625 + 3.182446 * found.se, abs=1e-6)  # t table, 3 degrees of freedom
    assert found.low + found.high == pytest.approx(2 * 0.625)


def test_a_standard_error_of_single_questions_is_the_usual_one() -> None:
    values = [1.0, 1, 0, 1, 0, 0, 1, 1]
    found = estimate(values, _alone(8))
    assert found.se == pytest.approx(0.18298, abs=5e-6)
    assert (found.low, found.high) == pytest.approx(scipy.stats.t.interval(0.95, 7, loc=0.625, scale=scipy.stats.sem(values)))


def test_one_cluster_says_nothing_about_others() -> None:
    found = estimate([1.0, 0.0], ["a", "a"])
    assert (found.mean, found.se, found.low, found.high) == (0.5, math.inf, -math.inf, math.inf)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 7, 9, 10, 29, 30, 99, 100, 1999, 2000])
@pytest.mark.parametrize("probability", [0.0001, 0.025, 0.5, 0.6, 0.95, 0.975, 0.995, 0.9999])
def test_quantiles_of_student_agree_with_scipy(probability: float, df: int) -> None:
    assert t_quantile(probability, df) == pytest.approx(scipy.stats.t.ppf(probability, df), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("probability", "df"), [(0.0, 5), (1.0, 5), (0.5, 0)])
def test_there_is_no_quantile_outside_the_domain(probability: float, df: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(probability, df)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(share: tuple[int, int], level: float) -> None:
    successes, n = share
    theirs = scipy.stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    low, high = wilson(successes, n, level=level)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(successes, n)


def test_no_failure_in_n_tries_leaves_room_for_some() -> None:
    assert [round(zero_failures_bound(n), 3) for n in (1, 20, 50, 100, 300)] == [0.95, 0.139, 0.058, 0.03, 0.01]
    with pytest.raises(ValueError, match="0 tries"):
        zero_failures_bound(0)


def test_whole_clusters_are_drawn() -> None:
    # Of two clusters, each draw holds a twice (mean 1), b twice (mean 0), or both: 3 of 4.
    means = drawn_means(grouped([1, 1, 1, 0], list("aaab")), draws=4000, seed=1)
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0.0, 0.75, 1.0]
    assert counts == pytest.approx([1000, 2000, 1000], abs=4 * math.sqrt(4000 / 4))
    positions = [sorted(drawn.tolist()) for drawn in drawn_positions(list("aaab"), draws=50, seed=1)]
    assert {tuple(drawn) for drawn in positions} == {(0, 0, 1, 1, 2, 2), (0, 1, 2, 3), (3, 3)}


def test_a_bootstrap_of_single_questions_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).exponential(size=120)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    ours = bootstrap(values.tolist(), _alone(120), draws=20_000, widen=False)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.1 * theirs.standard_error)


def test_the_fast_way_to_draw_means_gives_what_the_general_one_does() -> None:
    random = np.random.default_rng(6)
    values, clusters = random.random(300).tolist(), random.integers(0, 40, 300).astype(str).tolist()
    fast = bootstrap(values, clusters, draws=4000)
    slow = bootstrap(values, clusters, of=lambda drawn: mean(drawn), draws=4000)
    assert fast == pytest.approx(slow, abs=0.1 * estimate(values, clusters).se)


def test_a_median_has_an_interval() -> None:
    values = [float(number) for number in range(101)]
    low, high = bootstrap(values, _alone(101), of=lambda drawn: float(np.median(drawn)), draws=2000, widen=False)
    # The order statistics at 50.5 ± 1.96 · √101/2, that is about 41 and 60.
    assert low == pytest.approx(40, abs=2)
    assert high == pytest.approx(60, abs=2)


def test_few_clusters_widen_an_interval() -> None:
    # As in the R package resample of Hesterberg: Φ(√(n/(n−1)) · t), t the quantile with n − 1 degrees of freedom.
    found = [100 * widened(0.025, clusters) for clusters in (5, 10, 20, 40, 100)]
    theirs = [100 * scipy.stats.norm.cdf(math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(0.025, n - 1)) for n in (5, 10, 20, 40, 100)]
    assert found == pytest.approx(theirs, rel=1e-6)
    assert found == sorted(found)
    assert 2.2 < found[-1] < 2.5
    assert widened(0.025, 1) == 0


@pytest.mark.parametrize("call", [estimate, bootstrap, lambda values, clusters: compare(values, values, clusters)])
def test_values_that_nothing_can_be_said_of_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="no values"):
        call([], [])
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        call([1.0, 0.0], ["a"])
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        call([1.0, math.nan], ["a", "b"])


def test_levels_and_draws_outside_the_domain_are_refused() -> None:
    with pytest.raises(ValueError, match="level of 1"):
        estimate([1.0, 0.0], ["a", "b"], level=1.0)
    with pytest.raises(ValueError, match="0 draws"):
        bootstrap([1.0, 0.0], ["a", "b"], draws=0)


# Likeness


def test_intracluster_correlation_of_a_published_table() -> None:
    # Shrout and Fleiss 1979 (doi 10.1037/0033-2909.86.2.420), table 2: six targets, four ratings each; ICC(1,1) = .17.
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    values = [float(value) for row in table for value in row]
    clusters = [str(number) for number, row in enumerate(table) for _ in row]
    assert intracluster(grouped(values, clusters)) == pytest.approx(0.166, abs=5e-4)


@pytest.mark.parametrize(
    ("values", "clusters", "expected"),
    [
        ([1, 1, 0, 0], "aabb", 1.0),  # clusters tell everything
        ([1, 0, 1, 0], "aabb", 0.0),  # they tell nothing, and less is cut off
        ([1, 0, 1, 0], "abcd", 0.0),  # nothing to compare inside a cluster
        ([1, 0, 1, 0], "aaaa", 0.0),  # no other cluster
        ([1, 1, 1, 1], "aabb", 0.0),  # nothing varies
    ],
)
def test_intracluster_correlation_at_its_ends(values: list[float], clusters: str, expected: float) -> None:
    assert intracluster(grouped(values, list(clusters))) == expected


def test_a_question_of_a_large_cluster_sees_a_large_cluster() -> None:
    assert mean_cluster(list("aabb")) == 2
    assert mean_cluster(list("aaab")) == 2.5  # three questions see 3, one sees 1
    assert mean_cluster(_alone(7)) == 1
    with pytest.raises(ValueError, match="no questions"):
        mean_cluster([])


# Two runs


@pytest.mark.parametrize(
    ("base", "candidate", "expected"), [(10, 2, 0.03857), (2, 10, 0.03857), (5, 0, 0.0625), (6, 0, 0.03125), (3, 3, 1.0), (0, 0, 1.0)]
)
def test_mcnemar_worked_by_hand(base: int, candidate: int, expected: float) -> None:
    assert mcnemar(base, candidate) == pytest.approx(expected, abs=5e-6)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(base: int, candidate: int) -> None:
    expected = scipy.stats.binomtest(base, base + candidate).pvalue if base + candidate else 1.0
    assert mcnemar(base, candidate) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_counts_thousands() -> None:
    assert mcnemar(5000, 5200) == pytest.approx(scipy.stats.binomtest(5000, 10_200).pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="-1 and 2"):
        mcnemar(-1, 2)


def test_sign_flips_of_three_clusters_worked_by_hand() -> None:
    # Of ±3 ±2 ±1, the eight totals 6 4 2 0 0 −2 −4 −6: two are as far from 0 as 6, four as 4, six as 2, all as 0.
    assert sign_flip_p(np.array([3.0, 2, 1]), draws=10, seed=1) == 2 / 8
    assert sign_flip_p(np.array([3.0, 2, -1]), draws=10, seed=1) == 4 / 8
    assert sign_flip_p(np.array([-3.0, 2, -1]), draws=10, seed=1) == 6 / 8
    assert sign_flip_p(np.array([-3.0, 2, 1]), draws=10, seed=1) == 1


@given(st.lists(st.integers(-6, 6).map(float), min_size=2, max_size=9))
@settings(max_examples=40, deadline=None)
def test_sign_flips_agree_with_scipy(sums: list[float]) -> None:
    theirs = scipy.stats.permutation_test(
        (np.array(sums), np.zeros(len(sums))), lambda one, other: (one - other).sum(), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(np.array(sums), draws=10, seed=1) == pytest.approx(theirs.pvalue)


def test_totals_that_rounding_alone_tells_apart_are_equal() -> None:
    assert sign_flip_p(np.array([2 / 3, 1, -2 / 3, -1]), draws=10, seed=1) == 1
    tenths = np.array([0.1, 0.2, -0.3, 0.6])  # totals ±1.2 ±1 ±0.8 ±0.6 (two ways) ±0.4 ±0.2 and twice 0; the one seen is 0.6
    assert sign_flip_p(tenths, draws=10, seed=1) == 10 / 16


def test_questions_without_a_difference_leave_the_test_exact() -> None:
    sums = np.zeros(500)
    sums[:6] = 1
    assert sign_flip_p(sums, draws=10, seed=1) == mcnemar(0, 6) == 0.03125


def test_random_sign_flips_are_near_the_exact_ones() -> None:
    sums = np.random.default_rng(8).normal(0.35, 1, EXACT_UP_TO + 3)
    signs = 1 - 2 * ((np.arange(1 << len(sums))[:, None] >> np.arange(len(sums))) & 1)
    exact = float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())
    assert 0.01 < exact < 0.5
    draws = 10_000
    assert sign_flip_p(sums, draws=draws, seed=3) == pytest.approx(exact, abs=4 * math.sqrt(exact / draws))


def test_a_certain_difference_has_the_smallest_p_value_that_can_be_drawn() -> None:
    found = compare([0.0] * 60, [1.0] * 60, _alone(60), draws=999)
    assert found.p_value == 1 / 1000
    assert (found.low, found.high, found.sd, found.wins) == (1.0, 1.0, 0.0, 60)


def test_a_comparison_worked_by_hand() -> None:
    found = compare([1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 1], list("aabbcc"))
    assert (found.n, found.clusters, found.too_few_clusters) == (6, 3, True)
    assert (found.base, found.candidate, found.difference) == pytest.approx((3 / 6, 4 / 6, 1 / 6))
    assert (found.wins, found.ties, found.losses) == (2, 3, 1)
    assert found.p_value == 1  # by cluster +1, 0, 0: both signs of the one are as far
    assert found.mcnemar == 1  # two to one
    assert found.sd == pytest.approx(math.sqrt((3 - 6 * (1 / 6) ** 2) / 5))
    assert found.mean_cluster == 2
    assert found.low_one_sided == one_sided_low([1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 1], list("aabbcc"))


def test_mcnemar_is_for_right_and_wrong_alone() -> None:
    assert compare([1.0, 0.0], [0.5, 0.0], ["a", "b"], draws=10).mcnemar is None


def test_an_interval_of_the_difference_agrees_with_scipy() -> None:
    random = np.random.default_rng(9)
    base = random.random(200)
    candidate = base + random.normal(0.05, 0.3, 200)
    theirs = scipy.stats.bootstrap((candidate - base,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    found = compare(base.tolist(), candidate.tolist(), _alone(200), draws=20_000)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.1 * theirs.standard_error)
    assert found.low < found.low_one_sided < found.difference < found.high_one_sided < found.high


def test_runs_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values of the base and 1 of the candidate"):
        compare([1.0, 0.0], [1.0], ["a", "b"])


_Asked = list[tuple[float, float, str]]
_ASKED = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)),
        st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)),
        st.sampled_from("abcdefghijklmnopqrst"),
    ),
    min_size=1,
    max_size=60,
)


def _compared(asked: Sequence[tuple[float, float, str]], *, exchanged: bool = False) -> Paired:
    base, candidate, clusters = zip(*asked, strict=True)
    return compare(candidate, base, clusters, draws=200) if exchanged else compare(base, candidate, clusters, draws=200)


@given(_ASKED)
@settings(max_examples=60, deadline=None)
def test_exchanging_the_runs_changes_signs_alone(asked: _Asked) -> None:
    one, other = _compared(asked), _compared(asked, exchanged=True)
    assert other.difference == -one.difference
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-12)
    assert (other.low_one_sided, other.high_one_sided) == pytest.approx((-one.high_one_sided, -one.low_one_sided), abs=1e-12)
    assert (other.wins, other.ties, other.losses) == (one.losses, one.ties, one.wins)
    assert (other.p_value, other.mcnemar) == (one.p_value, one.mcnemar)
    assert (other.sd, other.intracluster, other.detectable) == pytest.approx((one.sd, one.intracluster, one.detectable))


@given(_ASKED.flatmap(lambda asked: st.tuples(st.just(asked), st.permutations(asked))))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_questions_changes_nothing(both: tuple[_Asked, _Asked]) -> None:
    one, other = (_compared(asked) for asked in both)
    for field in (
        "n",
        "clusters",
        "base",
        "candidate",
        "difference",
        "low",
        "high",
        "low_one_sided",
        "p_value",
        "mcnemar",
        "wins",
        "losses",
    ):
        assert getattr(one, field) == getattr(other, field)
    assert (other.sd, other.intracluster, other.detectable) == pytest.approx((one.sd, one.intracluster, one.detectable))


@given(_ASKED)
@settings(max_examples=60, deadline=None)
def test_a_comparison_stays_in_its_domain(asked: _Asked) -> None:
    found = _compared(asked)
    assert 0 < found.p_value <= 1
    assert found.low <= found.low_one_sided <= found.high_one_sided <= found.high
    assert 0 <= found.intracluster <= 1
    assert found.wins + found.ties + found.losses == found.n == len(asked)
    assert min(found.sd, found.detectable) >= 0


@given(_ASKED)
@settings(max_examples=40, deadline=None)
def test_equal_runs_differ_in_nothing(asked: _Asked) -> None:
    found = _compared([(base, base, cluster) for base, _, cluster in asked])
    assert (found.difference, found.low, found.high, found.low_one_sided, found.p_value) == (0, 0, 0, 0, 1)
    assert (found.sd, found.intracluster, found.detectable, found.ties) == (0, 0, 0, found.n)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    random = np.random.default_rng(10)
    base, candidate = random.random(80).tolist(), random.random(80).tolist()
    one, again, other = (compare(base, candidate, _alone(80), draws=500, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert (one.low, one.p_value) != (other.low, other.p_value)


# Several tests


def test_holm_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12).flatmap(lambda p: st.tuples(st.just(p), st.permutations(range(len(p))))))
def test_holm_keeps_order_and_never_lowers(given_: tuple[list[float], list[int]]) -> None:
    p_values, order = given_
    adjusted = holm(p_values)
    assert all(raw <= corrected <= 1 for raw, corrected in zip(p_values, adjusted, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i in range(len(p_values)) for j in range(len(p_values)) if p_values[i] <= p_values[j])
    assert holm([p_values[place] for place in order]) == [adjusted[place] for place in order]


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="probabilities"):
        holm([0.1, math.nan])
