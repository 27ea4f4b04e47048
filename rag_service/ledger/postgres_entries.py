"""The entries of a ledger in PostgreSQL, as an audit looks at them: read page by page, in order."""

from bisect import bisect_right
from collections.abc import Sequence

from rag_service.database import Connection
from rag_service.kept import EntryKind, Row
from rag_service.ledger import postgres_writer as writer
from rag_service.ledger.audit import StoredEntry

_PAGE = 200
_ENTRIES = "SELECT seq, kind, at_ms, content, digest, lineage, body, vector FROM rag.entries WHERE seq BETWEEN %s AND %s"
_LISTED = f"SELECT seq, {', '.join(writer.ANSWER_COLUMNS)} FROM rag.answers WHERE seq BETWEEN %s AND %s"
_FEEDBACK = "SELECT f.answer_id, rating FROM rag.answers a LEFT JOIN rag.feedback f ON f.seq = %s WHERE a.answer_id = %s"
_HANGING = "SELECT l.seq FROM rag.{} l LEFT JOIN rag.entries e ON e.seq = l.seq WHERE body IS NULL OR kind != %s ORDER BY 1 LIMIT %s"
_TABLES: dict[EntryKind, str] = {"answer": "answers", "feedback": "feedback"}


class PostgresEntries:
    """Port `Entries`, within a transaction that sees one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers: list[int] = []
        self._page: dict[int, StoredEntry] = {}
        self._rows: dict[int, Row] = {}
        self._lineages: dict[bytes, bytes | None] = {}

    def numbers(self) -> list[int]:
        self._numbers = [seq for (seq,) in self._connection.execute("SELECT seq FROM rag.entries ORDER BY seq").fetchall()]
        return self._numbers

    def entry(self, seq: int) -> StoredEntry | None:
        if seq not in self._page:
            self._turn_to(seq)
        return self._page.get(seq)

    def _turn_to(self, seq: int) -> None:
        last = self._numbers[min(bisect_right(self._numbers, seq) + _PAGE, len(self._numbers)) - 1]
        self._page = {number: StoredEntry(*rest) for number, *rest in self._connection.execute(_ENTRIES, (seq, last)).fetchall()}
        self._rows = {number: Row(*rest) for number, *rest in self._connection.execute(_LISTED.encode(), (seq, last)).fetchall()}

    def lineage(self, digest: bytes) -> bytes | None:
        if digest not in self._lineages:
            found = self._connection.execute("SELECT body FROM rag.lineages WHERE digest = %s", (digest,)).fetchone()
            self._lineages[digest] = found[0] if found else None
        return self._lineages[digest]

    def listed(self, seq: int) -> Row | None:
        return self._rows.get(seq)

    def listed_feedback(self, seq: int, answer_id: str) -> tuple[str | None, str | None] | None:
        found = self._connection.execute(_FEEDBACK, (seq, answer_id)).fetchone()
        return (found[0], found[1]) if found else None

    def hanging(self, kind: EntryKind, most: int) -> list[int]:
        return [seq for (seq,) in self._connection.execute(_HANGING.format(_TABLES[kind]).encode(), (kind, most)).fetchall()]

    def problems(self) -> Sequence[str]:
        """Nothing: its pages have checksums, which are looked at whenever one is read."""
        return ()

    def listable(self, row: Row) -> Row:
        return writer.listable(row)
