"""Scores over many questions: means with failures, abstention rates, percentiles."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.abstention import ABSTENTION, Decision
from eval.metrics.latency import percentile
from eval.metrics.scores import Failed, Score, Undefined, mean, median


def test_a_failure_counts_zero_and_an_undefined_value_does_not_count() -> None:
    score = mean([1.0, 0.5, Undefined("why"), Failed("generator_error")], nothing="-")
    assert score == Score(0.5, n_applicable=4, n_scored=2, n_undefined=1, n_error=1)


def test_a_mean_of_failures_alone_is_zero() -> None:
    assert mean([Failed("generator_error")], nothing="-") == Score(0.0, n_applicable=1, n_scored=0, n_error=1)


def test_a_mean_of_nothing_says_why_there_is_none() -> None:
    assert mean([], nothing="nobody asked") == Score(Undefined("nobody asked"), 0, 0)
    assert mean([Undefined("a"), Undefined("b"), Undefined("b")], nothing="-").value == Undefined("b")


def test_a_median_passes_failures_over() -> None:
    assert median([3.0, 1.0, Failed("generator_error"), 10.0], nothing="-") == Score(3.0, 4, 3, n_error=1)
    assert median([Failed("generator_error")], nothing="no length").value == Undefined("no length")


def test_a_score_whose_numbers_do_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="are not 3"):
        Score(0.5, n_applicable=3, n_scored=2)


def _decisions(*counts: tuple[bool, Literal["answered", "abstained", "error"], int]) -> list[Decision]:
    return [Decision(answerable, made) for answerable, made, count in counts for _ in range(count)]


def test_abstention_worked_by_hand() -> None:
    decisions = _decisions((False, "abstained", 6), (False, "answered", 2), (True, "abstained", 3), (True, "answered", 9))
    values = {name: measure(decisions).value for name, measure in ABSTENTION.items()}
    assert values == pytest.approx(
        {
            "abstain_precision": 6 / 9,
            "abstain_recall": 6 / 8,
            "abstain_f1": 12 / 17,  # 2 · (2/3 · 3/4) / (2/3 + 3/4)
            "false_abstain_rate": 3 / 12,
            "false_answer_rate": 2 / 8,
        }
    )


def test_failures_improve_no_abstention_score() -> None:
    decided = _decisions((False, "abstained", 3), (False, "answered", 1), (True, "answered", 4))
    failed = [*decided, *_decisions((False, "error", 4), (True, "error", 2))]
    before = {name: measure(decided) for name, measure in ABSTENTION.items()}
    after = {name: measure(failed) for name, measure in ABSTENTION.items()}
    assert after["abstain_recall"] == Score(3 / 8, 8, 4, n_error=4)
    assert after["abstain_f1"].value == pytest.approx(6 / 11)
    assert after["false_answer_rate"] == Score(1 / 4, 8, 4, n_error=4)
    assert after["false_abstain_rate"] == Score(0.0, 6, 4, n_error=2)
    assert after["abstain_precision"] == before["abstain_precision"]


def test_without_unanswerable_questions_there_is_no_abstaining_rightly() -> None:
    scores = {name: measure(_decisions((True, "abstained", 1), (True, "answered", 1))) for name, measure in ABSTENTION.items()}
    assert scores.pop("false_abstain_rate").value == 0.5
    assert all(isinstance(score.value, Undefined) for score in scores.values())


def test_precision_is_undefined_and_f1_zero_where_nothing_was_abstained_on() -> None:
    decisions = _decisions((False, "answered", 2), (True, "answered", 2))
    assert isinstance(ABSTENTION["abstain_precision"](decisions).value, Undefined)
    assert ABSTENTION["abstain_f1"](decisions).value == 0.0


def test_every_abstention_score_of_no_decision_is_undefined() -> None:
    assert all(isinstance(measure([]).value, Undefined) for measure in ABSTENTION.values())


def test_percentiles_worked_by_hand() -> None:
    durations_ms = [40.0, 10.0, 30.0, 20.0]
    assert percentile(durations_ms, 50).value == pytest.approx(25.0)
    assert percentile(durations_ms, 95).value == pytest.approx(38.5)  # 0.95 · 3 = 2.85 steps: 30 + 0.85 · 10
    assert percentile([7.0], 95, n_error=2) == Score(7.0, 3, 1, n_error=2)


def test_a_percentile_of_nothing_is_undefined() -> None:
    assert percentile([], 95).value == Undefined("no question was timed")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_lies_within_what_was_measured(durations_ms: list[float], percent: float) -> None:
    value = percentile(durations_ms, percent).value
    assert isinstance(value, float)
    assert min(durations_ms) <= value <= max(durations_ms) or np.isclose(value, [min(durations_ms), max(durations_ms)]).any()
