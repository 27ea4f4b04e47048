"""Vectors in a FAISS file: exact up to about 100,000 rows, HNSW above. The only module that imports FAISS.

The file is memory-mapped and read-only. FAISS has no checksum of its own: callers verify the manifest's SHA-256 first.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from rag_service.errors import Damaged, StorageFailed
from rag_service.ranking import ordered
from rag_service.types import Matrix, Positions, Vector

Kind = Literal["flat", "hnsw"]

EXACT_ROWS = 100_000
"""Above this, `auto` means HNSW: an exact query costs 16 ms of CPU at 100,000 × 384, an HNSW query 0.3 ms."""

HNSW_LINKS = 32
HNSW_EF_CONSTRUCTION = 200
HNSW_EF_SEARCH = 128
"""Links per node and candidate lists, at build and at search: recall@10 of 0.99 and more at 100,000 rows (`benchmarks/stores.py`)."""

_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY

_TIE_MARGIN = 16
"""Rows fetched beyond k, so that ties at the cut are seen whole in one search nearly always."""


def kind_for(rows: int, setting: Literal["auto", "flat", "hnsw"]) -> Kind:
    if setting == "auto":
        return "flat" if rows <= EXACT_ROWS else "hnsw"
    return setting


def build_parameters(kind: Kind) -> dict[str, int]:
    if kind == "flat":
        return {}
    return {"links": HNSW_LINKS, "ef_construction": HNSW_EF_CONSTRUCTION, "ef_search": HNSW_EF_SEARCH}


def write_faiss(path: Path, batches: Iterable[Matrix], *, dimension: int, kind: Kind) -> None:
    """Consumes `batches` (each (n, dimension), unit rows) and writes one file. The same batches give the same bytes.

    Raises `StorageFailed`.
    """
    faiss.omp_set_num_threads(1)  # HNSW links nodes in arrival order only when one thread inserts
    index = faiss.IndexFlatIP(dimension) if kind == "flat" else _empty_hnsw(dimension)
    for batch in batches:
        index.add(np.ascontiguousarray(batch, np.float32))
    try:
        faiss.write_index(index, str(path))
        # When the disk fills up at the last bytes FAISS only prints it, so it is asked what it has written.
        whole = faiss.read_index(str(path), _MAPPED).ntotal == index.ntotal
    except RuntimeError as error:
        raise _cut_short(path) from error
    if not whole:
        raise _cut_short(path)


def _cut_short(path: Path) -> StorageFailed:
    return StorageFailed(
        f"could not write {path.name}: it is cut short",
        hint="the disk is full, or a file-size limit was reached (`ulimit -f`); what was served before is untouched",
    )


def _empty_hnsw(dimension: int) -> Any:
    index = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    index.hnsw.efSearch = HNSW_EF_SEARCH
    return index


class FaissStore:
    """Make one with `open`. Safe to search from several threads."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def open(cls, path: Path) -> "FaissStore":
        """Maps the file, which the caller has verified. Raises `Damaged` if FAISS refuses it."""
        faiss.omp_set_num_threads(1)  # parallelism comes from requests: two threads a query cost 2.4 × the CPU
        try:
            return cls(faiss.read_index(str(path), _MAPPED))
        except RuntimeError as error:
            raise Damaged(
                f"FAISS {version('faiss-cpu')} cannot read {path.name}", hint="build the index again with this version"
            ) from error

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def search(self, query: Vector, k: int) -> tuple[Positions, Vector]:
        wanted = min(k, len(self))
        if wanted <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        fetch = min(wanted + _TIE_MARGIN, len(self))
        while True:
            scores, positions = self._index.search(query.reshape(1, -1), fetch, params=self._search_parameters(fetch))
            found = positions[0] >= 0
            positions, scores = ordered(positions[0][found], scores[0][found])
            cut_is_clear = len(scores) < fetch or scores[-1] < scores[min(wanted, len(scores)) - 1]
            if cut_is_clear or fetch == len(self):
                return positions[:k], scores[:k]
            fetch = min(fetch * 4, len(self))

    def vectors(self, positions: Sequence[int]) -> Matrix:
        if not positions:
            return np.empty((0, self.dimension), np.float32)
        return np.stack([self._index.reconstruct(int(position)) for position in positions])

    def _search_parameters(self, fetch: int) -> Any:
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(  # type: ignore[attr-defined]  # made by SWIG, unknown to its stub
                efSearch=max(HNSW_EF_SEARCH, fetch)
            )
        return None
