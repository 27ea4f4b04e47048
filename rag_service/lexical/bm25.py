"""BM25 by bm25s: a score for each pair of term and chunk, computed once when the index is built, and added up for a question.

Terms are known by a hash of 64 bits, so that the vocabulary is an array like the others, mapped and searched where it lies: a million
terms as text in a dictionary would cost each worker 150 MB. That two of a million terms share a hash has a probability of 3 in 10 million.
"""

import hashlib
import logging
import math
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import bm25s
import numpy as np
import numpy.typing as npt

from rag_service.errors import Damaged
from rag_service.stores.arrays import Array, map_rows, write_rows
from rag_service.types import Positions, QueryTerms, Scalars

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it writes a line for each index otherwise

FILES = ("lexical.terms.u8", "lexical.columns.i4", "lexical.starts.i8", "lexical.chunks.i4", "lexical.scores.f4")
"""Hashes of the terms, ascending, and the column of each; where columns begin; the chunks of each column, ascending, and their scores."""

K1 = 1.2
B = 0.75
"""Saturation of a term's frequency, and weight of a chunk's length: within what Robertson and Zaragoza (2009, doi 10.1561/1500000019, §3.5)
recommend, and Lucene's defaults. The idf is Lucene's too, log(1 + (N - n + 0.5) / (n + 0.5)) of N chunks of which n hold the term."""


def parameters() -> dict[str, str | float]:
    """What decides the scores, beside the terms."""
    return {"k1": K1, "b": B, "bm25s": version("bm25s")}


class Vocabulary:
    """Terms to their columns."""

    def __init__(self, hashes: npt.NDArray[np.uint64], columns: npt.NDArray[np.int32]) -> None:
        self._hashes = hashes
        self._columns = columns

    def columns(self, terms: Sequence[str]) -> npt.NDArray[np.int32]:
        """Shape (len(terms),); -1 for a term that no chunk has."""
        if not len(self._hashes):
            return np.full(len(terms), -1, np.int32)
        wanted = np.array([_hashed(term) for term in terms], np.uint64)
        places = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        return np.where(self._hashes[places] == wanted, self._columns[places], -1).astype(np.int32)


def write_bm25(folder: Path, chunks: Iterable[Sequence[str]]) -> Vocabulary:
    """Consumes the terms of each chunk, in row order, and writes `FILES`. The same terms give the same bytes.

    Holds 4 bytes for each term of each chunk, and about 30 for each different one while bm25s puts them in order.
    """
    numbers: dict[int, int] = {}
    rows = [array("i", [numbers.setdefault(_hashed(term), len(numbers)) for term in terms]) for terms in chunks]
    hashes = np.fromiter(numbers, np.uint64, len(numbers))
    columns = np.argsort(hashes).astype(np.int32)
    scores = _scored(rows, len(numbers))
    arrays: list[Array] = [hashes[columns], columns, scores["indptr"], scores["indices"], scores["data"]]
    for name, found in zip(FILES, arrays, strict=True):
        write_rows(folder / name, name.rpartition(".")[2], found)
    return Vocabulary(hashes[columns], columns)


def _scored(rows: list["array[int]"], terms: int) -> dict[str, Array]:
    """The scores as bm25s computes them, in compressed columns: one for each term."""
    if not terms:
        return {"indptr": np.zeros(1), "indices": np.empty(0), "data": np.empty(0)}
    engine = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="numpy")
    engine.index((rows, {number: number for number in range(terms)}), create_empty_token=False, show_progress=False)
    return dict(engine.scores)


@lru_cache(maxsize=2**16)
def _hashed(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Bm25Index:
    """Make one with `open`. Safe to search from several threads."""

    def __init__(self, vocabulary: Vocabulary, starts: Array, chunks: Array, scores: Array, rows: int) -> None:
        self._vocabulary = vocabulary
        self._starts = starts
        self._chunks = chunks
        self._rows = rows
        self._engine = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
        self._engine.scores = {"data": scores, "indices": chunks, "indptr": starts, "num_docs": rows}
        self._engine.nonoccurrence_array = None  # what `BM25.load` gives for this method

    @classmethod
    def open(cls, folder: Path, *, rows: int) -> "Bm25Index":
        """Maps the files of an index of `rows` chunks, which the caller has verified. Raises `Damaged`."""
        hashes, columns, starts, chunks, scores = (map_rows(folder / name, name.rpartition(".")[2]) for name in FILES)
        if not (len(hashes) == len(columns) == len(starts) - 1 and len(chunks) == len(scores) == starts[-1]):
            raise Damaged("the files of the keyword index do not belong together", hint="build the index again")
        return cls(Vocabulary(hashes, columns), starts, chunks, scores, rows)

    def __len__(self) -> int:
        return self._rows

    def look_up(self, terms: Sequence[str]) -> QueryTerms:
        distinct = tuple(dict.fromkeys(terms))
        columns = self._vocabulary.columns(distinct)
        known = columns >= 0
        held = np.zeros(len(distinct), np.int64)
        held[known] = self._starts[columns[known] + 1] - self._starts[columns[known]]
        weights = np.log1p((self._rows - held + 0.5) / (held + 0.5))
        return QueryTerms(distinct, columns, weights)

    def scores(self, query: QueryTerms) -> Scalars:
        """Shape (rows,)."""
        known = query.columns[query.columns >= 0]
        return np.asarray(self._engine.get_scores_from_ids(known), np.float32) if len(known) else np.zeros(self._rows, np.float32)

    def coverage(self, query: QueryTerms, positions: Positions) -> Scalars:
        """Shape (n,): the share, by weight, of the query's terms that each chunk holds."""
        found = np.zeros(len(positions))
        for column, weight in zip(query.columns.tolist(), query.weights.tolist(), strict=True):
            if column >= 0:
                held = self._chunks[self._starts[column] : self._starts[column + 1]]
                places = np.minimum(np.searchsorted(held, positions), len(held) - 1)
                found += weight * (held[places] == positions)
        total = math.fsum(query.weights.tolist())
        return (found / total if total else found).astype(np.float32)
