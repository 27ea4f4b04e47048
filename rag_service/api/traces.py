"""The routes that look at stored records: list, show, compare, export. JSON for programs, pages for people."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.pages import as_json, as_page, viewer, wants_page
from rag_service.api.trace_filters import ExportFilter, Identifier, Named, TraceFilter
from rag_service.api.trace_schemas import RecordReply, TracesReply, record_reply, row_of
from rag_service.compare import Comparison
from rag_service.export import as_json_line, as_question_line
from rag_service.kept import Kept
from rag_service.web.compare import compare_page
from rag_service.web.traces import trace_page, traces_page

_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_LINES = {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "One record, or one question, a line."}
_COMPARISON, _RESPONSES = TypeAdapter(Comparison), _PAGE | ERRORS_WITHOUT_A_BODY


def trace_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["traces"])
    records, base_url = answering.desk.records, answering.public_url or ""

    @router.get("/traces", response_model=TracesReply, responses=_RESPONSES)
    async def traces(request: Request, wanted: Annotated[TraceFilter, Query()]) -> Response:
        """The answers that were recorded, newest first. All filters must hold."""
        query = wanted.query()
        page = await run_in_threadpool(records.page, query, current_caller().filter)
        if wants_page(request):
            return as_page(traces_page(page, query, viewer=viewer(), active_release=answering.desk.active_release))
        return as_json(TracesReply(traces=[row_of(listed) for listed in page.rows], next=page.next_before).model_dump_json())

    @router.get("/traces/compare", response_model=Comparison, responses=_RESPONSES)
    async def compare(request: Request, a: Named, b: Named) -> Response:
        """Where two answers part: the parts of their releases, the first stage, the passages, the texts. Nothing is made again."""
        first, second, comparison = await run_in_threadpool(records.compare, a, b, current_caller().filter)
        if wants_page(request):
            return as_page(compare_page(first, second, comparison, viewer=viewer()))
        return as_json(_COMPARISON.dump_json(comparison))

    @router.get("/traces/export", responses={200: _LINES, **ERRORS_WITHOUT_A_BODY}, response_class=StreamingResponse)
    async def export(wanted: Annotated[ExportFilter, Query()]) -> Response:
        """Records as JSON lines, oldest first, or those that hold a question as questions of an evaluation set."""
        access = current_caller().filter
        found = records.selected(wanted.id, access) if wanted.id else records.records(wanted.query(), access)
        lines = (line for kept in found if isinstance(kept, Kept) and (line := _line(kept, wanted.form)) is not None)
        first = await run_in_threadpool(next, lines, b"")  # what is wrong with the request is said while it can be
        return StreamingResponse(
            _with_first(first, lines),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": f'attachment; filename="{wanted.form}.jsonl"'},
        )

    @router.get("/traces/{identifier}", response_model=RecordReply, responses=_RESPONSES)
    async def trace(request: Request, identifier: Identifier) -> Response:
        """One answer, with all that made it."""
        kept = await run_in_threadpool(records.show, identifier, current_caller().filter)
        if wants_page(request):
            return as_page(trace_page(kept, viewer=viewer(), active_release=answering.desk.active_release))
        return as_json(record_reply(kept, base_url=base_url).model_dump_json())

    return router


def _line(kept: Kept, form: str) -> bytes | None:
    return as_question_line(kept) if form == "questions" else as_json_line(kept)


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from rest
