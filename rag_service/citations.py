"""Markers of an answer resolved to places in the passages. Pure.

The server, not the generator, decides what a citation is: a marker that names no passage is removed and reported, and every quote is
located in its chunk by offsets.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag_service.sentences import sentences, stem, words
from rag_service.types import Citation, Completion, Hit, Marker, Notice

_NUMBERS = r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]"
# `x[1]=2` holds an index and `[1](url)` is a link; neither cites. `Paris[1][2].` and `巴黎[1]。` do.
_MARKER = re.compile(
    rf"(?<![\w\]]){_NUMBERS}(?!\()"
    rf"|(?<=[\w\])]){_NUMBERS}(?=[\s.,;:!?…。、，；：！？]|\[\d|$)(?!\s*=)"
)


@dataclass(frozen=True, slots=True)
class CitedAnswer:
    text: str
    citations: tuple[Citation, ...]
    notices: tuple[Notice, ...]


def find_markers(text: str) -> tuple[Marker, ...]:
    """`[1]` and `[1, 2]`, but not a subscript or a link, nor anything inside code."""
    code = [match.span() for match in re.finditer(r"```.*?(?:```|\Z)|`[^`\n]*`", text, re.DOTALL)]
    return tuple(
        Marker(match.start(), match.end(), tuple(int(number) for number in (match[1] or match[2]).split(",")))
        for match in _MARKER.finditer(text)
        if not any(start <= match.start() < end for start, end in code)
    )


def cite(completion: Completion, hits: Sequence[Hit]) -> CitedAnswer:
    """`hits[n - 1]` is what marker n names. Markers that name nothing are taken out of the text, with the space before them."""
    found = find_markers(completion.text) if completion.markers is None else completion.markers
    text, markers, dropped = _without_unknown(completion.text, found, len(hits))
    citations: list[Citation] = []
    claim, claim_start = "", 0
    for marker in markers:
        between = text[claim_start : marker.start].strip()
        claim = between if words(between) else claim  # in `… text [1], [2]` both cite the same claim
        citations.extend(_citation(number, hits[number - 1], claim, (marker.start, marker.end)) for number in marker.numbers)
        claim_start = marker.end
    notices = [Notice("citation_dropped", f"marker {number} names no passage") for number in dropped]
    if not citations:
        notices.append(Notice("citation_missing", "the answer cites no passage"))
    return CitedAnswer(text=text, citations=tuple(citations), notices=tuple(notices))


def _without_unknown(text: str, markers: Sequence[Marker], passages: int) -> tuple[str, list[Marker], list[int]]:
    kept: list[Marker] = []
    dropped: list[int] = []
    parts: list[str] = []
    position = length = 0

    def keep(part: str) -> None:
        nonlocal length
        parts.append(part)
        length += len(part)

    for marker in markers:
        known = tuple(number for number in marker.numbers if 1 <= number <= passages)
        dropped.extend(number for number in marker.numbers if number not in known)
        before = text[position : marker.start]
        keep(before if known else before.rstrip(" "))
        if known:
            shown = text[marker.start : marker.end] if known == marker.numbers else f"[{', '.join(map(str, known))}]"
            kept.append(Marker(length, length + len(shown), known))
            keep(shown)
        position = marker.end
    keep(text[position:])
    whole = "".join(parts)
    return whole.rstrip(), kept, dropped


def _citation(number: int, hit: Hit, claim: str, answer_span: tuple[int, int]) -> Citation:
    (start, end), verbatim = locate_quote(claim, hit.chunk.text)
    return Citation(
        marker=number,
        chunk=hit.chunk,
        score=hit.score,
        answer_span=answer_span,
        quote=hit.chunk.text[start:end],
        quote_span=(start, end),
        document_span=(hit.chunk.start + start, hit.chunk.start + end),
        verbatim=verbatim,
    )


def locate_quote(claim: str, text: str) -> tuple[tuple[int, int], bool]:
    """Where in `text` the claim stands word for word; otherwise the sentence that shares most of its words, and False."""
    last = sentences(claim)[-1:]
    for wanted in (claim, *(span.text for span in last)):
        for form in (wanted, wanted.rstrip(".!?:; ")):
            if form and (start := text.find(form)) >= 0:
                return (start, start + len(form)), True
    claimed = {stem(word) for word in words(claim)}
    best, best_shared = (0, len(text)), -1.0
    for sentence in sentences(text):
        found = {stem(word) for word in words(sentence.text)}
        shared = len(claimed & found) / (len(found) ** 0.5 or 1.0)
        if shared > best_shared:
            best, best_shared = (sentence.start, sentence.end), shared
    return best, False
