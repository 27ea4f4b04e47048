"""An answer cut into what can be checked: sentences, list items, table rows and code blocks, each with the passages that it cites.

Pure, and linear in the length of the text. Headings are left out: they claim nothing.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rag_service.sentences import sentences
from rag_service.types import BlockKind, Citation

ClaimKind = Literal["sentence", "item", "row", "code"]

_FENCE = re.compile(r"[ \t]*(```|~~~)")
_HEADING = re.compile(r"[ \t]*#{1,6}\s")
_ROW = re.compile(r"[ \t]*\|")
_ITEM = re.compile(r"[ \t]*(?:[-*+•‣▪]|\d{1,3}[.)])\s")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_WORD = re.compile(r"\w")
_KINDS: dict[str, BlockKind] = {"text": "paragraph", "heading": "heading", "item": "list", "row": "table", "code": "code"}
_ALONE = ("heading", "row", "item", "code")
"""Each line that begins one begins a block of its own."""
_CLAIMS: dict[BlockKind, ClaimKind] = {"paragraph": "sentence", "list": "item", "table": "row", "code": "code"}
_ENDS = str.maketrans(dict.fromkeys(".!?…。！？؟", "_"))


@dataclass(frozen=True, slots=True)
class Claim:
    """`start` and `end` are character offsets into the answer, end exclusive."""

    start: int
    end: int
    kind: ClaimKind
    text: str
    """`answer[start:end]`, with blanks for the markers."""
    cites: tuple[int, ...]
    """The passages of its own markers; without any, those of the next marker in the same paragraph or list; ascending."""


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    end: int
    kind: BlockKind
    group: int
    """Blocks of one group are one paragraph, list or table, with what announces it and the markers that follow it."""


def find_claims(text: str, citations: Sequence[Citation]) -> list[Claim]:
    """In order, without overlap. `citations` are those of `text`; spans that do not lie in it are passed over."""
    markers = _markers(citations, len(text))
    blank = _without(text, markers)
    blocks = list(_grouped(blank, list(_blocks(blank))))
    starts = [block.start for block in blocks]
    found: list[Claim] = []
    groups: list[int] = []
    for block in blocks:
        claims = _claims_of(blank, block)
        found.extend(claims)
        groups.extend([block.group] * len(claims))
    own: list[set[int]] = [set() for _ in found]
    places = [claim.start for claim in found]
    for (start, _), numbers in markers.items():
        group = blocks[max(0, bisect_right(starts, start) - 1)].group if blocks else 0
        at = bisect_right(places, start) - 1
        if at < 0 or groups[at] != group:
            at += 1  # a marker that begins its paragraph belongs to what follows
        if at < len(found) and groups[at] == group:
            own[at] |= numbers
    for at in range(len(found) - 2, -1, -1):
        if not own[at] and groups[at] == groups[at + 1]:
            own[at] = own[at + 1]
    return [replace(claim, cites=tuple(sorted(cites))) for claim, cites in zip(found, own, strict=True)]


def _markers(citations: Sequence[Citation], chars: int) -> dict[tuple[int, int], set[int]]:
    """Place of a marker → the passages that it names, in the order of the places."""
    found: dict[tuple[int, int], set[int]] = {}
    for citation in sorted(citations, key=lambda each: each.answer_span):
        start, end = citation.answer_span
        if 0 <= start < end <= chars:
            found.setdefault((start, end), set()).add(citation.marker)
    return found


def _without(text: str, markers: dict[tuple[int, int], set[int]]) -> str:
    """The text with as many blanks in place of each marker."""
    parts: list[str] = []
    position = 0
    for start, end in markers:
        if start >= position:
            parts += (text[position:start], " " * (end - start))
            position = end
    return "".join([*parts, text[position:]])


def _blocks(text: str) -> Iterator[_Block]:
    """Blocks with the number of their paragraph for a group: a blank line begins the next."""
    begin, before, paragraph, position = 0, "blank", 0, 0
    for line, label in _labelled(text):
        if label not in ("more", before) or label in _ALONE:
            if before in _KINDS:
                yield _Block(begin, position, _KINDS[before], paragraph)
            begin, before = position, label
        paragraph += label == "blank"
        position += len(line)
    if before in _KINDS:
        yield _Block(begin, position, _KINDS[before], paragraph)


def _labelled(text: str) -> Iterator[tuple[str, str]]:
    """Each line with what it is: a key of `_KINDS`, `more` of what the line before it began, or `blank`."""
    fence, before = "", "blank"
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            label = "more"
            fence = "" if mark and mark[1] == fence else fence
        elif mark:
            label, fence = "code", mark[1]
        elif not line.strip():
            label = "blank"
        elif (begun := _begun_by(line)) is not None:
            label = begun
        else:
            label = "more" if before == "item" else "text"
        yield line, label
        if label != "more":
            before = label


def _begun_by(line: str) -> str | None:
    for label, pattern in (("heading", _HEADING), ("row", _ROW), ("item", _ITEM)):
        if pattern.match(line):
            return label
    return None


def _grouped(text: str, blocks: Sequence[_Block]) -> Iterator[_Block]:
    """Blocks with the group that they belong to."""
    group, last = 0, None
    for block in blocks:
        if last is not None and not _go_together(text, last, block):
            group += 1
        last = block
        yield replace(block, group=group)


def _go_together(text: str, last: _Block, block: _Block) -> bool:
    if "heading" in (last.kind, block.kind):
        return False
    return (
        last.group == block.group
        or (last.kind == block.kind == "list")
        or text[last.start : last.end].rstrip().endswith((":", "："))
        or not _WORD.search(text, block.start, block.end)  # nothing but markers, which belong to what stands above
    )


def _claims_of(text: str, block: _Block) -> list[Claim]:
    if block.kind == "paragraph":
        part = _INLINE_CODE.sub(lambda code: code[0].translate(_ENDS), text[block.start : block.end])
        places = [(block.start + span.start, block.start + span.end) for span in sentences(part)]
    else:
        places = [_stripped(text, block)]
    kind: ClaimKind | None = _CLAIMS.get(block.kind)
    if kind is None:
        return []
    return [Claim(start, end, kind, text[start:end], ()) for start, end in places if _WORD.search(text, start, end)]


def _stripped(text: str, block: _Block) -> tuple[int, int]:
    """Without white space around it, and without what makes an item of it."""
    start, end = block.start, block.end
    if block.kind == "list" and (mark := _ITEM.match(text, start, end)):
        start = mark.end()
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
