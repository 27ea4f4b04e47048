"""Rows of numbers in raw little-endian files: written as they come while a build goes on, and mapped read-only where they are served.

The same rows give the same bytes. Several processes that map a file share one copy of it, and only what is looked at is in memory.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rag_service.errors import Damaged, StorageFailed

Array = npt.NDArray[Any]


class RowWriter:
    """Appends rows of numbers to a file. A context manager; counts its rows."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._path = path
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._file: BinaryIO
        self.rows = 0

    def __enter__(self) -> "RowWriter":
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: npt.ArrayLike) -> None:
        """`rows` has the shape (n, columns), or (n,). Raises `OSError` when the disk is full."""
        block = np.ascontiguousarray(rows, self._dtype)
        self.rows += block.shape[0]
        self._file.write(block.data)


def write_rows(path: Path, dtype: str, rows: npt.ArrayLike) -> None:
    """All at once. Raises `OSError` when the disk is full."""
    with RowWriter(path, dtype) as file:
        file.add(rows)


def map_rows(path: Path, dtype: str, *, columns: int = 0) -> Array:
    """What a `RowWriter` wrote, of shape (n, columns) or (n,). Raises `Damaged` where the file cannot hold that, or `StorageFailed`."""
    kind = np.dtype(dtype).newbyteorder("<")
    shape = (-1, columns) if columns else (-1,)
    try:
        if path.stat().st_size == 0:  # which cannot be mapped
            return np.empty((0, columns) if columns else 0, kind)
        # A plain array over the map: slices of a `memmap` are themselves of that class, which makes each look-up several times slower.
        return np.asarray(np.memmap(path, kind, "r")).reshape(shape)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise Damaged(f"{path.name} is missing, or no file", hint="build the index again") from error
    except OSError as error:
        raise StorageFailed(f"could not read {path.name}: {error.strerror}", hint="check that it is there and can be read") from error
    except ValueError as error:
        raise Damaged(f"{path.name} does not hold what it should", hint="build the index again") from error
