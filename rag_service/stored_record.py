"""A record as bytes, and back: what a ledger stores of an answer.

    body       JSON: everything of the answer, its stages and what it was asked with
    vector     the query vector, little-endian float32
    lineage    canonical JSON: the release and where it ran; the same for many answers, named by its digest

In `full` content every text is there, with keys, e-mail addresses, phone numbers and IBANs masked. In `digest` content there is no text
at all, and no vector either, since a vector can be turned back into much of its text (Morris et al. 2023, arXiv 2310.06816).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import Field, ValidationError

from rag_service.digests import digest_text
from rag_service.errors import Damaged
from rag_service.filters import MAX_CONDITIONS, Filter, parse_filter
from rag_service.kept import AnswerEntry, Content, Feedback, Kept, Row, Text
from rag_service.masking import Masked, Withheld
from rag_service.record import (
    Attempt,
    Lineage,
    Parameters,
    Receipt,
    Record,
    Scope,
    Stage,
    StageName,
)
from rag_service.release import PromptRef
from rag_service.stored import Digest, Frozen, Scalar
from rag_service.stored_lineage import lineage_bytes, lineage_from
from rag_service.types import (
    AbstainReason,
    Chunk,
    ChunkId,
    Citation,
    DocumentId,
    Hit,
    MetadataValue,
    Notice,
    Passage,
    Prompt,
    Role,
    SentenceSupport,
    SupportLevel,
    Turn,
    Usage,
    WarningCode,
)

SCHEMA: Literal["rag.record/v2"] = "rag.record/v2"
_VECTOR_TYPE = np.dtype("<f4")

Span = tuple[int, int]


class _Turn(Frozen):
    role: Role
    content: str


class _Parameters(Frozen):
    top_k: int
    min_confidence: float
    prompt: PromptRef
    generator: dict[str, Scalar]
    filters: dict[str, Any] | None
    access: dict[str, Any] | None
    overrides: list[str]


class _Chunk(Frozen):
    id: str
    document_id: str
    ordinal: int
    start: int
    end: int
    title: str = ""
    heading_path: tuple[str, ...] = ()
    source: str = ""
    page: int | None = None
    metadata: dict[str, MetadataValue] = Field(default_factory=dict)
    text: str = ""


class _Hit(Frozen):
    chunk: _Chunk
    score: float
    cosine: float
    keywords: float


class _Citation(Frozen):
    marker: int
    hit: int
    """0-based, into `hits`."""
    answer_span: Span
    quote_span: Span
    document_span: Span
    quote: str = ""
    verbatim: bool


class _Support(Frozen):
    span: Span
    level: SupportLevel
    score: float
    passages: tuple[int, ...]
    cited: bool
    claims: bool
    reasons: tuple[str, ...] = ()


class _Prompt(Frozen):
    system: str
    user: str


class _Stage(Frozen):
    name: StageName
    digest: Digest
    began_ms: float
    duration_ms: float


class _Body(Frozen):
    schema_: Literal["rag.record/v2"] = Field(alias="schema")
    content: Content
    redacted: list[Text]
    answer_id: str
    trace_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    request_id: str | None
    created_at: datetime
    key_id: str | None
    lineage: Digest
    question: str | None
    question_digest: Digest
    history: list[_Turn]
    query: str | None
    parameters: _Parameters
    scope: tuple[int, int] | None
    """Documents and chunks that could be searched."""
    hits: list[_Hit]
    confidence: float
    shown: int
    prompt: _Prompt | None
    raw_answer: str | None
    answer: str | None
    status: Literal["answered", "abstained"]
    abstain_reason: AbstainReason | None
    citations: list[_Citation]
    support: list[_Support]
    notices: list[tuple[WarningCode, str]]
    usage: tuple[int | None, int | None]
    timings_ms: dict[str, float]
    stages: list[_Stage]
    repeats: str | None


def entry_of(record: Record, *, content: Content, key_id: str | None) -> AnswerEntry:
    """What to add to a ledger for an answer that the key `key_id` asked for. Pure, and made to be quick: it stands before every reply."""
    lineage_digest, lineage = lineage_bytes(record.lineage)
    masked = Masked() if content == "full" else Withheld()
    body = _body(record, masked, content=content, key_id=key_id, lineage=lineage_digest)
    if masked.secrets:  # what its words give away in one place is masked wherever else it stands
        masked = Masked(masked.secrets)
        body = _body(record, masked, content=content, key_id=key_id, lineage=lineage_digest)
    packed, body = _as_bytes(body)
    show_vector = content == "full" and not masked.asked
    access = record.attempt.parameters.access
    release, index = record.lineage.release, record.lineage.index
    row = Row(
        answer_id=record.answer_id,
        trace_id=record.trace_id,
        created_at_ms=_milliseconds(record.created_at),
        status=record.status,
        abstain_reason=record.abstain_reason,
        release=release.id,
        index_name=index.name,
        index_version=index.version,
        key_id=key_id,
        access=access.digest if access else None,
        top_score=record.hits[0].score if record.hits else None,
        total_ms=record.timings_ms["total"],
        repeats=record.repeats,
        question=body["question"],
        answer=body["answer"],
    )
    vector = record.query_vector.astype(_VECTOR_TYPE).tobytes() if show_vector else None
    return AnswerEntry(row, packed, vector, lineage_digest, lineage)


def kept_from(body: bytes, vector: bytes | None, lineage: bytes, receipt: Receipt, feedback: Sequence[Feedback] = ()) -> Kept:
    """What was stored, as a record again. Raises `Damaged` where it is not what `entry_of` writes."""
    try:
        stored = _Body.model_validate_json(body)
        read = _lineage(stored.lineage, lineage, receipt)
        record = replace(_record(stored, vector, read), receipt=receipt)
    except (ValidationError, ValueError, IndexError) as error:
        raise Damaged(f"entry {receipt.seq} of the ledger does not follow its schema", hint="run `rag-service trace verify`") from error
    return Kept(record, stored.content, frozenset(stored.redacted), stored.key_id, stored.question_digest, receipt, tuple(feedback))


def _lineage(digest: str, document: bytes, receipt: Receipt) -> Lineage:
    with suppress(ValueError):
        found, lineage = lineage_from(document)
        if found == digest:
            return lineage
    raise Damaged(f"entry {receipt.seq} of the ledger names a release that is damaged", hint="run `rag-service trace verify`")


def row_from(body: bytes, lineage: bytes) -> Row:
    """What a list shows of a stored answer, made anew from what is stored. Raises `Damaged`."""
    kept = kept_from(body, None, lineage, Receipt(0, ""))
    full = kept.content == "full"
    record, access = kept.record, kept.record.attempt.parameters.access
    return Row(
        record.answer_id, record.trace_id, _milliseconds(record.created_at), record.status, record.abstain_reason,
        record.lineage.release.id, record.lineage.index.name, record.lineage.index.version, kept.key_id,
        access.digest if access else None, record.hits[0].score if record.hits else None, record.timings_ms["total"], record.repeats,
        record.question if full else None, record.answer if full else None,
    )  # fmt: skip


def _body(record: Record, masked: Masked, *, content: Content, key_id: str | None, lineage: str) -> dict[str, Any]:
    parameters, scope = record.attempt.parameters, record.attempt.scope
    hits = [{"chunk": masked.chunk(hit.chunk), "score": hit.score, "cosine": hit.cosine, "keywords": hit.keywords} for hit in record.hits]
    places = {hit.chunk.id: number for number, hit in enumerate(record.hits)}
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "content": content,
        "answer_id": record.answer_id,
        "trace_id": record.trace_id,
        "request_id": masked.text("request_id", record.request_id),
        "created_at": record.created_at.isoformat(),
        "key_id": key_id,
        "lineage": lineage,
        "question": masked.text("question", record.question),
        "question_digest": digest_text(record.question),
        "history": [{"role": turn.role, "content": masked.text("history", turn.content) or ""} for turn in record.history],
        "query": masked.text("query", record.query),
        "parameters": {
            "top_k": parameters.top_k,
            "min_confidence": parameters.min_confidence,
            "prompt": _prompt_ref(parameters.prompt),
            "generator": {**parameters.generator},
            "filters": masked.json("filters", parameters.filters.as_json()) if parameters.filters else None,
            "access": parameters.access.as_json() if parameters.access else None,  # from the file of keys, not from who asks
            "overrides": parameters.overrides,
        },
        "scope": (scope.documents, scope.chunks) if scope else None,
        "hits": hits,
        "confidence": record.confidence,
        "shown": record.shown,
        "prompt": masked.prompt(record.prompt),
        "raw_answer": masked.text("answer", record.raw_answer),
        "answer": masked.text("answer", record.answer),
        "status": record.status,
        "abstain_reason": record.abstain_reason,
        "citations": [_citation(citation, places[citation.chunk.id], masked) for citation in record.citations],
        "support": [_supported(sentence, masked) for sentence in record.support],
        "notices": [(notice.code, masked.text("warnings", notice.detail) or "") for notice in record.notices],
        "usage": (record.usage.prompt_tokens, record.usage.completion_tokens),
        "timings_ms": record.timings_ms,
        "stages": [_stage(stage) for stage in record.stages],
        "repeats": record.repeats,
    }
    body["redacted"] = masked.redacted
    return body


def _citation(citation: Citation, hit: int, masked: Masked) -> dict[str, Any]:
    return {
        "marker": citation.marker,
        "hit": hit,
        "answer_span": citation.answer_span,
        "quote_span": citation.quote_span,
        "document_span": citation.document_span,
        "quote": masked.quote(citation) or "",
        "verbatim": citation.verbatim,
    }


def _supported(sentence: SentenceSupport, masked: Masked) -> dict[str, Any]:
    reasons = [masked.text("answer", reason) or "" for reason in sentence.reasons]  # which may hold words of the answer
    return {
        "span": sentence.span,
        "level": sentence.level,
        "score": sentence.score,
        "passages": sentence.passages,
        "cited": sentence.cited,
        "claims": sentence.claims,
        "reasons": [reason for reason in reasons if reason],
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {"name": stage.name, "digest": stage.digest, "began_ms": stage.began_ms, "duration_ms": stage.duration_ms}


@lru_cache(maxsize=64)
def _prompt_ref(prompt: PromptRef) -> dict[str, str]:
    return prompt.model_dump()


def _as_bytes(body: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """And the body as it then is."""
    try:
        return orjson.dumps(body), body
    except orjson.JSONEncodeError:  # half of a surrogate pair, in what a model or a client wrote: no text, and not worth an answer
        valid: dict[str, Any] = _valid(body)
        return orjson.dumps(valid), valid


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_valid(key): _valid(found) for key, found in value.items()}
    return [_valid(found) for found in value] if isinstance(value, list | tuple) else value


def _record(stored: _Body, vector: bytes | None, lineage: Lineage) -> Record:
    hits = tuple(Hit(_chunk(hit.chunk), hit.score, hit.cosine, hit.keywords) for hit in stored.hits)
    prompt = None
    if stored.prompt is not None:
        passages = tuple(Passage(number, hit.chunk) for number, hit in enumerate(hits[: stored.shown], start=1))
        prompt = Prompt(stored.prompt.system, stored.prompt.user, stored.query or "", passages)
    return Record(
        answer_id=stored.answer_id,
        attempt=_attempt(stored, lineage),
        request_id=stored.request_id,
        created_at=stored.created_at.astimezone(UTC),
        question=stored.question or "",
        history=tuple(Turn(turn.role, turn.content) for turn in stored.history),
        query=stored.query or "",
        query_vector=np.frombuffer(vector or b"", _VECTOR_TYPE).astype(np.float32),
        hits=hits,
        shown=stored.shown,
        prompt=prompt,
        raw_answer=stored.raw_answer,
        answer=stored.answer,
        status=stored.status,
        abstain_reason=stored.abstain_reason,
        citations=tuple(
            Citation(
                citation.marker, hits[citation.hit].chunk, hits[citation.hit].score, citation.answer_span, citation.quote,
                citation.quote_span, citation.document_span, citation.verbatim,
            )
            for citation in stored.citations
        ),
        notices=tuple(Notice(code, detail) for code, detail in stored.notices),
        usage=Usage(*stored.usage),
        timings_ms=stored.timings_ms,
        confidence=stored.confidence,
        support=tuple(SentenceSupport(**sentence.model_dump()) for sentence in stored.support),
        repeats=stored.repeats,
    )  # fmt: skip


def _attempt(stored: _Body, lineage: Lineage) -> Attempt:
    given = stored.parameters
    return Attempt(
        trace_id=stored.trace_id,
        lineage=lineage,
        parameters=Parameters(
            top_k=given.top_k,
            min_confidence=given.min_confidence,
            prompt=given.prompt,
            generator=given.generator,
            filters=_filter(given.filters),
            access=_filter(given.access),
            overrides=tuple(given.overrides),
        ),
        scope=Scope(*stored.scope) if stored.scope else None,
        stages=tuple(Stage(**stage.model_dump()) for stage in stored.stages),
    )


def _filter(given: dict[str, Any] | None) -> Filter | None:
    return parse_filter(given, at_most=2 * MAX_CONDITIONS) if given else None


def _chunk(stored: _Chunk) -> Chunk:
    """Without what only a build needs."""
    return Chunk(
        id=ChunkId(stored.id),
        document_id=DocumentId(stored.document_id),
        ordinal=stored.ordinal,
        start=stored.start,
        end=stored.end,
        text=stored.text,
        title=stored.title,
        heading_path=tuple(stored.heading_path),
        source=stored.source,
        page=stored.page,
        embedded_text="",
        tokens=0,
        metadata=stored.metadata,
    )


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
