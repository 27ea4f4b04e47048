"""What differs between the tables of chunks of two index versions: documents and chunks that came, went or changed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rag_service.errors import Damaged
from rag_service.types import DocumentId

_ONLY_IN = "SELECT id FROM {this}.{table} WHERE id NOT IN (SELECT id FROM {other}.{table}) ORDER BY id"
_CHANGED = "SELECT b.id FROM a.documents a JOIN b.documents b ON a.id = b.id WHERE a.digest <> b.digest ORDER BY b.id"
_COUNT = "SELECT count(*) FROM ({query})"


@dataclass(frozen=True, slots=True)
class TableDifference:
    """From `a` to `b`. Counts are whole; ids are listed in order, up to a limit."""

    added: int
    changed: int
    """Documents whose text, title, source or metadata differ."""
    removed: int
    same: int
    chunks_added: int
    chunks_removed: int
    chunks_same: int
    added_ids: tuple[DocumentId, ...] = ()
    changed_ids: tuple[DocumentId, ...] = ()
    removed_ids: tuple[DocumentId, ...] = ()

    @property
    def nothing(self) -> bool:
        return not (self.added or self.changed or self.removed or self.chunks_added or self.chunks_removed)


def table_difference(a: Path, b: Path, *, listed: int) -> TableDifference:
    """Of the files `a` and `b`, in bounded memory; at most `listed` ids of each kind. Raises `Damaged` where one cannot be read."""
    try:
        with closing(sqlite3.connect(":memory:", uri=True)) as connection:
            for name, path in (("a", a), ("b", b)):
                connection.execute(f"ATTACH ? AS {name}", (f"{path.absolute().as_uri()}?mode=ro&immutable=1",))
            return _difference(connection, listed)
    except sqlite3.Error as error:
        raise Damaged(f"two tables of chunks cannot be compared: {error}", hint="run `rag-service index verify` on both") from error


def _difference(connection: sqlite3.Connection, listed: int) -> TableDifference:
    def count(query: str) -> int:
        return int(connection.execute(_COUNT.format(query=query)).fetchone()[0])

    def ids(query: str) -> tuple[DocumentId, ...]:
        return tuple(DocumentId(row[0]) for row in _rows(connection, query, listed))

    came, went = (_ONLY_IN.format(this=this, other=other, table="documents") for this, other in (("b", "a"), ("a", "b")))
    chunks_came, chunks_went = (_ONLY_IN.format(this=this, other=other, table="chunks") for this, other in (("b", "a"), ("a", "b")))
    added, changed, chunks_added = count(came), count(_CHANGED), count(chunks_came)
    return TableDifference(
        added=added,
        changed=changed,
        removed=count(went),
        same=count("SELECT 1 FROM b.documents") - added - changed,
        chunks_added=chunks_added,
        chunks_removed=count(chunks_went),
        chunks_same=count("SELECT 1 FROM b.chunks") - chunks_added,
        added_ids=ids(came),
        changed_ids=ids(_CHANGED),
        removed_ids=ids(went),
    )


def _rows(connection: sqlite3.Connection, query: str, most: int) -> Iterator[tuple[str]]:
    yield from connection.execute(f"{query} LIMIT ?", (most,))
