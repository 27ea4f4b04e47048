"""Exact search in memory: the references that other stores are compared with."""

from collections.abc import Sequence

import numpy as np

from rag_service.ranking import ordered
from rag_service.stores.sentences import ChunkSentences
from rag_service.types import Matrix, Positions, QueryTerms, Selection, SentenceMatches, Vector


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


class MemorySentences:
    """Sentences with whole vectors, and their terms as columns of a keyword index."""

    def __init__(self, chunks: Sequence[ChunkSentences]) -> None:
        self._chunks = chunks

    def match(self, positions: Positions, vector: Vector, query: QueryTerms) -> SentenceMatches:
        owner: list[int] = []
        spans: list[tuple[int, int]] = []
        similarity: list[float] = []
        coverage: list[float] = []
        total = float(query.weights.sum()) or 1.0
        weights = dict(zip(query.columns.tolist(), query.weights.tolist(), strict=True))
        for number, row in enumerate(positions.tolist()):
            chunk = self._chunks[row]
            for span, sentence, columns in zip(chunk.spans, chunk.vectors, chunk.terms, strict=True):
                owner.append(number)
                spans.append(span)
                similarity.append(float(sentence @ vector))
                coverage.append(sum(weights.get(column, 0.0) for column in set(columns.tolist()) if column >= 0) / total)
        return SentenceMatches(
            np.array(owner, np.int64),
            np.array(spans, np.int64).reshape(-1, 2),
            np.array(similarity, np.float32),
            np.array(coverage, np.float32),
        )
