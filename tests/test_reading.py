"""Which sentences of the passages are quoted, and how much of them."""

import math
from dataclasses import astuple, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.expected import Expected
from rag_service.reading import WEIGHTS, Quotable, Traits, chosen, held_by_headings, score, traits_of, weighed
from rag_service.types import Chunk, ChunkId, DocumentId, Passage, Sentence
from rag_service.units import units


def passage(marker: int, text: str, *, score: float = 0.5, similarity: float = 0.5, coverage: float = 0.5) -> Passage:
    """With all its sentences, which are alike."""
    chunk = Chunk(ChunkId(f"{marker:032x}"), DocumentId("d"), 0, 0, len(text), text, "", (), "d.md", None, text, 3)
    sentences = tuple(Sentence(unit.start, unit.end, similarity, coverage) for unit in units(text))
    return Passage(marker, chunk, score, sentences)


def quotable(score: float, text: str = "", *, passage: int = 0) -> Quotable:
    return Quotable(passage, 0, len(text), text or f"Text {score} of {passage}.", score)


def traits(sentence: Sentence, before: float = 0.0, *, text: str = "x" * 100, behind: float = 0.0, **asked: str) -> Traits:
    kind: Expected | None = "number" if asked else None
    return traits_of(asked.get("question", ""), text, sentence, before, kind=kind, behind=behind)


# What a sentence is weighed by


def test_the_traits_of_a_sentence_are_worked_by_hand() -> None:
    found = traits_of("How many days?", "It is 28 days for all of us.", Sentence(30, 58, 0.7, 0.25), 0.75, kind="number", behind=0.2)
    assert astuple(found) == pytest.approx((0.7, 0.25, 0.75, 1.0, -0.2, math.log(0.28)))


@pytest.mark.parametrize(("headings", "share"), [((), 0.0), (("Paid leave",), 0.5), (("Leave", "How many paid days of holiday?"), 1.0)])
def test_before_the_first_sentence_of_a_passage_stand_its_headings(headings: tuple[str, ...], share: float) -> None:
    one = replace(passage(1, "There are 28.").chunk, title="", heading_path=headings)
    assert held_by_headings(frozenset({"paid", "holiday"}), one) == share


def test_a_score_is_the_sum_of_the_weighed_traits() -> None:
    assert score(Traits(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)) == 0.0
    assert score(Traits(0.5, 0.25, 0.5, 1.0, -0.1, math.log(2))) == pytest.approx(
        0.5 * WEIGHTS.similarity
        + 0.25 * WEIGHTS.coverage
        + 0.5 * WEIGHTS.before
        + WEIGHTS.kind
        - 0.1 * WEIGHTS.passage
        + math.log(2) * WEIGHTS.length
    )


@given(
    values=st.fixed_dictionaries({field.name: st.floats(-1, 1) for field in fields(Traits)}),
    trait=st.sampled_from([field.name for field in fields(Traits)]),
    more=st.floats(0.01, 1),
)
def test_more_of_any_trait_scores_higher(values: dict[str, float], trait: str, more: float) -> None:
    assert score(Traits(**{**values, trait: values[trait] + more})) > score(Traits(**values))


def test_of_two_sentences_the_one_with_what_is_asked_for_scores_higher() -> None:
    found = weighed("How many days of holiday?", [passage(1, "Everybody has enough holiday. Everybody gets 28 days there.")])
    assert found[1].score > found[0].score
    kind = float(WEIGHTS.kind + WEIGHTS.before * 0.5)  # the second has one before it, and both are equally long
    assert found[1].score - found[0].score == pytest.approx(kind, abs=1e-4)


def test_a_passage_that_is_less_relevant_costs_its_sentences() -> None:
    one, other = weighed("Which doors?", [passage(1, "The doors are blue.", score=0.9), passage(2, "The gates are blue.", score=0.7)])
    assert one.score - other.score == pytest.approx(0.2 * WEIGHTS.passage, abs=1e-4)


def test_every_sentence_is_weighed_in_order_with_its_place() -> None:
    texts = ["The doors are blue. The gates are green.", "The roof is made of copper."]
    found = weighed("What is blue?", [passage(number, text) for number, text in enumerate(texts, start=1)])
    assert [(one.passage, one.text) for one in found] == [
        (0, "The doors are blue."),
        (0, "The gates are green."),
        (1, "The roof is made of copper."),
    ]
    for one in found:
        assert texts[one.passage][one.start : one.end] == one.text


def test_no_passages_and_passages_without_sentences_have_nothing_to_quote() -> None:
    bare = passage(1, "Short.")
    assert weighed("Which doors?", []) == weighed("Which doors?", [bare]) == []


def test_what_makes_sense_only_whole_is_quoted_whole() -> None:
    text = "Send receipts within 30 days:\n\n- scan each receipt\n- press Submit"
    assert {one.text for one in weighed("How do I send receipts?", [passage(1, text)])} == {text}


def test_a_sentence_that_is_no_unit_is_quoted_as_it_is() -> None:
    chunk = passage(1, "One two three four five.").chunk
    [found] = weighed("Which?", [Passage(1, chunk, 0.5, (Sentence(4, 13, 0.5, 0.5),))])
    assert found.text == "two three"


# What is chosen


def test_the_best_is_quoted_and_what_is_nearly_as_good() -> None:
    found = [quotable(1.0), quotable(3.0), quotable(2.5), quotable(2.1)]
    assert [one.score for one in chosen(found, most=3, margin=0.5)] == [3.0, 2.5]
    assert [one.score for one in chosen(found, most=1, margin=0.5)] == [3.0]
    assert [one.score for one in chosen(found, most=9, margin=0.95)] == [3.0, 2.5, 2.1]


def test_sentences_of_one_passage_stand_as_they_were_written_and_those_of_the_best_come_first() -> None:
    found = [quotable(2.8, passage=0), quotable(2.7, passage=1), quotable(3.0, passage=1), quotable(2.9, passage=2)]
    assert [one.score for one in chosen(found, most=4, margin=1.0)] == [2.7, 3.0, 2.8, 2.9]


def test_of_equal_scores_the_earlier_is_chosen() -> None:
    found = [quotable(1.0, "The first of all."), quotable(1.0, "The second of all.")]
    assert [one.text for one in chosen(found, most=1, margin=0.0)] == ["The first of all."]
    assert [one.text for one in chosen(found, most=2, margin=0.0)] == ["The first of all.", "The second of all."]


def test_what_is_quoted_with_a_better_one_is_not_quoted_again_and_makes_room() -> None:
    whole = "Do this: scan it, press Submit."
    found = [quotable(3.0, "scan it"), quotable(2.9, whole), quotable(2.8, "scan it", passage=1), quotable(2.7, "Something else.")]
    assert [one.text for one in chosen(found, most=2, margin=1.0)] == ["scan it", "Something else."]


def test_nothing_to_choose_from_gives_nothing() -> None:
    assert chosen([], most=2, margin=1.0) == []
    assert chosen([quotable(1.0)], most=0, margin=1.0) == []


@given(
    found=st.lists(st.builds(quotable, st.integers(-5, 5).map(float), st.text("ab", max_size=4), passage=st.integers(0, 3)), max_size=9),
    most=st.integers(0, 5),
    margin=st.floats(0, 4),
)
def test_what_is_chosen_is_among_the_best_and_never_said_twice(found: list[Quotable], most: int, margin: float) -> None:
    picked = chosen(found, most=most, margin=margin)
    assert len(picked) <= most
    assert all(one in found for one in picked)
    if found and most:
        best = max(one.score for one in found)
        assert max(one.score for one in picked) == best
        assert all(one.score >= best - margin for one in picked)
    for place, one in enumerate(picked):
        assert all(one.text not in other.text for number, other in enumerate(picked) if number != place)
