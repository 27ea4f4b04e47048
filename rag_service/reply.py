"""What leaves the service about one answer: the reply, and the trace block inside it. A view of a record.

The same models describe HTTP replies, `rag-service ask --json` and, through FastAPI, the OpenAPI document.
"""

from dataclasses import asdict
from typing import Annotated, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from rag_service.record import Attempt, Lineage, Record
from rag_service.types import AbstainReason, Chunk, Citation, Hit, WarningCode

Unknown = dict[str, str]


class Outgoing(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReleaseTrace(Outgoing):
    id: str
    digest: str


class IndexTrace(Outgoing):
    name: str
    version: str
    digest: str
    corpus_digest: str
    built_at: str
    documents: int
    chunks: int


class PreprocessingTrace(Outgoing):
    chunker: str
    digest: str


class EmbeddingModelTrace(Outgoing):
    name: str
    digest: str
    revision: str | None = Field(description="Published revision of the weights.")
    dimension: int
    runtime: str


class RetrievalTrace(Outgoing):
    mode: str
    top_k: int
    min_score: float
    digest: str = Field(description="Of the release's retrieval settings; `top_k` and `min_score` here are those used for this question.")


class PromptTrace(Outgoing):
    name: str
    version: str
    digest: str


class GeneratorTrace(Outgoing):
    name: str
    digest: str
    parameters: dict[str, str | int | float | bool | None]


class ImageTrace(Outgoing):
    ref: str
    digest: str | None
    source: str


class CodeTrace(Outgoing):
    version: str
    digest: str
    commit: str | None
    dirty: bool | None


class EnvironmentTrace(Outgoing):
    name: str
    fingerprint: str
    numeric_class: str


class StageTrace(Outgoing):
    name: str
    digest: str = Field(description="Over the stage's output: two answers part at the first stage whose digests differ.")
    duration_ms: float


class Trace(Outgoing):
    """What made the answer. No key is ever missing: what is not known is null, with the reason in `unknown`."""

    schema_: Literal["rag.trace/v1"] = Field("rag.trace/v1", alias="schema")
    trace_id: str
    release: ReleaseTrace
    index: IndexTrace
    preprocessing: PreprocessingTrace
    embedding_model: EmbeddingModelTrace
    retrieval: RetrievalTrace
    reranker: None = None
    prompt_template: PromptTrace
    generator: GeneratorTrace
    container_image: ImageTrace | None
    code: CodeTrace
    environment: EnvironmentTrace
    stages: list[StageTrace]
    unknown: Unknown

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


Span = Annotated[tuple[int, int], Field(description="Character offsets, end exclusive.")]


class CitationReply(Outgoing):
    marker: int
    chunk_id: str
    document_id: str
    title: str
    heading_path: list[str]
    source: str
    page: int | None
    score: float
    quote: str
    quote_span: Span = Field(description="Into the chunk's text.")
    document_span: Span = Field(description="Into the document's normalised text.")
    answer_span: Span = Field(description="Of the marker, into `answer`.")
    verbatim: bool = Field(description="The cited sentence of the answer stands in the chunk word for word.")


class HitReply(Outgoing):
    rank: int
    chunk_id: str
    document_id: str
    score: float = Field(description="Cosine similarity in [-1, 1]; higher is better.")
    used: bool = Field(description="Stood in the prompt.")
    title: str
    heading_path: list[str]
    source: str
    text: str | None = Field(description='Only with `include: ["chunks"]`.')


class WarningReply(Outgoing):
    code: WarningCode
    detail: str


class UsageReply(Outgoing):
    prompt_tokens: int | None
    completion_tokens: int | None


class AskReply(Outgoing):
    answer_id: str
    trace_id: str
    request_id: str | None
    created_at: str
    status: Literal["answered", "abstained"]
    abstain_reason: AbstainReason | None
    answer: str | None = Field(description="With `[n]` markers; null when the service abstained.")
    citations: list[CitationReply]
    hits: list[HitReply]
    warnings: list[WarningReply]
    usage: UsageReply
    timings_ms: dict[str, float]
    trace: Trace


def reply_to(record: Record, *, include_chunks: bool = False) -> AskReply:
    return AskReply(
        answer_id=record.answer_id,
        trace_id=record.trace_id,
        request_id=record.request_id,
        created_at=record.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        status=record.status,
        abstain_reason=record.abstain_reason,
        answer=record.answer,
        citations=[_citation(citation) for citation in record.citations],
        hits=[_hit(rank, hit, record.shown, include_chunks) for rank, hit in enumerate(record.hits, start=1)],
        warnings=[WarningReply(code=notice.code, detail=notice.detail) for notice in record.notices],
        usage=UsageReply(prompt_tokens=record.usage.prompt_tokens, completion_tokens=record.usage.completion_tokens),
        timings_ms=dict(record.timings_ms),
        trace=trace_of(record),
    )


def trace_of(record: Record | Attempt) -> Trace:
    lineage = record.lineage
    release, deployment = lineage.release, lineage.deployment
    image = deployment.image
    identity = identity_of(lineage)
    asked = identity["retrieval"].model_copy(update={"top_k": record.top_k, "min_score": record.min_score})
    return Trace(
        trace_id=record.trace_id,
        **identity | {"retrieval": asked},
        container_image=ImageTrace(ref=image.ref, digest=image.digest, source=image.source) if image else None,
        code=CodeTrace(version=release.code.version, digest=release.code.digest, commit=deployment.commit, dirty=deployment.dirty),
        environment=EnvironmentTrace(
            name=deployment.environment, fingerprint=deployment.fingerprint, numeric_class=deployment.numeric_class
        ),
        stages=[StageTrace(name=stage.name, digest=stage.digest, duration_ms=stage.duration_ms) for stage in record.stages],
        unknown=_unknown(lineage),
    )


def _unknown(lineage: Lineage) -> Unknown:
    unknown = dict(lineage.deployment.unknown)
    if lineage.embedder.revision is None:
        unknown["embedding_model.revision"] = "the encoder was not published under a revision that is known here"
    return unknown


class Identity(TypedDict):
    """The keys that a trace and `GET /info` share."""

    release: ReleaseTrace
    index: IndexTrace
    preprocessing: PreprocessingTrace
    embedding_model: EmbeddingModelTrace
    retrieval: RetrievalTrace
    prompt_template: PromptTrace
    generator: GeneratorTrace


def identity_of(lineage: Lineage) -> Identity:
    release = lineage.release
    retrieval, generator = release.retrieval, release.generator
    return Identity(
        release=ReleaseTrace(id=release.id, digest=release.digest),
        index=IndexTrace(**asdict(lineage.index)),
        preprocessing=PreprocessingTrace(chunker=release.chunker.name, digest=release.chunker.digest),
        embedding_model=EmbeddingModelTrace(**asdict(lineage.embedder)),
        retrieval=RetrievalTrace(**retrieval.model_dump(), digest=retrieval.digest),
        prompt_template=PromptTrace(**release.prompt.model_dump()),
        generator=GeneratorTrace(name=generator.name, digest=generator.digest, parameters=generator.parameters),
    )


def _citation(citation: Citation) -> CitationReply:
    return CitationReply(
        marker=citation.marker,
        **_place(citation.chunk),
        page=citation.chunk.page,
        score=citation.score,
        quote=citation.quote,
        quote_span=citation.quote_span,
        document_span=citation.document_span,
        answer_span=citation.answer_span,
        verbatim=citation.verbatim,
    )


def _hit(rank: int, hit: Hit, shown: int, include_text: bool) -> HitReply:
    text = hit.chunk.text if include_text else None
    return HitReply(rank=rank, **_place(hit.chunk), score=hit.score, used=rank <= shown, text=text)


class _Place(TypedDict):
    chunk_id: str
    document_id: str
    title: str
    heading_path: list[str]
    source: str


def _place(chunk: Chunk) -> _Place:
    return _Place(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        title=chunk.title,
        heading_path=list(chunk.heading_path),
        source=chunk.source,
    )
