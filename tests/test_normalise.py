import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_service.loading.decoding import decode
from rag_service.normalise import document_text, normalise

AWKWARD = st.text(
    st.one_of(
        st.characters(codec=None),
        st.sampled_from(
            "\r\n\t \x0c\x85\u2028\u200b\u200d\ufeff\u00ad\u202e\u0301\u0316\u0344\u0e31e\ud83d\ude00\U000e0041\U0001e8d0\ufdd0"
        ),
    ),
    max_size=80,
)


@given(AWKWARD)
@example("e\u200b\u0301")
@example("\r\u200b\n")
@example("a" + "\u0344" * 40)
@example("a" + "\u0301\u0316" * 40 + "\u09c7\u09be")
@example("a" + "\U0001e8d0\u0301" * 40)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(AWKWARD)
def test_the_text_of_a_document_is_its_own_text(text: str) -> None:
    once = document_text(text)
    assert document_text(once) == once
    assert once == once.rstrip()


@given(AWKWARD)
def test_no_control_character_or_surrogate_is_left(text: str) -> None:
    for character in normalise(text):
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a\r\nb\rc\x0cd\u2028e\x85f", "a\nb\nc\nd\ne\nf"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),
        ("in\u00advisible\u2060\ufeff", "invisible"),
        ("safe\U000e0069\U000e0067\U000e006e\U000e007f", "safe"),
        ("a\u202eb\u2066c\u2069", "abc"),
        ("nul\x00bell\x07esc\x1b\x7f\x9f", "nulbellesc"),
        ("\ud800x", "\ufffdx"),
        ("\ufdd0\uffff\U0001fffe.", "."),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_text_is_spelled_in_one_way_and_without_what_is_invisible(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_the_first_line_keeps_its_indentation_and_blank_lines_around_the_text_go() -> None:
    assert document_text("\n \n\u00a0\n    code\n\n  text  \n \n") == "    code\n\n  text"


def test_a_long_run_of_combining_marks_is_cut_before_it_costs_quadratic_time() -> None:
    started = time.process_time()
    text = normalise("a" + "\u0301\u0316" * 200_000)
    assert time.process_time() - started < 5  # sorting the whole run takes minutes
    assert len(text) <= 31


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_is_decoded_by_its_mark_or_by_what_it_can_be(encoding: str) -> None:
    assert decode("Überprüfung – “quoted”".encode(encoding)) == "Überprüfung – “quoted”"


def test_bytes_that_windows_leaves_undefined_are_read_as_latin_1() -> None:
    assert decode(b"caf\xe9 \x81 and more plain text around it") == "café \x81 and more plain text around it"


@pytest.mark.parametrize("data", [b"a\x00b", bytes(range(1, 256)), "text".encode("utf-16-le"), b"\xff\xfea", b"\xef\xbb\xbf\xff"])
def test_bytes_that_are_not_text_are_not_decoded(data: bytes) -> None:
    assert decode(data) is None
