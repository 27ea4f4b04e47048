"""What of a passage is compared with a question, and what is quoted for it."""

from collections.abc import Callable
from sys import setprofile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.units import MAX_EXTENT_CHARS, units


def parts(text: str, *headings: str) -> list[tuple[str, str]]:
    """Kind and text of each unit."""
    return [(unit.kind, text[unit.start : unit.end]) for unit in units(text, headings)]


def quoted(text: str, *headings: str) -> list[str]:
    """What is quoted for each unit."""
    return [text[unit.extent_start : unit.extent_end] for unit in units(text, headings)]


# Prose


def test_prose_falls_into_sentences_that_are_quoted_alone() -> None:
    text = "Every employee has 28 days.  Unused days expire\non 31 March.\n\nReport sickness before nine."
    expected = ["Every employee has 28 days.", "Unused days expire\non 31 March.", "Report sickness before nine."]
    assert parts(text) == [("sentence", sentence) for sentence in expected]
    assert quoted(text) == expected


def test_what_has_fewer_than_three_words_answers_nothing() -> None:
    assert parts("See below. This is a sentence. OK.\n\nThe end") == [("sentence", "This is a sentence.")]


def test_characters_of_scripts_without_spaces_count_as_words() -> None:
    assert parts("他去。我有一本书。") == [("sentence", "我有一本书。")]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n", "…", "---", "\u3000"])
def test_what_says_nothing_has_no_units(text: str) -> None:
    assert units(text) == []


# Headings


@pytest.mark.parametrize(
    "heading", ["# Rules for all guests", "###### Rules for all guests", "  ## Rules for all guests", "## 日本 の 規則"]
)
def test_a_heading_of_markdown_is_no_unit(heading: str) -> None:
    text = f"{heading}\nGuests sign the book.\n\n{heading}\n\nThey wear a badge."
    assert parts(text) == [("sentence", "Guests sign the book."), ("sentence", "They wear a badge.")]


@pytest.mark.parametrize("mark", ["", "\n====", "\n---"])
def test_a_heading_that_is_known_is_no_unit_whatever_marks_it(mark: str) -> None:
    text = f"Rules for  all guests that stay a week{mark}\n\nGuests sign the book."
    assert parts(text, "House", "Rules for all guests that stay a week") == [("sentence", "Guests sign the book.")]
    assert len(parts(text)) == 2


@pytest.mark.parametrize(
    ("line", "is_unit"),
    [
        ("Rules for all guests", False),
        ("Guests sign the book", False),
        ("Guests sign the book.", True),
        ("Gäste tragen sich ein!", True),
        ("Rooms on floor 3", True),
        ("Run `guests add` first", True),
        ("The rules for all guests that stay a week or more", True),
    ],
)
def test_a_few_words_without_an_end_a_number_or_code_are_a_label_and_no_unit(line: str, is_unit: bool) -> None:
    assert (parts(f"They wear a badge.\n\n{line}") == [("sentence", "They wear a badge."), ("sentence", line)]) == is_unit


def test_a_sentence_that_holds_the_words_of_a_heading_is_a_unit() -> None:
    text = "Rules for all guests are on the door."
    assert parts(text, "Rules for all guests") == [("sentence", text)]


@pytest.mark.parametrize("text", ["***", "___", "![A map of the house](map.png)", "<div class='note of importance'>", "/// note | a b c"])
def test_rules_images_and_tags_are_no_units(text: str) -> None:
    assert parts(f"Guests sign the book.\n\n{text}\n\nThey wear a badge.") == [
        ("sentence", "Guests sign the book."),
        ("sentence", "They wear a badge."),
    ]


def test_a_number_sign_in_a_sentence_makes_no_heading() -> None:
    assert parts("Ticket number #42 is still open.") == [("sentence", "Ticket number #42 is still open.")]


# Lists


@pytest.mark.parametrize(
    "marks", [("-", "-", "-"), ("*", "*", "*"), ("+", "+", "+"), ("•", "•", "•"), ("1.", "2.", "3."), ("1)", "2)", "10)")]
)
def test_items_of_a_list_are_compared_alone_and_quoted_together(marks: tuple[str, str, str]) -> None:
    items = [f"{mark} {text}" for mark, text in zip(marks, ("scan it", "name the cost centre", "press Submit"), strict=True)]
    text = "\n".join(items)
    assert parts(text) == [("item", item) for item in items]
    assert quoted(text) == [text] * 3


def test_items_with_blank_lines_between_them_are_one_list() -> None:
    text = "- scan it\n\n- name the cost centre\n\n\n- press Submit"
    assert parts(text) == [("item", "- scan it"), ("item", "- name the cost centre"), ("item", "- press Submit")]
    assert quoted(text) == [text] * 3


def test_an_item_has_the_lines_that_continue_it_and_those_that_stand_below_it_are_items_too() -> None:
    text = "- scan each\n  receipt\n  - both sides\n- press Submit"
    assert [part for _, part in parts(text)] == ["- scan each\n  receipt", "- both sides", "- press Submit"]


def test_a_list_right_below_a_line_of_prose_is_a_list() -> None:
    text = "Send receipts within 30 days:\n- scan each\n- press Submit\n\nThen wait for an answer."
    assert [kind for kind, _ in parts(text)] == ["sentence", "item", "item", "sentence"]


@pytest.mark.parametrize("text", ["2024. That was the year.", "-5 degrees were measured.", "*Note* that this is prose."])
def test_what_only_looks_like_an_item_is_prose(text: str) -> None:
    assert {kind for kind, _ in parts(text)} == {"sentence"}


# Tables


TABLE = "| room | seats |\n|:-----|------:|\n| Curie | 12 |\n| Noether | 4 |"


def test_rows_of_a_table_are_compared_alone_and_quoted_with_their_heading() -> None:
    assert parts(TABLE) == [("row", "| Curie | 12 |"), ("row", "| Noether | 4 |")]
    assert quoted(TABLE) == [TABLE] * 2


def test_a_table_of_one_row_is_that_row() -> None:
    assert parts("| Curie | 12 |") == [("row", "| Curie | 12 |")]


def test_a_table_right_below_a_line_of_prose_is_a_table() -> None:
    text = f"These rooms can be booked:\n{TABLE}"
    assert [kind for kind, _ in parts(text)] == ["sentence", "row", "row"]
    assert quoted(text) == [text] * 3


# Code


@pytest.mark.parametrize("fence", ["```", "~~~", "```python", "``````"])
def test_a_block_of_code_is_one_unit_blank_lines_and_all(fence: str) -> None:
    code = f"{fence}\nimport os\n\n# no heading here\n- no item here\n| no row |\n{fence.removesuffix('python')}"
    text = f"Before it is prose.\n\n{code}\n\nAfter it is prose."
    assert parts(text) == [("sentence", "Before it is prose."), ("code", code), ("sentence", "After it is prose.")]


def test_prose_around_a_fence_needs_no_blank_lines() -> None:
    text = "Before it is prose.\n```\nx = 1\n```\nAfter it is prose."
    assert [kind for kind, _ in parts(text)] == ["sentence", "code", "sentence"]


def test_code_whose_fence_is_cut_off_goes_to_the_end() -> None:
    text = "```\nx = 1\n\ny = 2"
    assert parts(text) == [("code", text)]


def test_code_below_an_item_is_a_unit_without_the_white_space_before_it() -> None:
    text = "1. Run this command:\n\n   ```\n   make run\n   ```\n\n2. Open the page."
    assert ("code", "```\n   make run\n   ```") in parts(text)


# Announcements


@pytest.mark.parametrize(
    "whole",
    ["- scan each receipt\n- press Submit", "1. scan it\n\n2. press Submit", TABLE, "```\nmake run\n```"],
    ids=["tight", "loose", "table", "code"],
)
@pytest.mark.parametrize("announcement", ["Send receipts within 30 days:", "请在三十天内寄出收据："])
def test_a_sentence_with_a_colon_is_quoted_with_what_it_announces_and_that_with_it(announcement: str, whole: str) -> None:
    text = f"It was a long day. {announcement}\n\n{whole}\n\nThat is all there is."
    first, *announced, last = quoted(text)
    assert (first, last) == ("It was a long day.", "That is all there is.")
    assert set(announced) == {f"{announcement}\n\n{whole}"}


def test_a_sentence_without_a_colon_announces_nothing() -> None:
    text = "Send receipts within 30 days.\n\n- scan each receipt\n- press Submit"
    assert quoted(text) == ["Send receipts within 30 days.", *["- scan each receipt\n- press Submit"] * 2]


def test_a_list_announces_no_list() -> None:
    text = "- the first of these:\n\n| room | seats |\n| Curie | 12 |"
    assert quoted(text) == ["- the first of these:", "| room | seats |\n| Curie | 12 |"]


# Bounds


def list_of(chars: int) -> str:
    """Two items."""
    return f"- {'a' * (chars // 2 - 2)}\n- {'b' * (chars - chars // 2 - 3)}"


def test_a_list_is_quoted_whole_up_to_the_bound_and_item_by_item_beyond_it() -> None:
    fits, beyond = list_of(MAX_EXTENT_CHARS), list_of(MAX_EXTENT_CHARS + 1)
    assert (len(fits), len(beyond)) == (MAX_EXTENT_CHARS, MAX_EXTENT_CHARS + 1)
    assert quoted(fits) == [fits] * 2
    assert quoted(beyond) == beyond.split("\n")


def test_the_announcement_counts_for_the_bound() -> None:
    announcement = "Do these two things:\n\n"
    fits = announcement + list_of(MAX_EXTENT_CHARS - len(announcement))
    assert quoted(fits) == [fits] * 3
    beyond = announcement + list_of(MAX_EXTENT_CHARS - len(announcement) + 1)
    assert quoted(beyond) == [announcement.strip(), *beyond.removeprefix(announcement).split("\n")]


LINES = st.sampled_from(
    [
        "Every employee has 28 days.",
        "See below:",
        "Send receipts within 30 days:",
        "short",
        "",
        "   ",
        "\t",
        "\x0b",
        "\u2028",
        "- an item of a list",
        "  * one below it",
        "10) ten",
        "| a | b |",
        "  |---|",
        "|",
        "```",
        "   ~~~ x",
        "# Heading of all",
        "====",
        "--",
        "***",
        "<b>",
        "x" * 700,
        "我有一本书。",
    ]
) | st.text(max_size=12)


@settings(deadline=None, max_examples=300)
@given(
    lines=st.lists(LINES, max_size=14),
    headings=st.lists(st.sampled_from(["short", "Heading of all"]), max_size=2),
    joint=st.sampled_from(["\n", "\r\n"]),
)
def test_units_are_in_order_apart_from_each_other_and_inside_what_is_quoted_for_them(
    lines: list[str], headings: list[str], joint: str
) -> None:
    text = joint.join(lines)
    found = units(text, headings)
    end = 0
    for unit in found:
        assert end <= unit.start < unit.end <= len(text)
        end = unit.end
        assert text[unit.start : unit.end] == text[unit.start : unit.end].strip() != ""
        assert 0 <= unit.extent_start <= unit.start
        assert unit.end <= unit.extent_end <= len(text)
        whole = text[unit.extent_start : unit.extent_end]
        assert whole == whole.strip()
        assert len(whole) <= max(MAX_EXTENT_CHARS, unit.end - unit.start)


@settings(deadline=None, max_examples=200)
@given(lines=st.lists(LINES, max_size=14))
def test_what_is_quoted_never_cuts_through_another_unit(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = units(text)
    for unit in found:
        for other in found:
            apart = other.end <= unit.extent_start or unit.extent_end <= other.start
            inside = unit.extent_start <= other.start and other.end <= unit.extent_end
            assert apart or inside


HOSTILE: dict[str, Callable[[int], str]] = {
    "spaces": lambda n: " " * n + "x",
    "dashes": lambda n: "-" * n + "x",
    "dashes and spaces": lambda n: "- " * n + "x",
    "bars": lambda n: "|" * n + "x",
    "bar and spaces": lambda n: "|" + " " * n + "x",
    "fences": lambda n: "```\n" * n,
    "number signs": lambda n: "#" * n + " x",
    "items": lambda n: "- a\n" * n,
    "loose items": lambda n: "- a\n\n" * n,
    "announced lists": lambda n: "We need all of this:\n\n- a\n\n" * n,
    "rows": lambda n: "|a\n" * n,
    "underlines": lambda n: "a\n" + "=" * n + "x",
    "spaces after a line": lambda n: "a\n" + " " * n + "x",
    "lines of spaces": lambda n: ("a" + " " * 50 + "\n") * n,
    "full stops": lambda n: "a. " * n,
    "brackets": lambda n: "<" * n,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_long_hostile_text_is_read_to_its_end(kind: str) -> None:
    """What takes quadratic time would take hours."""
    text = HOSTILE[kind](100_000)[:200_000]
    assert all(unit.end <= len(text) for unit in units(text))


@pytest.mark.parametrize("kind", HOSTILE)
def test_twice_the_text_takes_twice_the_calls(kind: str) -> None:
    once, twice = calls(HOSTILE[kind](500)), calls(HOSTILE[kind](1000))
    assert twice <= 2.2 * once + 200


def calls(text: str) -> int:
    """Of functions, while the units of `text` are found: a measure of work that no busy machine disturbs."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:  # noqa: ARG001 - the interpreter's signature
        nonlocal count
        count += event in ("call", "c_call")

    setprofile(counted)
    try:
        units(text)
    finally:
        setprofile(None)
    return count
