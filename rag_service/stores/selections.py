"""Which rows a filter lets through: made from a mask, kept while they are asked for."""

import threading
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from rag_service.types import Selection

_ENTRY_BYTES = 1_000
"""Of an entry beside its arrays: digest, objects, its place in the order."""


def selection_of(permitted: npt.NDArray[np.bool_], *, documents: int) -> Selection:
    """`permitted` has one entry per row of the vector store. The arrays are read-only: several searches share them."""
    positions = np.flatnonzero(permitted).astype(np.int64, copy=False)
    bitmap = np.packbits(permitted, bitorder="little")
    positions.flags.writeable = bitmap.flags.writeable = False
    return Selection(positions, bitmap, documents)


class SelectionCache:
    """The selections used last, by digest of their filter, up to `max_bytes`; a larger one is not kept. Safe for several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Selection] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def get(self, digest: str) -> Selection | None:
        with self._lock:
            if (found := self._kept.get(digest)) is not None:
                self._kept.move_to_end(digest)
            return found

    def put(self, digest: str, selection: Selection) -> None:
        size_bytes = _size_bytes(selection)
        if size_bytes > self._max_bytes:
            return
        with self._lock:
            if (before := self._kept.pop(digest, None)) is not None:
                self._size_bytes -= _size_bytes(before)
            while self._size_bytes + size_bytes > self._max_bytes:
                self._size_bytes -= _size_bytes(self._kept.popitem(last=False)[1])
            self._kept[digest] = selection
            self._size_bytes += size_bytes


def _size_bytes(selection: Selection) -> int:
    return selection.positions.nbytes + selection.bitmap.nbytes + _ENTRY_BYTES
