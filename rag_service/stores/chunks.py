"""Chunk text and document facts in one SQLite file per index version, opened read-only and immutable.

Rows are written in one pass, in row order, into a fresh file, so that the same chunks give the same bytes.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from rag_service.digests import canonical_json
from rag_service.errors import Damaged
from rag_service.filters import Filter
from rag_service.stores.selections import SelectionCache, selection_of
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId, Metadata, Selection

_SCHEMA = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, source TEXT NOT NULL, metadata TEXT NOT NULL,
    digest TEXT NOT NULL, text_digest TEXT NOT NULL
);
CREATE TABLE chunks (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document INTEGER NOT NULL REFERENCES documents (row),
    ordinal INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER, tokens INTEGER NOT NULL,
    heading_path TEXT NOT NULL, context TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX documents_by_text ON documents (text_digest);
CREATE INDEX chunks_by_place ON chunks (document, ordinal);
"""

_SELECT = """
SELECT c.position, c.id, d.id, c.ordinal, c.start, c."end", c.page, c.tokens, c.heading_path, c.context, c.text,
       d.title, d.source, d.metadata
FROM chunks c JOIN documents d ON d.row = c.document WHERE {which}
"""

_PLACES = "SELECT position, document FROM chunks INDEXED BY chunks_by_place"  # the index alone: the table holds all text
_LABELS = "SELECT row, id, title, source, metadata FROM documents"

_PAGE_ROWS = 5_000
"""Read at once by a scan, which keeps others waiting for about a millisecond."""

SELECTIONS_BYTES = 32 * 2**20
"""Of the selections that one table keeps: four of a million rows each, or thousands of narrow ones."""


def write_chunk_table(path: Path, documents: Iterable[DocumentFacts], chunks: Iterable[Chunk]) -> None:
    """`documents` and `chunks` in the order that their rows shall have. Raises `sqlite3.OperationalError` when the disk is full."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = OFF")  # the file is published whole or not at all
        connection.execute("PRAGMA synchronous = OFF")  # publishing fsyncs it
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        rows: dict[DocumentId, int] = {}
        for row, document in enumerate(documents):
            rows[document.id] = row
            metadata = canonical_json(dict(document.metadata)).decode()
            values = (row, document.id, document.title, document.source, metadata, document.digest, document.text_digest)
            connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        connection.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_row(position, rows[chunk.document_id], chunk) for position, chunk in enumerate(chunks)),
        )
        connection.execute("COMMIT")
    finally:
        connection.close()


def _row(position: int, document: int, chunk: Chunk) -> tuple[int | str | None, ...]:
    heading_path = json.dumps(chunk.heading_path, ensure_ascii=False)
    context = chunk.embedded_text.removesuffix(chunk.text)
    place = (chunk.ordinal, chunk.start, chunk.end, chunk.page, chunk.tokens)
    return (position, chunk.id, document, *place, heading_path, context, chunk.text)


class _Labels(NamedTuple):
    """What a filter looks at, without the texts."""

    title: str
    source: str
    metadata: Metadata


class SqliteChunks:
    """Make one with `open`. One connection behind a lock: a look-up takes about 50 µs, a connection per thread would not pay.

    The first `select` reads which document each chunk belongs to and keeps it: 4 bytes per chunk.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._selections = SelectionCache(SELECTIONS_BYTES)
        self._document_rows: npt.NDArray[np.int32] | None = None

    @classmethod
    def open(cls, path: Path) -> "SqliteChunks":
        """Raises `Damaged` if SQLite refuses the file, which the caller has verified."""
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
            connection.execute("SELECT 1 FROM chunks LIMIT 1")
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            raise Damaged(f"SQLite cannot read {path.name}: {error}", hint="build the index again") from error
        return cls(connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __len__(self) -> int:
        return int(self._query("SELECT coalesce(max(position) + 1, 0) FROM chunks")[0][0])

    def chunks(self, positions: Sequence[int]) -> list[Chunk]:
        wanted = [int(position) for position in positions]
        rows = self._query(_SELECT.format(which=f"c.position IN ({','.join('?' * len(wanted))})"), wanted)
        by_position = {row[0]: _chunk(row[1:]) for row in rows}
        return [by_position[position] for position in wanted]

    def chunk(self, identifier: ChunkId) -> Chunk | None:
        rows = self._query(_SELECT.format(which="c.id = ?"), [identifier])
        return _chunk(rows[0][1:]) if rows else None

    def document(self, identifier: DocumentId) -> DocumentFacts | None:
        rows = self._query("SELECT id, title, source, metadata, digest, text_digest FROM documents WHERE id = ?", [identifier])
        for found, title, source, metadata, digest, text_digest in rows:
            return DocumentFacts(DocumentId(found), title, source, json.loads(metadata), digest, text_digest)
        return None

    def chunks_of(self, document: DocumentId, *, first: int, most: int) -> list[Chunk]:
        which = f"d.id = ? AND c.ordinal >= ? ORDER BY c.ordinal LIMIT {most:d}"
        return [_chunk(row[1:]) for row in self._query(_SELECT.format(which=which), [document, first])]

    def select(self, wanted: Filter) -> Selection:
        """The chunks of the documents that `wanted` allows. Looks at every document the first time, in bounded memory; selections
        used last are kept, up to `SELECTIONS_BYTES`.
        """
        digest = wanted.digest
        if (kept := self._selections.get(digest)) is not None:
            return kept
        of_chunk = self._documents_of_chunks()
        allowed = np.zeros(self._query("SELECT coalesce(max(row) + 1, 0) FROM documents")[0][0], np.bool_)
        for page in self._pages(_LABELS):
            labelled = ((row, name, _Labels(title, source, orjson.loads(metadata))) for row, name, title, source, metadata in page)
            allowed[[row for row, name, labels in labelled if wanted.allows(labels, name)]] = True
        permitted = allowed[of_chunk]
        selection = selection_of(permitted, documents=int(np.count_nonzero(np.bincount(of_chunk[permitted]))))
        self._selections.put(digest, selection)
        return selection

    def document_ids_by_text(self, text_digest: str) -> list[DocumentId]:
        return [DocumentId(row[0]) for row in self._query("SELECT id FROM documents WHERE text_digest = ? ORDER BY id", [text_digest])]

    def _documents_of_chunks(self) -> npt.NDArray[np.int32]:
        """Row i holds the document row of chunk i."""
        if self._document_rows is None:  # two threads may read it at once, and read the same
            rows = np.zeros(len(self), np.int32)
            for page in self._pages(_PLACES):
                places = np.array(page, np.int64)
                rows[places[:, 0]] = places[:, 1]
            self._document_rows = rows
        return self._document_rows

    def _pages(self, sql: str) -> Iterator[list[tuple]]:  # type: ignore[type-arg]  # columns differ per query
        """Rows, with the lock free between pages: a scan of a large table takes a second."""
        with self._lock, _in_words():
            cursor = self._connection.execute(sql)
        while True:
            with self._lock, _in_words():
                page = cursor.fetchmany(_PAGE_ROWS)
            if not page:
                return
            yield page

    def _query(self, sql: str, values: Sequence[int | str] = ()) -> list[tuple]:  # type: ignore[type-arg]  # columns differ per query
        with self._lock, _in_words():
            return self._connection.execute(sql, values).fetchall()


@contextmanager
def _in_words() -> Iterator[None]:
    """The file was intact when it was opened: a disk that fails since then, or somebody who writes to it, is `Damaged`."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a mistake of this program
        raise
    except sqlite3.DatabaseError as error:
        raise Damaged(f"the table of chunks cannot be read any more: {error}", hint="check the disk; then build the index again") from error


def _chunk(row: tuple) -> Chunk:  # type: ignore[type-arg]  # the columns of `_SELECT`
    identifier, document, ordinal, start, end, page, tokens, heading_path, context, text, title, source, metadata = row
    return Chunk(
        id=ChunkId(identifier),
        document_id=DocumentId(document),
        ordinal=ordinal,
        start=start,
        end=end,
        text=text,
        title=title,
        heading_path=tuple(orjson.loads(heading_path)),
        source=source,
        page=page,
        embedded_text=context + text,
        tokens=tokens,
        metadata=orjson.loads(metadata),
    )
