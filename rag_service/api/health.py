"""Probes, `/info` and `/metrics`."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from rag_service import __version__
from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.schemas import InfoReply, LiveReply, ReadyReply
from rag_service.trace import identity_of

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: described for status, described in ERRORS_WITHOUT_A_BODY.items() if status not in (404, 422)
}
"""Nothing is named in the request that could be missing or wrong."""
_EXPOSITION: dict[str, Any] = {
    "content": {media_type: {"schema": {"type": "string"}} for media_type in ("text/plain", "application/openmetrics-text")}
}


def health_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["health"])
    service = answering.desk.service

    async def live() -> LiveReply:
        """200 while the process can answer at all. Restart it when this fails, and for nothing else."""
        return LiveReply()

    async def ready(response: Response) -> ReadyReply:
        """200 once every check has passed on the real artefacts; send no traffic before. A short overload does not change it."""
        state = service.readiness()
        if not state.ready:
            response.status_code = 503
            response.headers["Retry-After"] = "1"
        return ReadyReply(ready=state.ready, checks=state.checks, release=state.release, since_s=state.since_s, problem=state.problem)

    not_ready: dict[int | str, dict[str, Any]] = {503: {"model": ReadyReply, "description": "Not ready yet, or shutting down."}}
    for path in ("/health/live", "/healthz", "/v2/health/live"):
        router.get(path, response_model=LiveReply, include_in_schema=path == "/health/live")(live)
    for path in ("/health/ready", "/readyz", "/v2/health/ready"):
        router.get(path, response_model=ReadyReply, responses=not_ready, include_in_schema=path == "/health/ready")(ready)
    return router


def service_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/info", responses=_ERRORS)
    async def info() -> InfoReply:
        """What answers now: the parts of every trace, and the limits."""
        lineage = answering.desk.service.pin().lineage
        image = lineage.deployment.image
        return InfoReply(
            version=__version__,
            environment=lineage.deployment.environment,
            container_image=image.ref if image else None,
            limits=answering.limits,
            **identity_of(lineage, whole=current_caller().filter is None),
        )

    @router.get("/metrics", response_class=Response, responses={200: _EXPOSITION, **_ERRORS})
    async def metrics(request: Request) -> Response:
        """For Prometheus; with trace ids as exemplars where OpenMetrics is accepted."""
        content, media_type = await run_in_threadpool(answering.metrics.exposition, request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return router
