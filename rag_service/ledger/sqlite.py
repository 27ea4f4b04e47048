"""Records in one SQLite file: a write-ahead log with group commit, so that concurrent answers share one wait for the disk."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import TypeAdapter

from rag_service.errors import Damaged, NotFound
from rag_service.kept import AnswerEntry, Audit, Feedback, Flaw, Kept, Listed, Page, RecordQuery, Retention, Row
from rag_service.ledger import writer
from rag_service.ledger.audit import audit, flaw_of
from rag_service.ledger.chain import shown
from rag_service.ledger.conditions import Dialect, where
from rag_service.ledger.packing import DAMAGED_HINT, content_of
from rag_service.ledger.salvage import read_entry, relist
from rag_service.ledger.schema import is_damage, ledger_errors, reading, try_writing
from rag_service.ledger.sqlite_entries import SqliteEntries
from rag_service.record import Lineage, Receipt
from rag_service.stored_lineage import lineage_from
from rag_service.stored_record import kept_from

T = TypeVar("T")

_ROW = TypeAdapter(Row)
_LATEST_MS = round(datetime.max.replace(tzinfo=UTC).timestamp() * 1000) - 1000
_COLUMNS = ", ".join(writer.ANSWER_COLUMNS)
_READ_AT_ONCE = 500
_RATING = "(SELECT rating FROM feedback WHERE feedback.answer_id = answers.answer_id AND rating IS NOT NULL ORDER BY seq DESC LIMIT 1)"
_DIALECT = Dialect(mark="?", like="LIKE ? ESCAPE '\\'", rating=_RATING)


class SqliteLedger:
    """Port `Ledger`. Nothing is opened until something is asked or added. Several processes may share one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = writer.Writer(path)

    def check(self) -> None:
        """Makes the file if it is not there, and tries to open it for writing. Raises `StorageFailed`, `Damaged` or `Mismatch`."""
        try_writing(self.path)

    def close(self) -> None:
        self._writer.close()

    def add(self, entry: AnswerEntry) -> "Future[Receipt]":
        return self._writer.submit(lambda entries: writer.add_answer(entries, entry))

    def rate(self, answer_id: str, feedback: Feedback) -> Receipt:
        self._find_one(answer_id)
        receipt: Receipt = self._writer.submit(lambda entries: writer.add_feedback(entries, answer_id, feedback)).result()
        return receipt

    def erase_answers(self, answer_ids: Sequence[str]) -> int:
        return self._erase(answer_ids=answer_ids, key_id=None)

    def erase_key(self, key_id: str) -> int:
        return self._erase(answer_ids=None, key_id=key_id)

    def prune(self, retention: Retention, now_ms: int | None = None) -> int:
        at_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        through = self._writer.submit(lambda entries: writer.prunable(entries, retention, at_ms)).result()
        dropped = 0
        while through and (some := self._writer.submit(lambda entries: writer.prune(entries, through, at_ms)).result()):
            dropped += some
        return dropped

    def find(self, identifier: str) -> list[Kept]:
        query = "SELECT seq FROM answers WHERE answer_id = ? OR trace_id = ? ORDER BY seq"
        with reading(self.path) as connection:
            found = [_kept(connection, seq) for seq in _fetched(connection, query, (identifier, identifier), _ascending)]
        return [kept for kept, _ in filter(None, found)]

    def rows(self, query: RecordQuery) -> Page:
        conditions, values = where(query, _DIALECT)
        statement = f"SELECT seq, {_COLUMNS}, {_RATING} AS rating FROM answers {conditions} ORDER BY seq DESC LIMIT ?"
        with reading(self.path) as connection:
            found = _fetched(connection, statement, (*values, query.limit + 1), _listed)
        listed = tuple(found[: query.limit])
        return Page(listed, listed[-1].seq if len(found) > query.limit else None)

    def records(self, query: RecordQuery) -> Iterator[Kept | Flaw]:
        """Holds on to nothing between two of them: whoever takes its time keeps no log from being emptied."""
        after, flaws = 0, list[Flaw]()
        with reading(self.path) as connection:
            while True:
                conditions, values = where(query, _DIALECT, after=after)
                statement = f"SELECT seq FROM answers {conditions} ORDER BY seq LIMIT {_READ_AT_ONCE}"
                seqs = _fetched(connection, statement, values, partial(_ascending, after=after), flaws)
                yield from (flaw for flaw in flaws if flaw.seq is None or flaw.seq > after)
                flaws.clear()
                if not seqs:
                    return
                for after in seqs:
                    yield from self._read(connection, after)

    def _read(self, connection: sqlite3.Connection, seq: int) -> list[Kept | Flaw]:
        try:
            with ledger_errors(self.path, "read"):
                found = _kept(connection, seq)
        except Damaged as error:
            return [flaw_of(seq, error)]
        return [] if found is None else [found[0], *found[1]]

    def lineages(self) -> list[Lineage]:
        with reading(self.path) as connection:
            found = connection.execute("SELECT body FROM lineages ORDER BY digest").fetchall()
        try:
            return [lineage_from(row["body"])[1] for row in found]
        except ValueError as error:
            raise Damaged("a release in the ledger does not follow its schema", hint=DAMAGED_HINT) from error

    def audit(self, told: Callable[[int], None] = lambda _: None) -> Audit:
        with reading(self.path) as connection:
            return audit(SqliteEntries(connection), told)

    def digest_at(self, seq: int) -> str | None:
        """Of entry `seq`, as a receipt has it; None where there is no such entry."""
        with reading(self.path) as connection:
            found = connection.execute("SELECT digest FROM entries WHERE seq = ?", (seq,)).fetchone()
        return shown(found["digest"]) if found else None

    def _erase(self, *, answer_ids: Sequence[str] | None, key_id: str | None) -> int:
        if not self.path.is_file():
            return 0
        erased: int = self._writer.submit(lambda entries: writer.erase(entries, answer_ids=answer_ids, key_id=key_id)).result()
        return erased

    def _find_one(self, answer_id: str) -> None:
        with reading(self.path) as connection:
            if connection.execute("SELECT 1 FROM answers WHERE answer_id = ?", (answer_id,)).fetchone() is None:
                raise NotFound(f"there is no record {answer_id}")


def _fetched(
    connection: sqlite3.Connection,
    statement: str,
    values: Sequence[object],
    made_of: Callable[[list[sqlite3.Row]], list[T]],
    flaws: list[Flaw] | None = None,
) -> list[T]:
    """Where the lists themselves are damaged, from lists that are made anew for this connection; `flaws` is told so.

    `made_of` raises `ValueError` for rows that nobody wrote.
    """
    try:
        return made_of(connection.execute(statement, values).fetchall())
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        problem = str(error)
    except ValueError:
        problem = "they hold what nobody wrote"
    found = relist(connection)
    if flaws is not None:
        flaws += [Flaw(None, f"its lists cannot be read, and were made anew from the entries: {problem}"), *found]
    return made_of(connection.execute(statement, values).fetchall())


def _ascending(rows: list[sqlite3.Row], after: int = 0) -> list[int]:
    """Raises `ValueError`: a damaged table need not be in order, and who reads on from its last row would never end."""
    seqs: list[int] = [row["seq"] for row in rows]
    if any(before >= seq for before, seq in pairwise((after, *seqs))):
        raise ValueError("out of order")
    return seqs


def _listed(rows: list[sqlite3.Row]) -> list[Listed]:
    """Raises `ValueError`."""
    listed = [Listed(row["seq"], _ROW.validate_python({name: row[name] for name in writer.ANSWER_COLUMNS}), row["rating"]) for row in rows]
    if not all(0 <= one.row.created_at_ms <= _LATEST_MS for one in listed):
        raise ValueError("no time of this world")
    return listed


def _kept(connection: sqlite3.Connection, seq: int) -> tuple[Kept, list[Flaw]] | None:
    """The record, and what of its feedback cannot be read; None where it was erased or dropped meanwhile. Raises `Damaged`."""
    query = (
        "SELECT entries.digest, content, entries.body, vector, lineages.body AS lineage FROM entries "
        "LEFT JOIN lineages ON lineages.digest = entries.lineage WHERE seq = ?"
    )
    found = read_entry(connection, query, seq)
    if found is None or found["body"] is None:
        if connection.execute("SELECT 1 FROM answers WHERE seq = ?", (seq,)).fetchone() is None:
            return None
        raise Damaged(f"entry {seq} of the ledger has lost its content", hint=DAMAGED_HINT)
    if found["lineage"] is None:
        raise Damaged(f"entry {seq} of the ledger names a release that is missing", hint=DAMAGED_HINT)
    body = content_of(seq, found["body"], found["vector"], found["content"])
    kept = kept_from(body, found["vector"], found["lineage"], Receipt(seq, shown(found["digest"])))
    feedback, flaws = _feedback_to(connection, kept.record.answer_id)
    return replace(kept, feedback=tuple(feedback)), flaws


def _feedback_to(connection: sqlite3.Connection, answer_id: str) -> tuple[list[Feedback], list[Flaw]]:
    said: list[Feedback] = []
    flaws: list[Flaw] = []
    statement = "SELECT seq FROM feedback WHERE answer_id = ? ORDER BY seq"
    for seq in _fetched(connection, statement, (answer_id,), _ascending, flaws):
        try:
            entry = read_entry(connection, "SELECT content, body, vector FROM entries WHERE seq = ?", seq)
            if entry is not None and entry["body"] is not None:
                said.append(_feedback(content_of(seq, entry["body"], entry["vector"], entry["content"])))
        except Damaged as error:
            flaws.append(flaw_of(seq, error))
    return said, flaws


def _feedback(body: bytes) -> Feedback:
    given = orjson.loads(body)
    return Feedback(**{name: given[name] for name in Feedback.__dataclass_fields__})
