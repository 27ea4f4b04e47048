"""`/`, where people ask, and the files that all pages need."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError
from starlette.responses import HTMLResponse

from rag_service.api.answering import Answering
from rag_service.api.ask import question_of, wanted_by
from rag_service.api.errors import from_rag_error
from rag_service.api.forms import read_form
from rag_service.api.gate import current_caller
from rag_service.api.outcome import current_outcome
from rag_service.api.pages import page_headers, viewer
from rag_service.api.schemas import AskRequest
from rag_service.api.trace import current_ids
from rag_service.errors import InvalidInput, NotFound, RagError
from rag_service.record import Record
from rag_service.web.ask import Form, Problem, ask_page
from rag_service.web.pages import STATIC_FILES, static_file

_FOR_EVER = "public, max-age=31536000, immutable"


def home_routes(answering: Answering) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home(q: Annotated[str, Query(max_length=100_000)] = "") -> Response:
        """`q` fills in the question; asking takes a press of a key, so that a link alone costs nothing."""
        return _page(answering, Form(question=q[: answering.limits.max_question_chars]))

    @router.post("/")
    async def ask(request: Request) -> Response:
        """The form without JavaScript; with it, the page streams from `/ask`."""
        form = _form(await read_form(request))
        try:
            body = _request_of(form)
            wanted = wanted_by(body, answering, use_cache=body.cache)
            record = await answering.ask(request.receive, question_of(body, answering, wanted), wanted)
        except RagError as error:
            ids = current_ids()
            status, reply = from_rag_error(error, trace_id=ids.trace_id, request_id=ids.request_id)
            current_outcome().failed(reply.error.code, reply.error.stage)
            problem = Problem(reply.error.message, ids.trace_id)
            return _page(answering, form, problem=problem, status=status)
        return _page(answering, form, record=record)

    @router.get("/static/{name}")
    async def static(name: Annotated[str, Path(max_length=32)], v: str = "") -> Response:
        """Under its own digest it is kept for ever; under none, or another, it is looked for anew each time."""
        if name not in STATIC_FILES:
            raise NotFound(f"there is no file {name}")
        file = static_file(name)
        cache = _FOR_EVER if v == file.tag else "no-cache"
        return Response(file.content, headers={"Cache-Control": cache, "ETag": f'"{file.tag}"'}, media_type=file.media_type)

    return router


def _page(answering: Answering, form: Form, *, record: Record | None = None, problem: Problem | None = None, status: int = 200) -> Response:
    current = answering.desk.service.current
    page = ask_page(
        current.lineage if current else None,
        form=form,
        record=record,
        problem=problem,
        whole=current_caller().filter is None,
        max_question_chars=answering.limits.max_question_chars,
        viewer=viewer(),
    )
    headers = page_headers()
    if record is not None:
        headers["Cache-Control"] = "private, no-cache"  # the way back from a citation would otherwise ask again
    return HTMLResponse(page, status, headers)


def _form(fields: dict[str, str]) -> Form:
    return Form(
        question=fields.get("question", ""),
        top_k=fields.get("top_k", ""),
        min_confidence=fields.get("min_confidence", ""),
        release=fields.get("release", ""),
        fresh="fresh" in fields,
    )


def _request_of(form: Form) -> AskRequest:
    """Raises `InvalidInput`."""
    given = {"top_k": form.top_k, "min_confidence": form.min_confidence, "release": form.release}
    try:
        return AskRequest.model_validate(
            {"question": form.question, "cache": not form.fresh, **{name: value for name, value in given.items() if value}}
        )
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else "question"
        raise InvalidInput(f"{field}: {problem['msg']}", param=field) from error
