"""Where questions about answers are taken: which there are, what made one, whether it can be made again, where two of them part.

Whoever sees a part of the documents sees a part of the records: those that were asked under the same filter, and of them only those whose
every passage it may still read. Everything here waits for the disk, so it belongs into a thread.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rag_service.ask import Pipeline
from rag_service.compare import Comparison, compare
from rag_service.deployment import Deployment
from rag_service.errors import Conflict, Forbidden, NotFound, NotReady
from rag_service.filters import MAX_VALUES, Condition, Filter, both
from rag_service.kept import Feedback, Flaw, Kept, Page, RecordQuery
from rag_service.ports import Ledger
from rag_service.record import Lineage, Receipt, Record
from rag_service.replay import Missing, Open, Replay, replay, withheld


@dataclass(frozen=True, slots=True)
class Replayable:
    """How many of the stored records could be made again, as far as a look at record and disk shows."""

    records: int
    replayable: int
    reasons: tuple[tuple[str, str, int], ...]
    """What is missing, in words, and in how many records; most first."""

    @property
    def share(self) -> float | None:
        """0 … 1; None where there are no records."""
        return self.replayable / self.records if self.records else None


class Records:
    """`active` gives what answers now; `missing` what of a release is no longer there. With `ledger` None nothing is ever found."""

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        active: Callable[[], Pipeline | None],
        open_release: Open,
        missing: Callable[[Lineage], Missing | None],
        deployment: Deployment,
    ) -> None:
        self._ledger = ledger
        self._active = active
        self._open_release = open_release
        self._missing = missing
        self._deployment = deployment

    def page(self, query: RecordQuery, access: Filter | None = None) -> Page:
        """For a limited caller without answers, which may quote what has been restricted since: opening one looks after that."""
        ledger = self._required
        try:
            page = ledger.rows(_within(query, access))
        except NotFound:
            return Page((), None)  # nothing has been written yet
        if access is None:
            return page
        return replace(page, rows=tuple(replace(listed, row=replace(listed.row, answer=None)) for listed in page.rows))

    def show(self, identifier: str, access: Filter | None = None) -> Kept:
        """By answer id, or by a trace id that has one answer. Raises `NotFound`, or `Conflict` naming the answers of a trace id."""
        found = [kept for kept in self._found(identifier) if access is None or self._shows(kept.record, access)]
        if not found:
            raise NotFound(f"there is no record {identifier}", hint="it was never written, was erased, or is not for this key")
        if len(found) > 1:
            answers = ", ".join(kept.record.answer_id for kept in found[:20])
            raise Conflict(f"trace {identifier} has {len(found)} answers", hint=f"name one of them: {answers}")
        return found[0]

    def compare(self, a: str, b: str, access: Filter | None = None) -> tuple[Kept, Kept, Comparison]:
        first, second = self.show(a, access), self.show(b, access)
        return first, second, compare(first, second)

    def replay(self, identifier: str, access: Filter | None = None) -> tuple[Kept, Replay, Record | None]:
        """The record, the verdict, and what was made now. Raises `Forbidden` for a limited caller where another release than the active
        one made the answer: see `Desk.admit`.
        """
        kept = self.show(identifier, access)
        active = self._active()
        if access is not None and (active is None or active.lineage.release != kept.record.lineage.release):
            raise Forbidden(
                "this key sees a part of the documents, and that only in the active release", hint="this answer is from another"
            )
        return kept, *replay(kept, self._open_release, self._deployment)

    def rate(self, identifier: str, feedback: Feedback, access: Filter | None = None, *, only_of_key: str | None = None) -> Receipt:
        """`only_of_key` limits it to answers that this key asked for: for others there is no such record."""
        kept = self.show(identifier, access)
        if only_of_key is not None and kept.key_id != only_of_key:
            raise NotFound(f"there is no record {identifier}", hint="it was never written, was erased, or is not for this key")
        return self._required.rate(kept.record.answer_id, feedback)

    def erase(self, identifier: str, access: Filter | None = None) -> int:
        return self._required.erase_answers([self.show(identifier, access).record.answer_id])

    def erase_key(self, key_id: str) -> int:
        return self._required.erase_key(key_id)

    def records(self, query: RecordQuery, access: Filter | None = None) -> Iterator[Kept | Flaw]:
        """All that fit, oldest first, and what cannot be read among them."""
        ledger = self._required
        try:
            for found in ledger.records(_within(query, access)):
                if access is None or (isinstance(found, Kept) and self._shows(found.record, access)):
                    yield found
        except NotFound:
            return

    def selected(self, identifiers: Sequence[str], access: Filter | None = None) -> Iterator[Kept]:
        """Those named, in the order given."""
        for identifier in identifiers:
            yield self.show(identifier, access)

    def replayable(self) -> Replayable:
        """Looks at each record, and once at each release."""
        known: dict[int, Missing | None] = {}
        reasons: Counter[tuple[str, str]] = Counter()
        records = 0
        for found in self.records(RecordQuery()):
            records += 1
            if isinstance(found, Flaw):
                reasons["record", "the record is damaged"] += 1
                continue
            lineage = found.record.lineage
            if id(lineage) not in known:
                known[id(lineage)] = self._missing(lineage)
            missing = withheld(found) or known[id(lineage)]
            if missing is not None:
                reasons[missing.what, missing.detail] += 1
        rows = tuple((what, detail, count) for (what, detail), count in reasons.most_common())
        return Replayable(records, records - reasons.total(), rows)

    @property
    def _required(self) -> Ledger:
        if self._ledger is None:
            raise NotFound("this service keeps no records", hint="RAG_RECORDS is off")
        return self._ledger

    def _found(self, identifier: str) -> list[Kept]:
        ledger = self._required
        try:
            return ledger.find(identifier)
        except NotFound:
            return []

    def _shows(self, record: Record, access: Filter) -> bool:
        """Whether it was asked under this filter, and every passage of it may still be read."""
        if record.attempt.parameters.access != access:
            return False
        active = self._active()
        if active is None:
            raise NotReady("the service is still starting", hint="try again in a second")
        documents = sorted({hit.chunk.document_id for hit in record.hits})
        for start in range(0, len(documents), MAX_VALUES):
            some = tuple(documents[start : start + MAX_VALUES])
            wanted = both(access, Filter((Condition("document_id", "in", some),)))
            if wanted is None or active.chunks.select(wanted).documents != len(some):
                return False
        return True


def _within(query: RecordQuery, access: Filter | None) -> RecordQuery:
    return query if access is None else replace(query, access=access.digest, question_only=True)
