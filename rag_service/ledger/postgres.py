"""Records in PostgreSQL, for several machines: the same chain as in a SQLite file, and the same group commit in each process."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import orjson

from rag_service.database import Connection, Database, Unwritten
from rag_service.errors import Damaged, NotFound
from rag_service.kept import AnswerEntry, Audit, Feedback, Flaw, Kept, Listed, Page, RecordQuery, Retention, Row
from rag_service.ledger import postgres_writer as writer
from rag_service.ledger.audit import audit, flaw_of
from rag_service.ledger.chain import shown
from rag_service.ledger.conditions import Dialect, where
from rag_service.ledger.group_commit import GroupCommit
from rag_service.ledger.packing import DAMAGED_HINT, content_of
from rag_service.ledger.postgres_entries import PostgresEntries
from rag_service.ledger.postgres_schema import check_tables
from rag_service.record import Lineage, Receipt
from rag_service.stored_lineage import lineage_from
from rag_service.stored_record import kept_from

_READ = "read"
_COLUMNS = ", ".join(writer.ANSWER_COLUMNS)
_READ_AT_ONCE = 500
_RATING = "(SELECT rating FROM rag.feedback f WHERE f.answer_id = answers.answer_id AND rating IS NOT NULL ORDER BY seq DESC LIMIT 1)"
_DIALECT = Dialect(mark="%s", like="ILIKE %s", rating=_RATING)
_KEPT = (
    "SELECT entries.digest, content, entries.body, vector, lineages.body FROM rag.entries "
    "LEFT JOIN rag.lineages ON lineages.digest = entries.lineage WHERE seq = %s"
)
_FEEDBACK = "SELECT seq, content, body, vector FROM rag.feedback JOIN rag.entries USING (seq) WHERE answer_id = %s ORDER BY seq"


class PostgresLedger:
    """Port `Ledger`. Nothing is opened until something is asked or added. Any number of processes may share one database.

    What is read may come from a standby that is a moment behind, where the URL names one; whatever decides what is written does not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = GroupCommit(writer.PostgresCommitter(database))
        self._checked = False
        """Whether the tables are of this form."""

    def check(self) -> None:
        """Makes the tables if they are not there. Raises `StorageFailed`, `Damaged` or `Mismatch`."""
        writer.opened(self._database).close()

    def close(self) -> None:
        self._writer.close()
        self._database.close()

    def add(self, entry: AnswerEntry) -> "Future[Receipt]":
        return self._writer.submit(lambda entries: writer.add_answer(entries, entry))

    def rate(self, answer_id: str, feedback: Feedback) -> Receipt:
        receipt: Receipt = self._writer.submit(lambda entries: writer.add_feedback(entries, answer_id, feedback)).result()
        return receipt

    def erase_answers(self, answer_ids: Sequence[str]) -> int:
        return self._erase(answer_ids=[*dict.fromkeys(answer_ids)], key_id=None)

    def erase_key(self, key_id: str) -> int:
        return self._erase(answer_ids=None, key_id=key_id)

    def prune(self, retention: Retention, now_ms: int | None = None) -> int:
        at_ms = writer.now_ms() if now_ms is None else now_ms
        try:
            with self._reading() as connection:
                through = writer.prunable(connection, retention, at_ms)
        except NotFound:
            return 0
        dropped = 0
        while through and (some := self._writer.submit(lambda entries: writer.prune(entries, through, at_ms)).result()):
            dropped += some
        return dropped

    def find(self, identifier: str) -> list[Kept]:
        query = "SELECT seq FROM rag.answers WHERE answer_id = %s OR trace_id = %s ORDER BY seq"
        with self._reading() as connection:
            seqs = connection.execute(query, (identifier, identifier)).fetchall()
            found = [_kept(connection, seq) for (seq,) in seqs]
        return [kept for kept, _ in filter(None, found)]

    def rows(self, query: RecordQuery) -> Page:
        conditions, values = where(_listed(query), _DIALECT)
        statement = f"SELECT seq, {_COLUMNS}, {_RATING} FROM rag.answers {conditions} ORDER BY seq DESC LIMIT %s"
        with self._reading() as connection:
            found = connection.execute(statement.encode(), (*values, query.limit + 1)).fetchall()
        listed = tuple(Listed(seq, Row(*row), rating) for seq, *row, rating in found[: query.limit])
        return Page(listed, listed[-1].seq if len(found) > query.limit else None)

    def records(self, query: RecordQuery) -> Iterator[Kept | Flaw]:
        """Holds on to nothing between two of them: whoever takes its time keeps nothing from being vacuumed."""
        after = 0
        while True:
            conditions, values = where(_listed(query), _DIALECT, after=after)
            statement = f"SELECT seq FROM rag.answers {conditions} ORDER BY seq LIMIT {_READ_AT_ONCE}"
            with self._reading() as connection:
                seqs = [seq for (seq,) in connection.execute(statement.encode(), values).fetchall()]
            if not seqs:
                return
            for after in seqs:
                yield from self._read(after)

    def _read(self, seq: int) -> list[Kept | Flaw]:
        try:
            with self._reading() as connection:
                found = _kept(connection, seq)
        except Damaged as error:
            return [flaw_of(seq, error)]
        return [] if found is None else [found[0], *found[1]]

    def lineages(self) -> list[Lineage]:
        with self._reading() as connection:
            found = connection.execute("SELECT body FROM rag.lineages ORDER BY digest").fetchall()
        try:
            return [lineage_from(body)[1] for (body,) in found]
        except ValueError as error:
            raise Damaged("a release in the ledger does not follow its schema", hint=DAMAGED_HINT) from error

    def audit(self, told: Callable[[int], None] = lambda _: None) -> Audit:
        with self._reading() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")  # one moment: an erasure meanwhile is no flaw
            return audit(PostgresEntries(connection), told)

    def digest_at(self, seq: int) -> str | None:
        """Of entry `seq`, as a receipt has it; None where there is no such entry."""
        with self._reading() as connection:
            found = connection.execute("SELECT digest FROM rag.entries WHERE seq = %s", (seq,)).fetchall()
        return shown(found[0][0]) if found else None

    def _erase(self, *, answer_ids: Sequence[str] | None, key_id: str | None) -> int:
        try:
            with self._reading():
                pass
        except NotFound:
            return 0
        erased: int = self._writer.submit(lambda entries: writer.erase(entries, answer_ids=answer_ids, key_id=key_id)).result()
        return erased

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._database.reading(_READ) as connection:
                if not self._checked:
                    check_tables(connection)
                    self._checked = True
                yield connection
        except Unwritten as error:
            raise NotFound(f"there is no ledger in {self._database.shown}", hint="one is made with the first answer") from error


def _listed(query: RecordQuery) -> RecordQuery:
    """As texts are listed: see `writer.listable`."""
    return query if query.text is None else replace(query, text=query.text.replace("\0", "\ufffd"))


def _kept(connection: Connection, seq: int) -> tuple[Kept, list[Flaw]] | None:
    """The record, and what of its feedback cannot be read; None where it was erased or dropped meanwhile. Raises `Damaged`."""
    found = connection.execute(_KEPT, (seq,)).fetchone()
    if found is None or found[2] is None:
        if connection.execute("SELECT 1 FROM rag.answers WHERE seq = %s", (seq,)).fetchone() is None:
            return None
        raise Damaged(f"entry {seq} of the ledger has lost its content", hint=DAMAGED_HINT)
    digest, content, packed, vector, lineage = found
    if lineage is None:
        raise Damaged(f"entry {seq} of the ledger names a release that is missing", hint=DAMAGED_HINT)
    kept = kept_from(content_of(seq, packed, vector, content), vector, lineage, Receipt(seq, shown(digest)))
    said: list[Feedback] = []
    flaws: list[Flaw] = []
    for number, content, packed, vector in connection.execute(_FEEDBACK, (kept.record.answer_id,)).fetchall():
        try:
            if packed is not None:
                said.append(_feedback(content_of(number, packed, vector, content)))
        except Damaged as error:
            flaws.append(flaw_of(number, error))
    return replace(kept, feedback=tuple(said)), flaws


def _feedback(body: bytes) -> Feedback:
    given = orjson.loads(body)
    return Feedback(**{name: given[name] for name in Feedback.__dataclass_fields__})
