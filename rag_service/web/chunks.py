"""The passage that a citation leads to, with the quoted place marked."""

from rag_service.types import Chunk
from rag_service.web.marking import segments
from rag_service.web.pages import ANYBODY, Viewer, render
from rag_service.web.traces import place_of


def chunk_page(chunk: Chunk, version: str, *, quote: tuple[int, int] | None = None, viewer: Viewer = ANYBODY) -> str:
    """`version` is the index version that it was found in. `quote` is in characters of the chunk's text, end exclusive."""
    return render(
        "chunk.html",
        viewer=viewer,
        chunk=chunk,
        version=version,
        place=place_of(chunk),
        segments=segments(chunk.text, [(quote, 1)] if quote else []),
    )
