"""Confidence: golden numbers, and figures that do not depend on the order of equals."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.curves import (
    Bin,
    Judgement,
    Point,
    accuracy_at,
    aurc,
    ece,
    excess_aurc,
    reliability,
    risk_coverage,
)
from eval.scores import Undefined

FIVE = [Judgement(confidence, loss) for confidence, loss in zip([0.9, 0.8, 0.7, 0.6, 0.5], [0.0, 0.0, 1.0, 0.0, 1.0], strict=True)]


def test_risk_and_coverage_worked_by_hand() -> None:
    assert aurc(FIVE) == pytest.approx(0.19667, abs=5e-6)  # (0 + 0 + 1/3 + 1/4 + 2/5) / 5
    assert excess_aurc(FIVE) == pytest.approx(0.06667, abs=5e-6)  # less (0 + 0 + 0 + 1/4 + 2/5) / 5
    assert accuracy_at(FIVE, 0.8) == 0.75
    assert accuracy_at(FIVE, 0.9) == 0.6  # as many as make at least 90 %: all five
    assert risk_coverage(FIVE)[2] == Point(0.7, 0.6, pytest.approx(1 / 3))


def test_equals_are_one_point_and_have_no_order() -> None:
    two = [Judgement(0.5, 1.0), Judgement(0.5, 0.0)]
    assert risk_coverage(two) == (Point(0.5, 1.0, 0.5),)
    assert aurc(two) == 0.5  # half the orders give (1 + 1/2) / 2, the others (0 + 1/2) / 2
    assert accuracy_at(two, 0.5) == 0.5


def test_of_nothing_no_curve_says_anything() -> None:
    assert risk_coverage([]) == ()
    assert all(isinstance(value, Undefined) for value in (aurc([]), excess_aurc([]), accuracy_at([], 0.8), ece(reliability([], []))))


JUDGED = st.lists(st.builds(Judgement, st.sampled_from([0.2, 0.5, 0.9]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=5)


@given(JUDGED)
def test_ties_are_broken_by_expectation(judged: list[Judgement]) -> None:
    """Over every order of all answers, by what each would give with confidences that decrease strictly and agree with the given ones."""
    orders = [order for order in permutations(judged) if all(a.confidence >= b.confidence for a, b in pairwise(order))]
    strict = [[Judgement(-place, each.loss) for place, each in enumerate(order)] for order in orders]
    for measure in (aurc, excess_aurc, lambda each: accuracy_at(each, 0.8)):
        values = [measure(each) for each in strict]
        assert all(isinstance(value, float) for value in values)
        assert measure(judged) == pytest.approx(sum(values) / len(values))


@given(JUDGED)
def test_no_order_is_better_than_the_best(judged: list[Judgement]) -> None:
    excess = excess_aurc(judged)
    assert isinstance(excess, float)
    assert excess >= -1e-12
    assert risk_coverage(judged)[-1].coverage == 1.0


def test_reliability_worked_by_hand() -> None:
    bins = reliability([0.05, 0.15, 0.95, 1.0], [False, True, True, False], bins=10)
    assert len(bins) == 10
    assert bins[0] == Bin(0.0, 0.1, 1, 0.05, 0.0)
    assert bins[2] == Bin(0.2, 0.3, 0, 0.0, 0.0)
    assert bins[9] == Bin(0.9, 1.0, 2, pytest.approx(0.975), 0.5)
    # (|0 − .05| + |1 − .15| + 2 · |.5 − .975|) / 4
    assert ece(bins) == pytest.approx(0.4625)


def test_a_confidence_that_is_a_probability_has_no_calibration_error() -> None:
    assert ece(reliability([0.75] * 4, [True, True, True, False])) == 0.0
