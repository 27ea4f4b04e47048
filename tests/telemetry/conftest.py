"""Records as `ask` makes them, made by hand: what is measured and logged must not depend on an encoder."""

import dataclasses
import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from opentelemetry.trace import SpanContext, TraceFlags

from rag_service.deployment import Deployment, Image
from rag_service.record import Attempt, EmbedderIdentity, IndexIdentity, Lineage, Parameters, Record, Scope, Stage, StageName
from rag_service.release import CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, Retrieval
from rag_service.telemetry.spans import span_of_answer
from rag_service.types import Chunk, ChunkId, Citation, DocumentId, Hit, Usage

DIGEST = "sha256:" + "a" * 64
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES: dict[StageName, float] = {"embed": 4.0, "retrieve": 0.7, "prompt": 0.2, "generate": 120.0, "cite": 0.3}
ANSWER = "There are 28 days of paid holiday [1]."

MakeRecord = Callable[..., Record]


def lineage_of(version: str = "0123456789ab", top_k: int = 5) -> Lineage:
    """Another `version` or `top_k` gives another release."""
    release = Release(
        schema="rag.release/v2",
        index=IndexRef(version=version, digest=DIGEST),
        encoder=NamedDigest(name="all-MiniLM-L6-v2", digest=DIGEST),
        chunker=NamedDigest(name="structure", digest=DIGEST),
        retrieval=Retrieval(top_k=top_k, min_confidence=0.35),
        prompt=PromptRef(name="answer", version="1", digest=DIGEST),
        generator=GeneratorRef(spec="extractive", options={}, name="extractive", digest=DIGEST, parameters={}),
        code=CodeRef(version="0.1.0", digest=DIGEST),
    )
    return Lineage(
        release=release,
        index=IndexIdentity("handbook", version, DIGEST, DIGEST, "2026-01-02T03:04:05Z", documents=5, chunks=9),
        embedder=EmbedderIdentity("all-MiniLM-L6-v2", DIGEST, 384, "onnxruntime"),
        deployment=Deployment("dev", DIGEST, "x86_64", "c0ffee", False, Image(f"registry/rag@{DIGEST}", DIGEST)),
    )


def hit(number: int, score: float) -> Hit:
    text = "Every employee has 28 days of paid holiday a year."
    chunk = Chunk(ChunkId(f"c{number}"), DocumentId("d1"), number, 0, len(text), text, "Leave", (), "leave.md", None, text, 12)
    return Hit(chunk, score)


@pytest.fixture
def lineage() -> Callable[..., Lineage]:
    return lineage_of


@pytest.fixture
def make_record() -> MakeRecord:
    """`make_record(scores=(0.8, 0.5), **fields)`: an answer with one citation, or what `fields` of a `Record` make of it."""

    def make(*, scores: tuple[float, ...] = (0.71, 0.52), trace_id: str = TRACE_ID, **fields: object) -> Record:
        lineage = lineage_of()
        parameters = Parameters(5, 0.35, lineage.release.prompt, {}, None, None, ())
        began_ms = itertools.accumulate(STAGES.values(), initial=0.5)
        stages = tuple(Stage(name, DIGEST, duration_ms, at) for (name, duration_ms), at in zip(STAGES.items(), began_ms, strict=False))
        total_ms = sum(STAGES.values()) + 1
        answer_id, created_at = "ans_018c00000000aaaaaaaaaaaaaaaaaaaa", datetime(2026, 1, 2, tzinfo=UTC)
        parent = SpanContext(int(trace_id, 16), int(PARENT_ID, 16), is_remote=False, trace_flags=TraceFlags(1))
        span = span_of_answer(answer_id, parent, created_at, ended_ms=total_ms)
        hits = tuple(hit(number, score) for number, score in enumerate(scores))
        cited = tuple(Citation(1, found.chunk, found.score, (34, 37), "28 days", (19, 26), (19, 26), True) for found in hits[:1])
        record = Record(
            answer_id=answer_id,
            attempt=Attempt(trace_id, lineage, parameters, Scope(5, 9), stages, span),
            request_id=None,
            created_at=created_at,
            question="How many days of paid holiday does an employee have?",
            history=(),
            query="How many days of paid holiday does an employee have?",
            query_vector=np.ones(4, np.float32) / 2,
            hits=hits,
            shown=len(hits),
            prompt=None,
            raw_answer=ANSWER,
            answer=ANSWER,
            status="answered",
            abstain_reason=None,
            citations=cited,
            notices=(),
            usage=Usage(310, 42),
            timings_ms={"total": total_ms},
        )
        return dataclasses.replace(record, **fields)

    return make
