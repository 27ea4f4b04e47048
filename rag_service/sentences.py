"""Text to sentences and words, with their places. Pure, and linear in the length of the text.

Sentence ends are found by punctuation, line structure and lists of abbreviations; good enough to quote from, not a parser. Written for
English, German, Spanish, French, Russian, Chinese, Japanese and Arabic; other languages that use the same marks are split by these.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rag_service.full_stops import ends_sentence

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
"""Kana, Chinese characters and Thai: written without spaces, so each character counts as a word."""
_CLOSING = r"[\"'”’“)\]»›*_]|\[\d{1,3}\]|[ \u00a0\u202f]»(?![\w«])"
"""Quotation marks, brackets, emphasis of Markdown and notes belong to the sentence before them."""
_END = re.compile(
    rf"(?<![.!?…])(?P<mark>[.!?…]+)(?P<closed>(?:{_CLOSING})*)(?=\s|\Z|(?P<unspaced>[{_UNSPACED}]))"
    r"|[。！？｡؟۔।॥]+(?P<quoted>[」』”’）】》〉»›\"')\]]*)"
)
_GOES_ON_IN_JAPANESE = re.compile("[とっでのがをはもに、，]")
"""Particles, as after 「行く。」 in 「行く。」と言った。"""
_NEW_UNIT = re.compile(
    r"\n[ \t\r]*\n\s*"
    r"|\n(?=[ \t]*(?:[-*+•‣◦▪–—]|\d{1,3}[.)]|\(?[a-zA-Z0-9]\)|[①-⑳]|\#{1,6})[ \t]+\S)"
)
"""A blank line, or a line that begins as an item of a list or a heading does."""
_NEXT_LETTER = re.compile(r"\s*(\w)")
_LETTERS = rf"(?:(?![{_UNSPACED}])\w)+"
_WORD = re.compile(rf"[{_UNSPACED}]|{_LETTERS}(?:[._'’-]{_LETTERS})*")


class Span(NamedTuple):
    start: int
    end: int
    text: str


def sentences(text: str) -> list[Span]:
    """Sentences in order, stripped, with offsets into `text`: all of it but white space.

    A blank line always ends one, and so does a line break before a list item. Other line breaks end none.
    """
    found: list[Span] = []
    for unit in _units(text):
        begin = unit.start
        for match in _END.finditer(text, unit.start, unit.end):
            if _ends(match, begin, unit.end):
                _append(found, text, begin, match.end())
                begin = match.end()
        _append(found, text, begin, unit.end)
    return found


def words(text: str) -> list[str]:
    """Lower-case words; `snake_case`, `kebab-case`, `v1.2` and `it's` are one each."""
    return [match[0] for match in _WORD.finditer(text.lower())]


def stem(word: str) -> str:
    """A crude English stem: enough for 'declares', 'declared' and 'declaring' to meet."""
    for ending, replacement in (("ies", "y"), ("ing", ""), ("ied", "y"), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending) + replacement
            break
    return word.removesuffix("e") if len(word) > 3 else word


def _units(text: str) -> Iterator[Span]:
    begin = 0
    for match in _NEW_UNIT.finditer(text):
        yield Span(begin, match.start(), "")
        begin = match.end()
    yield Span(begin, len(text), "")


def _ends(match: "re.Match[str]", begin: int, end: int) -> bool:
    """Whether the marks that were found end the sentence from `begin` on, or stand in the middle of it."""
    text = match.string
    if match["mark"] is None:
        return not (match["quoted"] and match.end() < end and _GOES_ON_IN_JAPANESE.match(text, match.end()))
    if match["unspaced"] is not None and match["mark"][-1] not in "!?":
        return False
    trails_off = match["mark"].endswith(("..", "…"))
    if (trails_off or match["closed"]) and _small_follows(text, match.end(), end):
        return False
    return match["mark"] != "." or ends_sentence(text, begin, match.start(), match.end(), end)


def _small_follows(text: str, start: int, end: int) -> bool:
    """Whether the next word begins with a small letter."""
    return (following := _NEXT_LETTER.match(text, start, end)) is not None and following[1].islower()


def _append(found: list[Span], text: str, start: int, end: int) -> None:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    end -= len(part) - len(part.rstrip())
    if start < end:
        found.append(Span(start, end, text[start:end]))
