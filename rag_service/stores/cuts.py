"""What every store that searches by rows does alike: how many rows may come back, and a tie at the cut that is seen whole."""

from collections.abc import Callable

import numpy as np

from rag_service.errors import Damaged, Mismatch
from rag_service.types import Positions, Selection, Vector

TIE_MARGIN = 16
"""Rows fetched beyond k, so that ties at the cut are seen whole in one search nearly always."""


def counts(k: int, rows: int, within: Selection | None) -> tuple[int, int]:
    """Rows that are permitted, and how many of them are wanted. Raises `Mismatch` where `within` is of another store."""
    if within is not None and len(within) and int(within.positions[-1]) >= rows:
        raise Mismatch(f"the selection names row {within.positions[-1]} of {rows}", hint="build the index again")
    permitted = rows if within is None else len(within)
    return permitted, min(k, permitted)


def nothing() -> tuple[Positions, Vector]:
    return np.empty(0, np.int64), np.empty(0, np.float32)


def best(nearest: Callable[[int], tuple[Positions, Vector]], wanted: int, permitted: int) -> tuple[Positions, Vector]:
    """The best `wanted` of what `nearest` gives, which compares every permitted row and gives as many as it is asked for, ordered. Raises
    `Damaged` where it gives fewer.
    """
    fetch = min(wanted + TIE_MARGIN, permitted)
    while True:
        positions, scores = nearest(fetch)
        if len(scores) < fetch:
            raise Damaged(
                f"{len(scores)} vectors were found where {fetch} are stored", hint="activate another version; build this one again"
            )
        if fetch == permitted or scores[-1] < scores[wanted - 1]:
            return positions[:wanted], scores[:wanted]
        fetch = min(fetch * 4, permitted)
