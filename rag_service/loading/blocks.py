"""Where a text divides. `paragraph_blocks` finds blocks in a text; `TextBuilder` makes a text out of blocks."""

from rag_service.normalise import document_text, normalise, one_line
from rag_service.types import Block, BlockKind

_BETWEEN = "\n\n"


def trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without white space at its ends, or None if there is nothing else in it."""
    piece = text[start:end]
    visible = piece.strip()
    if not visible:
        return None
    first = start + len(piece) - len(piece.lstrip())
    return first, first + len(visible)


def paragraph_blocks(text: str, start: int = 0, end: int | None = None) -> list[Block]:
    """Blocks of `text[start:end]`, divided at blank lines."""
    stop = len(text) if end is None else end
    blocks: list[Block] = []
    opened = line = start
    while line < stop:
        newline = text.find("\n", line, stop)
        next_line = stop if newline < 0 else newline + 1
        if not text[line:next_line].strip():
            _append_paragraph(blocks, text, opened, line)
            opened = next_line
        line = next_line
    _append_paragraph(blocks, text, opened, stop)
    return blocks


def _append_paragraph(blocks: list[Block], text: str, start: int, end: int) -> None:
    span = trimmed(text, start, end)
    if span is not None:
        blocks.append(Block(*span, kind="paragraph"))


class TextBuilder:
    """Collects the blocks of a format that is not itself readable text. Its text is normalised as `document_text` would."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.blocks: list[Block] = []
        self.chars = 0
        """Length of the text so far."""

    def add(self, kind: BlockKind, raw: str, *, level: int = 0, page: int | None = None) -> None:
        """Appends a block; one without visible text is left out. Code keeps the indentation of its first line."""
        text = document_text(raw) if kind == "code" else normalise(raw).strip()
        if not text:
            return
        start = self.chars + (len(_BETWEEN) if self._pieces else 0)
        title = one_line(text) if kind == "heading" else ""
        self._pieces.append(text)
        self.chars = start + len(text)
        self.blocks.append(Block(start, self.chars, kind, level=level, title=title, page=page))

    @property
    def text(self) -> str:
        return _BETWEEN.join(self._pieces)

    def first_heading(self, level: int | None = None) -> str:
        """Title of the first heading (of that level, if one is given), or an empty string."""
        return next((block.title for block in self.blocks if block.kind == "heading" and level in (None, block.level)), "")
