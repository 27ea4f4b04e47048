"""What tests of the HTTP service say of its replies."""

import re
from typing import Any

HOLIDAYS = "How many days of paid holiday does an employee have?"

_ERROR_KEYS = {"code", "message", "type", "retryable", "retry_after_s", "stage", "param", "details"}
_SECRETS = (b"Traceback", b".py", b"/rag_service", b"site-packages", b"/tmp")


def refused(reply: Any, status: int, code: str) -> dict[str, Any]:
    """The error of a reply that has the one error shape; checks what holds for all of them."""
    assert reply.status == status, reply.body
    body: dict[str, Any] = reply.json
    error = error_in(body)
    assert error["code"] == code
    assert re.fullmatch(r"[0-9a-f]{32}", body["trace_id"])
    assert reply.headers["x-trace-id"] == body["trace_id"]
    assert reply.headers["content-type"] == "application/json"
    if error["retry_after_s"] is not None:
        assert int(reply.headers["retry-after"]) >= error["retry_after_s"] > 0
    for secret in _SECRETS:
        assert secret not in reply.body
    return error


def error_in(body: dict[str, Any]) -> dict[str, Any]:
    """The error of a body in the one error shape, which may be a part of another."""
    assert set(body) == {"error", "trace_id", "request_id", "trace"}
    error: dict[str, Any] = body["error"]
    assert set(error) == _ERROR_KEYS
    assert error["message"]
    return error
