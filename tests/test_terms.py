"""What a keyword index counts: words and questions in eight languages, and the names of programs."""

import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service import terms as module
from rag_service.languages import LANGUAGES, Language, function_words
from rag_service.terms import DIGEST, KNOWN_WORDS, MAX_TERM_CHARS, terms

EVERY: tuple[Language, ...] = LANGUAGES


def meet(first: str, second: str, *languages: Language) -> bool:
    """Whether a question with one word finds a document with the other."""
    return not set(terms(first, languages)).isdisjoint(terms(second, languages))


@pytest.mark.parametrize(
    ("language", "first", "second"),
    [
        ("en", "declares", "declared"),
        ("en", "chunking", "chunks"),
        ("en", "wrote", "written"),
        ("en", "children", "child"),
        ("en", "indices", "indexes"),
        ("en", "colour", "colors"),
        ("en", "organisation", "organizations"),
        ("en", "centre", "center"),
        ("en", "travelled", "traveling"),
        ("en", "called", "call"),
        ("en", "café", "cafes"),
        ("en", "PDFs", "pdf"),
        ("en", "VMs", "VM"),
        ("en", "1990s", "1990"),
        ("en", "Turing's", "Turing"),
        ("en", "Turing’s", "turing"),
        ("en", "ﬁle", "files"),
        ("de", "Verträge", "Vertrag"),
        ("de", "Kündigungsfristen", "Kuendigungsfrist"),
        ("de", "Kündigung", "KUNDIGUNG"),
        ("de", "Straße", "STRASSE"),
        ("es", "canción", "canciones"),
        ("es", "informacion", "información"),
        ("es", "año", "ano"),
        ("es", "pingüinos", "pinguino"),
        ("fr", "élèves", "eleve"),
        ("fr", "l’eau", "eau"),
        ("fr", "qu'Anne", "Anne"),
        ("fr", "cœur", "coeur"),
        ("ru", "документов", "документы"),
        ("ru", "ёлка", "елки"),
        ("ru", "за\u0301мок", "замок"),
        ("ar", "المدرسة", "مدرسة"),
        ("ar", "المدرسة", "المدرسه"),
        ("ar", "والكتاب", "كتاب"),
        ("ar", "كِتَاب", "كتاب"),
        ("ar", "كتـــاب", "كتاب"),
        ("ar", "أحمد", "احمد"),
        ("ar", "مستشفى", "مستشفي"),
        ("ar", "٢٠٢٤", "2024"),
        ("zh", "首都北京", "北京"),
        ("zh", "ＢＭ２５", "bm25"),
        ("ja", "東京都", "東京"),
        ("ja", "ﾃﾞｰﾀ", "データ"),
    ],
)
def test_forms_of_a_word_meet(language: Language, first: str, second: str) -> None:
    assert meet(first, second, language)
    assert meet(first, second, *EVERY)


@pytest.mark.parametrize(
    ("language", "first", "second"),
    [
        ("en", "hour", "our time"),
        ("en", "found", "find"),
        ("en", "C++", "C#"),
        ("en", "1.5", "15"),
        ("en", "v1.2", "v12"),
        ("ru", "йод", "иод"),
        ("ja", "ハハ", "パパ"),
    ],
)
def test_other_words_do_not(language: Language, first: str, second: str) -> None:
    assert not meet(first, second, language)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_tokens", ["maxtoken", "max", "token"]),
        ("maxTokens", ["maxtoken", "max", "token"]),
        ("max-tokens", ["maxtoken", "max", "token"]),
        ("MAX_TOKENS", ["maxtoken", "max", "token"]),
        ("--max-tokens", ["--max-tokens", "maxtoken", "max", "token"]),
        ("run -v now", ["run", "-v", "now"]),
        ("http.client", ["httpclient", "http", "client"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("v1.2", ["v1.2", "1.2"]),
        ("python3.11", ["python3.11", "python", "3.11"]),
        ("C++, C# or g++.", ["c++", "c#", "g++"]),
        ("__init__", ["init"]),
        ("e-mail", ["email", "mail"]),
        ("pre-trained", ["pretrain", "pre", "train"]),
        ("to-do", ["todo"]),
        ("AT&T", ["att"]),
        ("Ph.D.", ["phd", "ph"]),
        ("COVID-19", ["covid19", "covid", "19"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("2024-05-01", ["2024-05-01", "2024", "05", "01"]),
        ("1,000,000", ["1000000"]),
        ("in the 19th", ["19th"]),
        ("O'Brien", ["obrien", "brien"]),
        ("rock … roll", ["rock", "roll"]),
        ("path/to/file", ["path", "file"]),
    ],
)
def test_a_name_is_found_whole_and_by_its_parts(text: str, expected: list[str]) -> None:
    assert terms(text, ["en"]) == expected


def test_a_country_and_an_organisation_are_no_stop_words() -> None:
    assert terms("Did the U.S. leave the WHO?", ["en"]) == ["us", "leav", "who"]
    assert terms("Ask our IT", ["en"]) == ["ask", "it"]
    assert terms("Ask who wrote it", ["en"]) == ["ask", "write"]


def test_points_group_digits_in_german_and_spanish() -> None:
    assert terms("10.000 Schritte", ["de"]) == ["10.000", "10000", "schritt"]
    assert terms("10.000 steps", ["en"]) == ["10.000", "step"]


def test_what_is_written_without_spaces_becomes_pairs() -> None:
    assert terms("猫が好き", ["ja"]) == ["猫が", "が好", "好き"]
    assert terms("猫", ["ja"]) == ["猫"]
    assert terms("用C++写程序", ["zh"]) == ["用", "c++", "写程", "程序"]
    assert terms("แมว", ["en"]) == ["แม", "มว"]
    assert terms("한국어", ["en"]) == ["한국", "국어"]
    assert terms("東京・大阪", ["ja"]) == ["東京", "大阪"]


@pytest.mark.parametrize(
    ("language", "question", "content"),
    [
        ("en", "What is the capital of France?", ["capit", "franc"]),
        ("de", "Was ist die Hauptstadt von Frankreich?", ["hauptstadt", "frankreich"]),
        ("es", "¿Cuál es la capital de Francia?", ["capital", "franci"]),
        ("fr", "Quelle est la capitale de la France ?", ["capital", "franc"]),
        ("ru", "Какой город был там?", ["город"]),
        ("ar", "ما هي عاصمة مصر؟", ["عاصم", "مصر"]),
        ("zh", "什么城市", ["么城", "城市"]),
        ("ja", "これは猫です", ["は猫", "猫で"]),
    ],
)
def test_stop_words_are_left_out(language: Language, question: str, content: list[str]) -> None:
    assert terms(question, [language]) == content


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_of_stop_words_alone_keeps_them(language: Language) -> None:
    for word in function_words(language):
        assert terms(word, [language]), word
    assert len(terms("To be, or to be?", ["en"])) == 5
    assert terms("i.e.", ["en"]) == ["ie"]


def test_with_several_languages_a_word_gets_the_stem_of_each_once() -> None:
    assert terms("working", ["en", "de"]) == terms("working", ["de", "en", "de"]) == ["working", "work"]
    assert terms("Haus", ["de", "en", "fr"]) == ["haus"]
    assert terms("документы", EVERY) == ["документ"]


def test_stop_words_are_those_of_the_language_that_the_text_is_in() -> None:
    assert "die" in terms("When did she die, and where was the war?", ["en", "de"])
    assert "war" in terms("When did she die, and where was the war?", ["en", "de"])
    assert terms("Wo war die Katze, und was ist mit dem Hund?", ["en", "de"]) == ["katz", "hund"]


def test_without_a_language_words_are_only_folded() -> None:
    assert terms("The Élèves declared maxTokens", []) == ["the", "eleves", "declared", "maxtokens", "max", "tokens"]


def test_turkish_letters_meet_whatever_their_dot() -> None:
    assert terms("İstanbul istanbul ISTANBUL ıstanbul", ["en"]) == ["istanbul"] * 4


def test_marks_that_are_no_letters_do_not_divide_a_word() -> None:
    assert terms("हिन्दी भाषा।", []) == ["हिन्दी", "भाषा"]


def test_a_language_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown language xx"):
        terms("text", ["xx"])  # type: ignore[list-item]


TEXTS = st.one_of(st.text(max_size=60), st.text("abAB12._-'’+#&, ßéüñйё中文のكة\u0301\u064e", max_size=60))
SOME = st.lists(st.sampled_from(LANGUAGES), max_size=4)


@given(text=TEXTS, languages=SOME)
def test_terms_are_short_words_without_case_or_space(text: str, languages: Sequence[Language]) -> None:
    for term in terms(text, languages):
        assert 0 < len(term) <= MAX_TERM_CHARS + 8
        assert not any(character.isspace() for character in term)
        assert term == term.lower()


@given(text=TEXTS, languages=SOME)
def test_the_form_of_unicode_makes_no_difference(text: str, languages: Sequence[Language]) -> None:
    found = terms(text, languages)
    assert terms(unicodedata.normalize("NFD", text), languages) == found
    assert terms(unicodedata.normalize("NFKC", text), languages) == found


@given(parts=st.lists(TEXTS, min_size=2, max_size=2))
def test_a_text_has_the_terms_of_its_lines(parts: list[str]) -> None:
    first, second = (terms(part, []) for part in parts)
    assert terms("\n".join(parts), []) == first + second


@pytest.mark.parametrize(
    "unit",
    ["a", "A", "a.", "a-", "1,", "1.", "'s", "_", "-", "--", "é", "é'", "aA", "中", "中a", "\u0301", "ك\u064e", "a1", "+", "#", "n't "],
)
def test_hostile_text_makes_no_more_terms_than_characters(unit: str) -> None:
    found = terms(unit * 200_000, ["en", "de"])
    assert len(found) <= 3 * 200_000
    assert all(len(term) <= MAX_TERM_CHARS + 8 for term in found)


def test_no_more_words_are_remembered_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_WORDS", 10)
    analysis = module._Analysis(["en"])
    for number in range(100):
        assert analysis.terms(f"word{number} walking") == [f"word{number}", "word", *([str(number)] if number > 9 else []), "walk"]
        assert len(analysis._known) <= 10
    assert KNOWN_WORDS == 50_000
    analysis.terms("x" * 1000 + " " + "漢字" * 3)
    assert all(len(word) <= MAX_TERM_CHARS and word.isascii() for word in analysis._known)


def test_many_threads_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_WORDS", 50)  # so that they stem all the time
    texts = [f"walking{number}s running declarations Häuser verträge{number % 7}" for number in range(400)]
    expected = [module._Analysis(["en", "de"]).terms(text) for text in texts]
    shared = module._Analysis(["en", "de"])
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(shared.terms, texts)) == expected


def test_another_process_finds_the_same_terms_and_the_same_digest() -> None:
    text = "Wo ist die Tür? Where's the door? 门在哪里"
    program = f"from rag_service.terms import DIGEST, terms; print(DIGEST, *terms({text!r}, {list(EVERY)!r}))"
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
        )
        assert ran.stdout.split() == [DIGEST, *terms(text, EVERY)]
    assert DIGEST.startswith("sha256:")
    assert len(DIGEST) == 71
