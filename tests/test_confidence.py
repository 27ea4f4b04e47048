"""How sure it is that an answer is among the hits."""

import dataclasses
import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.abstention import COEFFICIENTS, INTERCEPT, LOOKED_AT, Signs, after_checks, before_generation, confidence, signs
from rag_service.types import Chunk, ChunkId, DocumentId, Hit, Sentence, SentenceSupport, SupportLevel

CHUNK = Chunk(ChunkId("c"), DocumentId("d"), 0, 0, 1, "x", "", (), "d.txt", None, "x", 3)
SHARES = st.floats(0, 1)


def hit(cosine: float, keywords: float = 0.0, *sentences: tuple[float, float]) -> Hit:
    return Hit(CHUNK, 0.5, cosine, keywords, tuple(Sentence(0, 1, near, held) for near, held in sentences))


HITS = st.builds(hit, SHARES, SHARES, st.tuples(SHARES, SHARES), st.tuples(SHARES, SHARES))


def test_without_hits_there_is_no_confidence() -> None:
    assert confidence([], 0.0, unrelated=0.0) == 0.0


def test_the_signs_are_the_best_of_the_best_hits() -> None:
    hits = [hit(0.6, 0.5, (0.4, 0.5), (0.7, 0.1)), hit(0.8, 0.3, (0.2, 0.9)), hit(0.1, 0.75)]
    found = signs(hits, 0.25, unrelated=0.2)
    # Counted from 0.2: 0.8 is 0.75, 0.7 is 0.625, 0.4 is 0.25, 0.2 is 0.
    assert dataclasses.astuple(found) == pytest.approx((0.75, 0.625, 0.75, 0.9, (0.0 + 0.9) / 2, 0.25))


def test_where_no_sentence_was_compared_the_passage_stands_in_for_it() -> None:
    found = signs([hit(0.6, 0.5), hit(0.9, 0.1)], 0.0, unrelated=0.2)
    assert (found.sentence, found.sentence_coverage, found.best_sentence) == pytest.approx((0.5, 0.0, 0.0))


def test_a_worked_example_comes_out_as_worked() -> None:
    hits = [hit(0.5, 0.5, (0.75, 0.25))]
    logit = INTERCEPT + sum(
        weight * sign for weight, sign in zip(dataclasses.astuple(COEFFICIENTS), (0.5, 0.75, 0.5, 0.25, 0.5, 0.1), strict=True)
    )
    assert confidence(hits, 0.1, unrelated=0.0) == round(1 / (1 + math.exp(-logit)), 5)


@given(hits=st.lists(HITS, min_size=LOOKED_AT, max_size=LOOKED_AT), more=st.lists(HITS, max_size=4), unknown=SHARES)
def test_hits_beyond_those_that_are_looked_at_make_no_difference(hits: list[Hit], more: list[Hit], unknown: float) -> None:
    assert confidence([*hits, *more], unknown, unrelated=0.1) == confidence(hits, unknown, unrelated=0.1)


@given(cosine=st.floats(-1, 1), near=st.floats(-1, 1), held=SHARES, keywords=SHARES, unknown=SHARES, unrelated=st.floats(0, 0.95))
def test_it_is_a_probability(cosine: float, near: float, held: float, keywords: float, unknown: float, unrelated: float) -> None:
    found = confidence([hit(cosine, keywords, (near, held))], unknown, unrelated=unrelated)
    assert 0.0 <= found <= 1.0
    assert round(found, 5) == found


def test_each_sign_counts_for_an_answer_and_unknown_words_against_it() -> None:
    assert {field.name: getattr(COEFFICIENTS, field.name) > 0 for field in fields(Signs)} == {
        "cosine": True,
        "sentence": True,
        "coverage": True,
        "sentence_coverage": True,
        "best_sentence": True,
        "unknown": False,
    }


@given(
    values=st.tuples(SHARES, SHARES, SHARES, SHARES, SHARES),
    place=st.integers(0, 4),
    more=st.floats(0.01, 0.5),
    unrelated=st.floats(0, 0.8),
)
def test_more_of_what_speaks_for_an_answer_never_lowers_it_and_unknown_words_do(
    values: tuple[float, ...], place: int, more: float, unrelated: float
) -> None:
    def of(cosine: float, keywords: float, near: float, held: float, unknown: float) -> float:
        return confidence([hit(cosine, keywords, (near, held))], unknown, unrelated=unrelated)

    changed = of(*(value + more if number == place else value for number, value in enumerate(values)))
    if place == 4:
        assert changed <= of(*values)
    else:
        assert changed >= of(*values)


def test_words_that_the_index_does_not_know_lower_it() -> None:
    found = [confidence([hit(0.5, 0.5, (0.5, 0.5))], unknown, unrelated=0.0) for unknown in (0.0, 0.3, 0.6, 1.0)]
    assert found == sorted(set(found), reverse=True)


def test_the_same_cosine_says_less_where_unrelated_texts_have_it_too() -> None:
    hits = [hit(0.8, 0.5, (0.8, 0.5))]
    assert confidence(hits, 0.0, unrelated=0.7) < confidence(hits, 0.0, unrelated=0.03)


@pytest.mark.parametrize(
    ("hits", "chunks", "sure", "expected"),
    [
        (0, 0, 0.0, "empty_index"),
        (0, 5, 0.0, "no_hits"),
        (2, 5, 0.49999, "low_confidence"),
        (2, 5, 0.5, None),
        (2, 5, 1.0, None),
    ],
)
def test_nothing_is_generated_from_what_hardly_holds_an_answer(hits: int, chunks: int, sure: float, expected: str | None) -> None:
    assert before_generation([hit(0.1)] * hits, indexed_chunks=chunks, confidence=sure, min_confidence=0.5) == expected


def sentence(level: SupportLevel, *, claims: bool = True) -> SentenceSupport:
    return SentenceSupport((0, 1), level, 0.0, (1,), True, claims, ())


@pytest.mark.parametrize(
    ("support", "withheld"),
    [
        ([], False),
        ([sentence("supported"), sentence("partly")], False),
        ([sentence("supported"), sentence("unsupported")], True),
        ([sentence("unsupported", claims=False)], False),
    ],
)
def test_one_claim_without_support_withholds_the_answer_where_checks_are_strict(support: list[SentenceSupport], withheld: bool) -> None:
    assert after_checks(support, strict=True) == ("unsupported" if withheld else None)
    assert after_checks(support, strict=False) is None
