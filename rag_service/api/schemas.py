"""What HTTP clients send, and what they get beside answers (those are in `reply`)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from rag_service.reply import AskReply
from rag_service.trace import (
    EmbeddingModelTrace,
    GeneratorTrace,
    IndexTrace,
    Outgoing,
    PreprocessingTrace,
    PromptTrace,
    ReleaseTrace,
    RetrievalTrace,
    Trace,
)
from rag_service.types import MetadataValue, Role

MAX_TOKENS = 32_768
MAX_TIMEOUT_MS = 600_000
NO_QUESTION = "no_question"
"""Type of the problem, which concerns a field that is not there."""
_MOST_FIELDS = 64
"""Far more than any request has."""
_ID = r"^[0-9a-f]{12}$"

RequestId = Annotated[
    str | None,
    Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="Yours; comes back with the reply."),
]
Include = Annotated[list[Literal["chunks"]], Field(max_length=4, description="`chunks` adds the text of every hit.")]
TimeoutMs = Annotated[
    int | None,
    Field(ge=1, le=MAX_TIMEOUT_MS, description="Time for the answer, from the arrival of the request; at most the service's own limit."),
]


class Incoming(BaseModel):
    """Unknown fields are refused: a misspelt one that is ignored would answer another question than the one asked."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, given: Any) -> Any:
        """One problem, not one for each of 100,000 names: those would take half a second of the event loop."""
        if isinstance(given, dict) and len(given) > _MOST_FIELDS:
            counts = {"found": len(given), "most": len(cls.model_fields)}
            raise PydanticCustomError("too_many_fields", "an object of {found} fields; at most {most} are known here", counts)
        return given


class Message(Incoming):
    role: Role
    content: Annotated[str, Field(max_length=100_000)]


class Asked(Incoming):
    """A question, and how to find what answers it."""

    question: Annotated[
        str | None,
        Field(description="The question; null takes the last message. Its length is limited by max_question_chars."),
    ] = None
    messages: Annotated[
        list[Message],
        Field(max_length=1000, description="The conversation so far, oldest first. A follow-up is searched for as a question of its own."),
    ] = []
    top_k: Annotated[int | None, Field(ge=1, description="Passages to answer from, at most max_top_k; null takes the release's.")] = None
    filters: Annotated[
        dict[str, JsonValue],
        Field(
            max_length=16,
            description="Conditions on document metadata, and on source, title and document_id, all of which must hold: "
            '`{"lang": "en", "year": {"gte": 2020}}`. Operators: eq, ne, in, not_in, gt, gte, lt, lte, prefix, exists.',
        ),
    ] = {}
    request_id: RequestId = None

    @model_validator(mode="after")
    def _holds_a_question(self) -> "Asked":
        if self.question is None and (not self.messages or self.messages[-1].role != "user"):
            raise PydanticCustomError(NO_QUESTION, "give one, or messages of which the last is the user's")
        return self


class Generated(Asked):
    """What an answer takes beyond a search."""

    min_confidence: Annotated[
        float | None,
        Field(ge=0, le=1, description="Confidence that the documents hold an answer, below which to abstain; null takes the release's."),
    ] = None
    prompt: Annotated[str | None, Field(max_length=128, description="Prompt template, `<name>/<version>`; null takes the release's.")] = (
        None
    )
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 2, description="Sampling seed of a language model.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="Sampling temperature of a language model.")] = None
    max_tokens: Annotated[
        int | None, Field(ge=1, le=MAX_TOKENS, description="Longest answer of a language model; at most the release's.")
    ] = None


class Pinned(Incoming):
    release: Annotated[str | None, Field(pattern=_ID, description="Id of the release that shall answer; null takes the active one.")] = None
    index_version: Annotated[
        str | None, Field(pattern=_ID, description="Id of the index version to answer from; its last release answers.")
    ] = None
    timeout_ms: TimeoutMs = None
    include: Include = []


class AskRequest(Generated, Pinned):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "How do I roll back to the previous release?", "top_k": 5}]},
    )

    stream: Annotated[bool, Field(description="Server-sent events instead of one JSON body.")] = False
    cache: Annotated[bool, Field(description="False makes the answer anew, and does not keep it.")] = True


class SearchRequest(Asked, Pinned):
    min_score: Annotated[float | None, Field(ge=-1, le=1, description="Leaves out passages whose score is below it.")] = None


class BatchRequest(Pinned):
    """Limited by max_batch. The time is that of the whole batch."""

    questions: Annotated[list[Generated], Field(min_length=1, max_length=1000, description="At most as many as max_batch of `/info` says.")]
    cache: Annotated[bool, Field(description="False makes the answers anew, and does not keep them.")] = True


class ErrorBody(BaseModel):
    code: str = Field(description="Stable, for programs.")
    message: str
    type: str = Field(
        description="invalid_request, not_found, conflict, unauthorized, forbidden, overloaded, cancelled, timeout, server_error."
    )
    retryable: bool
    retry_after_s: float | None
    stage: str | None = Field(description="Stage of the answer in which it happened.")
    param: str | None = Field(description="The field that is to blame.")
    details: dict[str, Any]


class ErrorReply(BaseModel):
    error: ErrorBody
    trace_id: str
    request_id: str | None
    trace: Trace | None = Field(description="What had been at work, where a release had been pinned before it went wrong; otherwise null.")


class BatchReply(Outgoing):
    trace_id: str
    request_id: str | None
    results: list[AskReply | ErrorReply] = Field(description="In the order of the questions.")


class ChunkReply(Outgoing):
    chunk_id: str
    index_version: str
    document_id: str
    title: str
    heading_path: list[str]
    source: str
    page: int | None
    metadata: dict[str, MetadataValue]
    document_span: Annotated[tuple[int, int], Field(description="Characters of the document's normalised text, end exclusive.")]
    text: str


class LiveReply(Outgoing):
    live: Literal[True] = True


class ReadyReply(Outgoing):
    ready: bool
    checks: dict[str, str] = Field(description="manifest, encoder, index, canary, generator → pending, checking, ok or failed.")
    release: str | None = Field(description="Id of the release that answers now.")
    since_s: float = Field(description="Since the server started.")
    problem: str | None = Field(description="Code of what is wrong, if something is.")


class Limits(Outgoing):
    max_question_chars: int
    max_history_turns: int
    max_body_bytes: int
    max_top_k: int
    max_batch: int
    timeout_s: float
    max_concurrent: int
    max_queue: int


class InfoReply(Outgoing):
    service: str = "rag-service"
    version: str
    environment: str
    container_image: str | None
    release: ReleaseTrace
    index: IndexTrace
    preprocessing: PreprocessingTrace
    embedding_model: EmbeddingModelTrace
    retrieval: RetrievalTrace
    prompt_template: PromptTrace
    generator: GeneratorTrace
    score: str = Field("relevance, about 0 to 1; higher is better", description="What every score means.")
    limits: Limits
