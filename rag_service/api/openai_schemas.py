"""What clients of the OpenAI chat API send and read, as far as this service does: https://platform.openai.com/docs/api-reference/chat.

Fields of that API that are not listed are ignored, as its clients expect of a compatible server; a field that asks for what cannot be
done here is refused. What only this service has goes into `rag`, where unknown fields are refused.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from rag_service.api.schemas import MAX_TOKENS, Incoming, TimeoutMs
from rag_service.reply import CitationReply, WarningReply
from rag_service.trace import Outgoing, Trace
from rag_service.types import AbstainReason

_ID = r"^[0-9a-f]{12}$"


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ChatPart(_Lenient):
    type: str
    text: str | None = None


class ChatMessage(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ChatPart] | None = None

    @property
    def parts(self) -> list[ChatPart]:
        return self.content if isinstance(self.content, list) else [ChatPart(type="text", text=self.content or "")]


class StreamOptions(_Lenient):
    include_usage: bool = False


class ResponseFormat(_Lenient):
    type: str


class RagOptions(Incoming):
    """As in `POST /ask`."""

    top_k: Annotated[int | None, Field(ge=1)] = None
    min_confidence: Annotated[float | None, Field(ge=0, le=1)] = None
    filters: Annotated[dict[str, JsonValue], Field(default_factory=dict, max_length=16)]
    prompt: Annotated[str | None, Field(max_length=128)] = None
    release: Annotated[str | None, Field(pattern=_ID)] = None
    index_version: Annotated[str | None, Field(pattern=_ID)] = None
    timeout_ms: TimeoutMs = None
    cache: bool = True
    openwebui_events: Annotated[bool | None, Field(description="Source events of Open WebUI; null takes RAG_OPENWEBUI_EVENTS.")] = None


class ChatRequest(_Lenient):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "demo", "messages": [{"role": "user", "content": "What is a release?"}]}]},
    )

    model: Annotated[str, Field(max_length=128, description="Name of the index, or `<name>@<release id>`.")]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    seed: Annotated[int | None, Field(description="0 to 4,294,967,294; others are left out.")] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    n: Annotated[int | None, Field(description="1: there is one answer.")] = None
    response_format: ResponseFormat | None = None
    tool_choice: Annotated[JsonValue, Field(description="none or auto: no tool is ever called.")] = None
    rag: Annotated[RagOptions, Field(default_factory=lambda: RagOptions.model_validate({}))]

    @property
    def longest_tokens(self) -> int | None:
        asked = self.max_completion_tokens or self.max_tokens
        return None if asked is None else min(asked, MAX_TOKENS)


class Model(Outgoing):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the index version was built, seconds since 1970.")
    owned_by: str = "rag-service"


class ModelList(Outgoing):
    object: Literal["list"] = "list"
    data: list[Model]


class UrlCitation(Outgoing):
    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(Outgoing):
    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class AnswerMessage(Outgoing):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: list[Annotation]


class Choice(Outgoing):
    index: Literal[0] = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatUsage(Outgoing):
    """0 where the generator does not count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Extras(Outgoing):
    """What an answer of this service says beyond one of OpenAI's. Null in replies to a front end's own prompts, such as for a title."""

    status: Literal["answered", "abstained"] | None = None
    abstain_reason: AbstainReason | None = None
    answer_id: str | None = None
    citations: list[CitationReply] = Field(default_factory=list)
    warnings: list[WarningReply] = Field(default_factory=list)
    trace: Trace | None = None


class ChatReply(Extras):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str | None = Field(description="Id of the release that answered.")
    choices: list[Choice]
    usage: ChatUsage
