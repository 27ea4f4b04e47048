"""One document of an index version, in the words of `GET /documents/ID`."""

from dataclasses import asdict
from typing import Any

from rag_service.errors import NotFound
from rag_service.ports import ChunkTable
from rag_service.types import DocumentId


def described_document(chunks: ChunkTable, identifier: DocumentId, version: str) -> dict[str, Any]:
    """For JSON: its digests, its metadata and the places of all its chunks. Raises `NotFound`."""
    found = chunks.document(identifier)
    if found is None:
        raise NotFound(
            f"there is no document {identifier!r} in version {version}",
            hint="ids are paths below the source of the build, and of rows what their column `id` says",
        )
    described = asdict(found)
    listed = [
        {
            "chunk_id": chunk.id,
            "ordinal": chunk.ordinal,
            "document_span": [chunk.start, chunk.end],
            "page": chunk.page,
            "heading_path": chunk.heading_path,
            "tokens": chunk.tokens,
        }
        for chunk in chunks.chunks_of(identifier, first=0, most=len(chunks))
    ]
    return {"document_id": described.pop("id"), "index_version": version, **described, "chunks": listed}
