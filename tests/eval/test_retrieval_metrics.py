"""Golden numbers worked by hand, and agreement with trec_eval (through ir_measures) on random runs."""

from collections.abc import Callable
from typing import Any

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.retrieval import (
    RETRIEVAL,
    all_recall,
    average_precision,
    by_best_rank,
    judged,
    ndcg,
    precision,
    r_precision,
    recall,
    reciprocal_rank,
    success,
)
from eval.scores import Undefined, Value

GRADES = {"a": 3, "b": 2, "c": 1, "judged-irrelevant": 0}
RANKED = ("b", "x", "a", "judged-irrelevant")


def test_documents_stand_at_the_rank_of_their_best_chunk() -> None:
    assert by_best_rank(["b", "a", "b", "c", "a"]) == ("b", "a", "c")


@pytest.mark.parametrize(
    ("measure", "k", "expected"),
    [
        (recall, 1, 1 / 3),
        (recall, 2, 1 / 3),
        (recall, 3, 2 / 3),
        (recall, None, 2 / 3),
        (success, 1, 1.0),
        (reciprocal_rank, 10, 1.0),
        # DCG = 2/log2(2) + 3/log2(4) = 3.5; ideal = 3/log2(2) + 2/log2(3) + 1/log2(4) = 3 + 1.261859507 + 0.5
        (ndcg, 10, 3.5 / 4.761859507),
        # the ideal is cut at k too: 3 + 1.261859507
        (ndcg, 2, 2 / 4.261859507),
    ],
)
def test_worked_by_hand(measure: Callable[..., Value], k: int | None, expected: float) -> None:
    assert measure(RANKED, GRADES, k=k) == pytest.approx(expected, abs=1e-9)


def test_the_first_relevant_document_counts_for_the_reciprocal_rank() -> None:
    assert reciprocal_rank(("x", "y", "c"), GRADES, k=10) == pytest.approx(1 / 3)
    assert reciprocal_rank(("x", "y", "c"), GRADES, k=2) == 0.0


def test_the_ideal_order_is_over_all_gold_not_over_what_was_returned() -> None:
    assert ndcg(("c",), GRADES, k=10) == pytest.approx(1 / 4.761859507, abs=1e-9)


def test_one_ranking_by_all_metrics() -> None:
    """Three relevant documents, two of them retrieved at ranks 2 and 4. Numbers by trec_eval."""
    ranked, grades = ("x", "a", "y", "b", "z"), {"a": 1, "b": 1, "c": 1}
    values = {
        "rr": reciprocal_rank(ranked, grades, k=None),
        "ap": average_precision(ranked, grades),  # (1/2 + 2/4) / 3
        "ndcg@5": ndcg(ranked, grades, k=5),
        "recall@5": recall(ranked, grades, k=5),
        "p@5": precision(ranked, grades, k=5),
        "p@10": precision(ranked, grades, k=10),
        "rprec": r_precision(ranked, grades),
        "judged@5": judged(ranked, grades, k=5),
    }
    expected = {"rr": 0.5, "ap": 0.3333, "ndcg@5": 0.4982, "recall@5": 0.6667, "p@5": 0.4, "p@10": 0.2, "rprec": 0.3333, "judged@5": 0.4}
    assert values == pytest.approx(expected, abs=5e-5)


def test_finding_one_of_two_at_once_is_not_perfect() -> None:
    assert ndcg(("a", "x"), {"a": 1, "b": 1}, k=10) == pytest.approx(0.6131, abs=5e-5)


def test_finding_fewer_relevant_documents_never_raises_average_precision() -> None:
    grades = {"a": 1, "b": 1}
    assert average_precision(("a", "x", "y", "b"), grades) == pytest.approx(0.75)
    assert average_precision(("a", "x", "y", "z"), grades) == pytest.approx(0.5)


def test_everything_is_found_only_with_the_last_document() -> None:
    assert [all_recall(("a", "x", "b"), {"a": 1, "b": 2, "c": 0}, k=k) for k in (2, 3, None)] == [0.0, 1.0, 1.0]


def test_judged_irrelevant_is_judged() -> None:
    assert judged(RANKED, GRADES, k=10) == 0.75


def test_an_empty_ranking_scores_nothing_but_is_defined() -> None:
    assert {name: measure((), GRADES) for name, measure in RETRIEVAL.items()} == dict.fromkeys(RETRIEVAL, 0.0)


@pytest.mark.parametrize("grades", [{}, {"a": 0}, {"a": -1}])
def test_without_a_relevant_document_every_metric_is_undefined(grades: dict[str, int]) -> None:
    values = [measure(RANKED, grades) for measure in RETRIEVAL.values()]
    assert all(isinstance(value, Undefined) for value in values)


DOCUMENTS = [f"d{number}" for number in range(25)]


@given(
    ranked=st.lists(st.sampled_from(DOCUMENTS), unique=True, min_size=1),
    grades=st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 4), min_size=1).filter(lambda held: any(held.values())),
    k=st.integers(1, 30),
)
def test_every_metric_is_what_trec_eval_gives(ranked: list[str], grades: dict[str, int], k: int) -> None:
    ours = {measure: measure(ranked, grades, k=k) for measure in (recall, success, ndcg, reciprocal_rank)}
    theirs = _trec_eval([ir_measures.R @ k, ir_measures.Success @ k, ir_measures.nDCG @ k], ranked, grades)
    # trec_eval has no cut-off for this one: cut the run instead
    [of_cut] = _trec_eval([ir_measures.RR], ranked[:k], grades)
    assert list(ours.values()) == pytest.approx([*theirs, of_cut], abs=1e-9)


@given(ranked=st.lists(st.sampled_from(DOCUMENTS), unique=True, min_size=1), grades=st.just({"d0": 1, "d7": 1}))
def test_what_is_reported_is_what_trec_eval_gives(ranked: list[str], grades: dict[str, int]) -> None:
    names = {
        "ap": ir_measures.AP,
        "rprec": ir_measures.Rprec,
        "p@5": ir_measures.P @ 5,
        "p@10": ir_measures.P @ 10,
        "success@1": ir_measures.Success @ 1,
        "success@5": ir_measures.Success @ 5,
        "success@10": ir_measures.Success @ 10,
        "recall@5": ir_measures.R @ 5,
        "recall@10": ir_measures.R @ 10,
        "ndcg@10": ir_measures.nDCG @ 10,
    }
    ours = [RETRIEVAL[name](ranked, grades) for name in names]
    assert ours == pytest.approx(_trec_eval(list(names.values()), ranked, grades), abs=1e-9)
    [of_cut] = _trec_eval([ir_measures.RR], ranked[:10], grades)
    assert RETRIEVAL["rr@10"](ranked, grades) == pytest.approx(of_cut, abs=1e-9)
    [of_all] = _trec_eval([ir_measures.R @ len(DOCUMENTS)], ranked, grades)
    assert RETRIEVAL["recall@pool"](ranked, grades) == pytest.approx(of_all, abs=1e-9)


@given(
    ranked=st.lists(st.sampled_from(DOCUMENTS), unique=True, min_size=1),
    grades=st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 4), min_size=1).filter(lambda held: any(held.values())),
    k=st.integers(1, 30),
)
def test_precisions_are_what_trec_eval_gives_and_judged_what_ir_measures_gives(ranked: list[str], grades: dict[str, int], k: int) -> None:
    ours = [average_precision(ranked, grades), r_precision(ranked, grades), precision(ranked, grades, k=k)]
    assert ours == pytest.approx(_trec_eval([ir_measures.AP, ir_measures.Rprec, ir_measures.P @ k], ranked, grades), abs=1e-9)
    [of_judged] = _trec_eval([ir_measures.Judged @ k], ranked, grades, by=ir_measures.judged)
    assert judged(ranked, grades, k=k) == pytest.approx(of_judged, abs=1e-9)


def _trec_eval(
    measures: list[ir_measures.Measure],
    ranked: list[str],
    grades: dict[str, int],
    *,
    by: Any = ir_measures.pytrec_eval,
) -> list[float]:
    """Values in the order of `measures`, for scores that decrease strictly."""
    qrels = [ir_measures.Qrel("q", document, grade) for document, grade in grades.items()]
    run = [ir_measures.ScoredDoc("q", document, float(len(ranked) - rank)) for rank, document in enumerate(ranked)]
    values = {value.measure: value.value for value in by.iter_calc(measures, qrels, run)}
    return [values[measure] for measure in measures]
