"""Passages against places: golden numbers of the field, and agreement with trec_eval where a passage is a document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import passages, retrieval, spans
from eval.metrics.passages import IN_POOL, all_found, covers, evidence, found_ranks
from eval.results import Gold, GoldSpan
from eval.sample import Ranked, Sample
from eval.scores import Undefined


def a_passage(start: int, end: int, document: str = "doc") -> Ranked:
    return Ranked(f"{document}-{start}-{end}", document, start, end, 0.5)


def gold_of(*groups: tuple[GoldSpan, ...]) -> Gold:
    return Gold({place.document: 1 for group in groups for place in group}, 0, groups)


HERE = GoldSpan("doc", 100, 160)
THERE = GoldSpan("doc", 300, 340)
ELSEWHERE = GoldSpan("other", 0, 10)


@pytest.mark.parametrize(
    ("start", "end", "document", "expected"),
    [
        (80, 130, "doc", True),  # 30 of 60
        (80, 129, "doc", False),
        (0, 1000, "doc", True),
        (160, 200, "doc", False),
        (100, 160, "other", False),
    ],
)
def test_a_passage_covers_a_place_from_half_of_it_on(start: int, end: int, document: str, expected: bool) -> None:
    assert covers(a_passage(start, end, document), HERE) is expected


def test_with_another_threshold_all_of_the_place_can_be_asked_for() -> None:
    assert covers(a_passage(100, 160), HERE, tau=1.0)
    assert not covers(a_passage(100, 159), HERE, tau=1.0)


def test_a_group_is_found_at_the_rank_of_the_first_passage_that_covers_any_of_its_places() -> None:
    ranking = [a_passage(0, 50), a_passage(0, 20, "other"), a_passage(90, 170), a_passage(100, 160)]
    assert found_ranks(ranking, gold_of((HERE, ELSEWHERE), (HERE,), (THERE,))) == (2, 3, None)


def test_of_documents_alone_any_passage_of_any_of_them_is_found() -> None:
    gold = Gold({"other": 2, "third": 1, "judged": 0}, 0)
    assert found_ranks([a_passage(0, 50), a_passage(0, 5, "judged"), a_passage(0, 5, "third")], gold) == (3,)
    assert found_ranks([a_passage(0, 50)], Gold({}, 0)) == ()


def test_everything_is_found_when_every_group_is() -> None:
    gold = gold_of((HERE,), (THERE,))
    assert all_found([a_passage(90, 170), a_passage(300, 340)], gold) is True
    assert all_found([a_passage(90, 170)], gold) is False
    assert all_found([a_passage(90, 170)], Gold({}, 0)) is None
    assert all_found([a_passage(90, 170)], Gold({"doc": 1}, 1)) is False  # a part of the gold is in no document


def test_the_evidence_is_the_prompt_or_the_hits_where_there_was_none() -> None:
    hits = (a_passage(0, 10), a_passage(10, 20))
    assert evidence(Sample(status="answered", hits=hits, shown=1)) == hits[:1]
    assert evidence(Sample(status="abstained", hits=hits, shown=1)) == hits[:1]
    assert evidence(Sample(status="abstained", hits=hits)) == hits


def test_passages_worked_by_hand() -> None:
    ranks = (2, None, 7)  # three groups, found at ranks 2 and 7
    assert {name: measure(ranks) for name, measure in IN_POOL.items()} == pytest.approx(
        {
            "passage_success@1": 0.0,
            "passage_success@5": 1.0,
            "passage_success@10": 1.0,
            "passage_recall@5": 1 / 3,
            "passage_recall@10": 2 / 3,
            "passage_recall@pool": 2 / 3,
            "passage_rr@10": 0.5,
            # ranks 2 and 7 gain 1/log2(3) and 1/log2(8); the best are 1, 2 and 3
            "passage_ndcg@10": (0.630929754 + 0.333333333) / (1 + 0.630929754 + 0.5),
        }
    )
    assert passages.everything((2, 7)) == 1.0
    assert passages.everything(ranks) == 0.0


def test_one_of_two_groups_at_rank_one_gains_what_one_of_two_documents_does() -> None:
    assert passages.ndcg((1, None), k=10) == pytest.approx(0.6131, abs=5e-5)


def test_one_passage_that_finds_two_groups_gains_no_more_than_all() -> None:
    assert passages.ndcg((1, 1), k=10) == 1.0


def test_without_places_nothing_is_defined() -> None:
    assert all(isinstance(measure(()), Undefined) for measure in IN_POOL.values())


DOCUMENTS = [f"d{number}" for number in range(15)]


@given(ranked=st.lists(st.sampled_from(DOCUMENTS), unique=True), gold=st.lists(st.sampled_from(DOCUMENTS), unique=True, min_size=1))
def test_where_each_passage_is_a_document_the_numbers_are_those_of_documents(ranked: list[str], gold: list[str]) -> None:
    """Those of documents are trec_eval's: see the tests of retrieval."""
    ranks = found_ranks([a_passage(0, 10, name) for name in ranked], gold_of(*((GoldSpan(name, 0, 10),) for name in gold)))
    grades = dict.fromkeys(gold, 1)
    names = ["success@1", "success@5", "success@10", "recall@5", "recall@10", "recall@pool", "rr@10", "ndcg@10"]
    ours = [IN_POOL[f"passage_{name}"](ranks) for name in names]
    assert ours == pytest.approx([retrieval.RETRIEVAL[name](ranked, grades) for name in names], abs=1e-12)


CHUNKS = [a_passage(80, 130), a_passage(120, 180), a_passage(300, 350)]


def test_spans_worked_by_hand() -> None:
    sizes = spans.overlap(CHUNKS, [(HERE,)])
    assert (sizes.gold, sizes.shared, sizes.shown, sizes.either) == (60, 60, 160, 150)
    assert [measure(sizes) for measure in spans.SPANS.values()] == pytest.approx([1.0, 0.375, 0.4])


def test_of_the_places_of_a_group_the_best_shown_counts() -> None:
    sizes = spans.overlap([a_passage(0, 10, "other")], [(HERE, ELSEWHERE)])
    assert [measure(sizes) for measure in spans.SPANS.values()] == [1.0, 1.0, 1.0]


def test_groups_that_overlap_are_needed_once() -> None:
    assert spans.overlap([a_passage(0, 200)], [(HERE,), (GoldSpan("doc", 130, 170),)]).gold == 70


def test_without_passages_precision_is_undefined_and_recall_none() -> None:
    sizes = spans.overlap([], [(HERE,)])
    assert (spans.recall(sizes), spans.iou(sizes), spans.precision(sizes)) == (0.0, 0.0, spans.NOTHING_SHOWN)


def test_redundancy_worked_by_hand() -> None:
    assert spans.redundancy(CHUNKS) == pytest.approx(20 / 160)  # [120, 130) stands in both
    assert spans.redundancy([a_passage(0, 100), a_passage(0, 100)]) == 1.0
    assert spans.redundancy([a_passage(0, 100), a_passage(0, 100, "other")]) == 0.0
    assert isinstance(spans.redundancy([]), Undefined)


PLACES = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 30), st.integers(1, 12))


@given(shown=st.lists(PLACES, max_size=6), groups=st.lists(st.lists(PLACES, min_size=1, max_size=2), min_size=1, max_size=3))
def test_sizes_are_those_of_sets_of_characters(shown: list[tuple[str, int, int]], groups: list[list[tuple[str, int, int]]]) -> None:
    ranked = [a_passage(start, start + length, document) for document, start, length in shown]
    gold = [[GoldSpan(document, start, start + length) for document, start, length in group] for group in groups]
    characters = {(p.document_id, at) for p in ranked for at in range(p.start, p.end)}

    def share(place: GoldSpan) -> float:
        return sum((place.document, at) in characters for at in range(place.start, place.end)) / (place.end - place.start)

    chosen = [max(group, key=share) for group in gold]
    wanted = {(place.document, at) for place in chosen for at in range(place.start, place.end)}
    sizes = spans.overlap(ranked, gold)
    assert (sizes.gold, sizes.shared, sizes.either) == (len(wanted), len(wanted & characters), len(wanted | characters))
    repeated = sum(
        any((p.document_id, at) in {(o.document_id, c) for c in range(o.start, o.end)} for n, o in enumerate(ranked) if n != number)
        for number, p in enumerate(ranked)
        for at in range(p.start, p.end)
    )
    assert not ranked or spans.redundancy(ranked) == pytest.approx(repeated / sizes.shown)
