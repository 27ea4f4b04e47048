"""The outermost layer of every request: trace id, request id, body limit, and the answer of last resort.

Pure ASGI, because its context must be the one that handlers run in, and because it must also cover what never reaches a handler.
"""

import logging
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_service.api.errors import ErrorReply, error_reply, internal_error
from rag_service.telemetry.spans import remote_context, within

logger = logging.getLogger("rag_service.api")

_CLOSE = {"Connection": "close"}

TRACE_HEADER = "X-Trace-Id"
REQUEST_HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class RequestIds:
    trace_id: str
    request_id: str | None
    arrived_s: float
    """`time.monotonic()` when its first byte was handled: the time for an answer includes the wait for a thread."""


_current: ContextVar[RequestIds] = ContextVar("request_ids")


def current_ids() -> RequestIds:
    """Ids of the request that is being handled."""
    return _current.get()


_DRAINED_BYTES = 16 * 2**20
"""How much of a body that is refused is read and thrown away: a client that is still sending does not see the reply otherwise."""


class TraceMiddleware:
    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with within(remote_context(headers.get("traceparent"))) as trace_id:
            asked = headers.get(REQUEST_HEADER, "")
            ids = RequestIds(trace_id, asked if _REQUEST_ID.fullmatch(asked) else None, time.monotonic())
            token = _current.set(ids)
            try:
                await self._answer(scope, receive, send, headers, ids)
            finally:
                _current.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, ids: RequestIds) -> None:
        started = False

        async def send_with_ids(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                reply_headers = MutableHeaders(scope=message)
                reply_headers[TRACE_HEADER] = ids.trace_id
                if ids.request_id:
                    reply_headers.setdefault(REQUEST_HEADER, ids.request_id)
            await send(message)

        limit = self._max_body_bytes
        try:
            if _declared_bytes(headers) > limit:
                if "expect" not in headers:  # who asked before sending has sent nothing
                    await _drain(receive)
                refusal = error_reply("payload_too_large", _too_large(limit), trace_id=ids.trace_id, request_id=ids.request_id)
                await _reply(*refusal, headers=_CLOSE)(scope, receive, send_with_ids)
                return
            await self._app(scope, _bounded(receive, limit), send_with_ids)
        except Exception:
            # Handlers translate what they know; this is the edge of the process, and the client must get the one error shape.
            logger.exception("unexpected error, trace %s", ids.trace_id)
            if started:
                raise
            await _reply(*internal_error(trace_id=ids.trace_id, request_id=ids.request_id))(scope, receive, send_with_ids)


def _declared_bytes(headers: Headers) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0  # what comes is counted all the same


def _bounded(receive: Receive, limit: int) -> Receive:
    """Counts the body as it comes: a chunked one declares no length. Raises what the application knows how to answer."""
    read = 0

    async def receive_within() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            if message.get("more_body"):
                await _drain(receive)
            raise HTTPException(413, _too_large(limit), headers=_CLOSE)
        return message

    return receive_within


async def _drain(receive: Receive) -> None:
    left = _DRAINED_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit:,} bytes"


def _reply(status: int, body: ErrorReply, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status_code=status, headers=headers)
