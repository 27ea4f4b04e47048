"""What the outermost layer learns of a request from the route that answered it: for its log line and its metrics."""

from contextvars import ContextVar
from dataclasses import dataclass

from rag_service.record import Lineage, Record, Search


@dataclass(slots=True)
class Outcome:
    """Filled in by whoever knows. One per request."""

    answer_id: str | None = None
    release: str | None = None
    outcome: str | None = None
    """answered, abstained, searched or batch."""
    error: str | None = None
    """Its code, if there was one."""
    stage: str | None = None
    """Of the answer, in which the error happened."""
    abstain_reason: str | None = None
    cached: bool | None = None
    key_id: str | None = None
    question: str | None = None
    lineage: Lineage | None = None
    """Of the release that was at work."""

    def failed(self, code: str, stage: str | None = None) -> None:
        self.error, self.stage = code, stage

    def of_record(self, record: Record) -> None:
        self.answer_id, self.release, self.lineage = record.answer_id, record.lineage.release.id, record.lineage
        self.outcome, self.abstain_reason = record.status, record.abstain_reason
        self.cached, self.question = record.repeats is not None, record.question

    def of_search(self, search: Search) -> None:
        self.lineage = search.attempt.lineage
        self.release, self.outcome, self.question = self.lineage.release.id, "searched", search.question


_current: ContextVar[Outcome] = ContextVar("outcome")


def current_outcome() -> Outcome:
    """That of the request that is being handled; one that nobody reads where there is none."""
    return _current.get(Outcome())


def begin_outcome() -> Outcome:
    outcome = Outcome()
    _current.set(outcome)
    return outcome
