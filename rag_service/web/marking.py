"""Texts cut at the places that are to be marked. Pure.

All offsets are characters, end exclusive. What lies outside of the text is cut off, so that a span of another text cannot do harm.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from rag_service.types import Citation, Prompt

Spanned = tuple[int, int]

_FENCE = "```"
_OPENS = re.compile("```[^`]*")
_BACKTICKS = re.compile("(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text. `mark` says which places it belongs to, in ascending order; none of it is marked where it is empty."""

    text: str
    mark: tuple[int, ...] = ()


def segments(text: str, spans: Iterable[tuple[Spanned, int]]) -> list[Segment]:
    """`text` in pieces whose marks differ: joined, they are the text. Spans may overlap; each has a number."""
    inside = [(max(start, 0), min(end, len(text)), number) for (start, end), number in spans]
    inside = [place for place in inside if place[0] < place[1]]
    edges = sorted({0, len(text), *(start for start, _, _ in inside), *(end for _, end, _ in inside)})
    cut: list[Segment] = []
    for start, end in pairwise(edges):
        mark = tuple(sorted({number for first, last, number in inside if first <= start and end <= last}))
        if cut and cut[-1].mark == mark:
            cut[-1] = Segment(cut[-1].text + text[start:end], mark)
        else:
            cut.append(Segment(text[start:end], mark))
    return cut


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """Text, code, or a marker with the citations that it stands for."""

    text: str
    citations: tuple[Citation, ...] = ()
    kind: Literal["text", "code", "block"] = "text"
    """`code` stood between backticks, `block` between fences, which are left out."""


def answer_pieces(answer: str, citations: Sequence[Citation]) -> list[AnswerPiece]:
    """The answer with its markers and its code apart. A marker that names several passages, as `[1, 3]`, has a citation for each."""
    by_span: dict[Spanned, list[Citation]] = {}
    for citation in citations:
        by_span.setdefault(citation.answer_span, []).append(citation)
    pieces: list[AnswerPiece] = []
    at = 0
    for (start, end), cited in sorted(by_span.items()):
        if start < at or end > len(answer) or start >= end:
            continue  # of another text than this one
        pieces += _with_code(answer[at:start])
        pieces.append(AnswerPiece(answer[start:end], tuple(cited)))
        at = end
    return [*pieces, *_with_code(answer[at:])]


def _with_code(text: str) -> Iterator[AnswerPiece]:
    """Empty lines around a block are left out: it stands apart anyway. What is opened and never closed is text."""
    plain: list[str] = []
    block: list[str] | None = None
    after = False
    for line in text.split("\n"):
        if block is None and _OPENS.fullmatch(line):
            block = [line]
        elif block is None:
            plain.append(line)
        elif line.rstrip() == _FENCE:
            before = "\n".join(plain).rstrip("\n")
            yield from _with_inline_code(before.lstrip("\n") if after else before)
            yield AnswerPiece("\n".join(block[1:]), kind="block")
            plain, block, after = [], None, True
        else:
            block.append(line)
    rest = "\n".join([*plain, *(block or [])])
    yield from _with_inline_code(rest.lstrip("\n") if after else rest)


def _with_inline_code(text: str) -> Iterator[AnswerPiece]:
    for place, piece in enumerate(_BACKTICKS.split(text)):
        if piece:
            yield AnswerPiece(piece, kind="code" if place % 2 else "text")


def filled_parts(prompt: Prompt, question: str) -> list[Segment]:
    """The user message of a prompt with what was filled into its template apart: passage n is marked n, the question 0.

    What cannot be found, because it was masked, say, is not marked.
    """
    found: list[tuple[Spanned, int]] = []
    at = 0
    for passage in prompt.passages:
        start = prompt.user.find(f"[{passage.marker}] ", at)
        text = prompt.user.find(passage.chunk.text, start) if start >= 0 and passage.chunk.text else -1
        if text < 0:
            continue
        at = text + len(passage.chunk.text)
        found.append(((start, at), passage.marker))
    asked = prompt.user.find(question, at) if question else -1
    if asked >= 0:
        found.append(((asked, asked + len(question)), 0))
    return segments(prompt.user, found)
