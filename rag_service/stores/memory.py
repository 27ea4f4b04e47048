"""Exact search over a matrix in memory: the reference that every other store is compared with."""

from collections.abc import Sequence

import numpy as np

from rag_service.ranking import ordered
from rag_service.types import Matrix, Positions, Vector


class MemoryStore:
    def __init__(self, vectors: Matrix) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return int(self._vectors.shape[0])

    @property
    def dimension(self) -> int:
        return int(self._vectors.shape[1])

    def search(self, query: Vector, k: int) -> tuple[Positions, Vector]:
        scores: Vector = self._vectors @ query
        positions, scores = ordered(np.arange(len(self), dtype=np.int64), scores)
        return positions[:k], scores[:k]

    def vectors(self, positions: Sequence[int]) -> Matrix:
        return self._vectors[list(positions)]
