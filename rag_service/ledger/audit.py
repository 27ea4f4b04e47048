"""Looks through a whole ledger and names everything that is not as it was written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from rag_service.errors import Damaged
from rag_service.kept import Audit, EntryKind, Flaw, Row
from rag_service.ledger import chain
from rag_service.ledger.packing import content_of
from rag_service.record import Receipt
from rag_service.stored_record import row_from

MOST_FLAWS = 1000
"""After so many nobody reads on."""
_TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class StoredEntry:
    kind: EntryKind
    at_ms: int
    content: bytes
    digest: bytes
    lineage: bytes | None
    body: bytes | None
    """Packed; None where it was erased."""
    vector: bytes | None


class Unlisted(Exception):
    """What an entry is listed by cannot be read; the message says why."""


class Entries(Protocol):
    """A ledger, as it stands at one moment."""

    def numbers(self) -> list[int]:
        """Ascending: every entry that can be known of."""

    def entry(self, seq: int) -> StoredEntry | None:
        """Raises `Damaged`."""

    def lineage(self, digest: bytes) -> bytes | None:
        """Raises `Unlisted`, as the next two do."""

    def listed(self, seq: int) -> Row | None:
        """What the list of answers says of an entry."""

    def listed_feedback(self, seq: int, answer_id: str) -> tuple[str | None, str | None] | None:
        """Answer and rating, as feedback is listed; None where its answer is not listed any more."""

    def hanging(self, kind: EntryKind, most: int) -> list[int]:
        """Entries that are listed as `kind` and are not there."""

    def problems(self) -> Sequence[str]:
        """What the engine itself finds wrong."""

    def listable(self, row: Row) -> Row:
        """As the list of answers holds it."""


def flaw_of(seq: int, error: Damaged) -> Flaw:
    """What is said of an entry, without its number."""
    return Flaw(seq, error.message.removeprefix(f"entry {seq} of the ledger "))


def audit(entries: Entries, told: Callable[[int], None]) -> Audit:
    """`told` is given the number of entries looked at, now and then."""
    seqs = entries.numbers()
    found = _Found(entries)
    for count, seq in enumerate(seqs, start=1):
        found.look_at(seq)
        if count % _TELL_EVERY == 0:
            told(_TELL_EVERY)
        if len(found.flaws) >= MOST_FLAWS:
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
    ledger: Entries
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
            row = self.ledger.entry(seq)
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
        if row.body is not None:
            self._check_content(seq, row, row.body)
            return
        self.erased.add(seq)
        if row.vector is not None:
            self._flaw(seq, "its content was erased, but not its vector")

    def _check_chain(self, seq: int, row: StoredEntry) -> None:
        first = self.entries == 1 and not self.flaws
        if self.before is not None and row.digest != chain.entry_digest(self.before, seq, row.at_ms, row.kind, row.content):
            self._flaw(seq, "does not follow from the entry before it")
        if first:
            self.beginning = row.digest
        self.before = row.digest

    def _check_content(self, seq: int, row: StoredEntry, packed: bytes) -> None:
        try:
            body = content_of(seq, packed, row.vector, row.content)
        except Damaged as error:
            self.flaws.append(flaw_of(seq, error))
            return
        if row.kind == "answer":
            self.answers += 1
            for problem in self._problems_of_answer(seq, row, body):
                self._flaw(seq, problem)
            return
        try:
            self._check_said(seq, row.kind, orjson.loads(body))
        except (ValueError, KeyError, TypeError):
            self._flaw(seq, f"its content is none of an entry of the kind {row.kind}")

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

    def _problems_of_answer(self, seq: int, row: StoredEntry, body: bytes) -> Iterator[str]:
        try:
            lineage = None if row.lineage is None else self.ledger.lineage(row.lineage)
            listed = self.ledger.listed(seq)
        except Unlisted as error:
            yield f"what it is listed by cannot be read: {error}"
            return
        if lineage is None:
            yield "the release that it names is missing"
            return
        try:
            expected = row_from(body, lineage)
        except Damaged as error:
            yield flaw_of(seq, error).what
            return
        if listed is None or listed != self.ledger.listable(expected):
            yield "it is listed as something else than it is"

    def _check_feedback(self, seq: int, said: dict[str, Any]) -> None:
        """It is listed as long as its answer is: retention may have dropped that."""
        try:
            listed = self.ledger.listed_feedback(seq, said["answer_id"])
        except Unlisted as error:
            self._flaw(seq, f"what it is listed by cannot be read: {error}")
            return
        if listed is not None and listed != (said["answer_id"], said["rating"]):
            self._flaw(seq, "it is listed as something else than it is")

    def _check_lists(self) -> None:
        """Whether everything that is listed is there."""
        kinds: tuple[tuple[EntryKind, str], ...] = (("answer", "an answer"), ("feedback", "feedback"))
        for kind, shown in kinds:
            try:
                for seq in self.ledger.hanging(kind, MOST_FLAWS):
                    self._flaw(seq, f"{shown} is listed that is not there")
            except Unlisted as error:
                self._flaw(None, f"the list of {'answers' if kind == 'answer' else kind} cannot be read: {error}")

    def conclude(self, first: int | None) -> None:
        """What only the whole shows. `first` is None where there is no entry."""
        for seq in sorted(self.erased - self.accounted):
            self._flaw(seq, "its content is missing, and nothing says that it was erased")
        known = {flaw.seq for flaw in self.flaws}
        self._check_lists()
        for problem in self.ledger.problems():
            self._flaw(None, problem)
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
        row = self.ledger.entry(first)
        return row is not None and row.digest == chain.entry_digest(digest, first, row.at_ms, row.kind, row.content)

    def _flaw(self, seq: int | None, what: str) -> None:
        self.flaws.append(Flaw(seq, what))
