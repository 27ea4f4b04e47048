"""The HTTP service: routes, and the table of errors applied. Everything it needs is handed in."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag_service import __version__
from rag_service.api.errors import ErrorReply, error_reply, from_rag_error, from_validation
from rag_service.api.schemas import AskRequest, InfoReply, Limits, LiveReply, ReadyReply
from rag_service.api.trace import REQUEST_HEADER, TraceMiddleware, current_ids
from rag_service.ask import Question
from rag_service.errors import InvalidInput, RagError
from rag_service.reply import AskReply, identity_of, reply_to
from rag_service.serving import Service

MAX_CONCURRENT = 8
"""Answers computed at once; more wait for a thread. Each needs one core while it runs."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": description}
    for status, description in {
        400: "The body is not valid JSON.",
        413: "The body is too large.",
        415: "The body is not declared to be JSON.",
        422: "A field is missing, unknown, or out of range.",
        500: "A fault of the service.",
        502: "The generator, or a provider of embeddings, failed.",
        503: "Not ready; see Retry-After.",
        504: "The time for the request was over; `stage` says where.",
    }.items()
}


def create_app(service: Service, limits: Limits, *, lifespan: AbstractAsyncContextManager[None] | None = None) -> FastAPI:
    """`lifespan` is entered when the server starts and left when it stops."""

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_CONCURRENT
        if lifespan is None:
            yield
        else:
            async with lifespan:
                yield

    app = FastAPI(
        title="rag-service",
        version=__version__,
        summary="Answers from your documents, each with the trace of what made it.",
        lifespan=run,
        redoc_url=None,
    )
    app.add_middleware(TraceMiddleware, max_body_bytes=limits.max_body_bytes)
    _add_error_handlers(app)
    _add_health(app, service)
    _add_ask(app, service, limits)
    return app


def _add_ask(app: FastAPI, service: Service, limits: Limits) -> None:
    @app.post("/ask", responses=_ERRORS, tags=["ask"])
    def ask(body: AskRequest, response: Response, _: Annotated[None, Depends(_require_json)]) -> AskReply:
        """One question, one answer with its citations and its whole trace. An abstention is a 200 with `status: abstained`."""
        if body.top_k is not None and body.top_k > limits.max_top_k:
            raise InvalidInput(f"top_k is {body.top_k}; at most {limits.max_top_k} is accepted", param="top_k")
        ids = current_ids()
        request_id = body.request_id or ids.request_id
        if request_id:
            response.headers[REQUEST_HEADER] = request_id
        question = Question(
            text=body.question,
            top_k=body.top_k,
            min_score=body.min_score,
            request_id=request_id,
            deadline_s=ids.arrived_s + limits.timeout_s,
        )
        return reply_to(service.pin().ask(question), include_chunks="chunks" in body.include)

    @app.get("/info", responses={503: _ERRORS[503]}, tags=["service"])
    def info() -> InfoReply:
        """What answers now: the parts of every trace, and the limits."""
        lineage = service.pin().lineage
        image = lineage.deployment.image
        return InfoReply(
            version=__version__,
            environment=lineage.deployment.environment,
            container_image=image.ref if image else None,
            limits=limits,
            **identity_of(lineage),
        )


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", tags=["health"])
    async def live() -> LiveReply:
        """200 while the process can answer at all. Restart it when this fails, and for nothing else."""
        return LiveReply()

    @app.get(
        "/health/ready",
        responses={503: {"model": ReadyReply, "description": "Not ready yet, or shutting down."}},
        tags=["health"],
    )
    async def ready(response: Response) -> ReadyReply:
        """200 once every check has passed on the real artefacts; send no traffic before."""
        state = service.readiness()
        if not state.ready:
            response.status_code = 503
            response.headers["Retry-After"] = "1"
        return ReadyReply(ready=state.ready, checks=state.checks, release=state.release, since_s=state.since_s, problem=state.problem)


def _require_json(request: Request) -> None:
    """A form or plain text would otherwise be reported as a body of the wrong type, which helps nobody."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(415, "send the body as JSON, with the header content-type: application/json")


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RagError)
    async def rag_error(_: Request, error: RagError) -> JSONResponse:
        ids = current_ids()
        return _reply(*from_rag_error(error, trace_id=ids.trace_id, request_id=ids.request_id))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        ids = current_ids()
        return _reply(*from_validation(error, trace_id=ids.trace_id, request_id=ids.request_id))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        ids = current_ids()
        codes = {
            400: "invalid_json",  # the body could not even be parsed: not UTF-8, say, or nested too deeply
            404: "not_found",
            405: "method_not_allowed",
            413: "payload_too_large",
            415: "unsupported_media_type",
        }
        message = {
            400: "the body is not valid JSON",
            404: f"there is nothing at {request.url.path}",
            405: f"{request.method} is not possible here",
        }
        shown = message.get(error.status_code, str(error.detail))
        code = codes.get(error.status_code, "invalid_request")
        return _reply(*error_reply(code, shown, trace_id=ids.trace_id, request_id=ids.request_id), headers=error.headers)


def _reply(status: int, body: ErrorReply, headers: Any = None) -> JSONResponse:
    retry = body.error.retry_after_s
    extra = {"Retry-After": str(round(retry))} if retry is not None else {}
    return JSONResponse(body.model_dump(mode="json"), status_code=status, headers={**(headers or {}), **extra})
