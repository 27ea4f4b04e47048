"""What is written to a ledger in PostgreSQL, entry by entry, within the transactions of `group_commit`.

The chain has one end, whichever process writes: who appends holds an advisory lock until its commit. Everything that waits in a process
shares one commit, and its statements go out without waiting for each other's replies.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from rag_service.database import Connection, Database, WritingConnection, blames_one
from rag_service.errors import Damaged, Mismatch, NotFound, RagError, StorageFailed
from rag_service.kept import AnswerEntry, EntryKind, Feedback, Retention, Row
from rag_service.ledger import chain
from rag_service.ledger.group_commit import Work
from rag_service.ledger.packing import Packer
from rag_service.ledger.postgres_schema import CHAIN, make_tables
from rag_service.record import Receipt

WRITE = "write to"
ANSWER_COLUMNS = tuple(Row.__dataclass_fields__)
_INSERT_ANSWER = f"INSERT INTO rag.answers (seq, {', '.join(ANSWER_COLUMNS)}) VALUES (%s{', %s' * len(ANSWER_COLUMNS)})".encode()
_INSERT_ENTRY = "INSERT INTO rag.entries (seq, kind, at_ms, content, digest, lineage, body, vector) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
_INSERT_LINEAGE = "INSERT INTO rag.lineages (digest, body) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_INSERT_FEEDBACK = "INSERT INTO rag.feedback (seq, answer_id, rating) VALUES (%s, %s, %s)"
_DROPPED_AT_ONCE = 1000
"""Between two of such steps answers are written."""
_SIZES = """
SELECT seq, pg_column_size(e.*) + coalesce(octet_length(body), 0) + coalesce(octet_length(vector), 0)
     + coalesce(pg_column_size(a.*), 0) + 300 AS size
FROM rag.entries e LEFT JOIN rag.answers a USING (seq)
"""
"""What an entry takes, about: its two rows, what lies outside of them, and their places in indexes."""


class PostgresCommitter:
    """Port `Committer`."""

    left_over = False
    """Room is reclaimed by autovacuum."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: WritingConnection | None = None
        self._packer = Packer()
        self._began = False
        """Whether the chain was read, so that something may have been written."""

    def commit(self, works: Sequence[Work]) -> list[Any]:
        known = self._connection is not None
        try:
            return self._commit(works)
        except RagError:
            if not (known and self._connection is not None and self._connection.broken and not self._began):
                raise
        self.forget()  # it was closed while nobody wrote: by a restart, or by a failover
        return self._commit(works)

    def _commit(self, works: Sequence[Work]) -> list[Any]:
        self._began = False
        if self._connection is None:
            self._connection = opened(self._database)
        with self._connection.transaction(WRITE) as connection:
            entries = PostgresChain(connection, self._packer)
            self._began = True
            with connection.pipeline():
                return [work(entries) for work in works]

    def blames_one(self, error: RagError) -> bool:
        return not isinstance(error, StorageFailed | Damaged | Mismatch) or blames_one(error)

    def tidy_up(self) -> None:
        pass

    def forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def opened(database: Database) -> WritingConnection:
    """A connection to a database that has the tables of a ledger."""
    connection = database.connect(WRITE)
    try:
        with connection.transaction(WRITE) as transaction:
            make_tables(transaction)
    except BaseException:
        connection.close()
        raise
    return connection


class PostgresChain:
    """The end of the chain within one transaction, which nobody else appends to meanwhile."""

    def __init__(self, connection: Connection, packer: Packer) -> None:
        self.connection = connection
        self._packer = packer
        self._lineages: set[bytes] = set()
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (CHAIN,))
        head = connection.execute("SELECT seq, digest FROM rag.entries ORDER BY seq DESC LIMIT 1").fetchone()
        self._seq, self._digest = head or (0, chain.GENESIS)

    def append(self, kind: EntryKind, body: bytes, *, at_ms: int, vector: bytes | None = None, lineage: bytes | None = None) -> Receipt:
        content = chain.content_digest(body, vector)
        seq = self._seq + 1
        digest = chain.entry_digest(self._digest, seq, at_ms, kind, content)
        packed = self._packer.pack(body)
        self.connection.execute(_INSERT_ENTRY, (seq, kind, at_ms, content, digest, lineage, packed, vector))
        self._seq, self._digest = seq, digest
        return Receipt(seq, chain.shown(digest))

    def add_lineage(self, digest: bytes, body: bytes) -> None:
        if digest not in self._lineages:
            self._lineages.add(digest)
            self.connection.execute(_INSERT_LINEAGE, (digest, body))


def listable(row: Row) -> Row:
    """PostgreSQL holds no NUL in a text; the entry itself has it."""
    texts = {name: value.replace("\0", "\ufffd") for name in ("question", "answer") if (value := getattr(row, name)) and "\0" in value}
    return replace(row, **texts) if texts else row


def add_answer(entries: PostgresChain, entry: AnswerEntry) -> Receipt:
    lineage, row = bytes.fromhex(entry.lineage_digest.removeprefix("sha256:")), listable(entry.row)
    entries.add_lineage(lineage, entry.lineage)
    receipt = entries.append("answer", entry.body, at_ms=row.created_at_ms, vector=entry.vector, lineage=lineage)
    entries.connection.execute(_INSERT_ANSWER, (receipt.seq, *[getattr(row, name) for name in ANSWER_COLUMNS]))
    return receipt


def add_feedback(entries: PostgresChain, answer_id: str, feedback: Feedback) -> Receipt:
    """Raises `NotFound`."""
    if entries.connection.execute("SELECT 1 FROM rag.answers WHERE answer_id = %s", (answer_id,)).fetchone() is None:
        raise NotFound(f"there is no record {answer_id}")
    body = orjson.dumps({"answer_id": answer_id, **{name: getattr(feedback, name) for name in Feedback.__dataclass_fields__}})
    receipt = entries.append("feedback", body, at_ms=feedback.at_ms)
    entries.connection.execute(_INSERT_FEEDBACK, (receipt.seq, answer_id, feedback.rating))
    return receipt


def erase(entries: PostgresChain, *, answer_ids: Sequence[str] | None, key_id: str | None) -> int:
    """How many answers. Their feedback goes too."""
    connection = entries.connection
    if answer_ids is not None:
        found = connection.execute(
            "DELETE FROM rag.answers WHERE answer_id = ANY(%s) RETURNING seq, answer_id", ([*answer_ids],)
        ).fetchall()
    else:
        found = connection.execute("DELETE FROM rag.answers WHERE key_id = %s RETURNING seq, answer_id", (key_id,)).fetchall()
    if not found:
        return 0
    named = [answer_id for _, answer_id in found]
    said = connection.execute("DELETE FROM rag.feedback WHERE answer_id = ANY(%s) RETURNING seq", (named,)).fetchall()
    seqs = sorted([seq for seq, _ in found] + [seq for (seq,) in said])
    connection.execute("UPDATE rag.entries SET body = NULL, vector = NULL WHERE seq = ANY(%s)", (seqs,))
    entries.append("erasure", orjson.dumps({"erased": seqs, "why": "answer" if answer_ids is not None else "key"}), at_ms=now_ms())
    return len(found)


def prunable(connection: Connection, retention: Retention, at_ms: int) -> int:
    """The newest entry that is too old or too much; 0 where there is none."""
    return max(_too_old(connection, retention, at_ms), _too_much(connection, retention))


def prune(entries: PostgresChain, through: int, at_ms: int) -> int:
    """Drops the oldest entries, up to `through` and not too many at once, and says so in one of its own. How many."""
    connection = entries.connection
    [(first,)] = connection.execute("SELECT min(seq) FROM rag.entries").fetchall()
    if first is None or through < first:
        return 0
    through = min(through, first + _DROPPED_AT_ONCE - 1)
    [(digest,)] = connection.execute("SELECT digest FROM rag.entries WHERE seq = %s", (through,)).fetchall()
    connection.execute("DELETE FROM rag.feedback USING rag.answers a WHERE feedback.answer_id = a.answer_id AND a.seq <= %s", (through,))
    connection.execute("DELETE FROM rag.answers WHERE seq <= %s", (through,))
    gone = connection.execute("DELETE FROM rag.entries WHERE seq <= %s RETURNING lineage", (through,)).fetchall()
    lineages = [*{lineage for (lineage,) in gone if lineage is not None}]
    needed = "SELECT 1 FROM rag.entries WHERE entries.lineage = lineages.digest"
    connection.execute(f"DELETE FROM rag.lineages WHERE digest = ANY(%s) AND NOT EXISTS ({needed})".encode(), (lineages,))
    entries.append("pruning", orjson.dumps({"through": through, "digest": digest.hex()}), at_ms=at_ms)
    return len(gone)


def _too_old(connection: Connection, retention: Retention, at_ms: int) -> int:
    """The last entry before the first that is young enough: one from a clock that was ahead keeps what came after it. By one statement,
    which sees one moment: what another process writes meanwhile is young.
    """
    if retention.max_age_s is None:
        return 0
    cutoff_ms = at_ms - round(retention.max_age_s * 1000)
    [(through,)] = connection.execute(
        "SELECT coalesce((SELECT min(seq) - 1 FROM rag.entries WHERE at_ms >= %s), max(seq), 0) FROM rag.entries", (cutoff_ms,)
    ).fetchall()
    return int(through)


def _too_much(connection: Connection, retention: Retention) -> int:
    """The newest entry beyond what fits; when the limit is reached a tenth is freed, so that this does not happen with every answer.

    What the tables take on the disk is only looked at first: they do not shrink when rows are deleted.
    """
    if retention.max_bytes is None:
        return 0
    tables = "pg_total_relation_size('rag.entries') + pg_total_relation_size('rag.answers')"
    [(on_disk,)] = connection.execute(f"SELECT {tables}".encode()).fetchall()
    if on_disk <= retention.max_bytes:
        return 0
    [(used,)] = connection.execute(f"SELECT coalesce(sum(size), 0)::bigint FROM ({_SIZES}) sizes".encode()).fetchall()
    if used <= retention.max_bytes:
        return 0
    totals = f"SELECT seq, sum(size) OVER (ORDER BY seq DESC) AS total FROM ({_SIZES}) sizes"
    room = int(retention.max_bytes * 0.9)
    [(found,)] = connection.execute(f"SELECT max(seq) FROM ({totals}) totals WHERE total > %s".encode(), (room,)).fetchall()
    return found or 0


def now_ms() -> int:
    return time.time_ns() // 1_000_000
