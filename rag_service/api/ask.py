"""The routes that answer: one question, a stream, a batch, and search alone."""

from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from rag_service.api.answering import Answering, Wanted
from rag_service.api.errors import ERRORS, from_rag_error
from rag_service.api.gate import current_caller
from rag_service.api.schemas import Asked, AskRequest, BatchReply, BatchRequest, ErrorReply, Generated, Pinned, SearchRequest
from rag_service.api.streaming import OpenStreams, stream_answer
from rag_service.api.trace import REQUEST_HEADER, current_ids
from rag_service.cancellation import Cancellation
from rag_service.desk import Pin
from rag_service.errors import InvalidInput, RagError
from rag_service.filters import parse_filter
from rag_service.question import Question
from rag_service.record import Delta, Event, Found, Record
from rag_service.reply import AskReply, Link, SearchReply, citation_reply, hit_replies, reply_to, search_reply_to
from rag_service.trace import trace_of
from rag_service.types import Citation, Sampling, Turn

_EVENT = {
    "type": "object",
    "description": "One event.",
    "properties": {
        "event": {"type": "string", "enum": ["meta", "sources", "delta", "citation", "done", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_STREAMED: dict[str, Any] = {
    "content": {"text/event-stream": {"schema": _EVENT}},
    "description": "The answer; with `stream`, server-sent events: meta, sources, delta and citation, then done or error.",
}


async def require_json(request: Request) -> None:
    """A form or plain text would otherwise be reported as a body of the wrong type, which helps nobody."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(415, "send the body as JSON, with the header content-type: application/json")


RequireJson = Annotated[None, Depends(require_json)]


def ask_routes(answering: Answering, open_streams: OpenStreams) -> APIRouter:
    router = APIRouter(tags=["ask"], responses=ERRORS)
    base_url = answering.public_url or ""

    @router.post("/ask", responses={200: _STREAMED}, response_model=AskReply)
    async def ask(body: AskRequest, request: Request, _: RequireJson) -> Response:
        """One question, one answer with its citations and its whole trace. An abstention is a 200 with `status: abstained`."""
        wanted = wanted_by(body, answering, use_cache=body.cache)
        question = question_of(body, answering, wanted)
        include_chunks = "chunks" in body.include
        if body.stream or _accepts_events(request):
            frames = AskFrames(include_chunks=include_chunks, base_url=base_url)
            return await stream_answer(answering, request.receive, question, wanted, frames, open_streams)
        record = await answering.ask(request.receive, question, wanted)
        return as_json(reply_to(record, include_chunks=include_chunks, base_url=base_url), question.request_id)

    @router.post("/ask/batch", response_model=BatchReply)
    async def ask_batch(body: BatchRequest, request: Request, _: RequireJson) -> Response:
        """Several questions, answered by one release within one time limit; for each, in order, a reply or an error."""
        if len(body.questions) > answering.limits.max_batch:
            raise InvalidInput(
                f"the batch has {len(body.questions)} questions; at most {answering.limits.max_batch} are accepted", param="questions"
            )
        wanted = wanted_by(body, answering, use_cache=body.cache)
        questions = [question_of(item, answering, wanted, number) for number, item in enumerate(body.questions)]
        results = await answering.ask_many(request.receive, questions, wanted)
        ids = current_ids()
        replies = [
            _batch_result(result, question, include_chunks="chunks" in body.include, base_url=base_url)
            for result, question in zip(results, questions, strict=True)
        ]
        return as_json(BatchReply(trace_id=ids.trace_id, request_id=ids.request_id, results=replies), None)

    @router.post("/search", response_model=SearchReply)
    async def search(body: SearchRequest, request: Request, _: RequireJson) -> Response:
        """Retrieval alone: the passages that an answer would be made from. `min_score` leaves out those below it."""
        wanted = wanted_by(body, answering, use_cache=False)
        question = question_of(body, answering, wanted)
        found = await answering.search(request.receive, question, wanted)
        if body.min_score is not None:
            found = replace(found, hits=tuple(hit for hit in found.hits if hit.score >= body.min_score))
        return as_json(search_reply_to(found, include_chunks="chunks" in body.include, base_url=base_url), question.request_id)

    return router


def wanted_by(body: Pinned, answering: Answering, *, use_cache: bool) -> Wanted:
    """Raises `InvalidInput`."""
    most_s = answering.limits.timeout_s
    asked_s = most_s if body.timeout_ms is None else body.timeout_ms / 1000
    if asked_s > most_s:
        raise InvalidInput(f"timeout_ms is {body.timeout_ms}; at most {round(most_s * 1000)} is accepted", param="timeout_ms")
    return Wanted(
        pin=Pin(body.release, body.index_version),
        use_cache=use_cache,
        deadline_s=current_ids().arrived_s + asked_s,
        cancellation=Cancellation(),
    )


def question_of(body: Asked, answering: Answering, wanted: Wanted, number: int | None = None) -> Question:
    """`number` is the place in a batch. Raises `InvalidInput`."""
    place = "" if number is None else f"questions.{number}."
    limits = answering.limits
    if body.top_k is not None and body.top_k > limits.max_top_k:
        raise InvalidInput(f"top_k is {body.top_k}; at most {limits.max_top_k} is accepted", param=f"{place}top_k")
    history, text = (body.messages, body.question) if body.question is not None else (body.messages[:-1], body.messages[-1].content)
    if len(history) > limits.max_history_turns:
        raise InvalidInput(
            f"there are {len(history)} earlier messages; at most {limits.max_history_turns} are accepted", param=f"{place}messages"
        )
    generated = body if isinstance(body, Generated) else None
    return Question(
        text=text,
        history=tuple(Turn(message.role, message.content) for message in history),
        top_k=body.top_k,
        min_confidence=generated.min_confidence if generated else None,
        filters=parse_filter(body.filters, param=f"{place}filters"),
        access=current_caller().filter,
        prompt=generated.prompt if generated else None,
        sampling=Sampling(generated.max_tokens, generated.temperature, generated.seed) if generated else Sampling(),
        request_id=body.request_id or (current_ids().request_id if number is None else None),
        deadline_s=wanted.deadline_s,
        cancellation=wanted.cancellation,
    )


def as_json(model: AskReply | SearchReply | BatchReply, request_id: str | None) -> Response:
    return Response(model.model_dump_json(), headers={REQUEST_HEADER: request_id} if request_id else None, media_type="application/json")


class AskFrames:
    """Events as `/ask` streams them: `event: <type>` and `data:` with JSON that holds `type` and `seq`."""

    def __init__(self, *, include_chunks: bool, base_url: str) -> None:
        self._include_chunks = include_chunks
        self._base_url = base_url
        self._link = Link(base_url, "")
        self._seq = 0

    def told(self, told: Event | Record) -> bytes:
        match told:
            case Found():
                return self._found(told)
            case Delta():
                return self._frame("delta", {"text": told.text})
            case Citation():
                return self._frame("citation", citation_reply(told, self._link).model_dump(mode="json"))
            case Record():
                reply = reply_to(told, include_chunks=self._include_chunks, base_url=self._base_url)
                return self._frame("done", reply.model_dump(mode="json"))

    def failed(self, error: ErrorReply) -> bytes:
        return self._frame("error", error.model_dump(mode="json"))

    def _found(self, found: Found) -> bytes:
        self._link = Link(self._base_url, found.attempt.lineage.index.version)
        meta = {
            "answer_id": found.answer_id,
            "trace_id": found.attempt.trace_id,
            "query": found.query,
            "trace": trace_of(found.attempt).model_dump(mode="json"),
        }
        hits = hit_replies(found.hits, self._link, shown=0, include_text=self._include_chunks)
        return self._frame("meta", meta) + self._frame("sources", {"hits": [hit.model_dump(mode="json", exclude={"used"}) for hit in hits]})

    def _frame(self, kind: str, data: dict[str, Any]) -> bytes:
        content = orjson.dumps({"type": kind, "seq": self._seq, **data})
        self._seq += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), content)


def _batch_result(result: Record | RagError, question: Question, *, include_chunks: bool, base_url: str) -> AskReply | ErrorReply:
    if isinstance(result, Record):
        return reply_to(result, include_chunks=include_chunks, base_url=base_url)
    return from_rag_error(result, trace_id=current_ids().trace_id, request_id=question.request_id)[1]


def _accepts_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")
