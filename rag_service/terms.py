"""Text to the terms that a keyword index is searched by. Pure, and linear in the length of the text.

A word becomes its stem (Snowball), so that `declares` and `declared` meet. An identifier can be found whole, however it is spelled
(`max_tokens`, `maxTokens` and `max-tokens` are all `maxtoken`), and by its parts. Chinese, Japanese, Korean and the scripts of South-East
Asia, whose words are not divided by spaces, or are but carry particles, become overlapping pairs of characters, as in Lucene's
CJKBigramFilter.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from Stemmer import Stemmer

from rag_service.digests import digest_bytes, digest_json
from rag_service.english import regular
from rag_service.languages import LANGUAGES, bare, function_words
from rag_service.languages import Language as Language
from rag_service.languages import language_of as language_of

MAX_TERM_CHARS = 100
"""The rest of a longer word, such as a key in base 64, is not looked at."""

KNOWN_WORDS = 50_000
"""Words whose terms are kept, for each set of languages: at most about 30 MB."""

_CODE = {name: digest_bytes(Path(__file__).with_name(name).read_bytes()) for name in ("terms.py", "english.py", "languages.py")}
"""Of what runs: the files may be replaced while it does."""
DIGEST = digest_json({"code": _CODE, "stemmer": version("PyStemmer")})
"""`sha256:…` over what decides the terms of a text. Unicode promises that normal forms and case folding of a character never change."""

_SNOWBALL: Mapping[Language, str] = {
    "ar": "arabic",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "ru": "russian",
}
_SCRIPTS: Mapping[str, tuple[Language, ...]] = {"latin": ("de", "en", "es", "fr"), "cyrillic": ("ru",), "arabic": ("ar",)}

_UNDIVIDED = (
    "\u3005-\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7a3"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u1000-\u103f\u1780-\u17d3"
)
"""Chinese characters, kana, Hangul; Thai, Lao, Burmese, Khmer."""
_RUN = re.compile(f"[{_UNDIVIDED}]+")
_MARKS = "\u0300-\u036f\u0900-\u0963\u0966-\u0d7f"
"""Parts of words that are not letters for `\\w`: combining marks, and the vowels of India."""
_FLAG = r"(?<![\w-])(?:--(?=\w)|-(?=[a-zA-Z]\b))"
_SUFFIX = r"(?:(?:\+\+|\#)(?!\w))"


def _token_pattern(letter: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"(?:{_FLAG})?{letter}+(?:(?:[.'&-]|,(?=\d{{3}}(?!\d))(?<=\d,)){letter}+)*{_SUFFIX}?", flags)


_TOKEN_ASCII = _token_pattern(r"\w", re.ASCII)
_TOKEN = _token_pattern(rf"[\w{_MARKS}{_UNDIVIDED}]")
_ARABIC_SCRIPT = re.compile("[\u0600-\u06ff]")
_ARABIC_MARKS = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]")
"""Vowel signs (tashkeel), the marks of the Koran, and the stretching line (tatweel)."""
_ARABIC_LETTERS = str.maketrans({**dict.fromkeys("أإآٱ", "ا"), **dict.fromkeys("ىیئ", "ي"), **dict.fromkeys("ةۀ", "ه"), "ک": "ك", "ؤ": "و"})
"""Forms of alef, yeh, teh marbuta and waw that writers leave out or confuse."""
_ARABIC_DIGITS = str.maketrans("٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹", "01234567890123456789")

_CLITIC = re.compile(r"(n(?='t\Z))?'(?:s|t|ll|re|ve|d|m)\Z")
"""`Ada's` is `ada`, `don't` is `do`."""
_ELISION = re.compile(r"(?:[cdjlmnst]|(?:jus|lors|puis|quoi)?qu)'(?=\w\w)")
"""`l'eau` is `eau`."""
_CAPITALS = frozenset({"IT", "WHO", "CAN"})
"""Names in capitals that would be stop words otherwise."""
_SHAPE_PART = re.compile(r"A+(?=Aa)|A?a+|A+|0+(?:\.0+)*")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[.-](?=\d)")
_SEPARATORS = re.compile(r"[._'&,-]+")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)|v\d+")
_DECADE = re.compile(r"\d{3,4}s")
_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+")
_MAX_PARTS = 8
"""A word that falls into more, such as a checksum, is searched for whole."""


def terms(text: str, languages: Sequence[Language]) -> list[str]:
    """The terms of `text` in its order, repeated as often as they occur: what BM25 counts.

    A word gets the stem of each of `languages` once (of those in its script), so that a question in one of them finds documents in it
    whatever the others are; their order does not matter. Stop words are left out, unless there is nothing else: with several languages
    those of the language that the text is in, or of all where that is not sure. Of no language, neither stems nor stop words are known.
    Accents, case, full and half width make no difference. Raises `ValueError` for a language that is not known.
    """
    return _analysis(tuple(languages)).terms(text)


class _Analysis:
    """The terms of words in some languages. Threads share it: what is known of a word is written once and whole."""

    def __init__(self, languages: Sequence[Language]) -> None:
        self._languages = tuple(sorted(set(languages)))
        if unknown := set(self._languages).difference(LANGUAGES):
            raise ValueError(f"unknown language {', '.join(sorted(unknown))}: known are {', '.join(LANGUAGES)}")
        self._by_script = {
            script: tuple(language for language in listed if language in self._languages) for script, listed in _SCRIPTS.items()
        }
        self._stops: dict[Language | None, frozenset[str]] = {language: function_words(language) for language in self._languages}
        self._stops[None] = frozenset[str]().union(*self._stops.values())
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._stemmers = _Stemmers()
        self._points_group_digits = "de" in self._languages or "es" in self._languages

    def terms(self, text: str) -> list[str]:
        tokens = _tokens(text)
        analysed = [self._known.get(token) or self._learn(token) for token in tokens]
        stops = self._stops[self._language(text)]
        found: list[str] = []
        for word, of_word in analysed:
            if word not in stops:
                found.extend(of_word)
        return found or [term for token in tokens for term in self._analyse(token, frozenset())[1]]

    def _language(self, text: str) -> Language | None:
        """Whose stop words are left out."""
        if len(self._languages) == 1:
            return self._languages[0]
        language = language_of(text) if self._languages else None
        return language if language in self._languages else None

    def _learn(self, token: str) -> tuple[str, tuple[str, ...]]:
        analysed = self._analyse(token, self._stops[None])
        if len(token) <= MAX_TERM_CHARS and not _RUN.match(token):  # runs of undivided text hardly ever come again
            if len(self._known) >= KNOWN_WORDS:
                self._known.clear()
            self._known[token] = analysed
        return analysed

    def _analyse(self, token: str, stops: frozenset[str]) -> tuple[str, tuple[str, ...]]:
        """What is looked up among the stop words, and the terms. A compound is not looked up: `stops` are left out of its parts."""
        if _RUN.match(token):
            return "", tuple(pair for pair in _pairs(token) if pair not in stops)
        word = _without_clitics(token)
        if word[-1] == "s" and len(word) > 2 and word[:-1].isupper() and word.isalpha():
            word = word[:-1]  # `PDFs`; Snowball takes an `s` off only after a vowel
        if not _is_plain(word):
            return "", tuple(dict.fromkeys(filter(None, self._compound(word, stops))))
        folded = _folded(word)
        return "" if word in _CAPITALS else bare(folded), tuple(dict.fromkeys(filter(None, self._stems(folded))))

    def _compound(self, token: str, stops: frozenset[str]) -> Iterator[str]:
        """The whole without what divides it, then its parts. What divides digits is kept: 1.5 is not 15."""
        if len(token) > MAX_TERM_CHARS:
            for part in filter(None, _SEPARATORS.split(token)):
                yield from self._stems(_folded(part[:MAX_TERM_CHARS]))
            return
        if token[0] == "-" or token[-1] in "+#":
            yield _folded(token)
            token = token.strip("-+#")
            if len(token) == 1:
                return
        token = token.replace(",", "")
        whole = _folded(_whole(token))
        if whole and bare(whole) not in stops:  # as `e.g.` is
            yield from self._stems(whole)
            if self._points_group_digits and _THOUSANDS.fullmatch(whole):
                yield whole.replace(".", "")
        parts = list(_parts(token))
        if len(parts) > _MAX_PARTS or _ORDINAL.fullmatch(token):
            return
        for part in map(_folded, parts):
            if (len(part) > 1 or len(parts) == 1) and bare(part) not in stops:
                yield from self._stems(part)

    def _stems(self, word: str) -> Iterator[str]:
        """Of a word in lower case. A word with accents also gets the stem of its bare form, which endings may change."""
        word = word[:MAX_TERM_CHARS]
        if word.isdigit():
            yield word
            return
        if _DECADE.fullmatch(word):
            yield word[:-1]
            return
        script = _script(word)
        plain = _bare_in(script, word)
        languages = self._by_script.get(script, ())
        if not languages:
            yield plain
        for language in languages:
            if language == "en":
                yield self._stemmers.stem(language, regular(plain))
                continue
            yield _bare_in(script, self._stemmers.stem(language, word))
            if plain != word:
                yield _bare_in(script, self._stemmers.stem(language, plain))


_analysis = lru_cache(maxsize=4)(_Analysis)


class _Stemmers(threading.local):
    """A stemmer may be used by one thread at a time, so each thread has its own. They remember nothing: `_Analysis` does."""

    def __init__(self) -> None:
        self._by_language: dict[Language, Stemmer] = {}

    def stem(self, language: Language, word: str) -> str:
        stemmer = self._by_language.get(language)
        if stemmer is None:
            stemmer = self._by_language[language] = Stemmer(_SNOWBALL[language], 0)
        if language == "ar" and word.startswith(("وال", "فال")) and len(word) > 5:
            word = word[1:]  # "and the …"; Snowball takes off "the" alone
        return str(stemmer.stemWord(word))


def _tokens(text: str) -> list[str]:
    if text.isascii():
        return _TOKEN_ASCII.findall(text)
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("\u2010", "-").replace("\u00ad", "").replace("\u200b", "")
    if _ARABIC_SCRIPT.search(text):
        text = _ARABIC_MARKS.sub("", text).translate(_ARABIC_DIGITS)
    if _RUN.search(text):
        text = _RUN.sub(r" \g<0> ", text)
    return _TOKEN.findall(text)


def _pairs(run: str) -> Iterable[str]:
    return map("".join, pairwise(run)) if len(run) > 1 else (run,)


def _without_clitics(token: str) -> str:
    if "'" not in token:
        return token
    lower = token.lower()
    if len(lower) == len(token):
        if (clitic := _CLITIC.search(lower)) and clitic.start():
            return token[: clitic.start()]
        if elision := _ELISION.match(lower):
            return token[elision.end() :]
    return token


def _is_plain(token: str) -> bool:
    """One word or number, with nothing that divides it."""
    if token.isdigit():
        return True
    if not token.isalpha():
        return False
    rest = token[1:]
    return not rest or rest == rest.lower() or token.isupper()


def _folded(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word.casefold()).replace("i\u0307", "i").replace("ı", "i")


def _whole(token: str) -> str:
    kept = _BETWEEN_DIGITS.sub(lambda match: "\0" + match[0], token)
    return re.sub(r"(?<!\0)[._'&-]", "", kept).replace("\0", "")


def _parts(token: str) -> Iterator[str]:
    """At what divides the token, where a capital follows a small letter, and between letters and digits."""
    shape = "".join(
        "A" if character.isupper() else "0" if character.isdigit() else character if character in "._'&-" else "a" for character in token
    )
    for match in _SHAPE_PART.finditer(shape):
        yield token[match.start() : match.end()]


def _script(word: str) -> str:
    """By the first letter."""
    first = next(filter(str.isalpha, word), "\uffff")
    if first < "\u0370":
        return "latin"
    if "\u0400" <= first <= "\u052f":
        return "cyrillic"
    return "arabic" if "\u0600" <= first <= "\u06ff" else "other"


def _bare_in(script: str, word: str) -> str:
    return word.translate(_ARABIC_LETTERS) if script == "arabic" else bare(word)
