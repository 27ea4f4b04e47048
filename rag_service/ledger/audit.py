"""Looks through a whole ledger and names everything that is not as it was written."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from rag_service.errors import Damaged
from rag_service.kept import Audit, Flaw, Row
from rag_service.ledger import chain
from rag_service.ledger.packing import content_of
from rag_service.ledger.salvage import flaw_of, numbers, read_entry
from rag_service.ledger.writer import ANSWER_COLUMNS
from rag_service.record import Receipt
from rag_service.stored_record import row_from

_MOST_FLAWS = 1000
"""After so many nobody reads on."""
_MOST_OF_THE_FILE = 20
_ENTRY = "SELECT kind, at_ms, content, digest, lineage, body, vector FROM entries WHERE seq = ?"
_TELL_EVERY = 1000


def audit(connection: sqlite3.Connection, told: Callable[[int], None]) -> Audit:
    """`told` is given the number of entries looked at, now and then."""
    connection.execute("BEGIN")  # one moment of it: an erasure meanwhile is no flaw
    seqs = numbers(connection)
    found = _Found(connection)
    for count, seq in enumerate(seqs, start=1):
        found.look_at(seq)
        if count % _TELL_EVERY == 0:
            told(_TELL_EVERY)
        if len(found.flaws) >= _MOST_FLAWS:
            found.flaws.append(Flaw(None, f"there are so many flaws that what comes after entry {seq} was not looked at"))
            break
    else:
        found.conclude(seqs[0] if seqs else None)
    return Audit(
        entries=found.entries,
        answers=found.answers,
        erased=len(found.erased),
        pruned_through=found.pruned[-1][0] if found.pruned else 0,
        head=Receipt(seqs[-1], chain.shown(found.before)) if found.before is not None else None,
        flaws=tuple(found.flaws),
    )


@dataclass(slots=True)
class _Found:
    connection: sqlite3.Connection
    flaws: list[Flaw] = field(default_factory=list)
    entries: int = 0
    answers: int = 0
    erased: set[int] = field(default_factory=set)
    """Entries that have no content."""
    accounted: set[int] = field(default_factory=set)
    """Those that an erasure says it erased."""
    pruned: list[tuple[int, bytes]] = field(default_factory=list)
    """Through which entry, and its digest."""
    before: bytes | None = None
    """Digest of the entry before; None where that entry could not be read."""
    last: int | None = None
    beginning: bytes | None = None
    """What the first entry must have had before it."""

    def look_at(self, seq: int) -> None:
        if self.last is not None and seq > self.last + 1:
            missing = seq - self.last - 1
            self._flaw(self.last + 1, "is missing" if missing == 1 else f"is missing, and so are all up to {seq - 1:,}")
            self.before = None
        self.last = seq
        try:
            row = read_entry(self.connection, _ENTRY, seq)
        except Damaged as error:
            self.flaws.append(flaw_of(seq, error))
            self.before = None
            return
        if row is None:
            self._flaw(seq, "is missing")
            self.before = None
            return
        self.entries += 1
        self._check_chain(seq, row)
        if row["body"] is not None:
            self._check_content(seq, row)
            return
        self.erased.add(seq)
        if row["vector"] is not None:
            self._flaw(seq, "its content was erased, but not its vector")

    def _check_chain(self, seq: int, row: sqlite3.Row) -> None:
        first = self.entries == 1 and not self.flaws
        if self.before is not None and row["digest"] != chain.entry_digest(self.before, seq, row["at_ms"], row["kind"], row["content"]):
            self._flaw(seq, "does not follow from the entry before it")
        if first:
            self.beginning = row["digest"]
        self.before = row["digest"]

    def _check_content(self, seq: int, row: sqlite3.Row) -> None:
        try:
            body = content_of(seq, row["body"], row["vector"], row["content"])
        except Damaged as error:
            self.flaws.append(flaw_of(seq, error))
            return
        if row["kind"] == "answer":
            self.answers += 1
            for problem in self._problems_of_answer(seq, row, body):
                self._flaw(seq, problem)
            return
        try:
            self._check_said(seq, row["kind"], orjson.loads(body))
        except (ValueError, KeyError, TypeError):
            self._flaw(seq, f"its content is none of an entry of the kind {row['kind']}")

    def _check_said(self, seq: int, kind: str, said: dict[str, Any]) -> None:
        """Raises `ValueError`, `KeyError` or `TypeError` where that kind says something else."""
        match kind:
            case "feedback":
                self._check_feedback(seq, said)
            case "erasure":
                self.accounted.update(said["erased"])
            case "pruning":
                self.pruned.append((said["through"], bytes.fromhex(said["digest"])))
            case _:
                raise ValueError(kind)

    def _problems_of_answer(self, seq: int, row: sqlite3.Row, body: bytes) -> Iterator[str]:
        try:
            lineage = self.connection.execute("SELECT body FROM lineages WHERE digest = ?", (row["lineage"],)).fetchone()
            listed = self.connection.execute(f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answers WHERE seq = ?", (seq,)).fetchone()
        except sqlite3.DatabaseError as error:
            yield f"what it is listed by cannot be read: {error}"
            return
        if lineage is None:
            yield "the release that it names is missing"
            return
        try:
            expected = row_from(body, lineage["body"])
        except Damaged as error:
            yield flaw_of(seq, error).what
            return
        if listed is None or Row(**dict(listed)) != expected:
            yield "it is listed as something else than it is"

    def _check_feedback(self, seq: int, said: dict[str, Any]) -> None:
        """It is listed as long as its answer is: retention may have dropped that."""
        query = "SELECT feedback.answer_id, rating FROM answers LEFT JOIN feedback ON feedback.seq = ? WHERE answers.answer_id = ?"
        try:
            listed = self.connection.execute(query, (seq, said["answer_id"])).fetchone()
        except sqlite3.DatabaseError as error:
            self._flaw(seq, f"what it is listed by cannot be read: {error}")
            return
        if listed is not None and tuple(listed) != (said["answer_id"], said["rating"]):
            self._flaw(seq, "it is listed as something else than it is")

    def _check_lists(self) -> None:
        """Whether everything that is listed is there."""
        for table, kind in (("answers", "answer"), ("feedback", "feedback")):
            query = (
                f"SELECT {table}.seq FROM {table} LEFT JOIN entries ON entries.seq = {table}.seq "
                "WHERE body IS NULL OR kind != ? ORDER BY 1 LIMIT ?"
            )
            try:
                for (seq,) in self.connection.execute(query, (kind, _MOST_FLAWS)).fetchall():
                    self._flaw(seq, f"{'an answer' if kind == 'answer' else kind} is listed that is not there")
            except sqlite3.DatabaseError as error:
                self._flaw(None, f"the list of {'answers' if kind == 'answer' else kind} cannot be read: {error}")

    def _check_file(self) -> None:
        """What SQLite itself knows of: an index that does not lead to an entry hides it from whoever looks for it."""
        try:
            for (problem,) in self.connection.execute(f"PRAGMA integrity_check({_MOST_OF_THE_FILE})"):
                if problem != "ok":
                    self._flaw(None, " ".join(problem.split()))
        except sqlite3.DatabaseError as error:
            self._flaw(None, f"cannot be checked: {error}")

    def conclude(self, first: int | None) -> None:
        """What only the whole shows. `first` is None where there is no entry."""
        for seq in sorted(self.erased - self.accounted):
            self._flaw(seq, "its content is missing, and nothing says that it was erased")
        known = {flaw.seq for flaw in self.flaws}
        self._check_lists()
        self._check_file()
        if first is None:
            return
        for seq in sorted(self.accounted - self.erased - known):
            if seq >= first:
                self._flaw(seq, "its content was erased, and is there again")
        through, digest = self.pruned[-1] if self.pruned else (0, chain.GENESIS)
        if first > through + 1:
            self._flaw(None, f"entries {through + 1:,} to {first - 1:,} are missing, and nothing says that they were dropped")
        elif first <= through:
            self._flaw(first, "is there, though it was dropped" if first > 0 else "is there, though no entry has such a number")
        elif self.beginning is not None and not self._begins_after(first, digest):
            self._flaw(first, "does not follow from what came before it")

    def _begins_after(self, first: int, digest: bytes) -> bool:
        row = self.connection.execute("SELECT kind, at_ms, content, digest FROM entries WHERE seq = ?", (first,)).fetchone()
        return bool(row["digest"] == chain.entry_digest(digest, first, row["at_ms"], row["kind"], row["content"]))

    def _flaw(self, seq: int | None, what: str) -> None:
        self.flaws.append(Flaw(seq, what))
