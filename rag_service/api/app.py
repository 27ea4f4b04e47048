"""The HTTP service put together: routes, middleware, and the table of errors applied. Everything it needs is handed in."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from rag_service import __version__
from rag_service.api.admission import Admission
from rag_service.api.answering import Answering
from rag_service.api.ask import ask_routes
from rag_service.api.browsers import SecurityHeaders, origin_of
from rag_service.api.chunks import chunk_routes
from rag_service.api.documents import document_routes
from rag_service.api.drift import drift_routes
from rag_service.api.errors import STATUS, error_reply, from_rag_error, from_validation
from rag_service.api.forms import EmptyFields
from rag_service.api.gate import OPEN_PATHS, CallRates, GateMiddleware, current_caller
from rag_service.api.health import health_routes, service_routes
from rag_service.api.home import home_routes
from rag_service.api.indexes import index_routes
from rag_service.api.openai import openai_routes
from rag_service.api.openai_schemas import ChatRequest
from rag_service.api.outcome import current_outcome
from rag_service.api.refused import refusal_for
from rag_service.api.releases import release_routes
from rag_service.api.schemas import AskRequest, BatchRequest, ErrorReply, Limits
from rag_service.api.shedding import Shedding
from rag_service.api.signing_in import signing_in_routes
from rag_service.api.streaming import OpenStreams
from rag_service.api.trace import Ended, TraceMiddleware, current_ids
from rag_service.api.trace_actions import trace_action_routes
from rag_service.api.traces import trace_routes
from rag_service.desk import Desk
from rag_service.drift.folder import DriftFolder
from rag_service.errors import RagError
from rag_service.keys import Keyring
from rag_service.record import Lineage
from rag_service.telemetry.answer_spans import AnswerSpans, Served
from rag_service.telemetry.drift_metrics import DriftMetrics
from rag_service.telemetry.gauges import Watched
from rag_service.telemetry.logs import RequestLine, log_request
from rag_service.telemetry.metric_export import MetricExport
from rag_service.telemetry.metrics import Metrics
from rag_service.telemetry.otel_variables import Exporting, ExportingMetrics
from rag_service.telemetry.shared_metrics import Worker
from rag_service.types import Vector

logger = logging.getLogger("rag_service.api")

_PROBED = frozenset({*OPEN_PATHS, "/metrics"})
"""Asked every few seconds by machines: no line in the log while all is well."""
_ANSWERING = frozenset({"/ask", "/ask/batch", "/search", "/v1/chat/completions", "/traces/{identifier}/replay"})
"""Routes whose requests are spans."""


@dataclass(frozen=True, slots=True)
class Doors:
    """How the service meets the world."""

    limits: Limits
    keyring: Keyring
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may use; empty allows any."""
    cors_origins: tuple[str, ...] = ()
    public_url: str | None = None
    docs: bool = True
    openwebui_events: bool = False
    log_requests: bool = True
    exporting: Exporting | None = None
    """How spans are exported; None exports none."""
    exporting_metrics: ExportingMetrics | None = None
    """How metrics are exported; None exports none. They can be scraped either way."""
    redact: Callable[[str], str] = str
    """What texts go through before they are exported."""
    rates: CallRates = field(default_factory=CallRates)
    worker: Worker | None = None
    """Where several processes answer on one port, which of them this is."""


@dataclass(frozen=True, slots=True)
class App:
    """What to serve, and what must be told when the server has no more time."""

    asgi: FastAPI
    open_streams: OpenStreams
    admission: Admission


def create_app(desk: Desk, doors: Doors, *, lifespan: AbstractAsyncContextManager[None] | None = None) -> App:
    """`lifespan` is entered when the server starts and left when it stops."""
    metrics, open_streams = Metrics(), OpenStreams()
    admission = Admission(doors.limits.max_concurrent, doors.limits.max_queue, observe=metrics.shed)
    spans = AnswerSpans(doors.exporting, metrics, doors.redact)
    desk.recorder.failed = metrics.not_recorded
    answering = Answering(desk, admission, metrics, spans, doors.limits, doors.public_url.rstrip("/") if doors.public_url else None)

    own_origin = origin_of(doors.public_url)

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        if doors.worker is not None:
            metrics.share(doors.worker)
        with _exporting_metrics(metrics, doors), spans.exporting(), admission:
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
        docs_url="/docs" if doors.docs else None,
        openapi_url="/openapi.json" if doors.docs else None,
        redoc_url=None,
    )
    routers = (
        ask_routes(answering, open_streams),
        chunk_routes(answering),
        document_routes(answering),
        trace_routes(answering),
        trace_action_routes(answering),
        openai_routes(answering, open_streams, openwebui_events=doors.openwebui_events),
        health_routes(answering),
        service_routes(answering),
        release_routes(answering),  # before those that take any id
        index_routes(answering),
        drift_routes(answering),
        home_routes(answering),
        signing_in_routes(doors.keyring, own_origin),
    )
    for router in routers:
        app.include_router(router)
    known = [route for router in (app.router, *routers) for route in router.routes]  # newer FastAPI does not list those of others
    _watch(metrics, answering, open_streams, [path for route in known if (path := getattr(route, "path", None))])
    _add_error_handlers(app, metrics)
    app.add_middleware(EmptyFields)
    app.add_middleware(Shedding, admission=admission)
    app.add_middleware(
        GateMiddleware,
        keyring=doors.keyring,
        allowed_hosts=doors.allowed_hosts,
        cors_origins=doors.cors_origins,
        own_origin=own_origin,
        rates=doors.rates,
    )
    ended = _Endings(metrics, spans, log_requests=doors.log_requests)
    app.add_middleware(TraceMiddleware, max_body_bytes=doors.limits.max_body_bytes, ended=ended, span_of=spans.of_request)
    app.add_middleware(SecurityHeaders)
    return App(app, open_streams, admission)


def _watch(metrics: Metrics, answering: Answering, open_streams: OpenStreams, routes: list[str]) -> None:
    service = answering.desk.service
    metrics.know(
        routes=routes,
        fields={*AskRequest.model_fields, *BatchRequest.model_fields, *ChatRequest.model_fields},
        codes=STATUS,
    )
    if (shelf := answering.desk.shelf) is not None:
        metrics.also(DriftMetrics(DriftFolder(shelf.catalog.drift_folder(shelf.name)).report))
    metrics.watch(
        Watched(
            ready=lambda: service.current is not None and not service.leaving,
            in_flight=lambda: answering.admission.running,
            concurrency_limit=lambda: answering.admission.max_running,
            queue_depth=lambda: answering.admission.waiting,
            queue_limit=lambda: answering.admission.max_waiting,
            open_streams=lambda: len(open_streams),
            cache_bytes=lambda: answering.desk.cache.size_bytes,
            activation_failed=lambda: service.stuck,
            lineage=lambda: service.current.lineage if service.current else None,
            skipped=lambda: service.current.facts.skipped if service.current else {},
        )
    )

    def centroid_of(lineage: Lineage) -> Vector | None:
        """Of the release that answers now: what evaluators ask of others says nothing about what is asked."""
        current = service.current
        return current.facts.centroid if current is not None and current.lineage is lineage else None

    metrics.measure_from(centroid_of)


def _exporting_metrics(metrics: Metrics, doors: Doors) -> AbstractContextManager[object]:
    if doors.exporting_metrics is None:
        return nullcontext()
    of_worker = (("worker", str(doors.worker.number + 1)),) if doors.worker is not None else ()
    return MetricExport(doors.exporting_metrics, metrics.collect, metrics.metrics_exported, of_worker=of_worker)


class _Endings:
    """Counts and logs each request when it is over, and makes a span of one that was to be answered."""

    def __init__(self, metrics: Metrics, spans: AnswerSpans, *, log_requests: bool) -> None:
        self._metrics = metrics
        self._spans = spans
        self._log_requests = log_requests

    def __call__(self, ended: Ended) -> None:
        self._metrics.request(ended.route, ended.status, ended.duration_s, ended.ids.trace_id)
        outcome = ended.outcome
        if ended.route in _ANSWERING:
            self._spans.served(
                Served(
                    span=ended.span,
                    caller=ended.caller,
                    method=ended.method,
                    route=ended.route,
                    status=ended.status,
                    start_ns=ended.start_ns,
                    end_ns=ended.start_ns + round(ended.duration_s * 1e9),
                    error=outcome.error,
                    answer_id=outcome.answer_id,
                    lineage=outcome.lineage,
                )
            )
        if outcome.error is not None:
            self._metrics.failed(outcome.error, outcome.stage, ended.ids.trace_id)
        if outcome.error == "rate_limited":
            self._metrics.shed("rate_limited")
        elif outcome.error == "shutting_down":
            self._metrics.shed("shutting_down")
        probed = ended.route in _PROBED and ended.status < 400
        if not self._log_requests or probed or outcome.error == "queue_full":  # `Shedding` reports those together
            return
        log_request(
            logger,
            RequestLine(
                route=ended.route or "unmatched",
                method=ended.method,
                status=ended.status,
                duration_ms=round(ended.duration_s * 1000, 1),
                trace_id=ended.ids.trace_id,
                outcome=outcome.error or outcome.outcome or "ok",
                request_id=ended.ids.request_id,
                answer_id=outcome.answer_id,
                release=outcome.release,
                abstain_reason=outcome.abstain_reason,
                key_id=outcome.key_id,
                cached=outcome.cached,
                question=outcome.question,
            ),
        )


def _add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    def refused(request: Request, status: int, body: ErrorReply, headers: dict[str, str] | None = None) -> Response:
        current_outcome().failed(body.error.code, body.error.stage)
        if status == 422 and body.error.param:
            metrics.validation_failure(body.error.param)
        return refusal_for(request.scope, status, body, headers, caller=current_caller())

    @app.exception_handler(RagError)
    async def rag_error(request: Request, error: RagError) -> Response:
        ids = current_ids()
        status, body = from_rag_error(error, trace_id=ids.trace_id, request_id=ids.request_id)
        if body.error.code == "internal":
            logger.error("%s, trace %s: %s", error.code, ids.trace_id, error.message, exc_info=error)
        return refused(request, status, body)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        ids = current_ids()
        taken = getattr(request.scope.get("route"), "body_field", None)
        body_type = taken.field_info.annotation if taken is not None else None
        status, body = from_validation(error, body_type=body_type, trace_id=ids.trace_id, request_id=ids.request_id)
        return refused(request, status, body)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        ids = current_ids()
        codes = {
            400: "invalid_json",  # the body could not even be parsed: not UTF-8, say, or nested too deeply
            404: "not_found",
            405: "method_not_allowed",
            408: "request_timeout",
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
        reply = error_reply(code, shown, trace_id=ids.trace_id, request_id=ids.request_id)
        return refused(request, *reply, headers=dict(error.headers or {}))
