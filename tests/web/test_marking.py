"""Texts in pieces: joined they are the text again, and what is marked is what was meant."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.ask import Pipeline
from rag_service.types import Prompt
from rag_service.web.marking import Segment, answer_pieces, filled_parts, segments
from tests.web.conftest import kept

SPANS = st.lists(st.tuples(st.tuples(st.integers(-5, 40), st.integers(-5, 40)), st.integers(0, 4)), max_size=6)


@given(st.text(max_size=30), SPANS)
def test_pieces_make_the_text_again_and_a_character_is_marked_by_the_spans_that_hold_it(text: str, spans: list) -> None:  # type: ignore[type-arg]
    cut = segments(text, spans)
    assert "".join(segment.text for segment in cut) == text
    assert all(segment.text for segment in cut)
    marks = [segment.mark for segment in cut for _ in segment.text]
    assert marks == [tuple(sorted({number for (start, end), number in spans if start <= at < end})) for at in range(len(text))]


def test_overlapping_quotes_are_cut_where_they_cross() -> None:
    assert segments("abcdef", [((1, 4), 1), ((3, 5), 2)]) == [
        Segment("a"), Segment("bc", (1,)), Segment("d", (1, 2)), Segment("e", (2,)), Segment("f")
    ]  # fmt: skip


def test_the_markers_of_an_answer_stand_apart_with_what_they_cite(pipeline: Pipeline) -> None:
    record = kept(pipeline).record
    assert record.answer is not None
    pieces = answer_pieces(record.answer, record.citations)
    assert "".join(piece.text for piece in pieces) == record.answer
    assert [piece.citations for piece in pieces if piece.citations] == [(citation,) for citation in record.citations]


def test_a_marker_that_names_two_passages_has_both(pipeline: Pipeline) -> None:
    [citation, *_] = kept(pipeline).record.citations
    both = [dataclasses.replace(citation, marker=number, answer_span=(4, 10)) for number in (1, 3)]
    assert answer_pieces("Yes [1, 3].", both)[1].citations == tuple(both)


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        ("Run `make test` now.", [("text", "Run "), ("code", "make test"), ("text", " now.")]),
        ("Run:\n\n```bash\na\n\nb\n```\n\nThen wait.", [("text", "Run:"), ("block", "a\n\nb"), ("text", "Then wait.")]),
        ("```\na\n```\n\n```\nb\n``` \n", [("block", "a"), ("block", "b")]),
        ("```\n`a`\n```", [("block", "`a`")]),
        ("Never closed:\n```\na `b` c", [("text", "Never closed:\n```\na "), ("code", "b"), ("text", " c")]),
        ("One ` and\nanother ` are text, ``as`` are two.", [("text", "One ` and\nanother ` are text, ``as`` are two.")]),
        ("```not a fence``` here", [("text", "```not a fence``` here")]),
        ("", []),
    ],
)
def test_code_in_an_answer_stands_apart(answer: str, pieces: list[tuple[str, str]]) -> None:
    assert [(piece.kind, piece.text) for piece in answer_pieces(answer, [])] == pieces


def test_an_answer_that_opens_a_block_again_and_again_takes_no_longer_than_its_length() -> None:
    answer = "```a\n" * 100_000
    assert "".join(piece.text for piece in answer_pieces(answer, [])) == answer


def test_spans_of_another_text_do_no_harm(pipeline: Pipeline) -> None:
    [citation, *_] = kept(pipeline).record.citations
    pieces = answer_pieces("Short.", [citation, dataclasses.replace(citation, answer_span=(3, 3))])
    assert "".join(piece.text for piece in pieces) == "Short."


def test_what_was_filled_into_a_prompt_is_found_in_it(pipeline: Pipeline) -> None:
    record = kept(pipeline).record
    assert record.prompt is not None
    parts = filled_parts(record.prompt, record.query)
    assert "".join(part.text for part in parts) == record.prompt.user
    filled = {part.mark[0]: part.text for part in parts if part.mark}
    assert filled[0] == record.query
    for passage in record.prompt.passages:
        assert filled[passage.marker].startswith(f"[{passage.marker}] ")
        assert filled[passage.marker].endswith(passage.chunk.text)


def test_a_prompt_that_was_masked_is_shown_without_marks(pipeline: Pipeline) -> None:
    record = kept(pipeline).record
    assert record.prompt is not None
    masked = Prompt(record.prompt.system, "all is masked", record.prompt.question, record.prompt.passages)
    assert filled_parts(masked, record.query) == [Segment("all is masked")]
