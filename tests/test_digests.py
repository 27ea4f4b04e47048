import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.digests import canonical_json, digest_bytes, digest_json, digest_text, file_digest, merkle_root, short_id

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("number", "written"),
    [
        # RFC 8785, appendix B, and the rules of ECMAScript that it refers to
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (1.0000000000000001e23, "1.0000000000000001e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.3333332, "333333333.3333332"),
        (1.0, "1"),
        (4.50, "4.5"),
        (2e-3, "0.002"),
        (1e30, "1e+30"),
    ],
)
def test_numbers_are_written_as_rfc_8785_says(number: float, written: str) -> None:
    assert canonical_json(number).decode() == written


def test_the_example_of_rfc_8785_comes_out_as_printed_there() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        r'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(value).decode() == expected


def test_keys_are_sorted_by_utf_16_code_units_as_in_rfc_8785() -> None:
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    written = canonical_json(value).decode()
    order = sorted(value.values(), key=written.index)
    assert order == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",  # a surrogate pair, D83D…, which comes before FB33
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_text_beyond_ascii_is_written_as_utf_8_and_not_normalised() -> None:
    assert canonical_json("é") == b'"\xc3\xa9"'
    assert canonical_json("e\u0301") == b'"e\xcc\x81"'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), [math.nan], {"a": {"b": math.inf}}, "\ud800"])
def test_what_json_cannot_carry_exactly_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_json(value)  # type: ignore[arg-type]  # deliberately


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**53) + 1, 2**53 - 1)))
def test_the_order_in_which_keys_were_added_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


def test_a_digest_is_sha256_and_64_hex_digits() -> None:
    assert digest_bytes(b"") == f"sha256:{EMPTY}"
    assert digest_text("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert digest_json({"b": 1, "a": 2}) == "sha256:" + hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


def test_a_lone_surrogate_has_a_digest_of_its_own() -> None:
    assert digest_text("\ud800") not in {digest_text("\ud801"), digest_text("?"), digest_text("")}


def test_a_short_id_is_the_first_12_hex_digits() -> None:
    assert short_id(f"sha256:{EMPTY}") == "e3b0c44298fc"


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20 + 7])
def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(data[:size])
    assert file_digest(path) == (hashlib.sha256(data[:size]).hexdigest(), size)


def leaf(text: str) -> bytes:
    return hashlib.sha256(b"\x00" + text.encode()).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


A, B, C, D, E = (leaf(letter) for letter in "abcde")
TREES = {
    "a": A,
    "ab": node(A, B),
    "abc": node(node(A, B), C),
    "abcd": node(node(A, B), node(C, D)),
    "abcde": node(node(node(A, B), node(C, D)), E),
}


@pytest.mark.parametrize("letters", TREES)
def test_a_merkle_root_is_the_tree_worked_by_hand(letters: str) -> None:
    assert merkle_root(letters) == "sha256:" + TREES[letters].hex()


def test_the_merkle_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle_root([]) == f"sha256:{EMPTY}"


def test_the_merkle_root_depends_on_order() -> None:
    assert merkle_root(["a", "b"]) != merkle_root(["b", "a"])


def test_repeating_the_last_leaf_changes_the_merkle_root() -> None:
    assert merkle_root(["a", "b", "c"]) != merkle_root(["a", "b", "c", "c"])


def test_a_node_cannot_be_passed_off_as_a_leaf() -> None:
    unprefixed = hashlib.sha256(A + B).hexdigest()
    assert merkle_root(["a", "b"]) != f"sha256:{unprefixed}"
    assert merkle_root([(A + B).decode("latin-1")]) != merkle_root(["a", "b"])


@given(st.lists(st.text(max_size=3), max_size=12), st.lists(st.text(max_size=3), max_size=12))
def test_different_lists_have_different_merkle_roots(one: list[str], other: list[str]) -> None:
    assert (merkle_root(one) == merkle_root(other)) is (one == other)
