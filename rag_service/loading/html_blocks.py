"""What is inside one block of HTML, becoming lines of text: each class gathers one kind of block while `html` walks the tree."""

import re
from dataclasses import dataclass
from typing import Protocol

from rag_service.loading.blocks import TextBuilder

_BLOCK_TAGS = (
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu ol option p pre section summary table tbody td tfoot th thead "
    "tr ul"
)
BLOCK_TAGS = frozenset(_BLOCK_TAGS.split())
"""Where a line of running text begins and ends."""

HEADING_TAGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_LIST_TAGS = frozenset({"ul", "ol", "menu"})
_CELL_TAGS = frozenset({"td", "th"})

_SPACES = re.compile(r"[ \t\n\r\f]+")
_MAX_INDENT = 8


class Run:
    """Running text: white space collapses as a browser collapses it, except while `raw` is above zero."""

    def __init__(self) -> None:
        self.raw = 0
        self._parts: list[str] = []
        self._after_space = True

    def text(self, text: str) -> None:
        if not self.raw:
            text = _SPACES.sub(" ", text)
            if self._after_space:
                text = text.removeprefix(" ")
        if text:
            self._parts.append(text)
            self._after_space = text[-1] in " \n"

    def line_break(self) -> None:
        self._parts.append("\n")
        self._after_space = True

    def take(self) -> str:
        """What came together, without spaces at the ends of lines; starts afresh."""
        text = "".join(self._parts)
        self._parts.clear()
        self._after_space = True
        return "\n".join(line.rstrip() for line in text.split("\n"))

    def take_line(self) -> str:
        return " ".join(self.take().split())


class Gatherer(Protocol):
    """One open block. `enter` and `leave` are told of the tags inside it and of its own."""

    def enter(self, tag: str) -> None: ...

    def leave(self, tag: str) -> None: ...

    def finish(self, builder: TextBuilder) -> None: ...


class HeadingGatherer:
    def __init__(self, run: Run, level: int) -> None:
        self._run = run
        self._level = level

    def enter(self, tag: str) -> None:
        if tag in BLOCK_TAGS:
            self._run.text(" ")

    leave = enter

    def finish(self, builder: TextBuilder) -> None:
        builder.add("heading", self._run.take_line(), level=self._level)


class CodeGatherer:
    def __init__(self, run: Run) -> None:
        self._run = run
        run.raw += 1

    def enter(self, tag: str) -> None:
        """Nothing inside preformatted text is a block."""

    leave = enter

    def finish(self, builder: TextBuilder) -> None:
        builder.add("code", self._run.take())
        self._run.raw -= 1


@dataclass(slots=True)
class _Level:
    """One open list: how many items it has had, and the marker that its next line is due."""

    ordered: bool
    items: int = 0
    marker: str = ""


class ListGatherer:
    """A list with all lists inside it: `- item` or `1. item`, two spaces deeper for each level."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._levels: list[_Level] = []
        self._lines: list[str] = []

    def enter(self, tag: str) -> None:
        if tag not in BLOCK_TAGS:
            return
        self._flush()
        if tag in _LIST_TAGS:
            self._levels.append(_Level(ordered=tag == "ol"))
        elif tag == "li" and self._levels:
            level = self._levels[-1]
            level.items += 1
            level.marker = f"{level.items}. " if level.ordered else "- "
        elif tag == "pre":
            self._run.raw += 1

    def leave(self, tag: str) -> None:
        if tag not in BLOCK_TAGS:
            return
        self._flush()
        if tag in _LIST_TAGS:
            self._levels.pop()
        elif tag == "pre":
            self._run.raw -= 1

    def _flush(self) -> None:
        lines = self._run.take().strip("\n").split("\n")
        if not any(lines):
            return
        indent = "  " * min(len(self._levels) - 1, _MAX_INDENT)
        level = self._levels[-1]
        marker, level.marker = level.marker, ""
        self._lines.append(indent + (marker or "  ") + lines[0])
        self._lines += [f"{indent}  {line}".rstrip() for line in lines[1:]]

    def finish(self, builder: TextBuilder) -> None:
        builder.add("list", "\n".join(self._lines))


class TableGatherer:
    """A table as `a | b | c` lines. A table inside a cell is part of that cell's text."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._depth = 0
        self._cells: list[str] = []
        self._lines: list[str] = []

    def enter(self, tag: str) -> None:
        if tag == "table":
            self._depth += 1
        if tag in BLOCK_TAGS:
            self._run.text(" ")

    def leave(self, tag: str) -> None:
        if self._depth == 1:
            self._leave_outer(tag)
        if tag == "table":
            self._depth -= 1
        if tag in BLOCK_TAGS:
            self._run.text(" ")

    def _leave_outer(self, tag: str) -> None:
        if tag in _CELL_TAGS:
            self._cells.append(self._run.take_line())
        elif tag == "tr":
            if any(self._cells):
                self._lines.append(" | ".join(self._cells))
            self._cells = []
        elif tag == "caption":
            self._lines.append(self._run.take_line())

    def finish(self, builder: TextBuilder) -> None:
        self._run.take()
        builder.add("table", "\n".join(self._lines))


def gatherer(tag: str, run: Run) -> Gatherer | None:
    """For a tag that opens a block of its own; None for one that only ends a paragraph, or not even that."""
    if tag in HEADING_TAGS:
        return HeadingGatherer(run, int(tag[1]))
    if tag == "pre":
        return CodeGatherer(run)
    if tag in _LIST_TAGS:
        return ListGatherer(run)
    return TableGatherer(run) if tag == "table" else None
