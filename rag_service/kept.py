"""Records as a ledger keeps them: what is added, what is asked for, and what comes back."""

from dataclasses import dataclass
from typing import Literal

from rag_service.record import Receipt, Record
from rag_service.types import AbstainReason

Content = Literal["full", "digest"]
"""Whether texts were stored, or only their digests."""

Rating = Literal["up", "down"]
Status = Literal["answered", "abstained"]

EntryKind = Literal["answer", "feedback", "erasure", "pruning"]
"""An erasure and a pruning say what is no longer there, so that it cannot be missing without a word."""

Text = Literal["request_id", "question", "history", "query", "filters", "passages", "prompt", "answer", "warnings"]
"""Parts of a record that hold text."""

ASKED: frozenset[Text] = frozenset({"question", "history", "query", "filters"})
"""What a replay begins with: where one of these was redacted, the answer cannot be made again."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a list shows of an answer, and what it is found by."""

    answer_id: str
    trace_id: str
    created_at_ms: int
    """Milliseconds since 1970, UTC."""
    status: Status
    abstain_reason: AbstainReason | None
    release: str
    index_name: str
    index_version: str
    key_id: str | None
    access: str | None
    """Digest of the filter of the key that asked; None saw everything."""
    top_score: float | None
    total_ms: float
    repeats: str | None
    question: str | None
    """None where texts are not stored."""
    answer: str | None


@dataclass(frozen=True, slots=True)
class AnswerEntry:
    """An answer on its way into a ledger."""

    row: Row
    body: bytes
    """JSON, as `stored_record` writes it."""
    vector: bytes | None
    """Little-endian float32; None where it would give away what was not stored."""
    lineage_digest: str
    lineage: bytes
    """Canonical JSON that `lineage_digest` is the digest of: the same for all answers of one opened release, and stored once."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody thought of an answer. The last word of each key counts."""

    rating: Rating | None
    comment: str | None
    expected: str | None
    """The answer that should have come."""
    key_id: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that was read back. In `digest` content its texts are empty, and `record.query_vector` has no elements."""

    record: Record
    content: Content
    redacted: frozenset[Text]
    """In which texts something was masked before they were stored."""
    key_id: str | None
    question_digest: str
    """Of the question as it was asked, before anything was masked."""
    receipt: Receipt
    feedback: tuple[Feedback, ...] = ()

    @property
    def has_vector(self) -> bool:
        return self.record.query_vector.size > 0


@dataclass(frozen=True, slots=True)
class Listed:
    seq: int
    row: Row
    rating: Rating | None
    """The latest, of whoever rated it."""


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """All that is given must hold. `text` is looked for in the question, and in the answer unless `question_only`."""

    since_ms: int | None = None
    until_ms: int | None = None
    status: Status | None = None
    release: str | None = None
    index_version: str | None = None
    score_below: float | None = None
    text: str | None = None
    question_only: bool = False
    trace_id: str | None = None
    key_id: str | None = None
    rating: Rating | Literal["any"] | None = None
    access: str | None = None
    """Only what was asked under the filter of this digest."""
    before_seq: int | None = None
    """The next page: entries before this one."""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first."""

    rows: tuple[Listed, ...]
    next_before: int | None
    """`before_seq` of the next page; None at the end."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is not as it was written."""

    seq: int | None
    """None where it concerns the ledger as a whole."""
    what: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What looking through a whole ledger found."""

    entries: int
    answers: int
    erased: int
    pruned_through: int
    """Entries up to here were dropped by retention."""
    head: Receipt | None
    flaws: tuple[Flaw, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """What is dropped, oldest first. None keeps everything."""

    max_age_s: float | None = None
    max_bytes: int | None = None


KEEP_EVERYTHING = Retention()
