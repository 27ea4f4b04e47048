"""The entries of a SQLite ledger, as an audit looks at them."""

import sqlite3
from collections.abc import Sequence

from rag_service.kept import EntryKind, Row
from rag_service.ledger.audit import StoredEntry, Unlisted
from rag_service.ledger.salvage import numbers, read_entry
from rag_service.ledger.writer import ANSWER_COLUMNS

_ENTRY = "SELECT kind, at_ms, content, digest, lineage, body, vector FROM entries WHERE seq = ?"
_LISTED = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answers WHERE seq = ?"
_FEEDBACK = "SELECT feedback.answer_id, rating FROM answers LEFT JOIN feedback ON feedback.seq = ? WHERE answers.answer_id = ?"
_TABLES: dict[EntryKind, str] = {"answer": "answers", "feedback": "feedback"}
_MOST_PROBLEMS = 20


class SqliteEntries:
    """Port `Entries`. Begins a transaction, so that an erasure meanwhile is no flaw: the connection is closed when the audit is over."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("BEGIN")

    def numbers(self) -> list[int]:
        return numbers(self._connection)

    def entry(self, seq: int) -> StoredEntry | None:
        found = read_entry(self._connection, _ENTRY, seq)
        return None if found is None else StoredEntry(**dict(found))

    def lineage(self, digest: bytes) -> bytes | None:
        found = self._fetched("SELECT body FROM lineages WHERE digest = ?", digest)
        return found[0]["body"] if found else None

    def listed(self, seq: int) -> Row | None:
        found = self._fetched(_LISTED, seq)
        return Row(**dict(found[0])) if found else None

    def listed_feedback(self, seq: int, answer_id: str) -> tuple[str | None, str | None] | None:
        found = self._fetched(_FEEDBACK, seq, answer_id)
        return (found[0]["answer_id"], found[0]["rating"]) if found else None

    def hanging(self, kind: EntryKind, most: int) -> list[int]:
        table = _TABLES[kind]
        query = (
            f"SELECT {table}.seq FROM {table} LEFT JOIN entries ON entries.seq = {table}.seq "
            "WHERE body IS NULL OR kind != ? ORDER BY 1 LIMIT ?"
        )
        return [seq for (seq,) in self._fetched(query, kind, most)]

    def problems(self) -> Sequence[str]:
        """What SQLite itself knows of: an index that does not lead to an entry hides it from whoever looks for it."""
        try:
            found = self._connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
        except sqlite3.DatabaseError as error:
            return [f"cannot be checked: {error}"]
        return [" ".join(problem.split()) for (problem,) in found if problem != "ok"]

    def listable(self, row: Row) -> Row:
        return row

    def _fetched(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise Unlisted(str(error)) from error
