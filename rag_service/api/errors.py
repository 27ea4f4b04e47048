"""Errors as HTTP: one table from code to status, one body shape. Nothing else in the package knows a status."""

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.responses import Response

from rag_service.api.schemas import NO_QUESTION, ErrorBody, ErrorReply
from rag_service.errors import RagError
from rag_service.record import Attempt
from rag_service.trace import Trace, trace_of

STATUS: dict[str, int] = {
    "invalid_http": 400,
    "invalid_host": 400,
    "invalid_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "request_timeout": 408,
    "invalid_request": 422,
    "invalid_question": 422,
    "invalid_name": 422,
    "invalid_settings": 422,
    "not_found": 404,
    "method_not_allowed": 405,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "conflict": 409,
    "release_unavailable": 409,
    "rate_limited": 429,
    "queue_full": 429,
    "client_closed": 499,
    "not_ready": 503,
    "shutting_down": 503,
    "generator_paused": 503,
    "storage_failed": 503,
    "not_recorded": 503,
    "embedder_error": 502,
    "generator_error": 502,
    "deadline_exceeded": 504,
    "internal": 500,
}
"""Any code that is not listed is a fault of the server: 500, as `internal`, with the details in the log alone."""

_TYPES = {
    401: "unauthorized", 403: "forbidden", 404: "not_found", 408: "timeout", 409: "conflict", 429: "overloaded", 499: "cancelled",
    500: "server_error", 502: "server_error", 503: "overloaded", 504: "timeout",
}  # fmt: skip
"""Any other is `invalid_request`."""
_RETRYABLE = frozenset({408, 429, 502, 503, 504})
_SAID_WHEN = frozenset({429, 503})

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": description}
    for status, description in {
        400: "The body is not valid JSON, or the request is not for this host.",
        401: "No key, or one that is not valid.",
        403: "The key may not do this.",
        404: "Nothing is there: a prompt, a release, an index version, a chunk.",
        408: "The request did not come whole in time.",
        409: "The release that the request names cannot be opened any more.",
        413: "The body is too large.",
        415: "The body is not declared to be JSON.",
        422: "A field is missing, unknown, or out of range.",
        429: "Too many requests wait, or this key asks too often; see Retry-After.",
        500: "A fault of the service.",
        502: "The generator, or a provider of embeddings, failed.",
        503: "Not ready, shutting down, or the generator is left alone for a while; see Retry-After.",
        504: "The time for the request was over; `stage` says where.",
    }.items()
}
"""For the OpenAPI document."""
ERRORS_WITHOUT_A_BODY: dict[int | str, dict[str, Any]] = {
    status: ERRORS[status] for status in (400, 401, 403, 404, 408, 422, 429, 500, 503)
}
"""Of what only looks something up."""

RETRY_AFTER_S = 1.0
"""Where nothing better is known."""
_FIELD_CHARS = 100
_PROBLEMS = 20


def error_reply(
    code: str,
    message: str,
    *,
    trace_id: str,
    request_id: str | None = None,
    stage: str | None = None,
    param: str | None = None,
    details: dict[str, Any] | None = None,
    trace: Trace | None = None,
    retry_after_s: float | None = None,
) -> tuple[int, ErrorReply]:
    status = STATUS[code]
    body = ErrorBody(
        code=code,
        message=message,
        type=_TYPES.get(status, "invalid_request"),
        retryable=status in _RETRYABLE,
        retry_after_s=(retry_after_s or RETRY_AFTER_S) if status in _SAID_WHEN else None,
        stage=stage,
        param=param,
        details=details or {},
    )
    return status, ErrorReply(error=body, trace_id=trace_id, request_id=request_id, trace=trace)


def from_rag_error(error: RagError, *, trace_id: str, request_id: str | None) -> tuple[int, ErrorReply]:
    if error.code not in STATUS:
        return internal_error(trace_id=trace_id, request_id=request_id)
    message = error.message if not error.hint else f"{error.message}: {error.hint}"
    trace = trace_of(error.attempt) if isinstance(error.attempt, Attempt) else None
    return error_reply(
        error.code,
        message,
        trace_id=trace_id,
        request_id=request_id,
        stage=error.stage,
        param=error.param,
        trace=trace,
        retry_after_s=error.retry_after_s,
    )


def internal_error(*, trace_id: str, request_id: str | None) -> tuple[int, ErrorReply]:
    return error_reply(
        "internal",
        "something went wrong here; the log has the details under this trace id",
        trace_id=trace_id,
        request_id=request_id,
    )


def as_response(status: int, body: ErrorReply, headers: Mapping[str, str] | None = None) -> Response:
    """With `Retry-After` in whole seconds where the body says when to ask again."""
    retry_after_s = body.error.retry_after_s
    extra = {"Retry-After": str(math.ceil(retry_after_s))} if retry_after_s is not None else {}
    return Response(body.model_dump_json(), status, {**(headers or {}), **extra}, "application/json")


def from_validation(
    error: RequestValidationError, *, body_type: type[BaseModel] | None, trace_id: str, request_id: str | None
) -> tuple[int, ErrorReply]:
    """The first problem in words, up to 20 in `details`. What was sent is not repeated: it may be long, or private."""
    found = error.errors()
    unknown = next((problem for problem in found if problem["type"] == "extra_forbidden"), None)
    first = unknown or found[0]  # a misspelt field explains why the right one is missing
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", "")
        return error_reply("invalid_json", f"the body is not valid JSON: {why}", trace_id=trace_id, request_id=request_id)
    field = _field(first)
    message = f"{field}: {first['msg']}"
    if unknown is not None:
        close = difflib.get_close_matches(field.rpartition(".")[2], _fields_at(unknown["loc"], body_type), n=1)
        message = f"{field} is not a field of this request; " + (f"did you mean {close[0]}?" if close else "/docs lists the fields")
    problems = [{"field": _field(problem), "problem": problem["msg"]} for problem in found[:_PROBLEMS]]
    return error_reply("invalid_request", message, trace_id=trace_id, request_id=request_id, param=field, details={"problems": problems})


def _field(problem: Mapping[str, Any]) -> str:
    """The field's name as it can be shown: a client may send any name, of any length, even one that is no Unicode text."""
    location = [*problem["loc"], "question"] if problem["type"] == NO_QUESTION else problem["loc"]
    name = ".".join(str(part) for part in location[1:]) or "body"  # the first says where in the request: body, path or query
    return name[:_FIELD_CHARS].encode("utf-8", "replace").decode()


def _fields_at(location: Sequence[str | int], body_type: type[BaseModel] | None) -> Collection[str]:
    """Names of the fields beside the one at `location`; none where that cannot be said."""
    model = body_type
    for part in location[1:-1]:
        if isinstance(part, str) and model is not None:
            field = model.model_fields.get(part)
            model = _model_in(field.annotation) if field is not None else None
    return model.model_fields if model is not None else ()


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The first model that `annotation` names, as in `list[Message]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part)) is not None), None)
