"""The chunk table of documents that were cut by length: no loader, no chunker, no index."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rag_service.digests import digest_text
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId


@dataclass
class CutDocuments:
    """Documents in chunks of `size` characters that begin `size - overlap` apart, without the white space at their ends."""

    documents: dict[str, str]
    size: int = 40
    overlap: int = 0
    read: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = [chunk for name, text in self.documents.items() for chunk in self._cut(name, text)]

    def _cut(self, name: str, text: str) -> list[Chunk]:
        chunks: list[Chunk] = []
        for start in range(0, len(text), self.size - self.overlap):
            part = text[start : start + self.size]
            begin = start + len(part) - len(part.lstrip())
            if part.strip():
                chunks.append(a_chunk(name, len(chunks), begin, part.strip()))
        return chunks

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self, positions: Sequence[int]) -> list[Chunk]:
        return [self.rows[position] for position in positions]

    def chunk(self, identifier: ChunkId) -> Chunk | None:
        return next((chunk for chunk in self.rows if chunk.id == identifier), None)

    def document(self, identifier: DocumentId) -> DocumentFacts | None:
        text = self.documents.get(identifier)
        return None if text is None else DocumentFacts(identifier, "", identifier, {}, digest_text(text), digest_text(text))

    def chunks_of(self, document: DocumentId, *, first: int, most: int) -> list[Chunk]:
        self.read.append(document)
        return [chunk for chunk in self.rows if chunk.document_id == document and chunk.ordinal >= first][:most]

    def select(self, wanted: object) -> object:
        raise NotImplementedError

    def document_ids_by_text(self, text_digest: str) -> list[DocumentId]:
        return [DocumentId(name) for name, text in self.documents.items() if digest_text(text) == text_digest]


def a_chunk(name: str, ordinal: int, start: int, text: str) -> Chunk:
    return Chunk(
        ChunkId(f"{name}-{ordinal}"), DocumentId(name), ordinal, start, start + len(text), text, "", (), name, None, text, len(text.split())
    )
