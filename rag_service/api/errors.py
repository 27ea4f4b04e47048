"""Errors as HTTP: one table from code to status, one body shape. Nothing else in the package knows a status."""

import difflib
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from rag_service.api.schemas import AskRequest
from rag_service.errors import RagError
from rag_service.record import Attempt
from rag_service.reply import Trace, trace_of

STATUS: dict[str, int] = {
    "invalid_json": 400,
    "invalid_request": 422,
    "invalid_question": 422,
    "invalid_name": 422,
    "invalid_settings": 422,
    "not_found": 404,
    "method_not_allowed": 405,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "conflict": 409,
    "not_ready": 503,
    "storage_failed": 503,
    "embedder_error": 502,
    "generator_error": 502,
    "deadline_exceeded": 504,
    "internal": 500,
}
"""Any code that is not listed is a fault of the server: 500, as `internal`, with the details in the log alone."""

_TYPES = {
    400: "invalid_request", 404: "not_found", 405: "invalid_request", 409: "conflict", 413: "invalid_request", 415: "invalid_request",
    422: "invalid_request", 500: "server_error", 502: "server_error", 503: "overloaded", 504: "timeout",
}  # fmt: skip
_RETRYABLE = frozenset({502, 503, 504})

RETRY_AFTER_S = 1
_FIELD_CHARS = 100


class ErrorBody(BaseModel):
    code: str = Field(description="Stable, for programs.")
    message: str
    type: str = Field(description="invalid_request, not_found, conflict, overloaded, timeout or server_error.")
    retryable: bool
    retry_after_s: float | None
    stage: str | None = Field(description="Stage of the answer in which it happened.")
    param: str | None = Field(description="The field that is to blame.")
    details: dict[str, Any]


class ErrorReply(BaseModel):
    error: ErrorBody
    trace_id: str
    request_id: str | None
    trace: Trace | None = Field(description="What had been at work, where a release had been pinned before it went wrong; otherwise null.")


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
) -> tuple[int, ErrorReply]:
    status = STATUS[code]
    retryable = status in _RETRYABLE
    body = ErrorBody(
        code=code,
        message=message,
        type=_TYPES[status],
        retryable=retryable,
        retry_after_s=RETRY_AFTER_S if status == 503 else None,
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
    return error_reply(error.code, message, trace_id=trace_id, request_id=request_id, stage=error.stage, param=error.param, trace=trace)


def internal_error(*, trace_id: str, request_id: str | None) -> tuple[int, ErrorReply]:
    return error_reply(
        "internal",
        "something went wrong here; the log has the details under this trace id",
        trace_id=trace_id,
        request_id=request_id,
    )


def _field(location: Sequence[str | int]) -> str:
    """The field's name as it can be shown: a client may send any name, of any length, even one that is no Unicode text."""
    name = ".".join(str(part) for part in location if part != "body") or "body"
    return name[:_FIELD_CHARS].encode("utf-8", "replace").decode()


def from_validation(error: RequestValidationError, *, trace_id: str, request_id: str | None) -> tuple[int, ErrorReply]:
    """The first problem in words, all of them in `details`. What was sent is not repeated: it may be long, or private."""
    problems = [{"field": _field(problem["loc"]), "problem": problem["msg"]} for problem in error.errors()]
    unknown = next((number for number, problem in enumerate(error.errors()) if problem["type"] == "extra_forbidden"), None)
    first = error.errors()[unknown or 0]  # a misspelt field explains why the right one is missing
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", "")
        return error_reply("invalid_json", f"the body is not valid JSON: {why}", trace_id=trace_id, request_id=request_id)
    field = problems[unknown or 0]["field"]
    message = f"{field}: {problems[unknown or 0]['problem']}"
    if unknown is not None:
        close = difflib.get_close_matches(field, AskRequest.model_fields, n=1)
        message = f"{field} is not a field of this request; " + (f"did you mean {close[0]}?" if close else "/docs lists the fields")
    return error_reply(
        "invalid_request", message, trace_id=trace_id, request_id=request_id, param=field, details={"problems": problems[:20]}
    )
