"""A text in pieces is the same text as in one, and clean either way."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_service.errors import GeneratorFailed
from rag_service.generators.transcript import MAX_ANSWER_CHARS, MAX_PIECES, Transcript, cleaned

HOSTILE = st.text(st.characters(exclude_categories=()) | st.sampled_from("\x00\x07\x1b\r\n\t\x85\ud83e\udd56\ud800a "), max_size=30)


def said(*pieces: str) -> tuple[str, list[str]]:
    told: list[str] = []
    transcript = Transcript(told.append)
    for piece in pieces:
        transcript.add(piece)
    return transcript.end(), told


@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(HOSTILE, max_size=6))
@example(pieces=["\ud83e", "\udd56"])
@example(pieces=["\ud83e", "", "\udd56"])
@example(pieces=["a\ud83e", "\ud83e", "b"])
def test_pieces_are_the_text_and_what_they_were_cut_into_does_not_matter(pieces: list[str]) -> None:
    text, told = said(*pieces)
    assert text == "".join(told) == cleaned("".join(pieces))
    assert "" not in told
    text.encode()  # no lone surrogate is left
    assert not [character for character in text if unicodedata.category(character) == "Cc" and character not in "\t\n"]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n")))
def test_a_clean_text_is_left_alone(text: str) -> None:
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udd56\ud83e", "\ufffd\ufffd"),
        ("\ud83e\udd56", "🥖"),
        ("one\r\ntwo\tthree\x00", "one\ntwo\tthree"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("next\x85line", "nextline"),
        ("\ufeffBOM stays\u200b", "\ufeffBOM stays\u200b"),
    ],
)
def test_what_cannot_be_shown_is_removed_or_replaced(dirty: str, clean: str) -> None:
    assert cleaned(dirty) == clean
    assert said(*dirty)[0] == clean


def test_the_longest_text_is_heard_out_and_one_character_more_is_not() -> None:
    transcript = Transcript()
    transcript.add("x" * (MAX_ANSWER_CHARS - 1))
    transcript.add("y")
    assert len(transcript.end()) == MAX_ANSWER_CHARS
    with pytest.raises(GeneratorFailed, match="more than 200,000 characters") as caught:
        transcript.add("z")
    assert caught.value.stage == "generate"
    assert caught.value.hint


@pytest.mark.parametrize("piece", ["", "\x00"])
def test_pieces_of_nothing_do_not_go_on_for_ever(piece: str) -> None:
    transcript = Transcript()
    for _ in range(MAX_PIECES):
        transcript.add(piece)
    with pytest.raises(GeneratorFailed, match="more than 50,000 pieces"):
        transcript.add(piece)
