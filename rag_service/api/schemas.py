"""What HTTP clients send, and what they get beside answers (those are in `reply`)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag_service.reply import (
    EmbeddingModelTrace,
    GeneratorTrace,
    IndexTrace,
    Outgoing,
    PreprocessingTrace,
    PromptTrace,
    ReleaseTrace,
    RetrievalTrace,
)


class AskRequest(BaseModel):
    """Unknown fields are refused: a misspelt one that is ignored would answer another question than the one asked."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"question": "How do I roll back to the previous release?", "top_k": 5}]},
    )

    question: Annotated[str, Field(description="The question. Its length is limited by max_question_chars.")]
    top_k: Annotated[int | None, Field(ge=1, description="Passages to answer from; null takes the release's.")] = None
    min_score: Annotated[
        float | None,
        Field(ge=-1, le=1, description="Cosine of the best passage below which to abstain; null takes the release's."),
    ] = None
    include: Annotated[list[Literal["chunks"]], Field(max_length=4, description="`chunks` adds the text of every hit.")] = []
    request_id: Annotated[
        str | None,
        Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="Yours; comes back with the reply."),
    ] = None


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
    max_body_bytes: int
    max_top_k: int
    timeout_s: float


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
    score: str = Field("cosine similarity in [-1, 1], higher is better", description="What every score means.")
    limits: Limits
