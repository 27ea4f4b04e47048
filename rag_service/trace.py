"""The trace block: what made an answer, as every reply, error and stream shows it. A view of an attempt.

The same models describe HTTP replies, `rag-service ask --json` and, through FastAPI, the OpenAPI document.
"""

from dataclasses import asdict
from functools import lru_cache
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from rag_service.record import Attempt, Lineage, Receipt, Record

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
    documents: int | None = Field(description="Null for a key that sees a part of the index; `scope` counts that part.")
    chunks: int | None


class PreprocessingTrace(Outgoing):
    chunker: str
    digest: str


class EmbeddingModelTrace(Outgoing):
    name: str
    digest: str
    revision: str | None = Field(description="Published revision of the weights.")
    dimension: int
    runtime: str


class RerankerTrace(Outgoing):
    name: str
    digest: str
    depth: int = Field(description="Hits that are judged.")


class RetrievalTrace(Outgoing):
    mode: str
    top_k: int
    per_document: int
    min_confidence: float
    digest: str = Field(
        description="Of the release's retrieval settings; `top_k` and `min_confidence` here are those used for this question."
    )


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


class ScopeTrace(Outgoing):
    filters: dict[str, Any] | None = Field(description="What the request asked for.")
    access: str | None = Field(description="Digest of the filter of the key that asked; null sees everything.")
    documents: int = Field(description="Documents that could be searched.")
    chunks: int


class ReceiptTrace(Outgoing):
    """Place of the record in the ledger: whoever keeps this can show later that the record is there and unchanged."""

    seq: int
    digest: str


class StageTrace(Outgoing):
    name: str
    digest: str = Field(description="Over the stage's output: two answers part at the first stage whose digests differ.")
    duration_ms: float
    began_ms: float = Field(description="From the beginning of the answer.")


class Trace(Outgoing):
    """What made the answer. No key is ever missing: what is not known is null, with the reason in `unknown`."""

    schema_: Literal["rag.trace/v1"] = Field("rag.trace/v1", alias="schema")
    trace_id: str
    release: ReleaseTrace
    index: IndexTrace
    preprocessing: PreprocessingTrace
    embedding_model: EmbeddingModelTrace
    retrieval: RetrievalTrace
    reranker: RerankerTrace | None
    prompt_template: PromptTrace
    generator: GeneratorTrace
    container_image: ImageTrace | None
    code: CodeTrace
    environment: EnvironmentTrace
    scope: ScopeTrace | None = Field(description="What part of the index could be searched; null before the search.")
    overrides: list[str] = Field(description="Settings of the release that the request replaced; their values here are those used.")
    stages: list[StageTrace]
    recorded: bool | None = Field(description="Whether the record was on the disk before this went out; null where it is not known yet.")
    receipt: ReceiptTrace | None
    unknown: Unknown

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


def trace_of_record(record: Record) -> Trace:
    """With the receipt, or why there is none."""
    if record.receipt is not None:
        return trace_of(record.attempt, receipt=record.receipt)
    return trace_of(record.attempt, recorded=False if record.unrecorded else None, unrecorded=record.unrecorded or "not written yet")


def trace_of(
    attempt: Attempt,
    *,
    receipt: Receipt | None = None,
    recorded: bool | None = None,
    unrecorded: str = "only answers are recorded, when they are complete",
) -> Trace:
    """Without a receipt, `unrecorded` says why there is none."""
    lineage, parameters = attempt.lineage, attempt.parameters
    release, deployment = lineage.release, lineage.deployment
    image, scope = deployment.image, attempt.scope
    identity = identity_of(lineage, whole=parameters.access is None)
    used = {
        "retrieval": identity["retrieval"].model_copy(update={"top_k": parameters.top_k, "min_confidence": parameters.min_confidence}),
        "prompt_template": PromptTrace(**parameters.prompt.model_dump()),
        "generator": identity["generator"].model_copy(update={"parameters": dict(parameters.generator)}),
    }
    return Trace(
        trace_id=attempt.trace_id,
        **{**identity, **used},
        container_image=ImageTrace(ref=image.ref, digest=image.digest, source=image.source) if image else None,
        code=CodeTrace(version=release.code.version, digest=release.code.digest, commit=deployment.commit, dirty=deployment.dirty),
        environment=EnvironmentTrace(
            name=deployment.environment, fingerprint=deployment.fingerprint, numeric_class=deployment.numeric_class
        ),
        scope=ScopeTrace(
            filters=parameters.filters.as_json() if parameters.filters else None,
            access=parameters.access.digest if parameters.access else None,
            documents=scope.documents,
            chunks=scope.chunks,
        )
        if scope
        else None,
        overrides=list(parameters.overrides),
        stages=[StageTrace(**{key: getattr(stage, key) for key in StageTrace.model_fields}) for stage in attempt.stages],
        recorded=True if receipt else recorded,
        receipt=ReceiptTrace(seq=receipt.seq, digest=receipt.digest) if receipt else None,
        unknown={**_unknown(attempt), **_unknown_receipt(receipt, recorded, unrecorded)},
    )


def _unknown_receipt(receipt: Receipt | None, recorded: bool | None, why: str) -> Unknown:
    if receipt is not None:
        return {}
    return {"receipt": why} if recorded is not None else {"receipt": why, "recorded": why}


def _unknown(attempt: Attempt) -> Unknown:
    unknown = dict(attempt.lineage.deployment.unknown)
    if attempt.lineage.embedder.revision is None:
        unknown["embedding_model.revision"] = "the encoder was not published under a revision that is known here"
    if attempt.parameters.access is not None:
        unknown["index.documents"] = unknown["index.chunks"] = "not shown to a key that sees a part of the index"
    if attempt.scope is None:
        unknown["scope"] = "the search had not begun"
    return unknown


class Identity(TypedDict):
    """The keys that a trace and `GET /info` share."""

    release: ReleaseTrace
    index: IndexTrace
    preprocessing: PreprocessingTrace
    embedding_model: EmbeddingModelTrace
    retrieval: RetrievalTrace
    reranker: RerankerTrace | None
    prompt_template: PromptTrace
    generator: GeneratorTrace


@lru_cache(maxsize=16)
def identity_of(lineage: Lineage, *, whole: bool = True) -> Identity:
    """Without the size of the index where not the whole of it may be seen. The same for every answer, and shared by them."""
    release = lineage.release
    index = asdict(lineage.index) if whole else {**asdict(lineage.index), "documents": None, "chunks": None}
    retrieval, reranker, generator = release.retrieval, release.reranker, release.generator
    return Identity(
        release=ReleaseTrace(id=release.id, digest=release.digest),
        index=IndexTrace(**index),
        preprocessing=PreprocessingTrace(chunker=release.chunker.name, digest=release.chunker.digest),
        embedding_model=EmbeddingModelTrace(**asdict(lineage.embedder)),
        retrieval=RetrievalTrace(**retrieval.model_dump(), digest=retrieval.digest),
        reranker=RerankerTrace(name=reranker.name, digest=reranker.digest, depth=reranker.depth) if reranker else None,
        prompt_template=PromptTrace(**release.prompt.model_dump()),
        generator=GeneratorTrace(name=generator.name, digest=generator.digest, parameters=generator.parameters),
    )
