"""Vectors for a million rows: a FAISS file with the rows in lists around centroids, a byte a dimension, and a file with the rows as they
are.

A question looks through the lists nearest to it, and the best rows found there are scored anew from the second file: scores are exact, as
those of every store. Both files are memory-mapped, so several processes share one copy, and only what is looked at is in memory. A build
writes the rows as they come, and holds a quarter of their size, and a sample of them while it looks for centroids.
"""

import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rag_service.durable import storage_errors
from rag_service.errors import Damaged, StorageFailed
from rag_service.ranking import ordered
from rag_service.stores.cuts import counts, nothing
from rag_service.types import Matrix, Positions, Selection, Vector

LISTS_PER_ROOT = 4
"""Lists, as multiple of the square root of the rows (what FAISS advises), and then a power of two."""
PROBED_LISTS = 64
"""Lists that a question looks through: recall@10 of 0.995 and more at 100,000 rows and at a million (`benchmarks/scale.py`)."""

_ROWS_PER_LIST_TO_TRAIN = (39, 64)
"""Least and most; with fewer, FAISS warns that centroids are poor."""
_ROUNDS = 10
_ADDED_AT_ONCE = _SCORED_AT_ONCE = 20_000
_MARGIN = 16
_SPREAD = 4
"""(k + `_MARGIN`) × `_SPREAD` rows are scored anew: a byte a dimension puts them in nearly the right order."""
_LEAST_SHARE = 0.5
"""Of the share that a selection has of all rows, which it must have of the nearest ones for these to be looked through alone."""
_TYPE = np.dtype("<f4")
_MAPPED = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY


def lists_for(rows: int) -> int:
    """How many lists; 0 where there are too few rows to make any."""
    most = rows // _ROWS_PER_LIST_TO_TRAIN[0]
    return min(2 ** round(math.log2(LISTS_PER_ROOT * math.sqrt(rows))), most) if most else 0


def write_ivf(path: Path, rows_path: Path, batches: Iterable[Matrix], *, dimension: int) -> None:
    """Consumes `batches` (each (n, dimension), unit rows) and writes both files. The same rows give the same bytes.

    Raises `StorageFailed`.
    """
    faiss.omp_set_num_threads(1)  # sums in another order give other centroids
    with storage_errors(rows_path.name), rows_path.open("wb") as file:
        for batch in batches:
            file.write(np.ascontiguousarray(batch, _TYPE).data)
    rows = _mapped_rows(rows_path, dimension)
    index = _trained(rows, dimension)
    for start in range(0, len(rows), _ADDED_AT_ONCE):
        index.add(np.ascontiguousarray(rows[start : start + _ADDED_AT_ONCE], np.float32))
    try:
        faiss.write_index(index, str(path))
        whole = faiss.read_index(str(path), _MAPPED).ntotal == len(rows)
    except RuntimeError as error:
        raise StorageFailed(
            f"could not write {path.name}: it is cut short", hint="free some space; what was served is untouched"
        ) from error
    if not whole:
        raise StorageFailed(f"could not write {path.name}: it is cut short", hint="free some space; what was served is untouched")


def _trained(rows: Matrix, dimension: int) -> Any:
    lists = max(lists_for(len(rows)), 1)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = _ROUNDS
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _ROWS_PER_LIST_TO_TRAIN[1]
    step = max(len(rows) // (lists * _ROWS_PER_LIST_TO_TRAIN[1]), 1)
    sample = rows[::step] if len(rows) else np.eye(1, dimension)  # rows are in the order of their digests: every n-th is a fair sample
    index.train(np.ascontiguousarray(sample, np.float32))
    return index


def _mapped_rows(path: Path, dimension: int) -> Matrix:
    try:
        if path.stat().st_size == 0:  # which cannot be mapped
            return np.empty((0, dimension), np.float32)
        rows = np.memmap(path, _TYPE, "r").reshape(-1, dimension)
    except (ValueError, OSError) as error:
        raise Damaged(f"{path.name} holds no rows of {dimension} numbers", hint="build the index again") from error
    return rows


class IvfStore:
    """Make one with `open`. Safe to search from several threads."""

    def __init__(self, index: Any, rows: Matrix) -> None:
        self._index = index
        self._rows = rows
        self._lists = int(index.nlist)
        self._looked_at = len(rows) * min(PROBED_LISTS / self._lists, 1.0)
        """Rows in the lists that a question looks through, on average."""

    @classmethod
    def open(cls, path: Path, rows_path: Path) -> "IvfStore":
        """Maps the files, which the caller has verified. Raises `Damaged` if FAISS refuses the first, or they do not belong together."""
        faiss.omp_set_num_threads(1)
        try:
            index: Any = faiss.read_index(str(path), _MAPPED)
        except RuntimeError as error:
            raise Damaged(
                f"FAISS {version('faiss-cpu')} cannot read {path.name}", hint="build the index again with this version"
            ) from error
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0  # threads for each question cost four times what it costs
        rows = _mapped_rows(rows_path, int(index.d))
        if len(rows) != index.ntotal:
            raise Damaged(f"{path.name} has {index.ntotal} rows, {rows_path.name} has {len(rows)}", hint="build the index again")
        return cls(index, rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dimension(self) -> int:
        return int(self._rows.shape[1])

    def vectors(self, positions: Sequence[int]) -> Matrix:
        return np.asarray(self._rows[list(positions)], np.float32)

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        """As the port promises; min(k, permitted rows) of them. Raises `Mismatch` where `within` is of another store."""
        permitted, wanted = counts(k, len(self), within)
        if wanted <= 0:
            return nothing()
        if permitted <= self._looked_at:
            return self._best(query, np.arange(len(self)) if within is None else within.positions, wanted)
        fetch = (wanted + _MARGIN) * _SPREAD
        while True:
            found = self._nearest(query, fetch, within, self._lists_to_probe(query, within))
            positions, scores = self._best(query, found, len(found))
            if len(scores) == permitted or (len(scores) > wanted and scores[-1] < scores[wanted - 1]):
                return positions[:wanted], scores[:wanted]
            if fetch >= permitted:  # every list that was looked through is used up, ties and all
                return self._best(query, np.arange(len(self)) if within is None else within.positions, wanted)
            fetch = min(fetch * 4, permitted)

    def _lists_to_probe(self, query: Vector, within: Selection | None) -> int:
        """Of a selection that lies about a question as thinly as it does elsewhere, as many more as make up for that. Of one that is
        missing there, as access rules may have it, all: which lists hold the nearest of the rest cannot be foreseen.
        """
        if within is None:
            return PROBED_LISTS
        share = len(within) / len(self)
        near = self._nearest(query, 4 * _MARGIN * _SPREAD, None, PROBED_LISTS)
        permitted = (within.bitmap[near >> 3] >> (near & 7).astype(np.uint8)) & 1
        if float(permitted.mean()) < _LEAST_SHARE * share:
            return self._lists
        return min(math.ceil(PROBED_LISTS / share), self._lists)

    def _nearest(self, query: Vector, fetch: int, within: Selection | None, lists: int) -> Positions:
        """Rows of the nearest lists, by approximate score, in no particular order."""
        given: dict[str, Any] = {"nprobe": lists}
        if within is not None:
            # It points into what it is given and keeps a reference to it; this frame keeps both until FAISS is done.
            given["sel"] = faiss.IDSelectorBitmap(within.bitmap)  # type: ignore[call-arg, arg-type]  # takes an array
        parameters = faiss.SearchParametersIVF(**given)
        _, positions = self._index.search(query.reshape(1, -1), fetch, params=parameters)
        found: Positions = positions[0][positions[0] >= 0]
        return found

    def _best(self, query: Vector, positions: npt.NDArray[np.int64], wanted: int) -> tuple[Positions, Vector]:
        """The best of `positions`, scored exactly."""
        looked_at = np.sort(positions)  # in the order of the file
        blocks = np.split(looked_at, range(_SCORED_AT_ONCE, len(looked_at), _SCORED_AT_ONCE))
        found, scores = ordered(looked_at, np.concatenate([np.asarray(self._rows[block] @ query, np.float32) for block in blocks]))
        return found[:wanted], scores[:wanted]
