"""What is written to the file of a ledger, entry by entry, within the transactions of `group_commit`."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from rag_service.errors import Damaged, Mismatch, NotFound, RagError, StorageFailed
from rag_service.kept import AnswerEntry, EntryKind, Feedback, Rating, Retention, Row
from rag_service.ledger import chain
from rag_service.ledger.group_commit import GroupCommit, Work
from rag_service.ledger.packing import DAMAGED_HINT, Packer
from rag_service.ledger.schema import BUSY_MS, ledger_errors, open_for_writing
from rag_service.record import Receipt

_OF_ONE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
ANSWER_COLUMNS = tuple(Row.__dataclass_fields__)
_INSERT_ANSWER = f"INSERT INTO answers (seq, {', '.join(ANSWER_COLUMNS)}) VALUES (?{', ?' * len(ANSWER_COLUMNS)})"
_INSERT_ENTRY = "INSERT INTO entries (seq, kind, at_ms, content, digest, lineage, body, vector) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_LINEAGE = "INSERT OR IGNORE INTO lineages (digest, body) VALUES (?, ?)"
_INSERT_FEEDBACK = "INSERT INTO feedback (seq, answer_id, rating) VALUES (?, ?, ?)"
_PAGES_AT_ONCE = 2000
_DROPPED_AT_ONCE = 1000
"""Between two of such steps answers are written."""
_CHECKPOINT_BUSY_MS = 50
_ROW_OVERHEAD_BYTES = 600
"""Of an answer beside its content: two rows, three index entries."""


class Writer(GroupCommit):
    """Opens the file when the first entry comes, and again after a failure: a disk that has room again is written to again."""

    def __init__(self, path: Path) -> None:
        super().__init__(_File(path))


class _File:
    """Port `Committer`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._packer = Packer()
        self.left_over = False
        """Whether the log may hold what was erased."""

    def commit(self, works: Sequence[Work]) -> list[Any]:
        with ledger_errors(self._path, "write to"):
            return self._commit(works)

    def blames_one(self, error: RagError) -> bool:
        return not isinstance(error, StorageFailed | Damaged | Mismatch) or isinstance(error.__cause__, _OF_ONE)

    def _commit(self, works: Sequence[Work]) -> list[Any]:
        if self._connection is None:
            self._connection = open_for_writing(self._path)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            entries = Chain(connection, self._packer)
            results = [work(entries) for work in works]
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise
        self.left_over = self.left_over or entries.left_over
        return results

    def tidy_up(self) -> None:
        """After an erasure the log still holds pages as they were. A reader can be in the way: answers do not wait for it."""
        if not self.left_over:
            return
        try:
            if self._connection is None:
                self._connection = open_for_writing(self._path)
            self._connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_BUSY_MS}")
            self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")  # `execute` would free a single page
            in_the_way = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            self.left_over = bool(in_the_way or self._connection.execute("PRAGMA freelist_count").fetchone()[0])
        except (sqlite3.Error, RagError):
            self.forget()  # what was asked for is done; this is tried again

    def forget(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


class Chain:
    """The end of the chain within one transaction. The head is read anew each time: another process may have written meanwhile."""

    def __init__(self, connection: sqlite3.Connection, packer: Packer) -> None:
        self.connection = connection
        self.left_over = False
        """Whether the log holds pages that it should not hold on to."""
        self._packer = packer
        head: tuple[int, bytes] | None = connection.execute("SELECT seq, digest FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        self._seq, self._digest = head or (0, chain.GENESIS)
        if not isinstance(self._digest, bytes):
            raise Damaged(f"entry {self._seq} of the ledger, the newest, is damaged", hint=DAMAGED_HINT)

    def append(self, kind: EntryKind, body: bytes, *, at_ms: int, vector: bytes | None = None, lineage: bytes | None = None) -> Receipt:
        content = chain.content_digest(body, vector)
        seq = self._seq + 1
        digest = chain.entry_digest(self._digest, seq, at_ms, kind, content)
        packed = self._packer.pack(body)
        self.connection.execute(_INSERT_ENTRY, (seq, kind, at_ms, content, digest, lineage, packed, vector))
        self._seq, self._digest = seq, digest
        return Receipt(seq, chain.shown(digest))


def add_answer(entries: Chain, entry: AnswerEntry) -> Receipt:
    lineage, row = bytes.fromhex(entry.lineage_digest.removeprefix("sha256:")), entry.row
    entries.connection.execute(_INSERT_LINEAGE, (lineage, entry.lineage))
    receipt = entries.append("answer", entry.body, at_ms=row.created_at_ms, vector=entry.vector, lineage=lineage)
    list_answer(entries.connection, receipt.seq, row)
    return receipt


def list_answer(connection: sqlite3.Connection, seq: int, row: Row) -> None:
    connection.execute(_INSERT_ANSWER, (seq, *[getattr(row, name) for name in ANSWER_COLUMNS]))


def add_feedback(entries: Chain, answer_id: str, feedback: Feedback) -> Receipt:
    """Raises `NotFound`: the answer may have been erased a moment ago."""
    if entries.connection.execute("SELECT 1 FROM answers WHERE answer_id = ?", (answer_id,)).fetchone() is None:
        raise NotFound(f"there is no record {answer_id}")
    body = orjson.dumps({"answer_id": answer_id, **{name: getattr(feedback, name) for name in Feedback.__dataclass_fields__}})
    receipt = entries.append("feedback", body, at_ms=feedback.at_ms)
    list_feedback(entries.connection, receipt.seq, answer_id, feedback.rating)
    return receipt


def list_feedback(connection: sqlite3.Connection, seq: int, answer_id: str, rating: Rating | None) -> None:
    connection.execute(_INSERT_FEEDBACK, (seq, answer_id, rating))


def erase(entries: Chain, *, answer_ids: Sequence[str] | None, key_id: str | None) -> int:
    """How many answers. Their feedback goes too."""
    connection = entries.connection
    if answer_ids is not None:
        query = "SELECT seq, answer_id FROM answers WHERE answer_id = ?"
        found = [row for answer_id in dict.fromkeys(answer_ids) for row in connection.execute(query, (answer_id,))]
    else:
        found = connection.execute("SELECT seq, answer_id FROM answers WHERE key_id = ?", (key_id,)).fetchall()
    if not found:
        return 0
    seqs = [seq for seq, _ in found]
    for _, answer_id in found:
        seqs += [seq for (seq,) in connection.execute("SELECT seq FROM feedback WHERE answer_id = ?", (answer_id,))]
        connection.execute("DELETE FROM feedback WHERE answer_id = ?", (answer_id,))
        connection.execute("DELETE FROM answers WHERE answer_id = ?", (answer_id,))
    connection.executemany("UPDATE entries SET body = NULL, vector = NULL WHERE seq = ?", [(seq,) for seq in seqs])
    entries.append("erasure", orjson.dumps({"erased": sorted(seqs), "why": "answer" if answer_ids is not None else "key"}), at_ms=_now_ms())
    entries.left_over = True
    return len(found)


def prunable(entries: Chain, retention: Retention, now_ms: int) -> int:
    """The newest entry that is too old or too much; 0 where there is none."""
    return max(_too_old(entries.connection, retention, now_ms), _too_much(entries.connection, retention))


def prune(entries: Chain, through: int, now_ms: int) -> int:
    """Drops the oldest entries, up to `through` and not too many at once, and says so in one of its own. How many."""
    connection = entries.connection
    first = connection.execute("SELECT min(seq) FROM entries").fetchone()[0]
    if first is None or through < first:
        return 0
    through = min(through, first + _DROPPED_AT_ONCE - 1)
    digest = connection.execute("SELECT digest FROM entries WHERE seq = ?", (through,)).fetchone()[0]
    lineages = connection.execute("SELECT DISTINCT lineage FROM entries WHERE seq <= ? AND lineage IS NOT NULL", (through,)).fetchall()
    connection.execute("DELETE FROM feedback WHERE answer_id IN (SELECT answer_id FROM answers WHERE seq <= ?)", (through,))
    connection.execute("DELETE FROM answers WHERE seq <= ?", (through,))
    dropped = connection.execute("DELETE FROM entries WHERE seq <= ?", (through,)).rowcount
    query = "DELETE FROM lineages WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM entries WHERE lineage = ?1)"
    connection.executemany(query, lineages)
    entries.append("pruning", orjson.dumps({"through": through, "digest": digest.hex()}), at_ms=now_ms)
    entries.left_over = True
    return dropped


def _too_old(connection: sqlite3.Connection, retention: Retention, now_ms: int) -> int:
    """The last entry before the first that is young enough: one from a clock that was ahead keeps what came after it."""
    if retention.max_age_s is None:
        return 0
    cutoff_ms = now_ms - round(retention.max_age_s * 1000)
    young = connection.execute("SELECT min(seq) FROM entries WHERE at_ms >= ?", (cutoff_ms,)).fetchone()[0]
    last: int = connection.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0]
    return last if young is None else int(young) - 1


def _too_much(connection: sqlite3.Connection, retention: Retention) -> int:
    """The newest entry beyond what fits; when the limit is reached a tenth is freed, so that this does not happen with every answer."""
    used = used_bytes(connection)
    if retention.max_bytes is None or used <= retention.max_bytes:
        return 0
    size = f"coalesce(length(body), 0) + coalesce(length(vector), 0) + {_ROW_OVERHEAD_BYTES}"
    estimated: int = connection.execute(f"SELECT coalesce(sum({size}), 0) FROM entries").fetchone()[0]
    room = int(retention.max_bytes * 0.9 * estimated / used)  # entries as they fill the pages of this file
    query = f"SELECT max(seq) FROM (SELECT seq, sum({size}) OVER (ORDER BY seq DESC) AS total FROM entries) WHERE total > ?"
    found: int | None = connection.execute(query, (room,)).fetchone()[0]
    return found or 0


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, without its free pages and without its log."""
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
