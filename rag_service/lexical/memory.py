"""BM25 by its formula: the reference that the index is compared with."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rag_service.lexical.bm25 import K1, B
from rag_service.types import Positions, QueryTerms, Scalars


class MemoryKeywords:
    def __init__(self, chunks: Sequence[Sequence[str]]) -> None:
        self._chunks = [Counter(terms) for terms in chunks]
        self._columns = {term: number for number, term in enumerate(dict.fromkeys(term for terms in chunks for term in terms))}
        self._mean = sum(chunk.total() for chunk in self._chunks) / max(len(chunks), 1)

    def __len__(self) -> int:
        return len(self._chunks)

    def look_up(self, terms: Sequence[str]) -> QueryTerms:
        distinct = tuple(dict.fromkeys(terms))
        columns = np.array([self._columns.get(term, -1) for term in distinct], np.int32)
        return QueryTerms(distinct, columns, np.array([self._idf(term) for term in distinct], np.float64))

    def scores(self, query: QueryTerms) -> Scalars:
        return np.array([math.fsum(self._score(term, chunk) for term in query.terms) for chunk in self._chunks], np.float32)

    def coverage(self, query: QueryTerms, positions: Positions) -> Scalars:
        total = math.fsum(query.weights.tolist()) or 1.0
        weights = dict(zip(query.terms, query.weights.tolist(), strict=True))
        held = [math.fsum(weight for term, weight in weights.items() if term in self._chunks[row]) for row in positions.tolist()]
        return np.array(held, np.float32) / np.float32(total)

    def _idf(self, term: str) -> float:
        held = sum(term in chunk for chunk in self._chunks)
        return math.log(1 + (len(self._chunks) - held + 0.5) / (held + 0.5))

    def _score(self, term: str, chunk: Counter[str]) -> float:
        count = chunk[term]
        return self._idf(term) * count / (count + K1 * (1 - B + B * chunk.total() / self._mean)) if count else 0.0
