"""What single sentences of an index version say: the vector and the terms of each, by chunk.

A chunk's own vector is an average over all it says; the best of its sentences tells whether one thing in it is what is asked. Vectors
are kept with 8 bits a dimension, scaled by the largest of each: a cosine is so off by 0.002 or less. Everything is in arrays in the order
of the chunks, mapped read-only; only the sentences of the few chunks that a question is compared with are looked at.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_service.errors import Damaged
from rag_service.stores.arrays import Array, RowWriter, map_rows
from rag_service.types import Matrix, Positions, QueryTerms, SentenceMatches, Vector

FILES = (
    "sentences.rows.i8",
    "sentences.spans.u4",
    "sentences.vectors.i1",
    "sentences.scales.f4",
    "sentences.term_starts.i8",
    "sentences.terms.i4",
)
"""Where the sentences of each chunk begin, and of all; spans in the chunk's text; vectors and what to multiply them with; where the terms
of each sentence begin, and the terms, as columns of the keyword index, ascending and each once."""

_ROWS, _SPANS, _VECTORS, _SCALES, _TERM_STARTS, _TERMS = FILES
_LARGEST = 127.0


@dataclass(frozen=True, slots=True, eq=False)
class ChunkSentences:
    """Of one chunk, to be written: spans (n, 2), unit vectors (n, dim), and the columns of each sentence's terms."""

    spans: Sequence[tuple[int, int]]
    vectors: Matrix
    terms: Sequence[npt.NDArray[np.int32]]


def write_sentences(folder: Path, chunks: Iterable[ChunkSentences]) -> int:
    """Consumes `chunks` in row order and writes `FILES`; how many sentences there were. Raises `OSError` when the disk is full."""
    with ExitStack() as stack:
        rows = stack.enter_context(RowWriter(folder / _ROWS, "i8"))
        spans = stack.enter_context(RowWriter(folder / _SPANS, "u4"))
        vectors = stack.enter_context(RowWriter(folder / _VECTORS, "i1"))
        scales = stack.enter_context(RowWriter(folder / _SCALES, "f4"))
        term_starts = stack.enter_context(RowWriter(folder / _TERM_STARTS, "i8"))
        terms = stack.enter_context(RowWriter(folder / _TERMS, "i4"))
        for chunk in chunks:
            rows.add([spans.rows])
            if not chunk.spans:
                continue
            spans.add(np.array(chunk.spans, np.uint32).reshape(-1, 2))
            largest = np.maximum(np.abs(chunk.vectors).max(axis=1), 1e-9)
            vectors.add(np.round(chunk.vectors / largest[:, None] * _LARGEST))
            scales.add(largest / _LARGEST)
            for columns in chunk.terms:
                term_starts.add([terms.rows])
                terms.add(np.unique(columns[columns >= 0]))
        rows.add([spans.rows])
        term_starts.add([terms.rows])
        return spans.rows


class SentenceArrays:
    """Make one with `open`. Safe to read from several threads."""

    def __init__(self, rows: Array, spans: Array, vectors: Array, scales: Array, term_starts: Array, terms: Array) -> None:
        self._rows = rows
        self._spans = spans
        self._vectors = vectors
        self._scales = scales
        self._term_starts = term_starts
        self._terms = terms

    @classmethod
    def open(cls, folder: Path, *, chunks: int, dimension: int) -> "SentenceArrays":
        """Maps the files of an index, which the caller has verified. Raises `Damaged` where they do not belong together."""
        rows = map_rows(folder / _ROWS, "i8")
        spans = map_rows(folder / _SPANS, "u4", columns=2)
        vectors = map_rows(folder / _VECTORS, "i1", columns=dimension)
        scales = map_rows(folder / _SCALES, "f4")
        term_starts = map_rows(folder / _TERM_STARTS, "i8")
        terms = map_rows(folder / _TERMS, "i4")
        whole = len(rows) == chunks + 1 and len(term_starts) == len(spans) + 1 and len(vectors) == len(scales) == len(spans)
        if not whole or rows[-1] != len(spans) or term_starts[-1] != len(terms):
            raise Damaged("the files of sentences do not belong together", hint="build the index again")
        return cls(rows, spans, vectors, scales, term_starts, terms)

    def __len__(self) -> int:
        return len(self._spans)

    def match(self, positions: Positions, vector: Vector, query: QueryTerms) -> SentenceMatches:
        firsts, lasts = self._rows[positions], self._rows[positions + 1]
        owner, found = _ranges(firsts, lasts)
        similarity = (self._vectors[found].astype(np.float32) @ vector) * self._scales[found]
        term_owner, term_places = _ranges(self._term_starts[found], self._term_starts[found + 1])
        weight_of = _weights(query)
        weights = weight_of(self._terms[term_places])
        total = float(query.weights.sum()) or 1.0
        coverage = np.bincount(term_owner, weights, minlength=len(found)) / total
        return SentenceMatches(owner, self._spans[found].astype(np.int64), similarity.astype(np.float32), coverage.astype(np.float32))


def _ranges(firsts: Array, lasts: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each number of each range: which range it is of, and itself."""
    lengths = np.asarray(lasts - firsts, np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    begin = np.cumsum(lengths) - lengths
    return owner, np.arange(int(lengths.sum())) - begin[owner] + np.asarray(firsts, np.int64)[owner]


def _weights(query: QueryTerms) -> Callable[[Array], npt.NDArray[np.float64]]:
    """From columns to their weights in the query; 0 for those that it does not have."""
    known = query.columns >= 0
    order = np.argsort(query.columns[known])
    columns, weights = query.columns[known][order], query.weights[known][order]

    def of(terms: Array) -> npt.NDArray[np.float64]:
        if not len(columns):
            return np.zeros(len(terms))
        places = np.minimum(np.searchsorted(columns, terms), len(columns) - 1)
        return np.where(columns[places] == terms, weights[places], 0.0)

    return of
