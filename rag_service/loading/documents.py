"""What a file and what a row becomes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from rag_service.loading.blocks import TextBuilder, paragraph_blocks
from rag_service.normalise import document_text, normalise, one_line
from rag_service.types import Block, Document, DocumentId, MetadataValue, Skipped

_MAX_EXACT_INTEGER = 2**53 - 1
"""The largest that canonical JSON carries exactly; beyond it a number is kept as text."""


def stem(source: str) -> str:
    """The title of last resort: the file's name without its extension."""
    return one_line(PurePosixPath(source).stem)


def file_document(
    source: str, *, title: str, text: str, blocks: Sequence[Block], metadata: Mapping[str, MetadataValue] | None = None
) -> Document | Skipped:
    """A whole file as one document, `empty` if it has no block. A blank title becomes the file's stem."""
    if not blocks:
        return Skipped(source, "empty", "no text")
    return Document(
        id=DocumentId(source),
        text=text,
        title=one_line(title) or stem(source),
        source=source,
        blocks=tuple(blocks),
        metadata=dict(metadata or {}),
    )


def built_document(source: str, *, title: str, builder: TextBuilder) -> Document | Skipped:
    """The same from a builder."""
    return file_document(source, title=title, text=builder.text, blocks=builder.blocks)


def row_document(row_id: str, source: str, *, title: str, text: str, metadata: Mapping[str, MetadataValue]) -> Document | Skipped:
    """A row as one document, in paragraphs. Its title stays blank where the row has none: a row has no name to fall back on."""
    normalised = document_text(text)
    if not normalised:
        return Skipped(source, "empty", "no text")
    return Document(
        id=DocumentId(row_id),
        text=normalised,
        title=one_line(title),
        source=source,
        blocks=tuple(paragraph_blocks(normalised)),
        metadata=metadata,
    )


def scalars(fields: Mapping[str, object]) -> dict[str, MetadataValue]:
    """The fields that metadata can hold: text (normalised), numbers and truth values. Lists, objects and nulls are left out."""
    kept: dict[str, MetadataValue] = {}
    for name, value in fields.items():
        scalar = _scalar(value)
        key = one_line(name)
        if key and scalar is not None:
            kept[key] = scalar
    return kept


def _scalar(value: object) -> MetadataValue | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return normalise(value).strip() or None
    if isinstance(value, int):
        return value if abs(value) <= _MAX_EXACT_INTEGER else hex(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    return None
