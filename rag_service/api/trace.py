"""The outermost layer of every request: trace id, request id, body limit, the answer of last resort, and word of how it ended.

Pure ASGI, because its context must be the one that handlers run in, and because it must also cover what never reaches a handler.
"""

import logging
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.trace import SpanContext
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_service.api.errors import as_response, error_reply, internal_error
from rag_service.api.outcome import Outcome, begin_outcome
from rag_service.telemetry.spans import remote_context, request_span, within

logger = logging.getLogger("rag_service.api")

_CLOSE = {"Connection": "close"}
_CLIENT_GONE = 499

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


@dataclass(frozen=True, slots=True)
class Ended:
    """A request whose reply has gone out, or whose client has gone."""

    method: str
    route: str | None
    """The template that it matched, such as `/chunks/{chunk_id}`."""
    status: int
    """499 where nobody was left to take a reply."""
    duration_s: float
    ids: RequestIds
    outcome: Outcome
    span: SpanContext
    caller: SpanContext | None
    """The span that it was sent from, where it said so."""
    start_ns: int
    """Nanoseconds since 1970."""


_DRAINED_BYTES = 16 * 2**20
"""How much of a body that is refused is read and thrown away: a client that is still sending does not see the reply otherwise."""


class TraceMiddleware:
    """`ended` is told of every request, and `span_of` gives its span, by the caller's and the path; both must be quick and not raise."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        ended: Callable[[Ended], None] = lambda _: None,
        span_of: Callable[[SpanContext | None, str], SpanContext] = lambda caller, _: request_span(caller),
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._ended = ended
        self._span_of = span_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller, start_ns = remote_context(headers.get("traceparent"), headers.get("tracestate")), time.time_ns()
        span = self._span_of(caller, scope["path"])
        with within(span) as trace_id:
            asked = headers.get(REQUEST_HEADER, "")
            ids = RequestIds(trace_id, asked if _REQUEST_ID.fullmatch(asked) else None, time.monotonic())
            token, outcome = _current.set(ids), begin_outcome()
            status = _CLIENT_GONE
            try:
                status = await self._answer(scope, receive, send, headers, ids, outcome)
            finally:
                _current.reset(token)
                route = getattr(scope.get("route"), "path", None)
                duration_s = time.monotonic() - ids.arrived_s
                self._ended(Ended(scope["method"], route, status, duration_s, ids, outcome, span, caller, start_ns))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, ids: RequestIds, outcome: Outcome) -> int:
        """The status of the reply."""
        status = 0

        async def send_with_ids(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
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
                outcome.failed("payload_too_large")
                refusal = error_reply("payload_too_large", _too_large(limit), trace_id=ids.trace_id, request_id=ids.request_id)
                await as_response(*refusal, _CLOSE)(scope, receive, send_with_ids)
                return status
            await self._app(scope, _bounded(receive, limit), send_with_ids)
        except Exception:
            # Handlers translate what they know; this is the edge of the process, and the client must get the one error shape.
            logger.exception("unexpected error, trace %s", ids.trace_id)
            outcome.failed("internal")
            if status:
                raise
            await as_response(*internal_error(trace_id=ids.trace_id, request_id=ids.request_id))(scope, receive, send_with_ids)
        return status or _CLIENT_GONE


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
