"""Vectors of passages, kept from build to build under what was embedded: a passage that stayed as it was is not embedded again.

One file for each encoder and kind of processor, since on another kind the last bits of a vector may differ. It is no part of any index
version, and deleting it costs nothing but time. What was embedded is kept at once, so a build that was killed goes on where it was.
"""

import hashlib
import logging
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from rag_service.types import Matrix, Vector

logger = logging.getLogger("rag_service.stores")

_TYPE = np.dtype("<f4")
_COMMIT_EVERY = 1024
"""New vectors that a killed build may have to make again."""
_SPARE = 2
"""Times as many vectors are kept as the last build needed; beyond that, those that it did not need are dropped."""
_COPIES = 2
"""Of what is added, in the log of the database first."""


class Embeddings:
    """Make one with `open`, while holding the build lock of the index. Counts what it had and what it was given."""

    def __init__(
        self, connection: sqlite3.Connection | None, dimension: int, *, folder: Path | None = None, reserved_bytes: int = 0
    ) -> None:
        self._connection = connection
        self._dimension = dimension
        self._folder = folder
        self._reserved_bytes = reserved_bytes
        self._uncommitted = 0
        self._damaged = False
        self.found = 0
        self.added = 0

    @classmethod
    @contextmanager
    def open(cls, path: Path | None, *, dimension: int, reserved_bytes: int = 0) -> Iterator["Embeddings"]:
        """`path` None keeps nothing. A file that cannot be used is made anew; one that cannot be written is done without. `reserved_bytes`
        are left free on the disk, for what matters more.
        """
        connection = _connect(path) if path is not None else None
        if connection is None:
            yield cls(None, dimension)
            return
        kept = cls(connection, dimension, folder=path.parent if path else None, reserved_bytes=reserved_bytes)
        with closing(connection):
            try:
                yield kept
            finally:
                kept._commit()
        if kept._damaged and path is not None:
            _remove(path)  # the next build begins anew, instead of finding the damage again

    def vectors(self, texts: Sequence[str]) -> list[Vector | None]:
        """In the order of `texts`; None for what is not there, or not as it was written."""
        if self._connection is None:
            return [None] * len(texts)
        keys = [_key(text) for text in texts]
        statement = f"SELECT key, vector, digest FROM vectors WHERE key IN ({','.join('?' * len(keys))})"
        try:
            rows = self._connection.execute(statement, keys).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return [None] * len(texts)
        intact = {key: vector for key, vector, digest in rows if self._is_intact(key, vector, digest)}
        found = [np.frombuffer(intact[key], _TYPE).astype(np.float32) if key in intact else None for key in keys]
        self.found += sum(vector is not None for vector in found)
        return found

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Those that `vectors` would give None for, each once. Does not count them as found."""
        distinct, found = list(dict.fromkeys(texts)), self.found
        vectors = self.vectors(distinct)
        self.found = found
        return [text for text, vector in zip(distinct, vectors, strict=True) if vector is None]

    def add(self, texts: Sequence[str], vectors: Matrix) -> None:
        self.added += len(texts)
        if self._connection is None:
            return
        keyed = ((_key(text), vector.astype(_TYPE).tobytes()) for text, vector in zip(texts, vectors, strict=True))
        rows = [(key, vector, _digest(key, vector)) for key, vector in keyed]
        try:
            self._require_room(sum(len(vector) for _, vector, _ in rows))
            self._connection.executemany("INSERT OR REPLACE INTO vectors (key, vector, digest) VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)
            return
        self._uncommitted += len(rows)
        if self._uncommitted >= _COMMIT_EVERY:
            self._commit()

    def drop_unused(self, used: Iterable[str], count: int) -> int:
        """Drops what is not among the `count` texts `used`, if it has become too much; how many."""
        if self._connection is None:
            return 0
        try:
            if self._connection.execute("SELECT count(*) FROM vectors").fetchone()[0] <= _SPARE * count:
                return 0
            self._connection.execute("CREATE TEMP TABLE used (key BLOB PRIMARY KEY) WITHOUT ROWID")
            self._connection.executemany("INSERT OR IGNORE INTO used VALUES (?)", ((_key(text),) for text in used))
            dropped = self._connection.execute("DELETE FROM vectors WHERE key NOT IN (SELECT key FROM used)").rowcount
            self._connection.commit()
            self._connection.executescript("PRAGMA incremental_vacuum")
        except sqlite3.Error as error:
            self._give_up(error)
            return 0
        return dropped

    def _require_room(self, size_bytes: int) -> None:
        """Raises `sqlite3.OperationalError`, as SQLite does once it is too late for others."""
        if self._reserved_bytes and self._folder is not None:
            free = shutil.disk_usage(self._folder).free
            if free < self._reserved_bytes + _COPIES * size_bytes:
                raise sqlite3.OperationalError("the rest of the disk is needed for the index itself")

    def _is_intact(self, key: bytes, vector: bytes, digest: bytes) -> bool:
        return len(vector) == self._dimension * _TYPE.itemsize and _digest(key, vector) == digest

    def _commit(self) -> None:
        if self._connection is None or not self._connection.in_transaction:
            return
        try:
            self._connection.commit()
            self._uncommitted = 0
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        """A build does not fail for want of a cache."""
        logger.warning("embeddings are not kept any more: %s", error)
        self._damaged = _is_damage(error)
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.rollback()
        self._connection = None


def _connect(path: Path) -> sqlite3.Connection | None:
    for attempt in ("as it is", "anew"):
        connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL, digest BLOB NOT NULL)")
            connection.execute("SELECT key, vector, digest FROM vectors LIMIT 1").fetchone()
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            if attempt == "anew" or not _is_damage(error):
                logger.warning("embeddings are not kept: %s", error)
                return None
            _remove(path)
        else:
            return connection
    return None


def _is_damage(error: Exception) -> bool:
    """Of the file itself. A disk that is full or fails for a moment, and a file that is locked, are `OperationalError`."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def _remove(path: Path) -> None:
    with suppress(OSError):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _digest(key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(vector, key=key, digest_size=16).digest()
