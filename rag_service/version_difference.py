"""What differs between two versions of an index: how they were built, and what is in them."""

from dataclasses import dataclass

from rag_service.catalog import Catalog
from rag_service.difference import FieldDifference, field_differences
from rag_service.manifest import CHUNKS_FILE, Manifest, read_manifest
from rag_service.stores.table_difference import TableDifference, table_difference

_CONTENT = frozenset({"corpus_digest", "chunk_set_digest", "counts", "skipped", "files", "schema"})
"""What follows from the documents, and is not a setting."""


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """From `a` to `b`."""

    a: Manifest
    b: Manifest
    settings: tuple[FieldDifference, ...]
    """Of loader, chunker, encoder, vector index and the programs that built them."""
    content: TableDifference


def version_difference(catalog: Catalog, name: str, a: str, b: str, *, listed: int) -> VersionDifference:
    """Reads both tables of chunks once; names at most `listed` documents of each kind. Raises `NotFound` or `Damaged`."""
    folders = [catalog.version_folder(name, version) for version in (a, b)]
    first, second = (read_manifest(folder) for folder in folders)
    content = table_difference(folders[0] / CHUNKS_FILE, folders[1] / CHUNKS_FILE, listed=listed)
    described = [manifest.model_dump(mode="json", by_alias=True, exclude=set(_CONTENT)) for manifest in (first, second)]
    return VersionDifference(first, second, field_differences(*described), content)
