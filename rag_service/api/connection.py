"""One client's connection: what it must keep to before, while and after the application sees its request.

uvicorn's own protocol parses requests and runs the application. This one adds what a server on an open network needs and uvicorn
leaves to a proxy: a client has a limited time to send a request and to take the reply, connections are limited in number, and what is
not plainly one HTTP request is refused in the same JSON shape as every other error, after which the connection is closed: bytes that
follow something doubtful are never read as another request.
"""

import logging
import re
import time
from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any, Literal

import httptools
from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rag_service.api.connections import Connections
from rag_service.api.refusals import on_the_wire, refusal

logger = logging.getLogger("rag_service.api")

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers; also what may come in a body beside its content (chunk extensions and trailers) in one piece."""
_MIN_BODY_BYTES_PER_S = 1024
"""A body that comes more slowly than this, once the time for it is over, is given up."""
_LINGER_S = 1.0
"""How long a refused client may go on sending: closing at once would reset the connection before the reply is read."""
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")


class _Malformed(Exception):
    """Leaves a parser callback; the parser reports it as its cause."""


class _Flow(FlowControl):
    """Also knows since when the client may send: while reading is paused, it is not the client who is slow."""

    resumed_s = 0.0

    def resume_reading(self) -> None:
        if self.read_paused:
            self.resumed_s = time.monotonic()
        super().resume_reading()


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        shared: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._shared = shared
        self._timeout_s = shared.limits.read_timeout_s
        self.timeout_keep_alive = shared.limits.keep_alive_s  # type: ignore[assignment] # goes to call_later, which takes fractions
        self._phase: Literal["idle", "head", "body", "over"] = "head"
        """What the client has to send next: nothing, a request's head, its body; or nothing that anybody will read."""
        self._spoken = False
        self._unread_bytes = 0
        """Received since the parser last came to something."""
        self._upgrading = False
        self._reading: TimerHandle | None = None
        self._window_s, self._window_bytes = 0.0, 0
        """Since when body bytes are counted, and how many have come."""
        self._window_fair = True
        """Whether the client could send when it began."""
        self._writing: TimerHandle | None = None
        self._unsent_bytes = 0
        self._unanswered = 0
        """Requests whose head has come and whose reply is not complete."""
        self._refusal: Response | None = None
        """Goes out when the requests before it have been answered."""

    # What the transport says

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self._wait_for("head")
        if len(self.connections) > self._shared.limits.max_connections and not self._shared.make_room():
            self._end_with(refusal("queue_full", "there are more connections than can be served: try again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        self._shared.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._phase == "over" or self._refusal is not None:
            return
        self._spoken = True
        if self._phase == "idle":
            self._wait_for("head")
        self._unread_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse_malformed(error)
        if self._unread_bytes > MAX_HEAD_BYTES:
            self._refuse("invalid_http", f"more than {MAX_HEAD_BYTES:,} bytes that are not the content of a request")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching_writing()
        if self.cycle is not None and self.cycle.response_complete:
            self._watch_writing()  # the rest of the last reply

    # What the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._phase == "idle":
            self._wait_for("head")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == "head":  # not a trailer: what comes after the body must not become a header, an Authorization for one
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._check_head()
        self._unread_bytes = 0
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        super().on_headers_complete()
        self._unanswered += 1
        self._wait_for("body")
        if self._shared.closing:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        self._window_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._unread_bytes = 0
        self._stop_waiting()
        self._phase = "idle"
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():  # answered before its body had come
            self._rest()

    def _check_head(self) -> None:
        """What the parser lets through although two readers might understand it differently (RFC 9112 §3.2, §6.1, §11.2)."""
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise _Malformed(f"HTTP/{version} is not spoken here")
        if self.parser.get_method() == b"CONNECT":
            raise _Malformed("this is not a proxy")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1") or not all(_HOST.fullmatch(host) for host in hosts):
            raise _Malformed("there must be one Host header, with a host")
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or version == "1.0"):
            raise _Malformed("the only Transfer-Encoding is chunked, in HTTP/1.1")
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            raise _Malformed(f"the head is longer than {MAX_HEAD_BYTES:,} bytes")

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Reads the request again as what it is without its wish for another protocol, which a server may ignore (RFC 9110 §7.8).

        The parser stops after such a head and skips the body; Java's client, which offers h2c with each request, would send none.
        """
        self._upgrading = False
        head = [self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        head += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(b"\r\n".join([*head, b"", rest]))
        except httptools.HttpParserError as error:
            self._refuse_malformed(error)

    # Time

    def _wait_for(self, part: Literal["head", "body"]) -> None:
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self._phase = part
        self._shared.sends(self)
        self._open_window()

    def _open_window(self) -> None:
        self._window_s, self._window_bytes = time.monotonic(), 0
        self._window_fair = self._is_read
        self._reading = self.loop.call_later(self._timeout_s, self._on_late)

    def _stop_waiting(self) -> None:
        self._shared.has_sent(self)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    @property
    def waits_for_client(self) -> bool:
        return self._is_read and not (self._phase == "head" and self._unanswered)

    @property
    def _is_read(self) -> bool:
        """Whether the client can send: not while reading is paused, and not before it has been told to continue."""
        continuing = self._phase == "body" and self.cycle.waiting_for_100_continue
        return not self.flow.read_paused and not continuing

    def _on_late(self) -> None:
        enough = self._phase == "body" and self._window_bytes >= _MIN_BODY_BYTES_PER_S * self._timeout_s
        fair = self._window_fair and self._is_read and self._flow.resumed_s <= self._window_s
        if enough or not fair:
            self._open_window()
            return
        part = "head" if self._phase == "head" else "body"
        self._refuse("request_timeout", f"the {part} of the request did not come within {self._timeout_s:g} s")

    def _watch_writing(self) -> None:
        """Gives the client up when it takes nothing for too long of what is ready for it."""
        self._unsent_bytes = self.transport.get_write_buffer_size()
        if self._writing is None and self._unsent_bytes:
            self._writing = self.loop.call_later(self._timeout_s, self._on_unread)

    def _on_unread(self) -> None:
        self._writing = None
        if self.transport.get_write_buffer_size() < self._unsent_bytes:
            self._watch_writing()
            return
        logger.info("a client took nothing of its reply for %g s", self._timeout_s)
        self.transport.abort()

    def _stop_watching_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _stop_timers(self) -> None:
        self._stop_waiting()
        self._stop_watching_writing()
        self._unset_keepalive_if_required()

    # The end of a request, and of the connection

    def on_response_complete(self) -> None:
        # A client that asked before it sends may send the body after all, or leave it out: what comes next cannot be told.
        unsure = not self.pipeline and self.cycle.more_body and self.expect_100_continue
        self._unanswered -= 1
        super().on_response_complete()
        self._watch_writing()
        if self.transport.is_closing() or self._unanswered or self._phase == "over":
            return
        if self._refusal is not None:
            self._end_with(self._refusal)
        elif unsure:
            self.transport.close()
        elif self._phase == "idle":
            self._rest()
        else:
            self._unset_keepalive_if_required()  # the next request has begun to come: it has a time limit of its own

    def _rest(self) -> None:
        self._shared.rests(self)
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def make_way(self) -> None:
        self.connections.discard(self)
        if self._phase == "idle":
            self.transport.close()
        else:
            self._refuse("request_timeout", "there are more connections than can be served, and this request was slow to come")

    def abort(self) -> None:
        self.transport.abort()

    def _refuse_malformed(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        why = str(cause) if cause is error or isinstance(cause, _Malformed) else "its target is not a path"
        self._refuse("invalid_http", f"this is not a valid HTTP request: {why}")

    def _refuse(self, code: str, message: str) -> None:
        """Answers the request that is being read with an error, after the answers to those before it, and ends the connection."""
        if self._phase == "over" or self._refusal is not None or self.transport.is_closing():
            return
        logger.info("request refused, %s: %s", code, message)
        if not self._spoken:
            self.transport.close()  # opened and never used, as browsers do
            return
        reply = refusal(code, message)
        if self._phase == "body":
            if self.pipeline:
                self.pipeline.popleft()  # it has not been started
            elif self.cycle.response_started:
                self.transport.abort()
                return
            else:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self._unanswered -= 1
        if self._unanswered:
            self._stop_waiting()
            self._refusal = reply
        else:
            self._end_with(reply)

    def _end_with(self, reply: Response) -> None:
        """Says `reply` and that nothing follows it, then reads and throws away what still comes, for a moment."""
        self._stop_timers()
        self._phase = "over"
        self.connections.discard(self)
        self._shared.lingers(self)
        self.transport.write(on_the_wire(reply, self.server_state.default_headers))
        self.transport.write_eof()
        self.flow.resume_reading()
        self._reading = self.loop.call_later(_LINGER_S, self.transport.abort)
