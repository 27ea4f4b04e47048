"""The routes about stored records: list, show, replay, compare, rate, export, erase. JSON for programs, pages for people."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, StreamingResponse

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS, ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.pages import page_headers, viewer, wants_page
from rag_service.api.trace_schemas import (
    MAX_LIMIT,
    ErasedReply,
    FeedbackReply,
    FeedbackRequest,
    RecordReply,
    TracesReply,
    feedback_reply,
    record_reply,
    row_of,
)
from rag_service.compare import Comparison
from rag_service.errors import Forbidden
from rag_service.export import as_json_line, as_question_line
from rag_service.kept import Feedback, Kept, RecordQuery
from rag_service.redaction import redact
from rag_service.replay import Replay
from rag_service.web.compare import compare_page
from rag_service.web.traces import trace_page, traces_page

Identifier = Annotated[
    str, Path(pattern=r"^(ans_[0-9a-f]{32}|[0-9a-f]{32})$", description="An answer id, or a trace id that has one answer.")
]
Named = Annotated[str, Query(pattern=r"^(ans_[0-9a-f]{32}|[0-9a-f]{32})$")]
ShortId = Annotated[str | None, Query(pattern=r"^[0-9a-f]{12}$")]
_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_LINES = {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "One record, or one question, a line."}
_MAX_NAMED = 1000
_REPLAY, _COMPARISON, _PROBLEMS = TypeAdapter(Replay), TypeAdapter(Comparison), _PAGE | ERRORS_WITHOUT_A_BODY


def trace_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["traces"])
    records, base_url = answering.desk.records, answering.public_url or ""

    def active_release() -> str | None:
        current = answering.desk.service.current
        return current.lineage.release.id if current else None

    @router.get("/traces", response_model=TracesReply, responses=_PROBLEMS)
    async def traces(
        request: Request,
        since: Annotated[datetime | None, Query(description="ISO 8601; without a zone, UTC.")] = None,
        until: Annotated[datetime | None, Query(description="Up to, and not including.")] = None,
        status: Annotated[Literal["answered", "abstained"] | None, Query()] = None,
        release: ShortId = None,
        index_version: ShortId = None,
        score_below: Annotated[float | None, Query(ge=-1, le=1, description="Of the best passage.")] = None,
        text: Annotated[str | None, Query(min_length=1, max_length=200, description="In the question or the answer; case of A–Z aside.")] = None,
        rating: Annotated[Literal["up", "down", "any"] | None, Query()] = None,
        trace_id: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
        key_id: Annotated[str | None, Query(max_length=64)] = None,
        before: Annotated[int | None, Query(ge=1, le=2**62, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    ) -> Response:
        """The answers that were recorded, newest first. All filters must hold."""
        query = RecordQuery(
            since_ms=_milliseconds(since),
            until_ms=_milliseconds(until),
            status=status,
            release=release,
            index_version=index_version,
            score_below=score_below,
            text=text,
            rating=rating,
            trace_id=trace_id,
            key_id=key_id,
            before_seq=before,
            limit=limit,
        )
        page = await run_in_threadpool(records.page, query, current_caller().filter)
        if wants_page(request):
            return _html(traces_page(page, query, viewer=viewer(), active_release=active_release()))
        return _json(TracesReply(traces=[row_of(listed) for listed in page.rows], next=page.next_before).model_dump_json())

    @router.get("/traces/compare", response_model=Comparison, responses=_PROBLEMS)
    async def compare(request: Request, a: Named, b: Named) -> Response:
        """Where two answers part: the parts of their releases, the first stage, the passages, the texts. Nothing is made again."""
        first, second, comparison = await run_in_threadpool(records.compare, a, b, current_caller().filter)
        if wants_page(request):
            return _html(compare_page(first, second, comparison, viewer=viewer()))
        return _json(_COMPARISON.dump_json(comparison))

    @router.get("/traces/export", responses={200: _LINES, **ERRORS_WITHOUT_A_BODY}, response_class=StreamingResponse)
    async def export(
        form: Annotated[Literal["records", "questions"], Query(alias="as", description="`questions` is what `python -m eval` reads.")] = "records",
        id: Annotated[list[Named], Query(max_length=_MAX_NAMED, description="These; without any, all that the filters let through.")] = [],  # noqa: A002, B006 - the name of the parameter; FastAPI copies it
        since: Annotated[datetime | None, Query()] = None,
        until: Annotated[datetime | None, Query()] = None,
        rating: Annotated[Literal["up", "down", "any"] | None, Query()] = None,
        release: ShortId = None,
    ) -> Response:
        """Records as JSON lines, oldest first, or those that hold a question as questions of an evaluation set."""
        access = current_caller().filter
        query = RecordQuery(since_ms=_milliseconds(since), until_ms=_milliseconds(until), rating=rating, release=release)
        found = records.selected(id, access) if id else records.records(query, access)
        lines = (line for kept in found if isinstance(kept, Kept) and (line := _line(kept, form)) is not None)
        first = await run_in_threadpool(next, lines, b"")  # what is wrong with the request is said while it can be
        name = "questions" if form == "questions" else "records"
        return StreamingResponse(
            _with_first(first, lines),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": f'attachment; filename="{name}.jsonl"'},
        )

    @router.get("/traces/{identifier}", response_model=RecordReply, responses=_PROBLEMS)
    async def trace(request: Request, identifier: Identifier) -> Response:
        """One answer, with all that made it."""
        kept = await run_in_threadpool(records.show, identifier, current_caller().filter)
        if wants_page(request):
            return _html(trace_page(kept, viewer=viewer(), active_release=active_release()))
        return _json(record_reply(kept, base_url=base_url).model_dump_json())

    @router.post("/traces/{identifier}/replay", response_model=Replay, responses=_PAGE | ERRORS)
    async def replay(request: Request, identifier: Identifier) -> Response:
        """Makes the answer again, from the artefacts that its release names, and says where the two part."""
        access = current_caller().filter
        kept, made = await answering.compute(request.receive, lambda: records.replay(identifier, access))
        answering.metrics.replayed(made.kind)
        if wants_page(request):
            return _html(trace_page(kept, replay=made, viewer=viewer(), active_release=active_release()))
        return _json(_REPLAY.dump_json(made))

    @router.post(
        "/traces/{identifier}/feedback",
        status_code=201,
        response_model=FeedbackReply,
        responses=ERRORS,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}}}},
    )
    async def feedback(request: Request, identifier: Identifier) -> Response:
        """What you think of an answer. A key with the scope `ask` alone rates the answers that it asked for."""
        caller, given = current_caller(), await _feedback(request)
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
        return _json(ErasedReply(erased=erased).model_dump_json())

    @router.delete("/traces", response_model=ErasedReply, responses=ERRORS_WITHOUT_A_BODY)
    async def erase_of_key(key_id: Annotated[str, Query(min_length=1, max_length=64)]) -> Response:
        """Erases what is stored of every answer that a key asked for."""
        _require_admin()
        if current_caller().filter is not None:
            raise Forbidden("this key sees a part of the documents: it may erase single answers")
        return _json(ErasedReply(erased=await run_in_threadpool(records.erase_key, key_id)).model_dump_json())

    return router


def _line(kept: Kept, form: str) -> bytes | None:
    return as_question_line(kept) if form == "questions" else as_json_line(kept)


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from rest


def _require_admin() -> None:
    if "admin" not in current_caller().scopes:
        raise Forbidden("this key may not do this: it needs the scope admin")


async def _feedback(request: Request) -> FeedbackRequest:
    """JSON, or the form of a page."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        if media_type == "application/json" or media_type.endswith("+json"):
            return FeedbackRequest.model_validate_json(body)
        if media_type == "application/x-www-form-urlencoded":
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
            return FeedbackRequest.model_validate({name: values[0] for name, values in fields.items()})
    except ValidationError as error:
        raise RequestValidationError([{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]) from error
    except ValueError as error:
        raise HTTPException(400, "the form has too many fields") from error
    raise HTTPException(415, "send the feedback as JSON, with the header content-type: application/json")


def _milliseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _html(page: str) -> Response:
    return HTMLResponse(page, headers=page_headers())


def _json(content: bytes | str) -> Response:
    return Response(content, headers={"Vary": "Accept"}, media_type="application/json")


