"""The noun: one question asked of one candidate, as it happened. Nothing in it depends on what would have been right, so it can be scored
again and again, and a corrected question set asks nothing anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rag_service.types import AbstainReason, Notice, SupportLevel

Status = Literal["answered", "abstained", "error", "not_asked"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A retrieved chunk, and where it stands in its document: character offsets, end exclusive."""

    chunk_id: str
    document_id: str
    start: int
    end: int
    score: float
    """Higher is better."""


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation that the service resolved. `start` and `end` are those of the quote, in its document."""

    marker: int
    """1-based number of the passage."""
    chunk_id: str
    document_id: str
    start: int
    end: int
    verbatim: bool
    """The sentence that cites it stands there word for word."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A sentence of the answer as the service's own check saw it."""

    level: SupportLevel
    cited: bool
    claims: bool
    """False for what says nothing that a passage could support."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A `RagError` while a question was asked or searched for. `stage` is that of the answer in which it happened, if one is known."""

    during: Literal["ask", "search"]
    code: str
    message: str
    stage: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    status: Status
    abstain_reason: AbstainReason | None = None
    answer: str | None = None
    """As served, with its citation markers."""
    plain: str | None = None
    """The same without them: what is compared with references."""
    confidence: float | None = None
    """That the documents hold an answer, in [0, 1]."""
    pool: tuple[Ranked, ...] = ()
    """What the index gives for the question, best first, to the depth of the run; before any reranker."""
    hits: tuple[Ranked, ...] = ()
    """What the release ranked for its answer, best first; after the reranker."""
    shown: int = 0
    """How many of `hits` stood in the prompt, from the first on."""
    cited: tuple[Cited, ...] = ()
    sentences: tuple[Judged, ...] = ()
    notices: tuple[Notice, ...] = ()
    prompt_digest: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failures: tuple[Failure, ...] = ()
    took_ms: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Stage → milliseconds, and `total`, where the answer was made now and by nothing that is remembered; empty elsewhere."""

    @property
    def in_prompt(self) -> tuple[Ranked, ...]:
        return self.hits[: self.shown]
