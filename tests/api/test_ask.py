"""`POST /ask` over a real socket: answers, abstentions, and every way of asking wrongly."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rag_service.reply import AskReply
from tests.api.replies import HOLIDAYS, refused

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_an_answer_has_the_documented_shape(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS})
    assert reply.status == 200
    model = AskReply.model_validate_json(reply.body)
    assert model.model_dump(mode="json", by_alias=True) == reply.json
    assert model.status == "answered"
    assert "28 days" in str(model.answer)
    assert model.citations[0].source == "leave.md"
    assert reply.headers["x-trace-id"] == model.trace_id == model.trace.trace_id


def test_an_abstention_is_an_answer_too_with_its_trace(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS, "min_confidence": 1.0})
    assert reply.status == 200
    assert (reply.json["status"], reply.json["abstain_reason"], reply.json["answer"]) == ("abstained", "low_confidence", None)
    assert reply.json["trace"]["release"]["id"]


def test_the_text_of_hits_comes_when_it_is_included(client: Any) -> None:
    assert all(hit["text"] is None for hit in client.ask({"question": HOLIDAYS}).json["hits"])
    assert all(hit["text"] for hit in client.ask({"question": HOLIDAYS, "include": ["chunks"]}).json["hits"])


def test_overrides_count_for_one_question(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS, "top_k": 2, "min_confidence": 0.1}).json
    assert len(reply["hits"]) == 2
    assert (reply["trace"]["retrieval"]["top_k"], reply["trace"]["retrieval"]["min_confidence"]) == (2, 0.1)
    assert len(client.ask({"question": HOLIDAYS}).json["hits"]) == 5


def test_the_most_passages_that_are_accepted_are_as_many_as_there_are(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS, "top_k": 50}).json
    assert len(reply["hits"]) == reply["trace"]["index"]["chunks"]


def test_a_caller_s_trace_goes_on(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS}, traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    assert reply.json["trace_id"] == reply.json["trace"]["trace_id"] == reply.headers["x-trace-id"] == TRACE_ID


def test_a_later_version_of_the_trace_header_is_read_as_far_as_it_is_known(client: Any) -> None:
    assert client.ask({"question": HOLIDAYS}, traceparent=f"cc-{TRACE_ID}-00f067aa0ba902b7-01-more").json["trace_id"] == TRACE_ID


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"00-{TRACE_ID}-00f067aa0ba902b7",
        f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-00f067aa0ba902b7-01-more",
        f"00-{TRACE_ID}-00f067aa0ba902b7-0g",
        "<script>alert(1)</script>",
        "x" * 8000,
        "٠٠-" + TRACE_ID,
    ],
)
def test_a_malformed_or_hostile_trace_header_is_ignored(client: Any, traceparent: str) -> None:
    reply = client.send("GET", "/health/live", headers={"traceparent": traceparent.encode("utf-8").decode("latin-1")})
    assert reply.status == 200
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-trace-id"])
    assert reply.headers["x-trace-id"] != TRACE_ID


def test_a_request_id_comes_back_in_the_header_and_the_body(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS}, x_request_id="mine-1")
    assert reply.headers["x-request-id"] == reply.json["request_id"] == "mine-1"
    assert client.ask({"question": ""}, x_request_id="mine-2").json["request_id"] == "mine-2"
    assert client.ask({"question": HOLIDAYS, "request_id": "in-the-body"}).json["request_id"] == "in-the-body"


def test_of_two_request_ids_the_one_in_the_body_comes_back_in_both_places(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS, "request_id": "body"}, x_request_id="header")
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "body"


@pytest.mark.parametrize("request_id", ["two words", "x" * 129, "tab\there"])
def test_a_request_id_that_could_not_be_a_header_value_is_dropped(client: Any, request_id: str) -> None:
    reply = client.ask({"question": HOLIDAYS}, x_request_id=request_id)
    assert reply.status == 200
    assert "x-request-id" not in reply.headers
    assert reply.json["request_id"] is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'question': 'x'}", b'{"question": "x"', b'{"question": "\xff"}', b'{"question": "x"} {}', b"[" * 100_000, b"1" * 5000],
    ids=["empty", "cut", "single quotes", "open", "not utf-8", "two values", "nested", "digits"],
)
def test_what_is_not_json_is_a_400_that_says_so(client: Any, body: bytes) -> None:
    if body:
        assert "not valid JSON" in refused(client.ask(body), 400, "invalid_json")["message"]
    else:
        refused(client.ask(body), 422, "invalid_request")


@pytest.mark.parametrize("body", [[], "text", None, 3, [{"question": "x"}], {}])
def test_json_that_is_not_a_question_is_a_422(client: Any, body: object) -> None:
    error = refused(client.ask(body), 422, "invalid_request")
    assert error["type"] == "invalid_request"
    assert error["retryable"] is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"question": HOLIDAYS, "topk": 3}, "topk"),
        ({"question": HOLIDAYS, "top_k": 0}, "top_k"),
        ({"question": HOLIDAYS, "top_k": 51}, "top_k"),
        ({"question": HOLIDAYS, "top_k": -1}, "top_k"),
        ({"question": HOLIDAYS, "top_k": 10**30}, "top_k"),
        ({"question": HOLIDAYS, "top_k": 1.5}, "top_k"),
        ({"question": HOLIDAYS, "min_confidence": 1.1}, "min_confidence"),
        ({"question": HOLIDAYS, "min_confidence": float("nan")}, "min_confidence"),
        ({"question": HOLIDAYS, "min_confidence": float("inf")}, "min_confidence"),
        ({"question": HOLIDAYS, "include": ["everything"]}, "include.0"),
        ({"question": HOLIDAYS, "include": ["chunks"] * 5}, "include"),
        ({"question": HOLIDAYS, "request_id": "two words"}, "request_id"),
        ({"question": HOLIDAYS, "request_id": "x" * 129}, "request_id"),
        ({"question": 7}, "question"),
        ({"question": None}, "question"),
        ({"question": [HOLIDAYS]}, "question"),
    ],
    ids=lambda value: json.dumps(value)[-40:] if isinstance(value, dict) else None,
)
def test_a_field_that_is_unknown_or_out_of_range_is_named(client: Any, body: object, param: str) -> None:
    error = refused(client.ask(body), 422, "invalid_request")
    assert error["param"] == param
    assert param in error["message"]


@pytest.mark.parametrize("name", ["\ud800", "x" * 50_000, "<b>", "\x00"], ids=["surrogate", "long", "markup", "nul"])
def test_a_field_of_any_name_is_refused_without_repeating_all_of_it(client: Any, name: str) -> None:
    reply = client.ask({"question": HOLIDAYS, name: 1})
    refused(reply, 422, "invalid_request")
    assert len(reply.body) < 2000


@pytest.mark.parametrize("question", ["", "   ", "\n\n\t", "\u200b", "\u0000"])
def test_a_blank_question_is_refused(client: Any, question: str) -> None:
    error = refused(client.ask({"question": question}), 422, "invalid_question")
    assert error["param"] == "question"
    assert "blank" in error["message"]


def test_an_error_after_a_release_was_pinned_has_the_trace_of_it_and_one_before_has_none(client: Any) -> None:
    after, before = client.ask({"question": " "}).json, client.ask({"question": 7}).json
    assert after["trace"]["release"]["id"] == client.ask({"question": HOLIDAYS}).json["trace"]["release"]["id"]
    assert after["trace"]["trace_id"] == after["trace_id"]
    assert after["trace"]["stages"] == []
    assert before["trace"] is None


def test_a_misspelt_field_is_told_what_it_may_have_meant(client: Any) -> None:
    error = refused(client.ask({"questoin": HOLIDAYS}), 422, "invalid_request")
    assert error["message"] == "questoin is not a field of this request; did you mean question?"


def test_a_question_of_100_000_characters_is_refused_with_the_limit_and_without_repeating_it(client: Any) -> None:
    reply = client.ask({"question": "q" * 100_000})
    error = refused(reply, 422, "invalid_question")
    assert "100,000" in error["message"]
    assert "4,000" in error["message"]
    assert len(reply.body) < 4000


@pytest.mark.parametrize(
    "question",
    [
        pytest.param("\ud800", id="surrogate"),
        pytest.param("how many \udfff days", id="surrogate inside"),
        pytest.param("how many\x00days", id="nul"),
        pytest.param("\u202eyadiloh", id="override"),
        pytest.param("מה שעות הפתיחה?", id="right to left"),
        pytest.param("\U000e0001\U000e0068ello", id="tags"),
        pytest.param("🏖️🏖️", id="emoji"),
        pytest.param("a" + "\u0301" * 3000, id="marks"),
        pytest.param("\ufffe", id="noncharacter"),
    ],
)
def test_no_character_in_a_question_makes_the_server_fail(client: Any, question: str) -> None:
    reply = client.ask({"question": question})
    assert reply.status in {200, 422}
    assert reply.json["trace_id"] == reply.headers["x-trace-id"]


def test_a_body_that_declares_too_many_bytes_is_refused(client: Any) -> None:
    reply = client.ask(b'{"question": "' + b"q" * 2**20 + b'"}')
    assert "1,048,576" in refused(reply, 413, "payload_too_large")["message"]


def test_a_body_that_comes_in_chunks_is_refused_when_it_gets_too_long(client: Any) -> None:
    chunks = (b"q" * 2**16 for _ in range(40))
    reply = client.send("POST", "/ask", chunks, {"content-type": "application/json"})
    assert "1,048,576" in refused(reply, 413, "payload_too_large")["message"]


def test_a_body_in_chunks_that_is_short_enough_is_answered(client: Any) -> None:
    parts = iter([b'{"question": ', json.dumps(HOLIDAYS).encode(), b"}"])
    assert client.send("POST", "/ask", parts, {"content-type": "application/json"}).status == 200


def test_the_largest_body_is_read(client: Any) -> None:
    body = json.dumps({"question": HOLIDAYS}).encode()
    assert client.ask(body + b" " * (2**20 - len(body))).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""])
def test_a_body_of_another_type_is_a_415_that_names_the_right_one(client: Any, content_type: str) -> None:
    reply = client.ask({"question": HOLIDAYS}, content_type=content_type)
    if content_type == "":
        reply = client.send("POST", "/ask", json.dumps({"question": HOLIDAYS}).encode())
    assert "application/json" in refused(reply, 415, "unsupported_media_type")["message"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json"])
def test_every_spelling_of_json_is_accepted(client: Any, content_type: str) -> None:
    assert client.ask({"question": HOLIDAYS}, content_type=content_type).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_a_405_that_allows_post(client: Any, method: str) -> None:
    reply = client.send(method, "/ask")
    refused(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


def test_twenty_questions_at_once_are_all_answered_and_liveness_stays_quick(client: Any) -> None:
    questions = [f"{HOLIDAYS} ({number})" for number in range(20)]
    slowest_s, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal slowest_s
        while not done.wait(0.01):
            began_s = time.monotonic()
            assert client.get("/health/live").status == 200
            slowest_s = max(slowest_s, time.monotonic() - began_s)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda question: client.ask({"question": question}), questions))
    finally:
        done.set()
        watcher.join(timeout=30)
    assert [reply.status for reply in replies] == [200] * 20
    assert len({reply.json["trace_id"] for reply in replies}) == len({reply.json["answer_id"] for reply in replies}) == 20
    assert 0 < slowest_s < 2.0
