"""A record: one answer as it happened, with the content and the digest of every stage's output.

`ask` makes it; what leaves the service (`reply`) is a view of it.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from rag_service.deployment import Deployment
from rag_service.filters import Filter
from rag_service.release import PromptRef, Release
from rag_service.stored import Scalar
from rag_service.types import AbstainReason, Citation, Hit, Notice, Prompt, SentenceSupport, Turn, Usage, Vector

StageName = Literal["condense", "embed", "retrieve", "prompt", "generate", "cite"]


@dataclass(frozen=True, slots=True)
class Stage:
    """`digest` is over the stage's output alone: two answers part at the first stage whose digests differ."""

    name: StageName
    digest: str
    duration_ms: float
    began_ms: float
    """From the beginning of the answer, by a clock that never jumps."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where in its trace, and when, an attempt happened: what it takes to show it as spans. Ids are hex digits, W3C."""

    span_id: str
    parent_id: str
    """Span of the request, or of whatever else asked."""
    sampled: bool
    began_at: datetime
    ended_ms: float
    """From `began_at`, as all offsets here: when this was said."""
    under_way_ms: float | None
    """When the stage began that was under way, if one was."""


@dataclass(frozen=True, slots=True)
class IndexIdentity:
    """What a record says of the index version it was made from."""

    name: str
    version: str
    digest: str
    corpus_digest: str
    built_at: str
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True, eq=False)
class IndexFacts:
    """What is watched of an opened index version. No answer depends on it."""

    centroid: Vector | None = None
    """See `centroid`."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Inputs that its build left out, by reason."""


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    name: str
    digest: str
    dimension: int
    runtime: str
    revision: str | None = None
    """Published revision of the weights, where one is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Lineage:
    """Everything that is the same for all answers of one opened release. Each opening has its own, and equals no other."""

    release: Release
    index: IndexIdentity
    embedder: EmbedderIdentity
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one question was answered with: the release's settings, where the request did not replace them."""

    top_k: int
    min_confidence: float
    prompt: PromptRef
    generator: Mapping[str, Scalar]
    filters: Filter | None
    """What the request asked for."""
    access: Filter | None
    """What the key of the caller allows; None is everything."""
    overrides: tuple[str, ...]
    """Which of the release's settings the request replaced."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How much of the index could be searched."""

    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a trace needs: everything from the pinning of a release to the last stage that was done."""

    trace_id: str
    """32 hex digits, W3C."""
    lineage: Lineage
    parameters: Parameters
    scope: Scope | None
    """None until the search began."""
    stages: tuple[Stage, ...]
    span: Span | None = None
    """None where the answer was made earlier and is read back."""


@dataclass(frozen=True, slots=True)
class Search:
    """Retrieval alone, as it happened."""

    attempt: Attempt
    request_id: str | None
    created_at: datetime
    question: str
    query: str
    hits: tuple[Hit, ...]
    notices: tuple[Notice, ...]
    timings_ms: Mapping[str, float]
    confidence: float = 0.0
    """As in a record."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Place of an entry in its ledger. `digest` is over this entry and, through a chain, all before it."""

    seq: int
    """From 1, without gaps."""
    digest: str
    """`sha256:…`."""


@dataclass(frozen=True, slots=True)
class Record:
    answer_id: str
    attempt: Attempt
    request_id: str | None
    created_at: datetime
    question: str
    """As the generator saw it: normalised."""
    history: tuple[Turn, ...]
    query: str
    """What was embedded: the question, or what a follow-up was turned into."""
    query_vector: Vector
    hits: tuple[Hit, ...]
    """Best first; `hits[n - 1]` is passage n of the prompt."""
    shown: int
    """How many of `hits` stood in the prompt."""
    prompt: Prompt | None
    raw_answer: str | None
    """What the generator wrote, before citations were checked."""
    answer: str | None
    status: Literal["answered", "abstained"]
    abstain_reason: AbstainReason | None
    citations: tuple[Citation, ...]
    notices: tuple[Notice, ...]
    usage: Usage
    timings_ms: Mapping[str, float]
    confidence: float = 0.0
    """That the documents hold an answer, in [0, 1], judged by what was retrieved."""
    support: tuple[SentenceSupport, ...] = ()
    """Of the sentences of the answer; where that was withheld for want of support, of what it was."""
    repeats: str | None = None
    """Id of the earlier answer that this one repeats from the cache."""
    receipt: Receipt | None = None
    """Where it was written; None before that, and where it could not be."""
    unrecorded: str | None = None
    """Why it was not written, once that is known."""

    @property
    def trace_id(self) -> str:
        return self.attempt.trace_id

    @property
    def lineage(self) -> Lineage:
        return self.attempt.lineage

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.attempt.stages


@dataclass(frozen=True, slots=True)
class Found:
    """The first event of an answer that is told as it is made: what the search gave, before anything is generated."""

    answer_id: str
    attempt: Attempt
    query: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer. Joined, the deltas are `Record.answer`, byte for byte."""

    text: str


Event = Found | Delta | Citation
"""In this order: one `Found`, then deltas, each citation after the delta that holds its marker."""


def new_answer_id() -> str:
    """`ans_`, 12 hex digits of milliseconds since 1970 (so ids sort by time), 20 random ones."""
    return f"ans_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
