"""Plain text. One document a file, divided at blank lines."""

from collections.abc import Iterator

from rag_service.loading.blocks import paragraph_blocks
from rag_service.loading.decoding import binary, decode
from rag_service.loading.documents import file_document, stem
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits, over_length
from rag_service.normalise import document_text
from rag_service.types import Document, Skipped


def load_text(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """The title is the file's stem: a first line of plain text may be anything."""
    raw = decode(data)
    if raw is None:
        yield binary(source)
        return
    text = document_text(raw)
    yield over_length(source, len(text), limits) or file_document(source, title=stem(source), text=text, blocks=paragraph_blocks(text))
