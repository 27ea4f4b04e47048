"""Names, quotes and negations of a sentence."""

import pytest

from rag_service.facts import denied, denies, is_german, is_question, names, quotes, speakers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was found by Marie Curie in Paris.", [("Marie", "Curie"), ("Paris",)]),
        ("Marie Curie found it.", [("Marie", "Curie")]),
        ("Radium was found.", []),
        ("The Louvre is large.", [("Louvre",)]),
        ("It ended. Then it began: Today, I know.", []),
        ("NASA sent an iPhone with HTTP2.", [("NASA",), ("iPhone",), ("HTTP2",)]),
        ("I'm sure I’ll go.", []),
        ("A Guide To The Big City", []),
        ("no names here", []),
        ("中国的 NASA", [("NASA",)]),
        ("", []),
    ],
)
def test_names_are_capitals_that_do_not_begin_a_sentence(text: str, expected: list[tuple[str, ...]]) -> None:
    assert names(text) == expected


def test_quotes_are_of_two_words_and_more_or_code() -> None:
    assert quotes('She said "go home" and "stop", „geh heim“, «va chez toi», run `ls`, it\'s "open') == [
        "go home",
        "geh heim",
        "va chez toi",
        "ls",
    ]


@pytest.mark.parametrize(
    ("text", "no", "yes"),
    [
        ("The tool does not support Windows.", {"support"}, {"tool", "window"}),
        ("The tool doesn’t run, but it starts.", {"run"}, {"tool", "start"}),
        ("It is no longer supported.", {"support"}, set()),
        ("Works without passwords.", {"password"}, {"work"}),
        ("Das geht im Winter nicht.", {"winter"}, {"geht"}),
        ("Il ne fonctionne pas.", {"fonctionn"}, set()),
        ("No, it works.", set(), {"work"}),
        ("系统不支持。", {"支", "持"}, {"系", "统"}),
    ],
)
def test_a_negator_denies_the_next_word_of_its_clause(text: str, no: set[str], yes: set[str]) -> None:
    assert denied(text)[0] == no
    assert denied(text)[1] >= yes


def test_an_answer_no_denies_nothing_of_what_follows() -> None:
    assert not denies("No, it works.")
    assert denies("No file is kept.")
    assert denies("It can't work.")


def test_who_speaks_is_found() -> None:
    assert speakers("I’m sure that we know") == {"I", "we"}
    assert speakers("Wir glauben") == {"we"}
    assert speakers("It is in it") == frozenset()


def test_german_is_told_by_its_small_words() -> None:
    assert is_german("Das Haus ist groß und die Straße auch.")
    assert not is_german("The house is large, and so is the street; people die in it now and then.")
    assert not is_german("")


def test_a_question_ends_with_its_mark_in_any_script() -> None:
    assert all(is_question(text) for text in ('Why?"', "为什么？", "لماذا؟", "*Why?*"))
    assert not is_question("Why? Because.")
