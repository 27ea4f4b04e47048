"""What tests ask of loaded documents."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rag_service.types import Document, Skipped

Writer = Callable[[str, str | bytes], Path]
"""Relative path and content, to the path written."""

PdfBuilder = Callable[..., bytes]
"""Pages as lists of lines, and a `title`, to a file."""

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Public data sets that lie beside the project where it is developed; tests that read them skip elsewhere."""


def documents(items: Sequence[Document | Skipped]) -> list[Document]:
    return [item for item in items if isinstance(item, Document)]


def skips(items: Sequence[Document | Skipped]) -> list[Skipped]:
    return [item for item in items if isinstance(item, Skipped)]


def pieces(document: Document) -> list[tuple[str, str]]:
    """Kind and text of every block."""
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def assert_blocks_are_sound(document: Document) -> None:
    end = 0
    for block in document.blocks:
        assert end <= block.start < block.end <= len(document.text)
        assert document.text[block.start : block.end].strip()
        end = block.end


def assert_blocks_cover(document: Document, start: int = 0) -> None:
    """Nothing visible from `start` on lies outside of all blocks."""
    for block in document.blocks:
        assert not document.text[start : block.start].strip()
        start = block.end
    assert not document.text[start:].strip()
