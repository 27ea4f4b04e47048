"""Chunks and documents by id, also of index versions that are no longer served: what a citation of last month links to."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from rag_service.errors import NotFound, RagError
from rag_service.filters import Filter
from rag_service.ports import ChunkTable
from rag_service.types import Chunk, ChunkId

MOST_OPEN = 8
"""Tables of chunks that are kept open, and versions that are looked through when none is named."""


class Archive:
    """`versions` gives the ids of index versions, newest first; `open_chunks` the table of one of them, or raises `NotFound`."""

    def __init__(self, versions: Callable[[], Sequence[str]], open_chunks: Callable[[str], ChunkTable]) -> None:
        self._versions = versions
        self._open_chunks = open_chunks
        self._tables: OrderedDict[str, ChunkTable] = OrderedDict()
        self._lock = threading.Lock()

    def chunk(self, identifier: ChunkId, *, version: str | None, access: Filter | None) -> tuple[Chunk, str]:
        """The chunk and the version it was found in. Raises `NotFound`, also for a chunk that `access` does not allow."""
        for candidate in [version] if version is not None else self._versions()[:MOST_OPEN]:
            try:
                found = self.table(candidate).chunk(identifier)
            except RagError:
                if version is not None:
                    raise
                continue  # an old version that is damaged does not hide the others
            if found is not None and (access is None or access.allows(found, found.document_id)):
                return found, candidate
        where = f"index version {version}" if version is not None else "the index"
        raise NotFound(f"there is no chunk {identifier} in {where}", hint="a version that was deleted takes its chunks along")

    def table(self, version: str) -> ChunkTable:
        """The chunks of one version; a table that is dropped closes with its last reader. Raises `NotFound` or `Damaged`."""
        with self._lock:
            if version not in self._tables:
                self._tables[version] = self._open_chunks(version)
                while len(self._tables) > MOST_OPEN:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(version)
            return self._tables[version]
