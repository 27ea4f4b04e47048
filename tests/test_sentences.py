import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service import sentences as module
from rag_service.full_stops import ends_sentence
from rag_service.sentences import sentences, stem, words


def texts(text: str) -> list[str]:
    return [sentence.text for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n ", []),
        ("One.", ["One."]),
        ("No end", ["No end"]),
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("Really?! Yes...", ["Really?!", "Yes..."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("(One.) Two.", ["(One.)", "Two."]),
        ("Use e.g. a list, i.e. this one, etc. and go on.", ["Use e.g. a list, i.e. this one, etc. and go on."]),
        ("Dr. Smith and Mrs. Jones met. They spoke.", ["Dr. Smith and Mrs. Jones met.", "They spoke."]),
        ("See fig. 3 and pp. 4 in vol. 2. It is clear.", ["See fig. 3 and pp. 4 in vol. 2.", "It is clear."]),
        ("J. R. R. Tolkien wrote it. It sold.", ["J. R. R. Tolkien wrote it.", "It sold."]),
        ("Version 3.11 is needed. Install it.", ["Version 3.11 is needed.", "Install it."]),
        ("Open example.org now. Then close.", ["Open example.org now.", "Then close."]),
        ("First line\nsame sentence.\n\nNew one", ["First line\nsame sentence.", "New one"]),
        ("Heading\n \t\n  Body", ["Heading", "Body"]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
        ("ما هذا؟ كتاب.", ["ما هذا؟", "كتاب."]),
        (".", ["."]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    "items",
    [
        ["First:", "- one", "- two. And more", "* three"],
        ["1. Install it", "2. Run it"],
        ["a) red", "b) blue"],
        ["Intro", "# Heading", "• point", "– dash", "① circle"],
    ],
)
def test_a_line_that_begins_with_the_mark_of_a_list_begins_a_new_sentence(items: list[str]) -> None:
    assert texts("\n".join(items)) == [part for item in items for part in item.replace(". And", ".\0And").split("\0")]
    assert texts("\r\n".join(items)) == texts("\n".join(items))


@pytest.mark.parametrize("text", ["It is 5\n-3 or so", "so\n*very* good", "see\n#5"])
def test_other_line_breaks_end_no_sentence(text: str) -> None:
    assert texts(text) == [text]


@given(st.text(st.one_of(st.sampled_from('.!?…。؟ \n\t"’»«)-ae1AZ中と'), st.characters()), max_size=200))
def test_sentences_are_exact_slices_in_order_that_hold_every_visible_character(text: str) -> None:
    covered = [False] * len(text)
    position = 0
    for start, end, sentence in sentences(text):
        assert position <= start < end <= len(text)
        assert sentence == text[start:end] == sentence.strip()
        covered[start:end] = [True] * (end - start)
        position = end
    assert all(covered[index] or character.isspace() for index, character in enumerate(text))


@pytest.mark.parametrize(
    "unit",
    [
        *(".", "?!", '."', ".'x", "\n", "\n ", "e.g. ", "a.", "a. ", "...x", "a-", "_", "[1", "。", "( ", ".)", "\n\n\t", "x"),
        *("z. B. ", "3. ", "A. ", '." "', "。」", "。」と", ". »", ".[1]", "\n- ", "\n1. ", "\n  ", "U.S. The ", ".  ", "am 3. X ", "I. a"),
    ],
)
def test_a_hundred_thousand_characters_of_anything_are_no_trouble(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def counted(text: str, begin: int, stop: int, after: int, end: int) -> bool:
        asked.append((stop, after))
        return ends_sentence(text, begin, stop, after, end)

    monkeypatch.setattr(module, "ends_sentence", counted)
    text = unit * (100_000 // len(unit)) + "x"
    found = sentences(text)
    assert found[-1].end == len(text)
    assert sum(len(sentence.text) for sentence in found) <= len(text)
    assert asked == sorted(set(asked))  # each full stop is looked at once
    assert sum(after - stop for stop, after in asked) <= len(text)
    assert words(text)


def test_what_is_looked_at_around_a_full_stop_does_not_grow_with_the_text() -> None:
    long = "word " * 50_000
    text = f"{long}z. B. Berlin. {long}"
    stop = text.index("z.") + 1
    near = slice(stop - 500, stop + 500)
    assert ends_sentence(text, 0, stop, stop + 1, len(text)) == ends_sentence(text[near], 0, 500, 501, 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("The Quick fox", ["the", "quick", "fox"]),
        ("snake_case kebab-case v1.2 it's it’s", ["snake_case", "kebab-case", "v1.2", "it's", "it’s"]),
        ("end. (start) -dash- 'quoted'", ["end", "start", "dash", "quoted"]),
        ("Ünïcode 東京 3.14", ["ünïcode", "東", "京", "3.14"]),
    ],
)
def test_words_are_lower_case_and_keep_what_joins_them(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    "family",
    [
        ("declare", "declares", "declared", "declaring"),
        ("parameter", "parameters"),
        ("query", "queries"),
        ("install", "installs", "installed", "installing"),
        ("class", "classes"),
        ("apply", "applied", "applies"),
        ("release", "releases", "released", "releasing"),
    ],
)
def test_the_forms_of_a_word_have_one_stem(family: tuple[str, ...]) -> None:
    assert len({stem(word) for word in family}) == 1


@pytest.mark.parametrize("word", ["", "a", "is", "as", "bus", "ring", "red", "the", "ss"])
def test_short_words_keep_their_letters(word: str) -> None:
    assert stem(word) == word


@pytest.mark.parametrize(("one", "other"), [("class", "clay"), ("index", "indent"), ("query", "quest"), ("string", "strong")])
def test_different_words_have_different_stems(one: str, other: str) -> None:
    assert stem(one) != stem(other)


@given(st.text(max_size=30))
def test_a_stem_is_never_longer_than_its_word(word: str) -> None:
    assert len(stem(word)) <= len(word)
