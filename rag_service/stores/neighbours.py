"""Which chunks stand before and after each in its document: rows of an index version, whose order is that of digests, not of reading."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rag_service.errors import Damaged
from rag_service.stores.arrays import map_rows, write_rows
from rag_service.types import Positions

FILE = "neighbours.i4"


def write_neighbours(folder: Path, places: Iterable[tuple[int, int]]) -> None:
    """`places` has, for each chunk in row order, the number of its document and its ordinal there."""
    found = np.array(list(places), np.int32).reshape(-1, 2)
    order = np.lexsort((found[:, 1], found[:, 0]))
    document = found[order, 0]
    follows = document[1:] == document[:-1]
    rows = np.full(found.shape, -1, np.int32)
    rows[order[1:][follows], 0] = order[:-1][follows]
    rows[order[:-1][follows], 1] = order[1:][follows]
    write_rows(folder / FILE, "i4", rows)


def open_neighbours(folder: Path, *, chunks: int) -> Positions:
    """Shape (chunks, 2); -1 where there is none. Maps the file, which the caller has verified. Raises `Damaged`."""
    rows = map_rows(folder / FILE, "i4", columns=2)
    if len(rows) != chunks or (chunks and int(rows.max()) >= chunks):
        raise Damaged(f"{FILE} is not of this index", hint="build the index again")
    return rows
