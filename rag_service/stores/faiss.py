"""Vectors in one FAISS file, exact or as a graph (HNSW); and which kind of store an index gets. Only this module and `faiss_ivf` import
FAISS.

The file is memory-mapped and read-only. FAISS has no checksum of its own: callers verify the manifest's SHA-256 first.
"""

import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from rag_service.errors import Damaged, StorageFailed
from rag_service.manifest import ROWS_FILE, VECTORS_FILE
from rag_service.ranking import ordered
from rag_service.stores.cuts import counts, nothing
from rag_service.stores.faiss_ivf import PROBED_LISTS, IvfStore, lists_for, write_ivf
from rag_service.types import Matrix, Positions, Selection, Vector

Kind = Literal["flat", "hnsw", "ivf"]

EXACT_ROWS = 100_000
"""Above this, `auto` means lists around centroids: an exact query costs 9 ms of CPU at 100,000 × 384 and 108 ms at a million, one
through lists 0.6 and 1.8 ms; and lists are built in a tenth of the time that a graph takes (`benchmarks/scale.py`)."""

HNSW_LINKS = 32
HNSW_EF_CONSTRUCTION = 200
HNSW_EF_SEARCH = 128
"""Links per node and candidate lists, at build and at search: recall@10 of 0.99 and more at 100,000 rows (`benchmarks/stores.py`)."""

_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY

_TIE_MARGIN = 16
"""Rows fetched beyond k, so that ties at the cut are seen whole in one search nearly always."""

_SPREAD = 3
"""Times as many rows fetched from the graph than should hold enough permitted ones, were these spread evenly."""

_ROWS_PER_FETCHED = 50
"""Rows that are compared one after the other in the time that finding one through the graph takes. With it, the ten best of a tenth
of 100,000 rows come from comparing all permitted ones, and those of a third through the graph."""


def kind_for(rows: int, setting: Literal["auto", "flat", "hnsw", "ivf"]) -> Kind:
    if setting == "auto":
        return "flat" if rows <= EXACT_ROWS else "ivf"
    return setting


def build_parameters(kind: Kind, rows: int) -> dict[str, int]:
    if kind == "flat":
        return {}
    if kind == "ivf":
        return {"lists": max(lists_for(rows), 1), "probed_lists": PROBED_LISTS, "bits": 8}
    return {"links": HNSW_LINKS, "ef_construction": HNSW_EF_CONSTRUCTION, "ef_search": HNSW_EF_SEARCH}


def write_store(folder: Path, batches: Iterable[Matrix], *, dimension: int, kind: Kind) -> list[str]:
    """Consumes `batches` (each (n, dimension), unit rows), and writes what `open_store` opens: the names of its files. The same batches
    give the same bytes. Raises `StorageFailed`.
    """
    if kind == "ivf":
        write_ivf(folder / VECTORS_FILE, folder / ROWS_FILE, batches, dimension=dimension)
        return [VECTORS_FILE, ROWS_FILE]
    write_faiss(folder / VECTORS_FILE, batches, dimension=dimension, kind=kind)
    return [VECTORS_FILE]


def open_store(folder: Path, kind: Kind) -> "FaissStore | IvfStore":
    """Maps the files, which the caller has verified. Raises `Damaged`."""
    if kind == "ivf":
        return IvfStore.open(folder / VECTORS_FILE, folder / ROWS_FILE)
    return FaissStore.open(folder / VECTORS_FILE)


def write_faiss(path: Path, batches: Iterable[Matrix], *, dimension: int, kind: Literal["flat", "hnsw"]) -> None:
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
        self._has_graph = isinstance(index, faiss.IndexHNSW)
        self._flat = faiss.downcast_index(index.storage) if self._has_graph else index
        flat: Any = self._flat
        rows = faiss.rev_swig_ptr(flat.get_xb(), len(self) * self.dimension) if len(self) else np.empty(0, np.float32)
        self._rows: Matrix = rows.reshape(len(self), self.dimension)  # where FAISS has them: valid as long as the index, which is kept

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

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        """As the port promises; always min(k, permitted rows) of them. Raises `Mismatch` where `within` is of another store."""
        _, wanted = counts(k, len(self), within)  # of a row beyond its own, FAISS would read beyond its memory
        if wanted <= 0:
            return nothing()
        found = self._through_graph(query, wanted, within) if self._has_graph else None
        return found or self._exactly(query, wanted, within)

    def _exactly(self, query: Vector, wanted: int, within: Selection | None) -> tuple[Positions, Vector]:
        """Compares every permitted row, by its number: a quarter of what testing a bitmap row by row costs where few are permitted."""
        permitted = len(self) if within is None else len(within)
        fetch = min(wanted + _TIE_MARGIN, permitted)
        parameters = None
        if within is not None:
            # Both objects point into what they are given and keep a reference to it; this frame keeps them until FAISS is done.
            selector = faiss.IDSelectorArray(within.positions)
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # takes its fields by name
        while True:
            scores, positions = self._flat.search(query.reshape(1, -1), fetch, params=parameters)
            positions, scores = ordered(positions[0], scores[0])
            if fetch == permitted or scores[-1] < scores[wanted - 1]:
                return positions[:wanted], scores[:wanted]
            fetch = min(fetch * 4, permitted)

    def _through_graph(self, query: Vector, wanted: int, within: Selection | None) -> tuple[Positions, Vector] | None:
        """The best permitted rows among the nearest of all rows. None where those hold too few, where a tie at the cut is not seen
        whole, and where comparing every permitted row costs less.

        FAISS can test rows while it walks the graph, but ends when the nearest `efSearch` rows, forbidden ones counted, are seen.
        Where a question lies among forbidden rows, as access rules have it, it so gave ten rows of which one was among the ten best.
        """
        permitted = len(self) if within is None else len(within)
        fetch = wanted + _TIE_MARGIN
        if within is None:
            most = fetch = min(fetch, len(self))
        else:
            most, fetch = 0, max(HNSW_EF_SEARCH, math.ceil(fetch * _SPREAD * len(self) / permitted))
        most = max(most, permitted // _ROWS_PER_FETCHED)
        while fetch <= most:
            parameters = faiss.SearchParametersHNSW(efSearch=max(HNSW_EF_SEARCH, fetch))  # type: ignore[attr-defined]  # made by SWIG
            scores, positions = self._index.search(query.reshape(1, -1), fetch, params=parameters)
            kept = positions[0] >= 0 if within is None else _permitted(positions[0], within)
            positions, scores = ordered(positions[0][kept], scores[0][kept])
            if len(scores) == permitted or (len(scores) > wanted and scores[-1] < scores[wanted - 1]):
                return positions[:wanted], scores[:wanted]
            fetch *= 4
        return None

    def vectors(self, positions: Sequence[int]) -> Matrix:
        return self._rows[np.asarray(positions, np.int64)]


def _permitted(positions: Positions, within: Selection) -> npt.NDArray[np.bool_]:
    """Which of `positions` are in `within`; -1, which FAISS gives where it found no more, is not."""
    bits = within.bitmap[positions >> 3] >> (positions & 7).astype(np.uint8)
    allowed: npt.NDArray[np.bool_] = (positions >= 0) & (bits & 1).astype(np.bool_)
    return allowed
