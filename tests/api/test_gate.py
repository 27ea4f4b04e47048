"""Who is let in, over a real server: hosts, keys, scopes, rates, CORS, and the headers of every reply."""

import asyncio
import json
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse
from starlette.types import Message

from rag_service.api.browsers import LOOPBACK_HOSTS, SecurityHeaders, checked_hosts, checked_origins
from rag_service.api.gate import OPEN_PATHS, SCOPES_BY_PREFIX, CallRates, GateMiddleware, current_caller, scopes_for
from rag_service.api.trace import TraceMiddleware
from rag_service.errors import InvalidSettings
from rag_service.key_file import SCOPES, Scope, create_key, revoke_key
from rag_service.keys import Keyring

PAGE = "https://chat.example.org"
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])

    def cors(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.startswith("access-control-")}


@dataclass(frozen=True)
class Client:
    port: int

    def send(self, path: str, *pairs: tuple[str, str], method: str = "GET", body: bytes = b"", host: bool = True) -> Reply:
        """Headers go out in the order given, as often as given; `host=False` sends none but those."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            return exchange(connection, path, pairs, method=method, body=body, host=host)
        finally:
            connection.close()

    def keyed(self, path: str, key: str, method: str = "GET", body: bytes = b"", origin: str = "") -> Reply:
        page = [("Origin", origin)] if origin else []
        return self.send(path, ("Authorization", f"Bearer {key}"), *page, method=method, body=body)


def exchange(connection: HTTPConnection, path: str, pairs: Pairs, *, method: str = "GET", body: bytes = b"", host: bool = True) -> Reply:
    connection.putrequest(method, path, skip_host=not host, skip_accept_encoding=True)
    for name, value in pairs:
        connection.putheader(name, value)
    if method == "POST":
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    response = connection.getresponse()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def small_app() -> FastAPI:
    """A route of each kind. What may be seen is told by each, so that a test sees who was let in as whom."""
    app = FastAPI()

    def told() -> dict[str, Any]:
        caller = current_caller()
        shown = caller.filter.as_json() if caller.filter else None
        return {"name": caller.name, "id": caller.key_id, "scopes": sorted(caller.scopes), "filter": shown}

    async def asynchronous() -> dict[str, Any]:
        return told()

    async def posted(request: Request) -> dict[str, Any]:
        return {**told(), "body_bytes": len(await request.body())}

    async def streamed() -> StreamingResponse:
        async def pieces() -> Any:
            yield json.dumps(told()).encode()

        return StreamingResponse(pieces(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def broken() -> None:
        raise RuntimeError("broken on purpose")

    for path in (*SCOPES_BY_PREFIX, "/traces/{identifier}", "/other", *OPEN_PATHS):
        app.add_api_route(path, told)
    app.add_api_route("/asynchronous", asynchronous)
    app.add_api_route("/ask", posted, methods=["POST"])
    app.add_api_route("/ask/stream", streamed)
    app.add_api_route("/broken", broken)
    return app


@contextmanager
def running(keys: Path, **gate: Any) -> Iterator[Client]:
    """The small app behind the gate, on a free port of the loopback interface."""
    app = small_app()
    app.add_middleware(GateMiddleware, keyring=Keyring(keys), **gate)
    app.add_middleware(TraceMiddleware, max_body_bytes=2**16)
    app.add_middleware(SecurityHeaders)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline_s = time.monotonic() + 10
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                assert time.monotonic() < deadline_s, "the server did not start in time"
                time.sleep(0.005)
            yield Client(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()


Serve = Callable[..., Client]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def serve(path: Path) -> Iterator[Serve]:
    """`serve(allowed_hosts=…)` starts a server for one test, whose keys are those in `path`."""
    with ExitStack() as servers:
        yield lambda **gate: servers.enter_context(running(path, **gate))


@dataclass(frozen=True)
class Guarded:
    """A server that all tests share. It does not count failures."""

    client: Client
    keys: dict[str, str]
    """Name → key. The name says its scope; `all` and `other` have every one."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    path = tmp_path_factory.mktemp("guarded") / "keys.json"
    scopes: dict[str, tuple[Scope, ...]] = {"ask": ("ask",), "traces": ("traces",), "admin": ("admin",), "all": SCOPES, "other": SCOPES}
    keys = {name: create_key(path, name=name, scopes=held)[1] for name, held in scopes.items()}
    with running(path, allowed_hosts=LOOPBACK_HOSTS, cors_origins=[PAGE], rates=CallRates(failures_per_minute=100_000)) as client:
        yield Guarded(client, keys)


# --- keys


def test_without_keys_everybody_is_let_in_whatever_they_send(serve: Serve) -> None:
    client = serve()
    for reply in (client.send("/ask"), client.keyed("/traces", "unused"), client.send("/other", ("X-API-Key", "a"), ("X-API-Key", "b"))):
        assert reply.status == 200
        assert reply.json == {"name": "anybody", "id": None, "scopes": sorted(SCOPES), "filter": None}


def test_a_key_is_taken_from_either_header_and_its_holder_is_known_to_every_kind_of_route(serve: Serve, path: Path) -> None:
    key, shown = create_key(path, name="frontend", scopes=("ask",), documents={"lang": "en"})
    client = serve()
    spellings = [
        ("Authorization", f"Bearer {shown}"), ("authorization", f"bearer {shown}"), ("AUTHORIZATION", f"BEARER   {shown}"),
        ("X-API-Key", shown), ("x-api-key", f"  {shown}  "),
    ]  # fmt: skip
    for header in spellings:
        for route in ("/ask", "/asynchronous", "/ask/stream"):
            reply = client.send(route, header)
            assert reply.status == 200
            assert reply.json == {"name": "frontend", "id": key.id, "scopes": ["ask"], "filter": {"lang": {"eq": "en"}}}


def test_both_headers_may_hold_the_same_key_and_another_scheme_is_not_ours(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    client = serve()
    assert client.send("/ask", ("Authorization", f"Bearer {shown}"), ("X-API-Key", shown)).status == 200
    assert client.send("/ask", ("Authorization", "Basic cHJveHk6cHJveHk="), ("X-API-Key", shown)).status == 200


REFUSED: dict[str, Callable[[str, str], Pairs]] = {
    "no key": lambda _, __: (),
    "a wrong secret": lambda key, _: [("Authorization", f"Bearer {key[:-3]}AAA")],
    "an unknown id": lambda key, _: [("Authorization", f"Bearer rag_{'0' * 12}{key[16:]}")],
    "not a key": lambda _, __: [("Authorization", "Bearer sk-1234")],
    "an empty key": lambda _, __: [("Authorization", "Bearer ")],
    "an empty header": lambda _, __: [("X-API-Key", "")],
    "the key without its scheme": lambda key, _: [("Authorization", key)],
    "another scheme": lambda key, _: [("Authorization", f"Basic {key}")],
    "something after the key": lambda key, _: [("Authorization", f"Bearer {key} {key}")],
    "a comma after the key": lambda key, _: [("Authorization", f"Bearer {key}, Bearer {key}")],
    "the header twice": lambda key, _: [("Authorization", f"Bearer {key}")] * 2,
    "the other header twice": lambda key, _: [("X-API-Key", key), ("x-api-key", key)],
    "a good and a bad header": lambda key, _: [("Authorization", f"Bearer {key}"), ("Authorization", "Bearer x")],
    "two different keys": lambda key, other: [("Authorization", f"Bearer {key}"), ("X-API-Key", other)],
    "a key and an empty header": lambda key, _: [("Authorization", f"Bearer {key}"), ("X-API-Key", "")],
    "no text": lambda _, __: [("Authorization", "Bearer rag_ÿþ")],
    "the key as a cookie": lambda key, _: [("Cookie", f"key={key}; x-api-key={key}")],
    "a header that is spelt with an underscore": lambda key, _: [("x_api_key", key)],
}


@pytest.mark.parametrize("how", REFUSED)
def test_whoever_has_no_valid_key_is_refused(guarded: Guarded, how: str) -> None:
    shown, other = guarded.keys["all"], guarded.keys["other"]
    reply = guarded.client.send("/ask", *REFUSED[how](shown, other))
    assert (reply.status, reply.code) == (401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json["trace_id"] == reply.headers["x-trace-id"]
    assert reply.json["error"]["retryable"] is False
    assert shown[17:] not in reply.body.decode()


def test_a_key_of_another_file_is_not_valid_here(serve: Serve, path: Path) -> None:
    create_key(path, name="here")
    _, elsewhere = create_key(path.with_name("elsewhere.json"), name="elsewhere")
    assert serve().keyed("/ask", elsewhere).code == "unauthorized"


@pytest.mark.parametrize("query", ["key={}", "api_key={}", "x-api-key={}", "authorization=Bearer%20{}", "access_token={}"])
def test_a_key_in_the_address_is_never_read(guarded: Guarded, query: str) -> None:
    assert guarded.client.send(f"/ask?{query.format(guarded.keys['all'])}").status == 401


def test_expired_and_revoked_keys_are_refused_in_the_words_for_wrong_ones(serve: Serve, path: Path) -> None:
    _, expired = create_key(path, name="expired", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    gone, revoked = create_key(path, name="revoked")
    revoke_key(path, gone.id)
    client = serve()
    messages = {client.keyed("/ask", key).json["error"]["message"] for key in (expired, revoked, "rag_nonsense")}
    assert len(messages) == 1


def test_a_key_that_is_revoked_is_refused_within_a_second(serve: Serve, path: Path) -> None:
    key, shown = create_key(path, name="frontend")
    client = serve()
    assert client.keyed("/ask", shown).status == 200
    revoke_key(path, key.id)
    until_s = time.monotonic() + 1.0
    statuses = [200]
    while statuses[-1] == 200 and time.monotonic() < until_s:
        time.sleep(0.02)
        statuses.append(client.keyed("/ask", shown).status)
    assert statuses[-1] == 401


def test_a_request_that_is_refused_is_answered_before_its_body_is_sent(serve: Serve, path: Path) -> None:
    create_key(path, name="frontend")
    with socket.create_connection(("127.0.0.1", serve().port), timeout=10) as connection:
        connection.sendall(b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_whoever_sends_a_body_all_the_same_sees_the_refusal(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    client = serve()
    assert client.send("/ask", method="POST", body=b"x" * 60_000).status == 401
    assert client.keyed("/ask", shown, "POST", b"x" * 60_000).json["body_bytes"] == 60_000


def test_keys_that_cannot_be_read_turn_everybody_away_but_probes(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    client = serve()
    path.write_text("{")
    deadline_s = time.monotonic() + 10
    while (reply := client.keyed("/ask", shown)).status == 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "storage_failed", "1")
    assert client.send("/ask").status == 503
    assert "keys.json" not in reply.body.decode()
    assert client.send("/health/live").status == 200


# --- what a key is for


@pytest.mark.parametrize("probe", sorted(OPEN_PATHS))
def test_probes_need_no_key_and_may_do_nothing_else(guarded: Guarded, probe: str) -> None:
    reply = guarded.client.send(probe)
    assert (reply.status, reply.json["scopes"]) == (200, [])


@pytest.mark.parametrize(
    "close",
    [
        "/health/live/", "/health/live/x", "/health/live%0A", "//health/live", "/HEALTH/live", "/health/../other", "/health/live;x",
        "/health/live%2F..%2F..%2Fask", "/health",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_probe_needs_a_key(guarded: Guarded, close: str) -> None:
    assert guarded.client.send(close).code in ("unauthorized", "not_found")


@pytest.mark.parametrize(
    ("route", "scopes"),
    [
        ("/ask", {"ask"}), ("/ask/stream", {"ask"}), ("/search", {"ask"}), ("/chunks", {"ask"}), ("/v1", {"ask"}), ("/info", {"ask"}),
        ("/traces", {"traces"}), ("/traces/1", {"traces"}), ("/%74races/1", {"traces"}), ("/metrics", {"traces", "admin"}),
        ("/other", set(SCOPES)), ("/docs", set(SCOPES)), ("/openapi.json", set(SCOPES)),
    ],
)  # fmt: skip
def test_a_key_does_what_its_scope_is_for_and_nothing_else(guarded: Guarded, route: str, scopes: set[str]) -> None:
    for scope in SCOPES:
        reply = guarded.client.keyed(route, guarded.keys[scope])
        assert reply.status == (200 if scope in scopes else 403), scope
        if reply.status == 403:
            assert reply.code == "forbidden"
            assert all(needed in reply.json["error"]["message"] for needed in scopes)
    assert guarded.client.send(route).status == 401


def test_a_line_feed_at_the_end_of_a_path_does_not_get_past_the_scopes(guarded: Guarded) -> None:
    """The regular expressions of routes take `/traces\\n` for `/traces`."""
    reply = guarded.client.keyed("/traces%0A", guarded.keys["ask"])
    assert (reply.status, reply.code) == (404, "not_found")


def test_a_path_is_not_known_to_whoever_has_no_key(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    client = serve()
    assert client.send("/nothing/here").status == 401
    assert client.keyed("/nothing/here", shown).status == 404


def test_scopes_go_by_whole_parts_of_a_path() -> None:
    assert scopes_for("/ask") == scopes_for("/ask/batch") == scopes_for("/ask/") == {"ask"}
    assert scopes_for("/") == {"ask"}
    assert scopes_for("/asked") is scopes_for("") is scopes_for("/other/ask") is scopes_for("*") is None


def test_there_is_no_way_around_the_keys_through_a_web_socket(path: Path) -> None:
    sent: list[Message] = []

    async def never(*_: Any) -> None:
        raise AssertionError("the application was reached")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(GateMiddleware(never, Keyring(path))({"type": "websocket", "path": "/ask", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


# --- how often


def test_a_key_that_asks_too_often_is_told_when_to_come_back(serve: Serve, path: Path) -> None:
    _, limited = create_key(path, name="limited", rate_per_minute=3)
    _, free = create_key(path, name="free")
    client = serve()
    assert [client.keyed("/ask", limited).status for _ in range(4)] == [200, 200, 200, 429]
    reply = client.keyed("/ask", limited)
    assert (reply.status, reply.code) == (429, "rate_limited")
    wait_s = reply.json["error"]["retry_after_s"]
    assert 0 < wait_s <= 20
    assert int(reply.headers["retry-after"]) == math.ceil(wait_s)
    assert client.keyed("/ask", free).status == 200
    assert client.send("/health/ready").status == 200


def test_a_thousand_wrong_keys_from_one_address_are_cut_short_and_the_right_one_goes_on(serve: Serve, path: Path) -> None:
    key, shown = create_key(path, name="frontend")
    client = serve()
    connection = HTTPConnection("127.0.0.1", client.port, timeout=20)
    replies = [exchange(connection, "/ask", [("X-API-Key", f"rag_{key.id}_{number:043d}")]) for number in range(1000)]
    connection.close()
    statuses = [reply.status for reply in replies]
    assert statuses[:20] == [401] * 20
    assert statuses[20] == 429
    assert statuses.count(401) + statuses.count(429) == 1000
    assert statuses.count(401) < 60, "20, and one more every 3 s"
    last = next(reply for reply in reversed(replies) if reply.status == 429)
    assert last.code == "rate_limited"
    assert 1 <= int(last.headers["retry-after"]) <= 3
    assert client.send("/ask").status in (401, 429)
    assert client.keyed("/ask", shown).status == 200


def test_failures_are_counted_for_each_network_of_clients(path: Path) -> None:
    create_key(path, name="frontend")
    gate = TraceMiddleware(GateMiddleware(small_app(), Keyring(path), rates=CallRates(failures_per_minute=1)), max_body_bytes=100)

    def status(address: str | None) -> int:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/ask", "headers": [], "client": (address, 1) if address else None}
        asyncio.run(gate(scope, receive, send))
        return int(sent[0]["status"])

    assert [status("192.0.2.1"), status("192.0.2.1"), status("192.0.2.2")] == [401, 429, 401]
    assert [status("2001:db8::1"), status("2001:db8::2"), status("2001:db8:0:1::1")] == [401, 429, 401]
    assert status("::ffff:192.0.2.1") == 429, "the same machine in other words"
    assert [status(None), status(None)] == [401, 429]


# --- what is logged


def test_no_key_is_ever_logged(serve: Serve, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, shown = create_key(path, name="frontend")
    _, other = create_key(path, name="other")
    with caplog.at_level(logging.DEBUG):
        client = serve()
        client.keyed("/ask", shown)
        client.keyed("/broken", shown)
        client.keyed("/traces", shown)
        for pairs in REFUSED.values():
            client.send(f"/ask?key={shown}", *pairs(shown, other))
        wrong = f"rag_{key.id}_{'W' * 43}"
        client.keyed("/ask", wrong)
    text = "\n".join(f"{record.getMessage()} {record.args!r} {record.exc_text or ''}" for record in caplog.records)
    assert "broken on purpose" in text
    for secret in (shown[17:], other[17:], wrong[17:], "sk-1234"):
        assert secret not in text


def test_a_refusal_is_logged_with_address_and_id_but_not_without_end(serve: Serve, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, shown = create_key(path, name="frontend")
    client = serve(rates=CallRates(failures_per_minute=1000))
    for _ in range(50):
        client.keyed("/ask", shown[:-3] + "AAA")
    lines = [record for record in caplog.records if record.name == "rag_service.api.gate"]
    assert 10 <= len(lines) < 50
    assert {record.levelno for record in lines} == {logging.WARNING}
    assert lines[0].getMessage() == f"not let in: key {key.id} from 127.0.0.1"


# --- hosts


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_this_machines_own_names_are_allowed(guarded: Guarded, host: str) -> None:
    assert guarded.client.send("/health/live", ("Host", host), host=False).status == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"], ["evil.example:8000"], ["localhost.evil.example"], ["localhost@evil.example"], ["evil.example/localhost"], [""],
        ["localhost, evil.example"], ["localhost:8000:1"], ["localhost:port"], ["::1"], ["[::1"], ["[::2]"], ["127.0.0.2"], ["localhöst"],
        ["2130706433"], ["localhost."], [], ["localhost", "localhost"], ["localhost", "evil.example"],
    ],
    ids=str,
)  # fmt: skip
def test_a_request_that_names_another_host_or_none_or_two_gets_nothing(guarded: Guarded, hosts: list[str]) -> None:
    key = ("X-API-Key", guarded.keys["all"])
    for route in ("/ask", "/health/live", "/docs"):
        reply = guarded.client.send(route, *(("Host", host) for host in hosts), ("Origin", PAGE), key, host=False)
        assert (reply.status, reply.code) == (400, "invalid_host")
        assert reply.cors() == {}


def test_what_a_proxy_says_about_the_host_does_not_count(serve: Serve) -> None:
    client = serve(allowed_hosts=["rag.example.org"])
    assert client.send("/ask", ("Host", "evil.example"), ("X-Forwarded-Host", "rag.example.org"), host=False).status == 400
    assert client.send("/ask", ("Host", "rag.example.org"), ("X-Forwarded-Host", "evil.example"), host=False).status == 200


def test_a_preflight_to_another_host_gets_nothing(guarded: Guarded) -> None:
    asked = [("Host", "evil.example"), ("Origin", PAGE), ("Access-Control-Request-Method", "POST")]
    reply = guarded.client.send("/ask", *asked, method="OPTIONS", host=False)
    assert (reply.status, reply.code, reply.cors()) == (400, "invalid_host", {})


def test_without_a_list_of_hosts_any_will_do(serve: Serve) -> None:
    assert serve().send("/ask", ("Host", "anything.example:1"), host=False).status == 200


def test_allowed_hosts_are_names_in_any_case_and_with_or_without_brackets() -> None:
    assert checked_hosts(["Example.ORG", "[::1]", "10.0.0.1", "::2"]) == {"example.org", "::1", "10.0.0.1", "::2"}


@pytest.mark.parametrize("host", ["example.org:8000", "https://example.org", "*", "*.example.org", "a b", "", "[::1]:80", "example.org/"])
def test_what_cannot_be_a_host_name_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        checked_hosts(["localhost", host])
    assert caught.value.param == "allowed_hosts"


# --- CORS


def test_cors_is_closed_unless_it_is_opened(serve: Serve) -> None:
    client = serve()
    preflight = client.send("/ask", ("Origin", PAGE), ("Access-Control-Request-Method", "POST"), method="OPTIONS")
    assert (preflight.status, preflight.cors()) == (405, {})
    assert client.send("/ask", ("Origin", PAGE)).cors() == {}


def test_a_page_of_an_allowed_origin_may_ask_with_a_key(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    client = serve(cors_origins=["https://CHAT.example.org/"])
    asked = ("Access-Control-Request-Headers", "authorization,content-type,x-api-key,x-request-id,traceparent")
    preflight = client.send("/ask", ("Origin", PAGE), ("Access-Control-Request-Method", "POST"), asked, method="OPTIONS")
    assert preflight.status == 200, "a preflight never holds a key"
    assert preflight.cors()["access-control-allow-origin"] == PAGE
    assert preflight.cors()["access-control-allow-methods"] == "GET, POST"
    assert "access-control-allow-credentials" not in preflight.cors()
    reply = client.send("/ask", ("Origin", PAGE), ("X-API-Key", shown))
    assert (reply.status, reply.cors()["access-control-allow-origin"]) == (200, PAGE)
    assert reply.cors()["access-control-expose-headers"] == "X-Trace-Id, X-Request-Id, Retry-After"
    assert "Origin" in reply.headers["vary"]


def test_a_page_of_an_allowed_origin_may_read_why_it_is_refused(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend", rate_per_minute=1)
    client = serve(cors_origins=[PAGE])
    ways = [("/ask", ()), ("/ask", [("X-API-Key", shown)]), ("/ask", [("X-API-Key", shown)])]
    replies = [client.send(route, ("Origin", PAGE), *pairs) for route, pairs in ways]
    assert [reply.status for reply in replies] == [401, 200, 429]
    assert all(reply.cors()["access-control-allow-origin"] == PAGE for reply in replies)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example", "http://chat.example.org", f"{PAGE}:8443"])
def test_a_page_of_another_origin_may_not(guarded: Guarded, origin: str) -> None:
    client = guarded.client
    preflight = client.send("/ask", ("Origin", origin), ("Access-Control-Request-Method", "POST"), method="OPTIONS")
    assert preflight.status == 400
    assert "access-control-allow-origin" not in preflight.cors()
    assert "access-control-allow-origin" not in client.keyed("/ask", guarded.keys["all"], origin=origin).cors()


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example.org", "null", "example.org", "https://example.org/page", "", "https://a@b.example"]
)
def test_what_cannot_be_an_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        checked_origins([origin])
    assert caught.value.param == "cors_origins"


# --- security headers


STRICT = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def test_every_reply_carries_the_security_headers_once_refusals_and_faults_included(serve: Serve, path: Path) -> None:
    _, shown = create_key(path, name="frontend", rate_per_minute=7)
    client = serve(allowed_hosts=["127.0.0.1"])
    replies = [
        client.keyed("/ask", shown),
        client.send("/health/live"),
        client.keyed("/nothing", shown),
        client.keyed("/ask", shown, "DELETE"),
        client.keyed("/traces", shown),
        client.keyed("/ask", shown, "POST", b"x" * 2**17),
        client.keyed("/broken", shown),
        client.send("/ask"),
        client.send("/docs"),
        client.send("/ask", ("Host", "evil.example"), host=False),
        *(client.keyed("/ask", shown) for _ in range(4)),
    ]
    assert [reply.status for reply in replies] == [200, 200, 404, 405, 403, 413, 500, 401, 401, 400, 200, 200, 429, 429]
    for reply in replies:
        assert {name: reply.headers.get(name) for name in STRICT} == STRICT, reply.status
        assert "strict-transport-security" not in reply.headers


def test_what_a_reply_says_about_itself_is_left_as_it_is(serve: Serve) -> None:
    headers = serve().send("/ask/stream").headers
    assert {**STRICT, "cache-control": "no-cache"}.items() <= headers.items()


def test_the_page_of_the_api_reference_works_under_its_policy(serve: Serve) -> None:
    """Everything that FastAPI's page loads is allowed by what is sent with it; nothing else is."""
    client = serve()
    page, data = client.send("/docs"), client.send("/openapi.json")
    policy = {words[0]: words[1:] for part in page.headers["content-security-policy"].split(";") if (words := part.split())}
    html = page.body.decode()

    def allowed(url: str, directive: str) -> bool:
        return any(url.startswith(source) for source in policy[directive])

    scripts, sheets = re.findall(r'<script src="([^"]+)"', html), re.findall(r'rel="stylesheet" href="([^"]+)"', html)
    icons = re.findall(r'rel="shortcut icon" href="([^"]+)"', html)
    assert len(scripts) == len(sheets) == len(icons) == 1
    assert allowed(scripts[0], "script-src")
    assert allowed(sheets[0], "style-src")
    assert allowed(icons[0], "img-src")
    assert re.search(r"<script>\s*const ui", html)
    assert "'unsafe-inline'" in policy["script-src"], "the page starts itself with an inline script"
    assert policy["connect-src"] == ["'self'"], "it reads /openapi.json and calls the service"
    assert policy["default-src"] == policy["frame-ancestors"] == ["'none'"]
    assert not any(source in ("*", "https:", "'unsafe-eval'") for sources in policy.values() for source in sources)
    assert "cache-control" not in page.headers
    assert "cache-control" not in data.headers
    assert data.headers["content-security-policy"] == STRICT["content-security-policy"]
