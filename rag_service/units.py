"""What of a passage can be quoted on its own, and what has to be quoted as a whole. Pure, and linear in the length of the text.

A unit is what is compared with a question: a sentence of prose, an item of a list, a row of a table, a block of code. An extent is what
is quoted for it: steps, lists, tables and code make sense only whole, with the sentence that announces them.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rag_service.sentences import sentences, words

MAX_EXTENT_CHARS = 1200
"""Of a longer list or table, the unit alone is quoted."""

Kind = Literal["sentence", "item", "row", "code"]

_NOT_PROSE = re.compile(r"\s*(?:#{1,6}\s|///|\{\*|!\[|<[a-z/!]|[-*_]{3,}\s*$)")
_UNDERLINE = re.compile(r"\n\s*(?:=+|-+)\s*$")
"""What makes a heading of the line above it in Markdown. Formats other than Markdown have headings without any mark."""
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s")
_ROW = re.compile(r"\s*\|")
_RULE_ROW = re.compile(r"\s*\|?[\s:|-]+$")
_LEAST_WORDS = 3
"""`See below.` answers nothing."""
_LEAST_WORDS_OF_A_FRAGMENT = 7
_TELLS = re.compile(r"[.!?…。！？؟۔:：;][\"'”’)\]»」』`*_]*\s*\Z|[\d`=]")


class Unit(NamedTuple):
    """`text[start:end]`; `extent_start` and `extent_end` are the offsets of what is quoted for it."""

    start: int
    end: int
    kind: Kind
    extent_start: int
    extent_end: int


def units(text: str, headings: Sequence[str] = ()) -> list[Unit]:
    """In order, without overlap. `headings` are those above the text, which may stand in it without any mark; they are not units."""
    found: list[Unit] = []
    shown = {" ".join(heading.split()) for heading in headings}
    for start, end in _blocks(text):
        block = text[start:end]
        if _FENCE.match(block):
            found.extend(_whole(text, found, [(start, end)], "code"))
        elif _LIST_ITEM.match(block):
            found.extend(_whole(text, found, list(_items(text, start, end)), "item"))
        elif _ROW.match(block):
            rows = [(begin, stop) for begin, stop in _lines(text, start, end) if not _RULE_ROW.match(text[begin:stop])]
            found.extend(_whole(text, found, rows[1:] or rows, "row", begin=start))
        elif not (_NOT_PROSE.match(block) or " ".join(_UNDERLINE.sub("", block).split()) in shown):
            found.extend(
                Unit(start + span.start, start + span.end, "sentence", start + span.start, start + span.end)
                for span in sentences(block)
                if _says_something(span.text)
            )
    return found


def _says_something(sentence: str) -> bool:
    """Not so few words; nor a label, a heading without any mark or an entry of a menu: words without an end, a number or code."""
    count = len(words(sentence))
    return count >= _LEAST_WORDS and (count >= _LEAST_WORDS_OF_A_FRAGMENT or bool(_TELLS.search(sentence)))


def _whole(text: str, before: list[Unit], spans: list[tuple[int, int]], kind: Kind, *, begin: int | None = None) -> Iterator[Unit]:
    """Parts of one list, table or block of code, which is quoted with the sentence before it where that announces it."""
    if not spans:
        return
    announced = bool(before) and before[-1].kind == "sentence" and text.endswith((":", "："), 0, before[-1].end)
    begin = spans[0][0] if begin is None else begin
    first, last = (before[-1].start if announced else begin), spans[-1][1]
    fits = last - first <= MAX_EXTENT_CHARS
    if announced and fits:
        before[-1] = before[-1]._replace(extent_end=last)
    for start, end in spans:
        yield Unit(start, end, kind, first if fits else start, last if fits else end)


def _items(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Each item with the lines that continue it."""
    begin: int | None = None
    stop = start
    for line_start, line_end in _lines(text, start, end):
        if begin is not None and _LIST_ITEM.match(text[line_start:line_end]):
            yield begin, stop
            begin = None
        begin = line_start if begin is None else begin
        stop = line_end
    if begin is not None:
        yield begin, stop


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Lines that are not blank, without the white space around them."""
    position = start
    for line in text[start:end].splitlines(keepends=True):
        if stripped := line.strip():
            begin = position + len(line) - len(line.lstrip())
            yield begin, begin + len(stripped)
        position += len(line)


def _blocks(text: str) -> list[tuple[int, int]]:
    """Runs of lines between blank lines; a fenced code block is one run, blank lines and all; a heading line stands alone, and a list
    or a table begins a run of its own.
    """
    blocks: list[tuple[int, int]] = []
    begin: int | None = None
    position, fenced, shape = 0, False, ""
    for line in text.splitlines(keepends=True):
        is_fence = bool(_FENCE.match(line))
        closes = fenced and is_fence
        shaped = "list" if _LIST_ITEM.match(line) else "table" if _ROW.match(line) else ""
        begins = begin is not None and shaped not in ("", shape)
        is_heading = not fenced and bool(_HEADING.match(line))
        breaks = not fenced and (not line.strip() or is_fence or is_heading or begins)
        if breaks and begin is not None:
            blocks.append((begin, position))
            begin = None
        if line.strip() and begin is None:
            begin, shape = position, shaped
        position += len(line)
        fenced = fenced != is_fence
        if begin is not None and (closes or is_heading):
            blocks.append((begin, position))
            begin = None
    if begin is not None:
        blocks.append((begin, position))
    return _joined(text, [(end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())) for start, end in blocks])


def _joined(text: str, blocks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Items with blank lines between them are one list."""
    found: list[tuple[int, int]] = []
    for start, end in blocks:
        if found and _LIST_ITEM.match(text, start, end) and _LIST_ITEM.match(text, *found[-1]):
            start = found.pop()[0]
        found.append((start, end))
    return found
