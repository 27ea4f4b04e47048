"""What a connection puts up with: raw bytes over real sockets against a real server."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_service.api.connection import MAX_HEAD_BYTES
from rag_service.api.connections import ConnectionLimits
from rag_service.api.server import DrainingServer, Ending

HOST = b"Host: here\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
TIMEOUT_S = 0.4


@dataclass
class Echo:
    """Replies with what it was asked."""

    seen: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Paths of requests whose client went away."""
    waits_s: float = 0
    """Before the body is asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("this application has no lifespan")
        await asyncio.sleep(self.waits_s)
        self.seen.append(scope["path"])
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.append(scope["path"])
                return
            body, more = body + message["body"], message["more_body"]
        reply = json.dumps(
            {"method": scope["method"], "body_bytes": len(body), "body": body[:100].decode(), "headers": _texts(scope["headers"])}
        ).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(reply)).encode())]})
        await send({"type": "http.response.body", "body": reply})


def _texts(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._incoming: IO[bytes] = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> Reply:
        status_line = self._incoming.readline()
        assert status_line.startswith(b"HTTP/1.1 "), status_line
        headers: dict[str, str] = {}
        while (line := self._incoming.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return Reply(int(status_line.split()[1]), headers, self._incoming.read(int(headers.get("content-length", "0"))))

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        return self._incoming.read()

    def is_closed(self) -> bool:
        """Waits until the server has ended the connection, in whatever way."""
        try:
            return self.rest() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._incoming.close()
        self.socket.close()


@dataclass(frozen=True)
class Served:
    port: int
    server: DrainingServer

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


Serve = Callable[..., Served]
Connect = Callable[[Served], Client]


@contextmanager
def running(app: ASGIApp, limits: ConnectionLimits, *, kernel_buffer_bytes: int | None = None) -> Iterator[Served]:
    """`kernel_buffer_bytes` bounds what the kernel takes for a client that does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if kernel_buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer_bytes)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel_buffer_bytes)
        server = DrainingServer(app, limits, Ending(grace_s=0.1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            yield Served(listener.getsockname()[1], server)
        finally:
            server.stop()
            thread.join(20)
        assert not thread.is_alive()


def until(true: Callable[[], bool], within_s: float = 10) -> None:
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:

        def start(app: ASGIApp, *, read_timeout_s: float = TIMEOUT_S, max_connections: int = 100, keep_alive_s: float = 75.0) -> Served:
            return servers.enter_context(running(app, ConnectionLimits(max_connections, read_timeout_s, keep_alive_s)))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as clients:

        def to(served: Served) -> Client:
            client = Client(served.port)
            clients.callback(client.close)
            return client

        yield to


def is_refusal(reply: Reply, status: int, code: str) -> bool:
    """Whether it has the shape of every other error, with a trace id of its own, and says that the connection ends."""
    error = reply.json["error"]
    assert set(error) == {"code", "message", "type", "retryable", "retry_after_s", "stage", "param", "details"}
    assert re.fullmatch("[0-9a-f]{32}", reply.json["trace_id"])
    assert reply.headers["x-trace-id"] == reply.json["trace_id"]
    assert (reply.json["request_id"], reply.json["trace"]) == (None, None)
    assert (reply.headers["connection"], reply.headers["content-type"]) == ("close", "application/json")
    return (reply.status, error["code"]) == (status, code)


def post(extra: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + extra + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "length and chunked": post(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n"),
    "chunked and length": post(CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n"),
    "two equal lengths": post(b"Content-Length: 2\r\nContent-Length: 2\r\n", b"ab"),
    "two different lengths": post(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"abc"),
    "a list of lengths": post(b"Content-Length: 2, 2\r\n", b"ab"),
    "a length with a sign": post(b"Content-Length: +2\r\n", b"ab"),
    "a negative length": post(b"Content-Length: -2\r\n", b"ab"),
    "a length with a space": post(b"Content-Length: 1 2\r\n", b"ab"),
    "a hexadecimal length": post(b"Content-Length: 0x2\r\n", b"ab"),
    "an empty length": post(b"Content-Length: \r\n"),
    "a length that overflows": post(b"Content-Length: 99999999999999999999999\r\n"),
    "line ends without CR": b"POST / HTTP/1.1\nHost: here\n\n",
    "one line end without CR": b"GET / HTTP/1.1\r\nHost: here\nA: b\r\n\r\n",
    "a last line end without CR": b"GET / HTTP/1.1\r\nHost: here\r\n\n",
    "CR without LF": b"GET / HTTP/1.1\r\nHost: here\rA: b\r\n\r\n",
    "a space before the colon": post(b"Content-Length : 2\r\n", b"ab"),
    "a tab before the colon": post(b"Content-Length\t: 2\r\n", b"ab"),
    "a folded header": post(b"A: b\r\n c\r\n"),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "a first header that is folded": b"GET / HTTP/1.1\r\n Host: here\r\n\r\n",
    "a chunk size that overflows": post(CHUNKED, b"FFFFFFFFFFFFFFFFF\r\nab\r\n0\r\n\r\n"),
    "a negative chunk size": post(CHUNKED, b"-1\r\nab\r\n0\r\n\r\n"),
    "a chunk size with 0x": post(CHUNKED, b"0x2\r\nab\r\n0\r\n\r\n"),
    "a chunk size with a space": post(CHUNKED, b"2 \r\nab\r\n0\r\n\r\n"),
    "a chunk that ends without CR": post(CHUNKED, b"2\nab\n0\n\n"),
    "a chunk longer than it says": post(CHUNKED, b"2\r\nabc\r\n0\r\n\r\n"),
    "identity, chunked": post(b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"),
    "chunked, identity": post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n"),
    "chunked twice": post(CHUNKED + CHUNKED, b"0\r\n\r\n"),
    "a coding nobody knows": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "a vertical tab before the coding": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "a garbled method": b"FOO!BAR / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "a proxy's method": b"CONNECT elsewhere:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a value": post(b"A: b\0c\r\n"),
    "NUL in a name": post(b"A\0: b\r\n"),
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control character in a value": post(b"A: b\x01c\r\n"),
    "a target without a path": b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target with a space": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": post(b"Host: there\r\n"),
    "a host that is a path": b"GET / HTTP/1.1\r\nHost: here/../there\r\n\r\n",
    "a header without a name": post(b": b\r\n"),
    "a line that is no header": post(b"Abc\r\n"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a head too long": post(b"A: " + b"b" * MAX_HEAD_BYTES + b"\r\n"),
    "too many headers": post(b"A: b\r\n" * (MAX_HEAD_BYTES // 5)),
}


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module")
def echoing(echo: Echo) -> Iterator[Served]:
    with running(echo, ConnectionLimits(100, 10.0)) as served:
        yield served


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_plainly_one_request_is_a_400_and_nothing_after_it_is_read(
    request_bytes: bytes, echoing: Served, echo: Echo, connect: Connect
) -> None:
    client = connect(echoing)
    client.send(request_bytes + NEXT)
    assert is_refusal(client.reply(), 400, "invalid_http")
    with suppress(OSError):  # it may have been closed already
        client.send(NEXT)
    assert client.is_closed()
    assert "/smuggled" not in echo.seen


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_that_comes_in_pieces_is_refused_as_well(request_bytes: bytes, echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    pieces = [request_bytes[at : at + 1] for at in range(len(request_bytes))] if len(request_bytes) < 1000 else [request_bytes]
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        for piece in [*pieces, NEXT]:
            client.send(piece)
    assert is_refusal(client.reply(), 400, "invalid_http")
    assert client.is_closed()


def test_a_client_that_goes_on_sending_still_gets_to_read_why_it_was_refused(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(b"Content-Length: 5000000\r\nContent-Length: 5\r\n", b"x" * 5_000_000))
    assert is_refusal(client.reply(), 400, "invalid_http")


def test_pipelined_requests_are_answered_in_their_order(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(b"Content-Length: 1\r\n", b"1") + post(CHUNKED, b"1;a=b\r\n2\r\n0\r\n\r\n") + post(b"Content-Length: 1\r\n", b"3"))
    assert [client.reply().json["body"] for _ in range(3)] == ["1", "2", "3"]
    client.send(post(b"Content-Length: 1\r\n", b"4"))
    assert client.reply().json["body"] == "4"


def test_what_precedes_a_malformed_request_is_answered_first(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(b"Content-Length: 1\r\n", b"1") + post(b"Content-Length: 1\r\n", b"2") + b"rubbish\r\n\r\n" + NEXT)
    assert [client.reply().json["body"] for _ in range(2)] == ["1", "2"]
    assert is_refusal(client.reply(), 400, "invalid_http")
    assert client.is_closed()


def test_what_precedes_a_malformed_body_is_answered_first(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(b"Content-Length: 1\r\n", b"1") + post(CHUNKED, b"xyz\r\n") + NEXT)
    assert client.reply().json["body"] == "1"
    assert is_refusal(client.reply(), 400, "invalid_http")
    assert client.is_closed()


def test_http_1_0_is_answered_and_closed(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")
    reply = client.reply()
    assert (reply.status, reply.json["body"], reply.headers["connection"]) == (200, "ab", "close")
    assert client.is_closed()


def test_a_wish_for_another_protocol_is_ignored_and_the_request_is_answered_whole(echoing: Served, echo: Echo, connect: Connect) -> None:
    client = connect(echoing)
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    client.send(post(upgrade + b"Content-Length: %d\r\n" % len(NEXT), NEXT[:10]))
    client.send(NEXT[10:])
    assert client.reply().json["body"] == NEXT.decode()
    client.send(post(upgrade + CHUNKED, b"2\r\nab\r\n0\r\n\r\n"))
    assert client.reply().json["body"] == "ab"
    assert "/smuggled" not in echo.seen


def test_a_websocket_is_not_opened(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(b"GET /chat HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n")
    reply = client.reply()
    assert (reply.status, reply.json["method"]) == (200, "GET")
    assert "upgrade" not in reply.json["headers"]


def test_what_follows_a_body_does_not_become_a_header(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(CHUNKED, b"2\r\nab\r\n0\r\nAuthorization: Bearer stolen\r\n\r\n"))
    headers = client.reply().json["headers"]
    assert "authorization" not in headers
    assert headers["host"] == "here"


def test_white_space_around_a_value_is_not_part_of_it(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(b"Content-Length:  2 \t\r\nX-Request-Id: \t one \r\n", b"ab"))
    headers = client.reply().json["headers"]
    assert (headers["content-length"], headers["x-request-id"]) == ("2", "one")


def test_a_body_that_is_all_extensions_is_refused(echoing: Served, connect: Connect) -> None:
    client = connect(echoing)
    client.send(post(CHUNKED, b"2;"))
    with suppress(OSError):
        for _ in range(100):
            client.send(b"x" * 4096)
    assert is_refusal(client.reply(), 400, "invalid_http")


# Clients that are slow to send


def trickle(client: Client, data: bytes, pause_s: float = 0.05) -> None:
    """A byte now and then, until the server has enough of it."""
    with suppress(OSError):
        for at in range(len(data)):
            client.send(data[at : at + 1])
            time.sleep(pause_s)


def in_background(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_head_that_comes_byte_by_byte_is_cut_off_with_a_408(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Echo()))
    began_s = time.monotonic()
    in_background(trickle, client, post(b"X: " + b"x" * 500 + b"\r\n"))
    assert is_refusal(client.reply(), 408, "request_timeout")
    assert TIMEOUT_S * 0.9 < time.monotonic() - began_s < 5
    assert client.is_closed()


def test_a_connection_that_never_says_anything_is_closed_without_a_word(serve: Serve, connect: Connect) -> None:
    assert connect(serve(Echo())).rest() == b""


@pytest.mark.parametrize("slow", [b"GET / HTTP/1.1\r\nHost: " + b"x" * 500, b"\r\n" * 250], ids=["a slow head", "blank lines"])
def test_the_next_request_has_a_time_limit_from_its_first_byte(slow: bytes, serve: Serve, connect: Connect) -> None:
    client = connect(serve(Echo()))
    client.send(post(b""))
    assert client.reply().status == 200
    time.sleep(TIMEOUT_S * 2)  # between requests there is the time of keep-alive
    client.send(post(b""))
    assert client.reply().status == 200
    in_background(trickle, client, slow)
    assert is_refusal(client.reply(), 408, "request_timeout")


def test_a_body_that_stops_coming_is_cut_off_with_a_408_and_the_application_hears_of_it(serve: Serve, connect: Connect) -> None:
    app = Echo()
    client = connect(serve(app))
    client.send(post(b"Content-Length: 10\r\n", b"12345"))
    assert is_refusal(client.reply(), 408, "request_timeout")
    assert client.is_closed()
    until(lambda: app.gone == ["/"])


def test_a_body_that_comes_byte_by_byte_is_cut_off(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Echo()))
    client.send(post(b"Content-Length: 1000\r\n"))
    in_background(trickle, client, b"x" * 1000)
    assert is_refusal(client.reply(), 408, "request_timeout")


def test_a_body_that_comes_steadily_may_take_longer_than_the_limit(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Echo()))
    client.send(post(b"Content-Length: 20480\r\n"))
    for _ in range(20):
        time.sleep(TIMEOUT_S * 3 / 20)
        client.send(b"x" * 1024)
    assert client.reply().json["body_bytes"] == 20_480


def test_a_client_is_not_blamed_for_an_application_that_does_not_read(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Echo(waits_s=TIMEOUT_S * 3)))
    client.send(post(b"Content-Length: 500000\r\n", b"x" * 500_000))
    assert client.reply().json["body_bytes"] == 500_000


@pytest.mark.parametrize("windows", [2.5, 2.99, 3.0])
def test_a_client_that_waits_to_be_told_to_continue_is_not_slow(windows: float, serve: Serve, connect: Connect) -> None:
    client = connect(serve(Echo(waits_s=TIMEOUT_S * windows)))
    client.send(post(b"Expect: 100-continue\r\nContent-Length: 2\r\n"))
    assert client.reply().status == 100
    time.sleep(TIMEOUT_S / 4)
    client.send(b"ab")
    assert client.reply().json["body"] == "ab"


async def refuses_unread(scope: Scope, _: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def test_after_a_refusal_the_client_that_asked_before_sending_starts_anew(serve: Serve, connect: Connect) -> None:
    """Whether it sends the body after all or another request cannot be told, so neither is read."""
    client = connect(serve(refuses_unread, read_timeout_s=30))
    client.send(post(b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(NEXT)))
    assert client.reply().status == 403
    began_s = time.monotonic()
    assert client.is_closed()
    assert time.monotonic() - began_s < 3


def test_a_body_that_comes_after_its_answer_is_read_and_the_connection_goes_on(serve: Serve, connect: Connect) -> None:
    client = connect(serve(refuses_unread))
    client.send(post(b"Content-Length: 4\r\n", b"ab"))
    assert client.reply().status == 403
    client.send(b"cd" + post(b""))
    assert client.reply().status == 403


# Clients that are slow to read


@dataclass
class Endless:
    """Streams until its client is gone."""

    ended: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await receive()
        gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await asyncio.sleep(0)
        assert gone.result()["type"] == "http.disconnect"
        self.ended.set()


def test_a_client_that_takes_nothing_of_a_stream_is_cut_off_and_the_application_hears_of_it(serve: Serve, connect: Connect) -> None:
    app = Endless()
    client = connect(serve(app))
    client.send(post(b""))
    assert app.ended.wait(20)


@dataclass
class Large:
    """One reply of many bytes, written at once."""

    size_bytes: int

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % self.size_bytes)]})
        await send({"type": "http.response.body", "body": b"x" * self.size_bytes})


def test_a_reply_that_is_never_taken_does_not_hold_its_connection(serve: Serve, connect: Connect) -> None:
    served = serve(Large(20_000_000))
    clients = [connect(served) for _ in range(3)]
    for client in clients:
        client.send(post(b"Connection: close\r\n"))
    until(lambda: served.connections == 3)
    until(lambda: served.connections == 0)


def test_the_last_bytes_of_a_reply_do_not_hold_a_connection_either() -> None:
    with (
        running(Large(60_000), ConnectionLimits(100, TIMEOUT_S), kernel_buffer_bytes=4096) as served,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        client.sendall(post(b"Connection: close\r\n"))
        until(lambda: served.connections == 1)
        until(lambda: served.connections == 0)


def test_a_client_that_reads_slowly_but_steadily_gets_the_whole_reply(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Large(20_000_000)))
    client.send(post(b"Connection: close\r\n"))
    began_s, received = time.monotonic(), 0
    while data := client.socket.recv(200_000):
        received += len(data)
        time.sleep(0.02)
    assert received > 20_000_000
    assert time.monotonic() - began_s > TIMEOUT_S * 3


@dataclass
class Stream:
    """A reply in many parts."""

    parts: int

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(self.parts):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": number < self.parts - 1})


def test_a_client_that_reads_a_stream_slowly_but_steadily_gets_all_of_it(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Stream(400)))
    client.send(post(b"Connection: close\r\n"))
    began_s, received = time.monotonic(), b""
    while data := client.socket.recv(200_000):
        received = received[-10:] + data
        time.sleep(0.01)
    assert received.endswith(b"0\r\n\r\n")
    assert time.monotonic() - began_s > TIMEOUT_S * 3


# Between two requests


def test_a_connection_rests_as_long_as_is_said_whatever_the_time_for_a_request_is(serve: Serve, connect: Connect) -> None:
    served = serve(Echo(), read_timeout_s=0.1, keep_alive_s=1.0)
    client = connect(served)
    for _ in range(2):
        client.send(post(b""))
        assert client.reply().status == 200
        time.sleep(0.5)
    began_s = time.monotonic()
    assert client.is_closed()
    assert time.monotonic() - began_s > 0.1


# Too many clients


def test_more_connections_than_are_allowed_are_told_so_and_closed(serve: Serve, connect: Connect) -> None:
    app = Echo(waits_s=0.5)
    served = serve(app, max_connections=3, read_timeout_s=10)
    busy = [connect(served) for _ in range(3)]
    for client in busy:
        client.send(post(b""))
    until(lambda: served.connections == 3)
    refused = connect(served)
    refused.send(post(b""))
    assert is_refusal(refused.reply(), 429, "queue_full")
    assert refused.is_closed()
    assert [client.reply().status for client in busy] == [200] * 3
    late = connect(served)
    late.send(post(b""))
    assert late.reply().status == 200


def test_the_connection_that_has_been_idle_longest_makes_room(serve: Serve, connect: Connect) -> None:
    served = serve(Echo(), max_connections=3, read_timeout_s=10)
    idle = [connect(served) for _ in range(3)]
    for client in [*idle, idle[0]]:
        client.send(post(b""))
        assert client.reply().status == 200
    new = connect(served)
    new.send(post(b""))
    assert new.reply().status == 200
    assert idle[1].is_closed()
    for client in (idle[0], idle[2], new):
        client.send(post(b""))
        assert client.reply().status == 200


@pytest.mark.parametrize("part", [b"GET / HT", post(b"Content-Length: 9\r\n", b"123")], ids=["head", "body"])
def test_clients_that_are_slow_to_send_make_room_for_those_that_are_not(part: bytes, serve: Serve, connect: Connect) -> None:
    served = serve(Echo(), max_connections=20, read_timeout_s=30)
    slow = [connect(served) for _ in range(20)]
    for client in slow:
        client.send(part)
    until(lambda: served.connections == 20)
    time.sleep(0.2)  # they have had their time
    for _ in range(30):
        good = connect(served)
        good.send(post(b""))
        assert good.reply().status == 200
    assert is_refusal(slow[0].reply(), 408, "request_timeout")
