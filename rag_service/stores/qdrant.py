"""Vectors as points of a Qdrant collection, compared there: every one of them, or through a graph (HNSW) where there are many.

A collection is named by what it holds, so it never changes, several machines may use one, and a build that was killed is taken up by the
next. What a filter forbids is left out inside the search. A tie at the cut is seen whole, or every permitted row is compared.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rag_service.errors import Damaged
from rag_service.ranking import ordered
from rag_service.stores.cuts import TIE_MARGIN, best, counts, nothing
from rag_service.stores.qdrant_parameters import EF_CONSTRUCTION, EF_SEARCH, LINKS, Search
from rag_service.stores.qdrant_place import Absent, QdrantCollection
from rag_service.types import Matrix, Positions, Selection, Vector

_MOST_THROUGH_GRAPH = 1_000
"""Rows that are fetched through the graph at most; to find more, all are compared."""
COMPARED_AT_MOST = 50_000
"""Of a selection that holds no more, every row is compared."""
LISTED_AT_MOST = 200_000
"""Rows that one search names, as permitted or as forbidden: two megabytes of a request, of which a server takes 32 by default."""
_PAGE_NUMBERS = 200_000
_PAGE_ROWS = 500
"""What one request writes or reads: about four megabytes."""

_REBUILD = "build the index again from its documents, which puts the vectors right"


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of the permitted rows."""

    among: list[int] | None = None
    without: list[int] | None = None


class QdrantStore:
    """Port `VectorStore`. Safe to search from several threads."""

    def __init__(
        self,
        collection: QdrantCollection,
        *,
        rows: int,
        dimension: int,
        search: Search,
        compared_at_most: int = COMPARED_AT_MOST,
        listed_at_most: int = LISTED_AT_MOST,
    ) -> None:
        self.collection = collection
        self.has_graph = search == "hnsw"
        self._rows = rows
        self._dimension = dimension
        self._compared_at_most = compared_at_most
        self._listed_at_most = listed_at_most

    def __len__(self) -> int:
        return self._rows

    @property
    def dimension(self) -> int:
        return self._dimension

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        """As the port promises. Raises `Mismatch` where `within` is of another store, `Damaged` and `StorageFailed`."""
        permitted, wanted = counts(k, len(self), within)
        if wanted <= 0:
            return nothing()
        parts = self._parts(within)
        found = None
        if self.has_graph and permitted > self._compared_at_most:
            found = self._through_graph(query, wanted, parts, permitted)
        return found or self._exactly(query, wanted, parts, permitted)

    def _parts(self, within: Selection | None) -> list[_Part]:
        """As few rows as say what is permitted: the forbidden ones where these are fewer, and several lists where one would be long."""
        if within is None or len(within) == len(self):
            return [_Part()]
        forbidden = len(self) - len(within)
        if forbidden <= min(len(within), self._listed_at_most):
            bits = np.unpackbits(within.bitmap, count=len(self), bitorder="little")
            return [_Part(without=np.flatnonzero(bits == 0).tolist())]
        size = self._listed_at_most
        return [_Part(among=within.positions[first : first + size].tolist()) for first in range(0, len(within), size)]

    def _exactly(self, query: Vector, wanted: int, parts: Sequence[_Part], permitted: int) -> tuple[Positions, Vector]:
        """Compares every permitted row."""
        return best(lambda fetch: self._nearest(query, fetch, parts, candidates=None), wanted, permitted)

    def _through_graph(self, query: Vector, wanted: int, parts: Sequence[_Part], permitted: int) -> tuple[Positions, Vector] | None:
        """None where the graph does not yield enough, or a tie at the cut is not seen whole."""
        fetch = min(wanted + TIE_MARGIN, permitted)
        while fetch <= _MOST_THROUGH_GRAPH:
            positions, scores = self._nearest(query, fetch, parts, candidates=max(EF_SEARCH, fetch))
            if len(scores) < fetch:
                return None
            if fetch == permitted or scores[-1] < scores[wanted - 1]:
                return positions[:wanted], scores[:wanted]
            fetch = min(fetch * 4, permitted)
        return None

    def _nearest(self, query: Vector, fetch: int, parts: Sequence[_Part], *, candidates: int | None) -> tuple[Positions, Vector]:
        """The best `fetch` of all parts. What is left out of any scores no better than the last of these, before rounding."""
        found: list[tuple[int, float]] = []
        for part in parts:
            found += self.collection.nearest(query, fetch, among=part.among, without=part.without, candidates=candidates)
        found = sorted(found, key=lambda row: -row[1])[:fetch]
        positions = np.array([position for position, _ in found], np.int64)
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(self):
            raise Damaged(f"{self.collection.shown} holds points that are no rows of the index", hint="delete it, and " + _REBUILD)
        return ordered(positions, np.array([score for _, score in found], np.float32))

    def vectors(self, positions: Sequence[int]) -> Matrix:
        """Raises `Damaged` where one is missing."""
        wanted = [int(position) for position in positions]
        return np.concatenate([self._read(wanted[first : first + self._page]) for first in range(0, max(len(wanted), 1), self._page)])

    def pages(self) -> Iterator[Matrix]:
        """All rows, in their order. Raises `Damaged` where one is missing."""
        for first in range(0, len(self), self._page):
            yield self._read(range(first, min(first + self._page, len(self))))

    @property
    def _page(self) -> int:
        return page_rows(self._dimension)

    def _read(self, wanted: Sequence[int]) -> Matrix:
        if not len(wanted):
            return np.empty((0, self._dimension), np.float32)
        found = self.collection.rows(wanted)
        try:
            return np.array([found[position] for position in wanted], np.float32).reshape(len(wanted), self._dimension)
        except KeyError as error:
            raise Damaged(f"row {error} of the vectors is missing", hint="activate another version; build this one again") from error
        except ValueError as error:
            raise Damaged(f"{self.collection.shown} holds vectors of another length", hint=_REBUILD) from error

    def digest(self) -> str:
        """64 hex digits: SHA-256 of all rows as little-endian float32."""
        found = hashlib.sha256()
        for page in self.pages():
            found.update(page.astype("<f4").tobytes())
        return found.hexdigest()

    def check(self) -> None:
        """Whether the collection can be what was written, without reading it. Raises `Damaged`."""
        self.collection.require_dimension(self._dimension)
        if (count := self.collection.count()) != len(self):
            raise Damaged(f"{self.collection.shown} holds {count} vectors, not {len(self)}", hint=_REBUILD)

    def check_all(self, digest: str) -> None:
        """Compares every vector with what was written. `digest` is `sha256:…`. Raises `Damaged`."""
        self.check()
        if f"sha256:{self.digest()}" != digest:
            raise Damaged(f"the vectors in {self.collection.shown} are not those that were written", hint=_REBUILD)


def page_rows(dimension: int) -> int:
    return max(1, min(_PAGE_ROWS, _PAGE_NUMBERS // dimension))


def fill(store: QdrantStore, rows: Matrix, *, digest: str) -> None:
    """Makes the collection of `store` hold `rows`, and proves it. What is there already is left alone: searches of it go on, and
    what a killed build has written is not written again. Raises `Damaged` where it holds more than that, and `StorageFailed`.
    """
    collection = store.collection
    try:
        collection.require_dimension(store.dimension)
        begun = collection.count() > 0
    except Absent:
        collection.create(store.dimension, links=LINKS if store.has_graph else 0, ef_construction=EF_CONSTRUCTION)
        begun = False
    size = page_rows(store.dimension)
    for first in range(0, len(rows), size):
        page = np.ascontiguousarray(rows[first : first + size])
        if not (begun and _holds(collection, first, page)):
            collection.put(first, page)
    store.check_all(digest)


def _holds(collection: QdrantCollection, first: int, page: Matrix) -> bool:
    found = collection.rows(range(first, first + len(page)))
    if len(found) != len(page):
        return False
    return np.array([found[first + number] for number in range(len(page))], np.float32).tobytes() == page.tobytes()
