"""Text to sentences and words, with their places. Pure, and linear in the length of the text.

Sentence ends are found by punctuation, line structure and a list of abbreviations; good enough to quote from, not a parser.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？؟]+")
_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|etc|vs|cf|al|approx|figs?|eq|sec|ch|vol|pp?|st|dr|mrs?|ms|prof|jr|sr|inc|ltd|co|u\.s|u\.k|[a-z])\.$",
    re.IGNORECASE,
)
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
"""Kana, Chinese characters and Thai: written without spaces, so each character counts as a word."""
_LETTERS = rf"(?:(?![{_UNSPACED}])\w)+"
_WORD = re.compile(rf"[{_UNSPACED}]|{_LETTERS}(?:[._'’-]{_LETTERS})*")


class Span(NamedTuple):
    start: int
    end: int
    text: str


def sentences(text: str) -> list[Span]:
    """Sentences in order, stripped, with offsets into `text`. A blank line always ends one."""
    found: list[Span] = []
    for paragraph in _paragraphs(text):
        begin = paragraph.start
        for match in _END.finditer(text, paragraph.start, paragraph.end):
            if match[0] == "." and _ABBREVIATION.search(text, max(begin, match.end() - 12), match.end()):
                continue
            _append(found, text, begin, match.end())
            begin = match.end()
        _append(found, text, begin, paragraph.end)
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


def _paragraphs(text: str) -> Iterator[Span]:
    begin = 0
    for match in re.finditer(r"\n[ \t]*\n\s*", text):
        yield Span(begin, match.start(), "")
        begin = match.end()
    yield Span(begin, len(text), "")


def _append(found: list[Span], text: str, start: int, end: int) -> None:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    end -= len(part) - len(part.rstrip())
    if start < end:
        found.append(Span(start, end, text[start:end]))
