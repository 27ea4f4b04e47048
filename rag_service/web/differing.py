"""Long differences made short: of what is the same, only what stands next to a change. Pure."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rag_service.text_diff import Piece

_CONTEXT_LINES = 3


class Shown(NamedTuple):
    op: Literal["same", "removed", "added", "left out"]
    text: str


def shortened(pieces: Sequence[Piece]) -> list[Shown]:
    """Of pieces by lines. What is left out is counted in words."""
    return [shown for place, piece in enumerate(pieces) for shown in _shown(piece, first=place == 0, last=place == len(pieces) - 1)]


def _shown(piece: Piece, *, first: bool, last: bool) -> Iterator[Shown]:
    if piece.op != "same":
        yield Shown(piece.op, piece.text)
        return
    lines = piece.text.splitlines(keepends=True)
    before = 0 if first else _CONTEXT_LINES
    after = 0 if last else _CONTEXT_LINES
    left_out = len(lines) - before - after
    if left_out <= _CONTEXT_LINES:
        yield Shown("same", piece.text)
        return
    if before:
        yield Shown("same", "".join(lines[:before]))
    yield Shown("left out", f"{left_out} lines are the same")
    if after:
        yield Shown("same", "".join(lines[-after:]))
