"""A record: one answer as it happened, with the content and the digest of every stage's output.

`ask` makes it; what leaves the service (`reply`) is a view of it.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rag_service.deployment import Deployment
from rag_service.release import Release
from rag_service.types import AbstainReason, Citation, Hit, Notice, Prompt, Usage, Vector

StageName = Literal["embed", "retrieve", "prompt", "generate", "cite"]


@dataclass(frozen=True, slots=True)
class Stage:
    """`digest` is over the stage's output alone: two answers part at the first stage whose digests differ."""

    name: StageName
    digest: str
    duration_ms: float


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


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    name: str
    digest: str
    dimension: int
    runtime: str
    revision: str | None = None
    """Published revision of the weights, where one is known."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything that is the same for all answers of one opened release."""

    release: Release
    index: IndexIdentity
    embedder: EmbedderIdentity
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a trace needs of an answer that failed: everything from the pinning of its release to the last stage that was done."""

    trace_id: str
    lineage: Lineage
    top_k: int
    min_score: float
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Record:
    answer_id: str
    trace_id: str
    """32 hex digits, W3C."""
    request_id: str | None
    created_at: datetime
    lineage: Lineage
    question: str
    """As embedded and shown to the generator: normalised."""
    top_k: int
    min_score: float
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
    stages: tuple[Stage, ...]
    timings_ms: Mapping[str, float]


def new_answer_id() -> str:
    """`ans_`, 12 hex digits of milliseconds since 1970 (so ids sort by time), 20 random ones."""
    return f"ans_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
