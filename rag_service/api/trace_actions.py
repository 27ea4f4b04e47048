"""The routes that do something with a stored record: make it again, say what one thinks of it, erase it."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS, ERRORS_WITHOUT_A_BODY
from rag_service.api.forms import read_model, taken_as_json
from rag_service.api.gate import current_caller
from rag_service.api.pages import as_json, as_page, viewer, wants_page
from rag_service.api.trace_filters import Identifier
from rag_service.api.trace_schemas import ErasedReply, FeedbackReply, FeedbackRequest, feedback_reply
from rag_service.errors import Forbidden
from rag_service.kept import Feedback
from rag_service.redaction import redact
from rag_service.replay import Replay
from rag_service.telemetry.span_tree import Replay as ReplayOf
from rag_service.web.traces import trace_page

_REPLAY = TypeAdapter(Replay)
_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


def trace_action_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["traces"])
    records = answering.desk.records

    @router.post("/traces/{identifier}/replay", response_model=Replay, responses=_PAGE | ERRORS)
    async def replay(request: Request, identifier: Identifier) -> Response:
        """Makes the answer again, from the artefacts that its release names, and says where the two part."""
        access = current_caller().filter
        kept, made, record = await answering.compute(request.receive, lambda: records.replay(identifier, access))
        answering.metrics.replayed(made.kind)
        if record is not None:
            answering.spans.record(record, replay=ReplayOf(made.answer_id, made.trace_id, made.verdict))
        if wants_page(request):
            return as_page(trace_page(kept, replay=made, viewer=viewer(), active_release=answering.desk.active_release))
        return as_json(_REPLAY.dump_json(made))

    @router.post(
        "/traces/{identifier}/feedback",
        status_code=201,
        response_model=FeedbackReply,
        responses=ERRORS,
        openapi_extra=taken_as_json(FeedbackRequest),
    )
    async def feedback(request: Request, identifier: Identifier) -> Response:
        """What you think of an answer. A key with the scope `ask` alone rates the answers that it asked for."""
        caller, given = current_caller(), await read_model(request, FeedbackRequest)
        said = Feedback(
            rating=given.rating,
            comment=redact(given.comment) if given.comment else None,
            expected=redact(given.expected) if given.expected else None,
            key_id=caller.key_id,
            at_ms=time.time_ns() // 1_000_000,
        )
        only_of_key = None if "traces" in caller.scopes else caller.key_id
        await run_in_threadpool(records.rate, identifier, said, caller.filter, only_of_key=only_of_key)
        if wants_page(request):
            return RedirectResponse(f"/traces/{identifier}#feedback", 303)
        return Response(feedback_reply(said).model_dump_json(), 201, media_type="application/json")

    @router.delete("/traces/{identifier}", response_model=ErasedReply, responses=ERRORS_WITHOUT_A_BODY)
    async def erase(identifier: Identifier) -> Response:
        """Erases what is stored of one answer, for good. That there was an answer stays."""
        _require_admin()
        erased = await run_in_threadpool(records.erase, identifier, current_caller().filter)
        return as_json(ErasedReply(erased=erased).model_dump_json())

    @router.delete("/traces", response_model=ErasedReply, responses=ERRORS_WITHOUT_A_BODY)
    async def erase_of_key(key_id: Annotated[str, Query(min_length=1, max_length=64)]) -> Response:
        """Erases what is stored of every answer that a key asked for."""
        _require_admin()
        if current_caller().filter is not None:
            raise Forbidden("this key sees a part of the documents: it may erase single answers")
        return as_json(ErasedReply(erased=await run_in_threadpool(records.erase_key, key_id)).model_dump_json())

    return router


def _require_admin() -> None:
    if "admin" not in current_caller().scopes:
        raise Forbidden("this key may not do this: it needs the scope admin")
