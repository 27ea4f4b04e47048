"""Golden numbers worked by hand, and agreement with trec_eval (through ir_measures) on random runs."""

from collections.abc import Callable

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.retrieval import RETRIEVAL, by_best_rank, ndcg, recall, reciprocal_rank, success
from eval.metrics.scores import Undefined, Value

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


def _trec_eval(measures: list[ir_measures.Measure], ranked: list[str], grades: dict[str, int]) -> list[float]:
    """Values in the order of `measures`, for scores that decrease strictly."""
    qrels = [ir_measures.Qrel("q", document, grade) for document, grade in grades.items()]
    run = [ir_measures.ScoredDoc("q", document, float(len(ranked) - rank)) for rank, document in enumerate(ranked)]
    values = {value.measure: value.value for value in ir_measures.pytrec_eval.iter_calc(measures, qrels, run)}
    return [values[measure] for measure in measures]
