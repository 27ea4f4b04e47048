"""Outputs of stages by key, in one SQLite file that several runs may use at once.

An output lies beside its checksum: one that was altered is dropped and made anew, never believed. A file that is no cache, or is damaged
as a whole, is moved aside. What was added since the last `keep` is lost when the process is killed, and nothing else; until then it
waits in memory, so that nobody who uses the same file has to wait for what is made here.
"""

import hashlib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import zstandard

from rag_service.digests import Json, canonical_json
from rag_service.errors import StorageFailed

FILE: Final = "cache.sqlite"
_SCHEMA: Final = 1
_CHECK_BYTES: Final = 16
_WAIT_S: Final = 30.0
_TURN_S: Final = 0.01
_DAY_S: Final = 86_400
_MOST_WAITING: Final = 1000
"""Outputs that are held in memory before they are written."""

_Row = tuple[str, bytes, bytes, bytes, float, float]
"""Stage, key, value, checksum, CPU milliseconds, days since 1970."""


def stage_key(*parts: Json) -> bytes:
    """32 bytes: SHA-256 over the canonical JSON of `parts`."""
    return hashlib.sha256(canonical_json(list(parts))).digest()


@dataclass(frozen=True, slots=True)
class Use:
    """Of one stage in this process."""

    found: int
    made: int
    damaged: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Of one stage in the file."""

    outputs: int
    size_bytes: int
    mean_ms: float
    """CPU time that making one took, on the machines that made them."""


class StageCache:
    """Safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path, note: str | None) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.Lock()
        self._found: Counter[str] = Counter()
        self._made: Counter[str] = Counter()
        self._damaged: Counter[str] = Counter()
        self._waiting: dict[tuple[str, bytes], _Row] = {}
        self._reading = True
        self.note = note
        """What was wrong with the file that was found, for people."""

    @classmethod
    def open(cls, home: Path) -> Self:
        """In the folder `home`, which is made. Raises `StorageFailed`."""
        path = home / FILE
        try:
            home.mkdir(parents=True, exist_ok=True)
            try:
                return cls(_connected(path), path, None)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter for a message about names that are no text
                if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                    raise
                aside = path.with_suffix(f".damaged-{int(time.time())}")
                path.rename(aside)
                for left in path.parent.glob(f"{path.name}-*"):
                    left.unlink(missing_ok=True)
                return cls(_connected(path), path, f"{path} was damaged ({error}) and is now {aside.name}: everything is made anew")
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(f"{path} cannot be opened: {error}", hint="choose another folder with --home") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(StorageFailed):  # a disk that is full has been spoken of
            self.keep()
        self._connection.close()

    def forgetful(self) -> "StageCache":
        """The same file, of which nothing is read: everything is made anew, and kept."""
        other = StageCache(self._connection, self._path, None)
        other._lock, other._waiting, other._reading = self._lock, self._waiting, False
        return other

    def get(self, stage: str, key: bytes) -> bytes | None:
        """What was put there, byte for byte, or None. Raises `StorageFailed`."""
        with self._lock:
            value = self._read(stage, key) if self._reading else None
            (self._made if value is None else self._found)[stage] += 1
        return None if value is None else zstandard.decompress(value)  # a decompressor of one's own: they are not for several threads

    def _read(self, stage: str, key: bytes) -> bytes | None:
        """As it is stored. One that was altered is dropped."""
        if (row := self._waiting.get((stage, key))) is not None:
            return row[2]
        with self._reported("read"):
            found = self._connection.execute("SELECT value, checksum FROM outputs WHERE stage = ? AND key = ?", (stage, key)).fetchone()
        if found is None:
            return None
        value, checksum = found
        if isinstance(value, bytes) and _checksum(stage, key, value) == checksum:
            return value
        self._damaged[stage] += 1
        with self._reported("written"), self._connection:
            self._connection.execute("DELETE FROM outputs WHERE stage = ? AND key = ?", (stage, key))
        return None

    def has(self, stage: str, key: bytes) -> bool:
        """Raises `StorageFailed`."""
        with self._lock, self._reported("read"):
            found = self._connection.execute("SELECT 1 FROM outputs WHERE stage = ? AND key = ?", (stage, key)).fetchone()
            return found is not None or (stage, key) in self._waiting

    def put(self, stage: str, key: bytes, value: bytes, *, cpu_ms: float) -> None:
        """Raises `StorageFailed`."""
        packed = zstandard.compress(value, 3)
        row = (stage, key, packed, _checksum(stage, key, packed), cpu_ms, time.time() / _DAY_S)
        with self._lock:
            self._waiting[stage, key] = row
            if len(self._waiting) >= _MOST_WAITING:
                self._write()

    def keep(self) -> None:
        """From here on, what was put survives. Raises `StorageFailed`."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            with self._reported("written"), self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, ?, ?)", list(self._waiting.values()))
            self._waiting.clear()

    def use(self) -> Mapping[str, Use]:
        stages = sorted({*self._found, *self._made})
        return {stage: Use(self._found[stage], self._made[stage], self._damaged[stage]) for stage in stages}

    def stored(self) -> Mapping[str, Stored]:
        """Raises `StorageFailed`, as do the others that look at everything."""
        with self._lock:
            self._write()
            with self._reported("read"):
                rows = self._connection.execute(
                    "SELECT stage, count(*), sum(length(value)), avg(cpu_ms) FROM outputs GROUP BY stage ORDER BY stage"
                ).fetchall()
        return {stage: Stored(outputs, size_bytes, mean_ms) for stage, outputs, size_bytes, mean_ms in rows}

    def check(self) -> int:
        """Reads every output and drops those that were altered. How many these were."""
        with self._lock:
            self._write()
            with self._reported("read"):
                keys = self._connection.execute("SELECT stage, key FROM outputs").fetchall()
        before = self._damaged.total()
        for stage, key in keys:
            with self._lock:
                self._read(stage, key)
        return self._damaged.total() - before

    def drop_unused(self, days: float) -> int:
        """Outputs that were made more than so many days ago. How many these were."""
        with self._lock:
            self._write()
            with self._reported("written"):
                with self._connection:
                    dropped = self._connection.execute("DELETE FROM outputs WHERE day < ?", (time.time() / _DAY_S - days,)).rowcount
                self._connection.execute("VACUUM")
        return dropped

    @contextmanager
    def _reported(self, what: Literal["read", "written"]) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            hint = "make room, or choose another folder with --home" if what == "written" else "remove the file: everything is made anew"
            raise StorageFailed(f"{self._path} cannot be {what}: {error}", hint=hint) from error


def _connected(path: Path) -> sqlite3.Connection:
    """Waits for others that open or close the file: SQLite itself does not when the mode of the journal is set."""
    until_s = time.monotonic() + _WAIT_S
    while True:
        try:
            return _prepared(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until_s:
                raise
        time.sleep(_TURN_S)


def _prepared(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing that was kept; a power cut may
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in {0, _SCHEMA}:
            raise sqlite3.DatabaseError(f"it has the form {found}, and this code knows {_SCHEMA}")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS outputs (stage TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum BLOB NOT NULL,"
            " cpu_ms REAL NOT NULL, day INTEGER NOT NULL, PRIMARY KEY (stage, key)) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _checksum(stage: str, key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECK_BYTES, key=key[:64], person=stage.encode()[:16]).digest()
