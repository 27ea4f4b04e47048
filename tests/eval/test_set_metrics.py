"""Scores over many questions: means with failures, abstention rates, percentiles."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.abstention import ABSTENTION, DECISIONS, NONE_UNANSWERABLE, Decision
from eval.metrics.catalogue import METRICS
from eval.metrics.operations import NOT_TIMED, least_n, percentile, percentiles
from eval.scores import ALL_FAILED, Failed, Score, Undefined, mean, median
from eval.summary import taken

Made = Literal["answered", "abstained", "error"]


def test_a_failure_counts_zero_and_an_undefined_value_does_not_count() -> None:
    score = mean([1.0, 0.5, Undefined("why"), Failed("generator_error")], nothing="-")
    assert score == Score(0.5, n_applicable=4, n_scored=2, n_undefined=1, n_error=1)


def test_of_what_is_better_the_lower_it_is_a_failure_is_left_out() -> None:
    score = mean([1.0, 0.5, Failed("generator_error")], nothing="-", failures_count=False)
    assert score == Score(0.75, n_applicable=3, n_scored=2, n_error=1)


def test_a_mean_of_failures_alone_is_zero() -> None:
    assert mean([Failed("generator_error")], nothing="-") == Score(0.0, n_applicable=1, n_scored=0, n_error=1)


def test_a_mean_of_nothing_says_why_there_is_none() -> None:
    assert mean([], nothing="nobody asked") == Score(Undefined("nobody asked"), 0, 0)
    assert mean([Undefined("a"), Undefined("b"), Undefined("b")], nothing="-").value == Undefined("b")


def test_a_median_passes_failures_over() -> None:
    assert median([3.0, 1.0, Failed("generator_error"), 10.0], nothing="-") == Score(3.0, 4, 3, n_error=1)
    assert median([Failed("generator_error")], nothing="no length").value == ALL_FAILED


def test_a_score_whose_numbers_do_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="are not 3"):
        Score(0.5, n_applicable=3, n_scored=2)


def _decisions(*counts: tuple[bool, Made, int]) -> list[Decision]:
    return [Decision(answerable=answerable, made=made, code="generator_error") for answerable, made, count in counts for _ in range(count)]


def _score(name: str, decisions: Sequence[Decision]) -> Score:
    if name in ABSTENTION:
        return ABSTENTION[name](decisions)
    outcomes = [outcome for outcome in map(DECISIONS[name], decisions) if outcome is not None]
    return taken(METRICS[name], outcomes)


RATES = ("abstain_precision", "abstain_recall", "abstain_f1", "false_abstain_rate", "false_answer_rate", "coverage")


def test_abstention_worked_by_hand() -> None:
    decisions = _decisions((False, "abstained", 6), (False, "answered", 2), (True, "abstained", 3), (True, "answered", 9))
    assert {name: _score(name, decisions).value for name in RATES} == pytest.approx(
        {
            "abstain_precision": 6 / 9,
            "abstain_recall": 6 / 8,
            "abstain_f1": 12 / 17,  # 2 · (2/3 · 3/4) / (2/3 + 3/4)
            "false_abstain_rate": 3 / 12,
            "false_answer_rate": 2 / 8,
            "coverage": 9 / 12,
        }
    )


def test_failures_improve_no_abstention_score() -> None:
    decided = _decisions((False, "abstained", 3), (False, "answered", 1), (True, "answered", 4))
    failed = [*decided, *_decisions((False, "error", 4), (True, "error", 2))]
    assert _score("abstain_recall", failed) == Score(3 / 8, 8, 4, n_error=4)
    assert _score("abstain_f1", failed).value == pytest.approx(6 / 11)
    assert _score("false_answer_rate", failed) == Score(1 / 4, 8, 4, n_error=4)
    assert _score("false_abstain_rate", failed) == Score(0.0, 6, 4, n_error=2)
    assert _score("coverage", failed) == Score(4 / 6, 6, 4, n_error=2)
    assert _score("abstain_precision", failed) == _score("abstain_precision", decided)


def test_a_question_of_which_nobody_said_whether_it_is_answerable_counts_for_coverage_alone() -> None:
    unknown = [Decision(answerable=None, made="abstained")]
    assert [name for name in RATES if _score(name, unknown).n_applicable] == ["coverage"]


def test_without_unanswerable_questions_there_is_no_abstaining_rightly() -> None:
    decisions = _decisions((True, "abstained", 1), (True, "answered", 1))
    scores = {name: _score(name, decisions).value for name in RATES}
    assert (scores.pop("false_abstain_rate"), scores.pop("coverage")) == (0.5, 0.5)
    assert set(scores.values()) == {NONE_UNANSWERABLE}


def test_precision_is_undefined_and_f1_zero_where_nothing_was_abstained_on() -> None:
    decisions = _decisions((False, "answered", 2), (True, "answered", 2))
    assert isinstance(ABSTENTION["abstain_precision"](decisions).value, Undefined)
    assert ABSTENTION["abstain_f1"](decisions).value == 0.0


def test_every_abstention_score_of_no_decision_is_undefined() -> None:
    assert all(isinstance(_score(name, []).value, Undefined) for name in (*ABSTENTION, *DECISIONS))


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (
            Decision(made="answered", answerable=True, right=True, shown=True),
            {"answer_on_hit": 1.0, "net_utility": 1.0, "net_utility_3": 1.0},
        ),
        (
            Decision(made="answered", answerable=True, right=False, shown=False),
            {"abstain_on_miss": 0.0, "net_utility": -1.0, "net_utility_3": -3.0},
        ),
        (
            Decision(made="abstained", answerable=True, right=False, shown=True),
            {"answer_on_hit": 0.0, "net_utility": 0.0, "net_utility_3": 0.0},
        ),
        (
            Decision(made="abstained", answerable=False, right=True, shown=False),
            {"abstain_on_miss": 1.0, "net_utility": 1.0, "net_utility_3": 1.0},
        ),
        (Decision(made="answered", answerable=None, right=None, shown=None), {}),
    ],
)
def test_what_a_reader_does_with_what_it_was_shown(decision: Decision, expected: dict[str, float]) -> None:
    names = ("answer_on_hit", "abstain_on_miss", "net_utility", "net_utility_3")
    assert {name: value for name in names if (value := DECISIONS[name](decision)) is not None} == expected


def test_a_failure_counts_whether_the_gold_would_have_been_shown_or_not() -> None:
    failed = Decision(made="error", answerable=True, right=False, shown=False, code="timeout")
    assert {DECISIONS[name](failed) for name in ("answer_on_hit", "abstain_on_miss", "net_utility", "selective_accuracy")} == {
        Failed("timeout")
    }


def test_of_those_answered_the_unanswerable_are_wrong() -> None:
    decisions = [
        Decision(made="answered", answerable=True, right=True),
        Decision(made="answered", answerable=False, right=False),
        Decision(made="abstained", answerable=True, right=False),
    ]
    assert _score("selective_accuracy", decisions) == Score(0.5, 3, 2, n_undefined=1)


def test_percentiles_worked_by_hand() -> None:
    durations_ms = [40.0, 10.0, 30.0, 20.0]
    assert percentile(durations_ms, 50).value == pytest.approx(25.0)
    assert percentile(durations_ms, 100).value == 40.0
    hundred = [float(number) for number in range(1, 101)]
    assert percentile(hundred, 95).value == pytest.approx(95.05)  # 0.95 · 99 = 94.05 steps
    assert percentile([7.0], 50, n_error=2) == Score(7.0, 3, 1, n_error=2)


def test_a_high_percentile_of_few_questions_is_undefined() -> None:
    assert (least_n(50), least_n(95), least_n(99), least_n(100)) == (1, 59, 299, 1)
    assert percentile([1.0] * 58, 95) == Score(
        Undefined("the 95th percentile needs 59 timed questions: 58 were timed"), 58, 0, n_undefined=58
    )
    assert percentile([1.0] * 59, 95).value == 1.0
    assert isinstance(percentile([1.0] * 298, 99).value, Undefined)
    assert percentile([1.0] * 299, 99).value == 1.0


def test_a_percentile_of_nothing_is_undefined() -> None:
    assert percentile([], 95) == Score(NOT_TIMED, 0, 0)
    assert percentile([], 50, n_error=2) == Score(ALL_FAILED, 2, 0, n_error=2)


def test_stages_are_named_and_those_that_nobody_knows_are_left_out() -> None:
    found = percentiles({"total": [3.0], "embed": [1.0], "teleport": [9.0]})
    assert list(found) == ["p50_ms", "p95_ms", "p99_ms", "max_ms", "embed_p50_ms", "embed_p95_ms", "embed_p99_ms", "embed_max_ms"]
    assert (found["max_ms"].value, found["embed_p50_ms"].value) == (3.0, 1.0)


@given(st.lists(st.floats(0, 1e6), min_size=59), st.floats(0, 100))
def test_a_percentile_lies_within_what_was_measured(durations_ms: list[float], percent: float) -> None:
    value = percentile(durations_ms, min(percent, 95.0)).value
    assert isinstance(value, float)
    assert min(durations_ms) <= value <= max(durations_ms) or np.isclose(value, [min(durations_ms), max(durations_ms)]).any()
