"""Records made by hand, for tests of what keeps them: no index, no model, every field there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from rag_service.deployment import Deployment
from rag_service.kept import AnswerEntry, Content, Feedback, Kept, Rating
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.record import Attempt, EmbedderIdentity, IndexIdentity, Lineage, Parameters, Record, Scope, Stage
from rag_service.release import CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, Retrieval
from rag_service.stored_record import entry_of
from rag_service.types import Chunk, ChunkId, Citation, DocumentId, Hit, Notice, Passage, Prompt, Turn, Usage

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGAN_MS = round(BEGAN.timestamp() * 1000)


def digest(of: str) -> str:
    return f"sha256:{of * 64}"


PROMPT = PromptRef(name="answer", version="1", digest=digest("5"))


def lineage(*, top_k: int = 5, environment: str = "test") -> Lineage:
    """Another `top_k` is another release; another environment is the same release elsewhere."""
    release = Release(
        index=IndexRef(version="0123456789ab", digest=digest("1")),
        encoder=NamedDigest(name="encoder", digest=digest("2")),
        chunker=NamedDigest(name="chunker", digest=digest("3")),
        retrieval=Retrieval(top_k=top_k, min_confidence=0.35),
        prompt=PROMPT,
        generator=GeneratorRef(spec="extractive", options={}, name="extractive", digest=digest("6"), parameters={}),
        code=CodeRef(version="0", digest=digest("7")),
    )
    return Lineage(
        release,
        IndexIdentity("handbook", "0123456789ab", digest("1"), digest("8"), "2026-01-01T00:00:00Z", 3, 9),
        EmbedderIdentity("encoder", digest("2"), 4, "onnxruntime"),
        Deployment(environment, digest("9"), "x86_64", None, None, None, {"code.commit": "not a git checkout"}),
    )


LINEAGE = lineage()
OTHER_LINEAGE = lineage(top_k=7)


def chunk(number: int, text: str, **fields: Any) -> Chunk:
    made = Chunk(
        id=ChunkId(f"{number:032x}"), document_id=DocumentId(f"page{number}.md"), ordinal=number, start=100, end=100 + len(text), text=text,
        title="Leave", heading_path=("Leave", "Holidays"), source=f"page{number}.md", page=None, embedded_text=text, tokens=7,
        metadata={"lang": "en", "year": 2026},
    )  # fmt: skip
    return replace(made, **fields)


def record(number: int = 1, *, of: Lineage = LINEAGE, question: str = "", answer: str = "", **fields: Any) -> Record:
    """Number `number` of a series: each a minute after the one before. Other arguments replace fields."""
    question = question or f"How many days of holiday has employee {number}?"
    answer = answer or f"Employee {number} has 28 days. [1]"
    hits = (Hit(chunk(1, f"Every employee has 28 days of paid holiday, number {number} too."), 0.75), Hit(chunk(2, "Trains."), 0.5))
    passages = tuple(Passage(marker, hit.chunk) for marker, hit in enumerate(hits, start=1))
    user = "\n".join([*(f"[{passage.marker}] {passage.chunk.text}" for passage in passages), question])
    made = Record(
        answer_id=f"ans_{number:032x}",
        attempt=Attempt(
            trace_id=f"{number:032x}",
            lineage=of,
            parameters=Parameters(5, 0.35, PROMPT, {"temperature": 0.5, "seed": None}, None, None, ()),
            scope=Scope(3, 9),
            stages=(Stage("embed", digest("a"), 1.5, 0.25), Stage("retrieve", digest("b"), 0.5, 2.0)),
        ),
        request_id=None,
        created_at=BEGAN + timedelta(minutes=number),
        question=question,
        history=(Turn("user", "Hello"), Turn("assistant", "Good day")),
        query=question,
        query_vector=np.array([0.5, -0.5, 0.5, number / 1000], np.float32),
        hits=hits,
        shown=2,
        prompt=Prompt("Answer from the passages.", user, question, passages),
        raw_answer=answer,
        answer=answer,
        status="answered",
        abstain_reason=None,
        citations=(cited(hits[0], answer, quote_span=(0, 42)),),
        notices=(Notice("citation_dropped", "a marker named no passage"),),
        usage=Usage(100, 20),
        timings_ms={"total": 3.5, "embed": 1.5},
    )
    return replace(made, **fields)


def cited(hit: Hit, answer: str, *, quote_span: tuple[int, int], marker: int = 1) -> Citation:
    start, end = quote_span
    quote, at = hit.chunk.text[start:end], max(answer.rfind("[1]"), 0)
    return Citation(
        marker,
        hit.chunk,
        hit.score,
        (at, at + 3),
        quote,
        (start, start + len(quote)),
        (hit.chunk.start + start, hit.chunk.start + end),
        True,
    )


def abstained(number: int, **fields: Any) -> Record:
    made = record(number, **fields)
    return replace(
        made, hits=(), shown=0, prompt=None, raw_answer=None, answer=None, citations=(), status="abstained", abstain_reason="no_hits"
    )


def entry(number: int = 1, *, key_id: str | None = None, content: Content = "full", **fields: Any) -> AnswerEntry:
    return entry_of(record(number, **fields), content=content, key_id=key_id)


def feedback(
    rating: Rating | None = "up", *, comment: str | None = None, expected: str | None = None, key_id: str | None = None
) -> Feedback:
    return Feedback(rating, comment, expected, key_id, BEGAN_MS)


def ids(found: Sequence[Kept]) -> list[str]:
    return [kept.record.answer_id for kept in found]


def answer_id(number: int) -> str:
    return f"ans_{number:032x}"


@contextmanager
def ledger_at(path: Path, *numbers: int) -> Iterator[SqliteLedger]:
    """Open for as long as the block runs, with these records added."""
    ledger = SqliteLedger(path)
    try:
        for future in [ledger.add(entry(number)) for number in numbers]:
            future.result(timeout=10)
        yield ledger
    finally:
        ledger.close()
