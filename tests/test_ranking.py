import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.ranking import ordered, rounded


def test_best_first_and_ties_by_ascending_position() -> None:
    positions, scores = ordered(np.array([7, 3, 5, 1]), np.array([0.2, 0.9, 0.2, 0.5], np.float32))
    assert positions.tolist() == [3, 1, 5, 7]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.2, 0.2])


def test_scores_that_differ_by_less_than_a_hundred_thousandth_are_a_tie() -> None:
    positions, scores = ordered(np.array([9, 2]), np.array([0.1234514, 0.1234486], np.float32))
    assert positions.tolist() == [2, 9]
    assert scores.tolist() == [np.float32(0.12345), np.float32(0.12345)]


def test_nothing_stays_nothing() -> None:
    positions, scores = ordered(np.empty(0, np.int64), np.empty(0, np.float32))
    assert (len(positions), len(scores)) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(-1, 1, width=32)), unique_by=lambda row: row[0]))
def test_the_order_of_the_input_does_not_matter(rows: list[tuple[int, float]]) -> None:
    def rank(given_rows: list[tuple[int, float]]) -> list[tuple[int, float]]:
        positions, scores = ordered(np.array([p for p, _ in given_rows], np.int64), np.array([s for _, s in given_rows], np.float32))
        return list(zip(positions.tolist(), scores.tolist(), strict=True))

    ranked = rank(rows)
    assert ranked == rank(rows[::-1])
    assert ranked == sorted(ranked, key=lambda row: (-row[1], row[0]))


@given(st.floats(-1, 1, width=32))
def test_rounding_moves_a_score_by_half_a_hundred_thousandth_at_most_and_only_once(score: float) -> None:
    once = rounded(np.array([score], np.float32))
    assert once.dtype == np.float32
    assert abs(float(once[0]) - score) <= 0.5e-5 + 1e-7
    assert rounded(once).tolist() == once.tolist()
