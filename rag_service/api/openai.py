"""The door for clients of the OpenAI chat API: chat front ends, the `openai` packages, LangChain."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from rag_service.api.answering import Answering, Wanted
from rag_service.api.ask import RequireJson
from rag_service.api.errors import ERRORS
from rag_service.api.gate import current_caller
from rag_service.api.openai_frames import ChatFrames, Completion, chat_reply, housekeeping_chat
from rag_service.api.openai_schemas import ChatMessage, ChatReply, ChatRequest, Model, ModelList
from rag_service.api.outcome import current_outcome
from rag_service.api.streaming import OpenStreams, stream_answer
from rag_service.api.trace import current_ids
from rag_service.cancellation import Cancellation
from rag_service.desk import Pin
from rag_service.errors import InvalidInput, NotFound
from rag_service.filters import parse_filter
from rag_service.housekeeping import housekeeping_reply
from rag_service.question import Question
from rag_service.record import Lineage
from rag_service.types import Sampling, Turn

_EVENT = {
    "type": "object",
    "description": "One event.",
    "properties": {"data": {"type": "string", "contentMediaType": "application/json"}},
    "required": ["data"],
}
_STREAMED: dict[str, Any] = {
    "content": {"text/event-stream": {"schema": _EVENT}},
    "description": "The answer; with `stream`, server-sent events: chunks of it as OpenAI sends them, then `[DONE]`.",
}
_MAX_SEED = 2**32 - 2


def openai_routes(answering: Answering, open_streams: OpenStreams, *, openwebui_events: bool) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"], responses=ERRORS)

    @router.get("/models")
    async def models() -> ModelList:
        """What can be asked: the index that is served."""
        return ModelList(data=[_model(answering.desk.service.pin().lineage)])

    @router.get("/models/{model}")
    async def model(model: str) -> Model:
        """The same, where `model` can be asked: the name of the index, or `<name>@<release id>`."""
        lineage = answering.desk.service.pin().lineage
        pin_of(model, lineage)
        return _model(lineage).model_copy(update={"id": model})

    @router.post("/chat/completions", responses={200: _STREAMED}, response_model=ChatReply)
    async def chat_completions(body: ChatRequest, request: Request, _: RequireJson) -> Response:
        """An answer in the shape of OpenAI's, with `annotations`, and with `citations` and `trace` beside."""
        pin = pin_of(body.model, answering.desk.service.pin().lineage)
        _refuse_what_cannot_be_done(body)
        completion = Completion(
            model=body.model,
            created=int(time.time()),
            base_url=answering.public_url or str(request.base_url).rstrip("/"),
            include_usage=body.stream_options is not None and body.stream_options.include_usage,
            openwebui_events=openwebui_events if body.rag.openwebui_events is None else body.rag.openwebui_events,
        )
        texts = _texts(body.messages)
        if (chore := housekeeping_reply(texts)) is not None:
            current_outcome().outcome = "housekeeping"
            return housekeeping_chat(completion, chore, stream=bool(body.stream))
        wanted = _wanted(body, pin, answering)
        question = _question(body, texts, answering, wanted)
        if body.stream:
            return await stream_answer(answering, request.receive, question, wanted, ChatFrames(completion), open_streams)
        record = await answering.ask(request.receive, question, wanted)
        return Response(chat_reply(record, completion).model_dump_json(), media_type="application/json")

    return router


def pin_of(model: str, lineage: Lineage) -> Pin:
    """`<name>` is what is active, `<name>@<release id>` that release. Raises `NotFound`."""
    name, at, release = model.partition("@")
    if name != lineage.index.name or (at and not release):
        raise NotFound(f"there is no model {model!r}", hint=f"the model is {lineage.index.name}", param="model")
    return Pin(release=release or None)


def _model(lineage: Lineage) -> Model:
    return Model(id=lineage.index.name, created=int(datetime.fromisoformat(lineage.index.built_at).timestamp()))


def _refuse_what_cannot_be_done(body: ChatRequest) -> None:
    if body.n not in {None, 1}:
        raise InvalidInput(f"n is {body.n}; there is one answer to a question", param="n")
    if body.response_format is not None and body.response_format.type != "text":
        raise InvalidInput("answers are text with citations, not JSON", hint="leave response_format out", param="response_format")
    if body.tool_choice not in (None, "none", "auto"):
        raise InvalidInput("answers come from the documents; no tool is called", hint="leave tool_choice out", param="tool_choice")


def _texts(messages: Sequence[ChatMessage]) -> list[tuple[str, str]]:
    """Role and text of each. Raises `InvalidInput` for a picture, a file or sound in the question; before it they are left out:
    a front end sends them again with every question that follows.
    """
    asked = max((number for number, message in enumerate(messages) if message.role == "user"), default=None)
    for part in messages[asked].parts if asked is not None else ():
        if part.text is None:
            raise InvalidInput(f"the message holds {part.type[:40]!r}; only text can be read", param="messages")
    return [(message.role, "\n".join(part.text for part in message.parts if part.text is not None)) for message in messages]


def _wanted(body: ChatRequest, pin: Pin, answering: Answering) -> Wanted:
    """As for `/ask`, but a time limit that is too long is only cut."""
    most_s, options = answering.limits.timeout_s, body.rag
    if pin.release is not None and options.release not in {None, pin.release}:
        raise InvalidInput("model and rag.release name different releases", param="rag.release")
    asked_s = most_s if options.timeout_ms is None else min(options.timeout_ms / 1000, most_s)
    return Wanted(
        pin=Pin(pin.release or options.release, options.index_version),
        use_cache=options.cache,
        deadline_s=current_ids().arrived_s + asked_s,
        cancellation=Cancellation(),
    )


def _question(body: ChatRequest, texts: Sequence[tuple[str, str]], answering: Answering, wanted: Wanted) -> Question:
    """The last message of the user, with what was said before it. System messages have no say in what the documents hold."""
    asked = [number for number, (role, _) in enumerate(texts) if role == "user"]
    if not asked:
        raise InvalidInput("there is no message of the user", param="messages")
    options, limits = body.rag, answering.limits
    if options.top_k is not None and options.top_k > limits.max_top_k:
        raise InvalidInput(f"top_k is {options.top_k}; at most {limits.max_top_k} is accepted", param="rag.top_k")
    said = [(role, text) for role, text in texts[: asked[-1]] if role in {"user", "assistant"} and text.strip()]
    history = [Turn("user" if role == "user" else "assistant", text) for role, text in said]
    return Question(
        text=texts[asked[-1]][1],
        history=tuple(history[-limits.max_history_turns :]) if limits.max_history_turns else (),
        top_k=options.top_k,
        min_confidence=options.min_confidence,
        filters=parse_filter(options.filters, param="rag.filters"),
        access=current_caller().filter,
        prompt=options.prompt,
        sampling=Sampling(
            max_tokens=body.longest_tokens,
            temperature=body.temperature,
            seed=body.seed if body.seed is not None and 0 <= body.seed <= _MAX_SEED else None,
        ),
        request_id=current_ids().request_id,
        deadline_s=wanted.deadline_s,
        cancellation=wanted.cancellation,
    )
