"""Exact search over a matrix in memory: the reference that every other store is compared with."""

from collections.abc import Sequence

import numpy as np

from rag_service.ranking import ordered
from rag_service.types import Matrix, Positions, Selection, Vector


class MemoryStore:
    def __init__(self, vectors: Matrix) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return int(self._vectors.shape[0])

    @property
    def dimension(self) -> int:
        return int(self._vectors.shape[1])

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        rows = np.arange(len(self), dtype=np.int64) if within is None else within.positions
        scores: Vector = (self._vectors if within is None else self._vectors[rows]) @ query
        positions, scores = ordered(rows, scores)
        return positions[:k], scores[:k]

    def vectors(self, positions: Sequence[int]) -> Matrix:
        return self._vectors[list(positions)]
