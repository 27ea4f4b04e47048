"""An answer cut into claims, and which passages each cites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.citations import find_markers
from rag_service.claims import Claim, find_claims
from rag_service.types import Chunk, ChunkId, Citation, DocumentId

CHUNK = Chunk(ChunkId("c"), DocumentId("d"), 0, 0, 1, "x", "", (), "d", None, "x", 1)


def claims(text: str) -> list[Claim]:
    citations = [
        Citation(number, CHUNK, 0.5, (marker.start, marker.end), "", (0, 0), (0, 0), verbatim=False)
        for marker in find_markers(text)
        for number in marker.numbers
    ]
    return find_claims(text, citations)


def cites(text: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(text[claim.start : claim.end], claim.cites) for claim in claims(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One [1]. Two [2].", [("One [1].", (1,)), ("Two [2].", (2,))]),
        ("One. [1] Two. [2]", [("One.", (1,)), ("Two.", (2,))]),
        ("One.[1] Two.[2]", [("One.", (1,)), ("Two.", (2,))]),
        ("One[1][2]. Two [1, 3].", [("One[1][2].", (1, 2)), ("Two [1, 3].", (1, 3))]),
        ("[1] says one. Two.", [("says one.", (1,)), ("Two.", ())]),
        ("One. Two [1]. Three.", [("One.", (1,)), ("Two [1].", (1,)), ("Three.", ())]),
        ("One.\n\nTwo [1].", [("One.", ()), ("Two [1].", (1,))]),
        ("One.\n\n[1]", [("One.", (1,))]),
        ("Do this:\n\nOne [1].", [("Do this:", (1,)), ("One [1].", (1,))]),
        ("一。[1]二[2]。", [("一。", (1,)), ("二[2]。", (2,))]),
        ("One.\n\n# Two\n\nThree [1].", [("One.", ()), ("Three [1].", (1,))]),
        ("", []),
        ("[1]", []),
        ("...\n\n***", []),
    ],
)
def test_a_marker_belongs_to_the_sentence_before_it_and_covers_those_without(
    text: str, expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert cites(text) == expected


def test_items_rows_and_code_blocks_are_claims_as_a_whole() -> None:
    text = (
        "See a. b:\n\n- One. And more\n  of it.\n- Two.\n\n* Three.\n\n```py\nx = 1. \n\n# no heading\n- no item\n```\n"
        "| a | b |\n|---|---|\n| c | d |\n1. Four"
    )
    assert [(claim.kind, text[claim.start : claim.end]) for claim in claims(text)] == [
        ("sentence", "See a. b:"),
        ("item", "One. And more\n  of it."),
        ("item", "Two."),
        ("item", "Three."),
        ("code", "```py\nx = 1. \n\n# no heading\n- no item\n```"),
        ("row", "| a | b |"),
        ("row", "| c | d |"),
        ("item", "Four"),
    ]


def test_a_loose_list_is_covered_by_the_marker_below_it() -> None:
    assert cites("- One.\n\n- Two.\n\n[1]") == [("One.", (1,)), ("Two.", (1,))]


def test_code_inside_a_sentence_does_not_end_it() -> None:
    assert cites("Call `a. b? c` now. Then stop.") == [("Call `a. b? c` now.", ()), ("Then stop.", ())]


def test_a_fence_that_nobody_closes_reaches_to_the_end() -> None:
    assert [claim.kind for claim in claims("One.\n\n~~~\ncode\n```\nTwo.")] == ["sentence", "code"]


def test_the_text_of_a_claim_has_blanks_for_its_markers() -> None:
    [claim] = claims("It is [1] so [2].")
    assert claim.text == "It is     so    ."


@given(st.text(st.sampled_from("a.?! \n-|`#1[]:。中")), st.lists(st.tuples(st.integers(-2, 30), st.integers(-2, 30)), max_size=4))
def test_claims_are_in_order_without_overlap_whatever_the_spans_of_the_citations(text: str, spans: list[tuple[int, int]]) -> None:
    citations = [Citation(1, CHUNK, 0.5, span, "", (0, 0), (0, 0), verbatim=False) for span in spans]
    position = 0
    for claim in find_claims(text, citations):
        assert position <= claim.start < claim.end <= len(text)
        assert len(claim.text) == claim.end - claim.start
        position = claim.end
