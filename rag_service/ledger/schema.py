"""The file of a ledger: its tables, how it is opened, and what its errors mean.

entries    the chain: one row for each thing that happened, with its content; never changed, but for content that was erased
answers    what answers are listed and found by; made from their entries
feedback   the same for feedback
lineages   releases and where they ran, once each, under their digests
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from rag_service.errors import Damaged, Mismatch, NotFound, StorageFailed
from rag_service.ledger.packing import DAMAGED_HINT

SCHEMA_VERSION = 2
_UNRELEASED_VERSION = 1
APPLICATION_ID = 0x5241474C
"""`RAGL`, by which `file` and this module know a ledger."""
BUSY_MS = 5000
"""How long to wait for another process that is writing."""
_TABLES = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, content BLOB NOT NULL, digest BLOB NOT NULL,
    lineage BLOB, body BLOB, vector BLOB
) STRICT;
CREATE TABLE lineages (digest BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
LISTS = """
CREATE TABLE answers (
    seq INTEGER PRIMARY KEY, answer_id TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL, created_at_ms INTEGER NOT NULL, status TEXT NOT NULL,
    abstain_reason TEXT, release TEXT NOT NULL, index_name TEXT NOT NULL, index_version TEXT NOT NULL, key_id TEXT, access TEXT,
    top_score REAL, total_ms REAL NOT NULL, repeats TEXT, question TEXT, answer TEXT
) STRICT;
CREATE TABLE feedback (seq INTEGER PRIMARY KEY, answer_id TEXT NOT NULL, rating TEXT) STRICT;
"""
_INDICES = """
CREATE INDEX answers_by_trace ON answers (trace_id);
CREATE INDEX feedback_by_answer ON feedback (answer_id);
"""
_NOT_A_DATABASE = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT"})
_NO_ROOM_FOR_READERS = frozenset({"SQLITE_CANTOPEN", "SQLITE_READONLY"})
_HINTS = {
    "SQLITE_FULL": "free some space, or point RAG_LEDGER at another disk",
    "SQLITE_READONLY": "the file or its folder cannot be written; change its permissions, or set RAG_LEDGER",
    "SQLITE_CANTOPEN": "check that the folder is there and can be written, or set RAG_LEDGER",
    "SQLITE_BUSY": "another process holds the ledger for longer than usual",
    "SQLITE_IOERR": "check the disk",
}


@contextmanager
def ledger_errors(path: Path, doing: str) -> Iterator[None]:
    """Turns SQLite's failures into `Damaged` and `StorageFailed`."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise Damaged(f"the ledger {path.name} is damaged: {error}", hint=DAMAGED_HINT) from error
        hint = _HINTS.get(_code(error), "check the disk")
        raise StorageFailed(f"could not {doing} the ledger {path.name}: {error}", hint=hint) from error
    except OSError as error:
        raise StorageFailed(f"could not {doing} the ledger {path.name}: {error.strerror}", hint=_HINTS["SQLITE_CANTOPEN"]) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Rather than a disk or a lock in the way. A table can only be missing from a file whose list of tables is damaged."""
    return _code(error) in _NOT_A_DATABASE or str(error).startswith(("no such table", "no such column"))


def _code(error: sqlite3.Error) -> str:
    """The primary code: extended ones, as SQLITE_IOERR_WRITE, begin with it."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    return "_".join(name.split("_")[:2])


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection in the thread that asks; the file is made if it is not there.

    Every commit is on the disk when it returns (`synchronous=FULL`), and what is deleted is overwritten (`secure_delete`). Raises
    `StorageFailed`, `Damaged`, or `Mismatch` for a file of another schema.
    """
    with ledger_errors(path, "open"):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            _make(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def try_writing(path: Path) -> None:
    """Takes the lock that a writer takes, and lets it go. Raises what `open_for_writing` raises."""
    with closing(open_for_writing(path)) as connection, ledger_errors(path, "write to"):
        connection.execute("BEGIN IMMEDIATE")  # a file that may only be read opens like any other
        connection.execute("ROLLBACK")


def _make(connection: sqlite3.Connection, path: Path) -> None:
    if not _is_empty(connection):
        _check(connection, path)
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table, or never
    connection.execute("BEGIN IMMEDIATE")  # of two processes that come at once, the second finds what the first has made
    try:
        if _is_empty(connection):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            for statement in f"{_TABLES}{LISTS}{_INDICES}".strip().split(";\n"):
                connection.execute(statement)
        path.chmod(0o600)  # it holds everybody's questions; SQLite gives its log the same mode
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    _check(connection, path)


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise Mismatch(f"{path.name} is a database, but not a ledger", hint="set RAG_LEDGER to another file")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise Mismatch(
            f"the ledger {path.name} has schema version {version}, and this program knows up to {SCHEMA_VERSION}",
            hint="use the newer rag-service that wrote it, or set RAG_LEDGER to another file",
        )
    if version == _UNRELEASED_VERSION:
        raise Mismatch(
            f"the ledger {path.name} was written before the first release, in a form that is not read any more",
            hint="move it away or set RAG_LEDGER to another file; the program that wrote it can still export its records",
        )
    if version < SCHEMA_VERSION:
        raise Mismatch(
            f"the ledger {path.name} has schema version {version}, and this program writes {SCHEMA_VERSION}",
            hint="`rag-service trace migrate` brings it up to date and keeps a copy of it as it was",
        )
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'entries'").fetchall():
        raise Damaged(f"the ledger {path.name} is damaged: it has lost its tables", hint=DAMAGED_HINT)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, with rows by name. Raises `NotFound` where there is no ledger, and what `open_for_writing` raises."""
    if not path.is_file() or not path.stat().st_size:
        raise NotFound(f"there is no ledger {path.name}", hint="one is made with the first answer; RAG_LEDGER says where it lies")
    with ledger_errors(path, "read"), closing(_connect_to_read(path)) as connection:
        connection.row_factory = sqlite3.Row
        connection.text_factory = _text
        yield connection


def _text(found: bytes) -> str:
    """Whatever is stored: one damaged letter must not make a whole list unreadable."""
    return found.decode("utf-8", "replace")


def _connect_to_read(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}"
    try:
        return _checked(f"{address}?mode=ro", path)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return _checked(f"{address}?mode=ro", path, salvage=True)
        if _code(error) not in _NO_ROOM_FOR_READERS:
            raise
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and log.stat().st_size:
            raise StorageFailed(
                f"the ledger {path.name} has a log beside it, and lies where nothing can be written",
                hint="copy the ledger and its -wal to a folder that can be written, and name that with --ledger",
            ) from error
        # On a file system that cannot be written there is nowhere to say that somebody reads. Nobody can write there either.
        return _checked(f"{address}?mode=ro&immutable=1", path)


def _checked(address: str, path: Path, *, salvage: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_MS / 1000, isolation_level=None)
    try:
        connection.execute("PRAGMA temp_store = MEMORY")  # no text into files of its own
        if salvage:
            connection.execute("PRAGMA writable_schema = ON")  # a file that was cut off is read as far as it goes; nothing is written
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
