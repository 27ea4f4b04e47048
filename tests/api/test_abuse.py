"""What nobody sends by mistake: too much of everything, and characters that are hardly any. No fault of the server, no growth of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Client
from tests.api.replies import HOLIDAYS, refused
from tests.processes import ServerProcess

MIB = 2**20
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def process(served_indexes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The handbook, by a process whose memory is its own."""
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(served_indexes)]
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path_factory.mktemp("abuse")) as running:
        server = ServerProcess(running)
        for _ in range(5):  # what the first answers take is not growth
            assert Client(server.port).ask({"question": HOLIDAYS, "cache": False}).status == 200
        yield server
        assert server.runs, server.said
        running.terminate()
        running.communicate(timeout=30)
    assert not [line for line in server.said if "Traceback" in line]


@pytest.fixture
def grows_by(process: ServerProcess) -> Callable[[Callable[[], object]], int]:
    """By how many bytes the most memory that the server has had rises while something is done."""

    def measured(work: Callable[[], object]) -> int:
        before = process.most_memory_bytes()
        work()
        return process.most_memory_bytes() - before

    return measured


@pytest.fixture
def served(process: ServerProcess) -> Client:
    return Client(process.port)


def test_a_body_of_100_mb_is_refused_and_not_kept(served: Client, grows_by: Any) -> None:
    """A2: declared."""

    def send() -> None:
        with suppress(ConnectionError):  # the server may close while the client still sends
            refused(served.ask(b"x" * 100_000_000), 413, "payload_too_large")

    assert grows_by(send) < 20 * MIB
    assert served.get("/health/live").status == 200


def test_a_body_of_100_mb_that_declares_no_length_is_refused_and_not_kept(served: Client, grows_by: Any) -> None:
    """A2: chunked."""

    def send() -> None:
        with suppress(ConnectionError):
            refused(served.send("POST", "/ask", (b"x" * 100_000 for _ in range(1000)), JSON), 413, "payload_too_large")

    assert grows_by(send) < 20 * MIB
    assert served.get("/health/live").status == 200


@pytest.mark.parametrize(
    "opening", [b"[", b'{"a":', b'{"question":"x","filters":{"a":[', b'{"messages":['], ids=["lists", "objects", "filters", "messages"]
)
def test_json_nested_a_hundred_thousand_deep_is_refused(served: Client, grows_by: Any, opening: bytes) -> None:
    """A2: nesting."""
    for route in ("/ask", "/ask/batch", "/search", "/v1/chat/completions"):
        for body in (opening * 100_000, opening + b"[" * 100_000 + b"]" * 100_000):
            assert grows_by(lambda route=route, body=body: refused(served.post(route, body[:MIB]), 400, "invalid_json")) < 20 * MIB


@pytest.mark.parametrize("depth", [50, 200, 900])
def test_json_nested_less_deep_is_refused_as_what_it_is(served: Client, depth: int) -> None:
    """A2: nesting that a parser can still read."""
    nested = b"[" * depth + b"]" * depth
    for body in (b'{"question":"x","filters":{"a":' + nested + b"}}", b'{"question":' + nested + b"}", nested):
        reply = served.ask(body)
        refused(reply, 422, "invalid_request")
        assert len(reply.body) < 20_000


def test_an_object_of_a_hundred_thousand_keys_is_refused_in_few_words(served: Client, grows_by: Any) -> None:
    """A2: keys, within the limit of a body."""
    keys = {f"{number:x}": 0 for number in range(90_000)}
    for body in (keys, {"question": "x", "filters": keys}, {"question": "x", **keys}):
        encoded = json.dumps(body, separators=(",", ":")).encode()
        assert len(encoded) < MIB

        def send(encoded: bytes = encoded) -> None:
            reply = served.ask(encoded)
            refused(reply, 422, "invalid_request")
            assert len(reply.body) < 10_000

        assert grows_by(send) < 60 * MIB  # the parsed body


HARD_TEXTS = {
    "surrogate": "\ud800",
    "nul": "\x00",
    "mark of byte order": "\ufeffhow many",
    "override": "\u202eyad fo rebmun",
    "isolates": "\u2066\u2067\u2068days\u2069",
    "tags": "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all of it"),
    "marks": "a" + "\u0301" * 3000,
    "joiners": "\u200d" * 1000 + "x",
    "noncharacter": "\uffff\U0010ffff",
    "private": "\ue000\U000f0000",
    "ligature": "\ufdfa" * 300,
    "lines": "a\u2028b\u2029c\x85d\x0be",
    "escapes": "\x1b[31mred\x1b[0m",
}


@pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS)
def test_no_character_in_any_field_makes_the_server_fail(served: Client, text: str) -> None:
    """A9: question, messages, filters, request id, prompt, and names of fields."""
    message = {"role": "user", "content": text}
    bodies: list[dict[str, Any]] = [
        {"question": text},
        {"question": f"How many {text} days?"},
        {"question": HOLIDAYS, "messages": [message, {"role": "assistant", "content": text}]},
        {"messages": [message, {"role": "assistant", "content": text}, {"role": "user", "content": f"And {text}?"}]},
        {"question": HOLIDAYS, "filters": {text[:200]: text[:200]}},
        {"question": HOLIDAYS, "filters": {"lang": {text: 1}}},
        {"question": HOLIDAYS, "filters": {"lang": {"in": [text[:200]]}}},
        {"question": HOLIDAYS, "request_id": text},
        {"question": HOLIDAYS, "prompt": text[:100]},
        {"question": HOLIDAYS, "release": text},
        {"question": HOLIDAYS, text: text},
    ]
    for body in bodies:
        for reply in (served.ask(body), served.search(body), served.ask({**body, "stream": True}), served.batch({"questions": [body]})):
            assert reply.status in {200, 400, 404, 422}, reply.body[:500]
            reply.body.decode("utf-8")
            if reply.status >= 400:
                refused(reply, reply.status, reply.json["error"]["code"])
    chat = served.post("/v1/chat/completions", {"model": "handbook", "messages": [message]})
    assert chat.status in {200, 422}, chat.body[:500]
    assert served.post("/v1/chat/completions", {"model": text[:100], "messages": [message]}).status in {404, 422}


@pytest.mark.parametrize(
    "header", ["x-request-id", "traceparent", "authorization", "x-api-key", "accept", "content-type", "host", "cookie"]
)
@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xed\xa0\x80", "\u202e\U000e0041".encode(), b"a" * 8000, b"", b"\x80" * 100, b"%00%ff"])
def test_no_value_of_a_header_makes_the_server_fail(served: Client, header: str, value: bytes) -> None:
    """A9: headers."""
    reply = served.ask({"question": HOLIDAYS}, **{header.replace("-", "_"): value.decode("latin-1")})
    assert reply.status in {200, 400, 415}, reply.body
    assert len(reply.headers["x-trace-id"]) == 32
    assert reply.json


@given(
    question=st.text(max_size=60),
    key=st.text(max_size=10),
    value=st.text(max_size=20) | st.integers() | st.floats() | st.none() | st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_and_any_filter_is_answered_or_refused(client: Any, question: str, key: str, value: object) -> None:
    """A9: any text that JSON can hold."""
    reply = client.ask({"question": question, "filters": {key: value}})
    assert reply.status in {200, 422}, reply.body
    assert reply.json["trace_id"] == reply.headers["x-trace-id"]


@pytest.mark.parametrize(
    ("route", "body", "param", "limit"),
    [
        ("/ask", {"question": "x", "top_k": 10**9}, "top_k", "50"),
        ("/ask", {"question": "x", "top_k": 10**400}, "top_k", "50"),
        ("/search", {"question": "x", "top_k": 10**9}, "top_k", "50"),
        ("/ask", {"question": "x", "max_tokens": 10**9}, "max_tokens", "32768"),
        ("/ask", {"question": "x", "timeout_ms": 10**9}, "timeout_ms", "600000"),
        ("/ask", {"question": "x" * 100_000}, "question", "4,000"),
        ("/ask", {"question": "x", "messages": [{"role": "user", "content": "x"}] * 900}, "messages", "50"),
        ("/ask", {"question": "x", "messages": [{"role": "user", "content": "x"}] * 20_000}, "messages", "1000"),
        ("/ask", {"question": "x", "messages": [{"role": "user", "content": "x" * 100_001}]}, "messages.0.content", "100000"),
        ("/ask", {"question": "x", "include": ["chunks"] * 100_000}, "include", "4"),
        ("/ask/batch", {"questions": [{"question": "x"}] * 900}, "questions", "32"),
        ("/ask/batch", {"questions": [{}] * 100_000}, "questions", "1000"),
        ("/ask", {"question": "x", "filters": {str(number): 1 for number in range(50_000)}}, "filters", "16"),
        ("/ask", {"question": "x", "filters": {"a": {"in": list(range(100_000))}}}, "filters.a", "64"),
        ("/ask", {"question": "x", "filters": {"a": [{"ne": 1}] * 50_000}}, "filters", "16"),
        ("/ask", {"question": "x", "filters": {"a": "x" * 500_000}}, "filters.a", "256"),
        (
            "/v1/chat/completions",
            {"model": "handbook", "messages": [{"role": "user", "content": "x"}], "rag": {"top_k": 10**9}},
            "rag.top_k",
            "50",
        ),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_demand_beyond_measure_is_refused_with_the_limit(
    served: Client, grows_by: Any, route: str, body: object, param: str, limit: str
) -> None:
    """A20."""

    def send() -> None:
        reply = served.post(route, json.dumps(body, separators=(",", ":")).encode())
        error = refused(reply, 422, "invalid_question" if param == "question" else "invalid_request")
        assert (error["param"], limit in error["message"]) == (param, True), error["message"]
        assert len(reply.body) < 10_000

    assert grows_by(send) < 60 * MIB


def test_the_longest_demand_that_openai_clients_may_make_is_cut_to_the_limit(served: Client) -> None:
    """A20: clients of that API set `max_tokens` to whatever their model can do."""
    body = {"model": "handbook", "messages": [{"role": "user", "content": HOLIDAYS}], "max_tokens": 10**9}
    assert served.post("/v1/chat/completions", body).status == 200
