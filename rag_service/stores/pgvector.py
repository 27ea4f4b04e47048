"""Vectors as rows of a PostgreSQL table, compared by pgvector: every one of them, or through a graph (HNSW) where there are many.

A version has a table of its own, so that its graph holds nothing else, and going is one `DROP TABLE`. What a filter forbids is left out
inside the search: a few permitted rows are compared one by one, of many the graph yields more and more (`hnsw.iterative_scan`) until there
are enough. A tie at the cut is seen whole, or every permitted row is compared.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rag_service.database import Connection, Database
from rag_service.errors import Damaged
from rag_service.ranking import ordered
from rag_service.stores.cuts import TIE_MARGIN, best, counts, nothing
from rag_service.stores.pgvector_parameters import EF_CONSTRUCTION, EF_SEARCH, LINKS, Search
from rag_service.types import Matrix, Positions, Selection, Vector

_READ = "search"
_MOST_THROUGH_GRAPH = 1_000
"""Rows that are fetched through the graph at most; to find more, all are compared."""
_MOST_SCANNED = 40_000
"""Rows that one search looks at through the graph, permitted or not. Beyond, every permitted one is compared."""
COMPARED_AT_MOST = 50_000
"""Of a selection that holds no more, every row is compared: it costs less than finding them through the graph."""
_BY_NUMBER_AT_MOST = 10_000
"""Rows that are looked up by their numbers, where these are few of all; of more, a bitmap says which are permitted."""
_PAGE = 5_000
_COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ENDS = b"\xff\xff"
_HEADER_BYTES = 4
"""Of a vector as pgvector sends it: its dimension, and two bytes that are zero."""

_NEAREST = "SELECT position, -(embedding <#> %s::vector) AS score FROM rag.{table} WHERE {which} ORDER BY {order} LIMIT %s"
_BY_COMPARING = "score DESC, position"
_BY_GRAPH = "embedding <#> %s::vector"
_PERMITTED = "get_bit(%s, position) = 1"


def make_vectors(connection: Connection, table: str, batches: Iterable[Matrix], *, dimension: int, search: Search) -> None:
    """A table of the vectors in `batches`, unit rows, in their order. `table` is a name of ours."""
    connection.execute(f"CREATE TABLE rag.{table} (position integer PRIMARY KEY, embedding vector({dimension:d}) NOT NULL)".encode())
    connection.execute(f"ALTER TABLE rag.{table} ALTER COLUMN embedding SET STORAGE PLAIN".encode())
    copying = f"COPY rag.{table} (position, embedding) FROM STDIN (FORMAT BINARY)".encode()
    with connection.cursor().copy(copying) as copy:
        copy.write(_COPY_BEGINS)
        first = 0
        for batch in batches:
            copy.write(_copied(batch, first))
            first += len(batch)
        copy.write(_COPY_ENDS)
    if search == "hnsw":
        options = f"m = {LINKS}, ef_construction = {EF_CONSTRUCTION}"
        connection.execute(f"CREATE INDEX ON rag.{table} USING hnsw (embedding vector_ip_ops) WITH ({options})".encode())


def _copied(batch: Matrix, first: int) -> bytes:
    """Rows in the binary form of COPY: how many fields, and each with its length before it."""
    dimension = batch.shape[1]
    fields = [("fields", ">i2"), ("l1", ">i4"), ("position", ">i4"), ("l2", ">i4"), ("dimension", ">i4"), ("vector", ">f4", (dimension,))]
    rows = np.zeros(len(batch), fields)
    rows["fields"], rows["l1"], rows["l2"] = 2, 4, _HEADER_BYTES + 4 * dimension
    rows["position"] = np.arange(first, first + len(batch))
    rows["dimension"] = dimension << 16  # two bytes, and two that are zero
    rows["vector"] = batch
    return rows.tobytes()


class PgvectorStore:
    """Port `VectorStore`. Safe to search from several threads."""

    def __init__(
        self, database: Database, table: str, *, rows: int, dimension: int, search: Search, compared_at_most: int = COMPARED_AT_MOST
    ) -> None:
        """`table` is a name that `make_vectors` was given."""
        self._database = database
        self._table = table
        self._rows = rows
        self._dimension = dimension
        self._has_graph = search == "hnsw"
        self._compared_at_most = compared_at_most

    def __len__(self) -> int:
        return self._rows

    @property
    def dimension(self) -> int:
        return self._dimension

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        """As the port promises. Raises `Mismatch` where `within` is of another store, and `StorageFailed`."""
        permitted, wanted = counts(k, len(self), within)
        if wanted <= 0:
            return nothing()
        with self._database.reading(_READ) as connection:
            found = (
                self._through_graph(connection, query, wanted, within) if self._has_graph and permitted > self._compared_at_most else None
            )
            return found or self._exactly(connection, query, wanted, within)

    def _exactly(self, connection: Connection, query: Vector, wanted: int, within: Selection | None) -> tuple[Positions, Vector]:
        """Compares every permitted row."""
        permitted = len(self) if within is None else len(within)
        values: list[object] = [written(query)]
        which = "true"
        if within is not None and permitted < len(self):
            few = permitted <= _BY_NUMBER_AT_MOST and 8 * permitted < len(self)  # these are looked up by their numbers
            which = "position = ANY(%s)" if few else _PERMITTED
            values.append(within.positions.astype(np.int32).tolist() if few else within.bitmap.tobytes())
        statement = _NEAREST.format(table=self._table, which=which, order=_BY_COMPARING).encode()
        return best(lambda fetch: _read(connection.execute(statement, (*values, fetch)).fetchall()), wanted, permitted)

    def _through_graph(
        self, connection: Connection, query: Vector, wanted: int, within: Selection | None
    ) -> tuple[Positions, Vector] | None:
        """None where the graph does not yield enough, or a tie at the cut is not seen whole."""
        shown = written(query)
        values: list[object] = [shown] if within is None else [shown, within.bitmap.tobytes()]
        statement = _NEAREST.format(table=self._table, which="true" if within is None else _PERMITTED, order=_BY_GRAPH).encode()
        fetch = wanted + TIE_MARGIN
        while fetch <= _MOST_THROUGH_GRAPH:
            with connection.pipeline(), connection.transaction():
                for setting in graph_settings():
                    connection.execute(setting)
                found = connection.execute(statement, (*values, shown, fetch))
            positions, scores = _read(found.fetchall())
            if len(scores) == (len(self) if within is None else len(within)) or (len(scores) > wanted and scores[-1] < scores[wanted - 1]):
                return positions[:wanted], scores[:wanted]
            if len(scores) < fetch:
                return None
            fetch *= 4
        return None

    def vectors(self, positions: Sequence[int]) -> Matrix:
        wanted = [int(position) for position in positions]
        if not wanted:
            return np.empty((0, self._dimension), np.float32)
        statement = f"SELECT position, embedding FROM rag.{self._table} WHERE position = ANY(%s)".encode()
        with self._database.reading(_READ) as connection:
            found = dict(connection.execute(statement, (wanted,), binary=True).fetchall())
        try:
            return self._decoded([found[position] for position in wanted])
        except KeyError as error:
            raise Damaged(f"row {error} of the vectors is missing", hint="activate another version; build this one again") from error

    def pages(self) -> Iterator[Matrix]:
        """All rows, in their order."""
        statement = f"SELECT embedding FROM rag.{self._table} WHERE position >= %s AND position < %s ORDER BY position".encode()
        for first in range(0, len(self), _PAGE):
            with self._database.reading(_READ) as connection:
                found = connection.execute(statement, (first, first + _PAGE), binary=True).fetchall()
            yield self._decoded([packed for (packed,) in found])

    def digest(self) -> str:
        """64 hex digits: SHA-256 of all rows as little-endian float32."""
        found = hashlib.sha256()
        for page in self.pages():
            found.update(page.astype("<f4").tobytes())
        return found.hexdigest()

    def _decoded(self, packed: Sequence[bytes]) -> Matrix:
        """From what pgvector sends, whose numbers are big-endian."""
        rows: npt.NDArray[np.uint8] = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), _HEADER_BYTES + 4 * self._dimension)
        return np.ascontiguousarray(rows[:, _HEADER_BYTES:]).view(">f4").astype(np.float32)


def graph_settings() -> tuple[bytes, ...]:
    """For one transaction: as many rows as a filter needs, in order, and no plan that would compare all of them first."""
    return (
        b"SET LOCAL hnsw.iterative_scan = strict_order",
        f"SET LOCAL hnsw.ef_search = {EF_SEARCH}".encode(),
        f"SET LOCAL hnsw.max_scan_tuples = {_MOST_SCANNED}".encode(),
        b"SET LOCAL enable_seqscan = off",
        b"SET LOCAL enable_sort = off",
    )


def written(query: Vector) -> str:
    """As pgvector reads a vector, with every digit that a float32 has."""
    return f"[{','.join(map(repr, query.tolist()))}]"


def _read(rows: Sequence[tuple[int, float]]) -> tuple[Positions, Vector]:
    positions = np.array([row[0] for row in rows], np.int64)
    return ordered(positions, np.array([row[1] for row in rows], np.float32))
