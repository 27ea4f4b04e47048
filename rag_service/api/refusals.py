"""Errors for requests that the application never sees, or may not finish: in the one shape, with a trace id of their own."""

import secrets

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from rag_service.api.errors import as_response, error_reply
from rag_service.api.trace import TRACE_HEADER


def refusal(code: str, message: str) -> Response:
    """Says that the connection ends with it."""
    trace_id = secrets.token_hex(16)
    return as_response(*error_reply(code, message, trace_id=trace_id), headers={TRACE_HEADER: trace_id, "Connection": "close"})


def on_the_wire(response: Response, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in [*default_headers, *response.raw_headers])
    return STATUS_LINE[response.status_code] + headers + b"\r\n" + bytes(response.body)
