"""The last report of drift: JSON for programs, a page for people."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.pages import as_json, as_page, viewer, wants_page
from rag_service.drift.folder import DriftFolder
from rag_service.drift.report import Report
from rag_service.errors import Forbidden, NotFound
from rag_service.web.drift import drift_page

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    **ERRORS_WITHOUT_A_BODY,
}


def drift_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["indexes"])

    @router.get("/drift", response_model=Report, responses=_RESPONSES)
    async def drift(request: Request) -> Response:
        """The last report that `rag-service drift report` made of the index that is served."""
        if current_caller().filter is not None:
            raise Forbidden("this key sees a part of the documents, and a report counts them all", hint="use a key without a filter")
        shelf = answering.desk.shelf
        if shelf is None:
            raise NotFound("this service was not given a folder of indexes to show")
        report = await run_in_threadpool(DriftFolder(shelf.catalog.drift_folder(shelf.name)).report)
        if wants_page(request):
            return as_page(drift_page(shelf.name, report, viewer=viewer()))
        if report is None:
            raise NotFound("there is no report of drift yet", hint="`rag-service drift report` makes one")
        return as_json(report.model_dump_json(by_alias=True))

    return router
