"""`POST /ask` as server-sent events over a real socket."""

import asyncio
import gc
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from rag_service.api import streaming as module
from rag_service.ask import Pipeline
from rag_service.errors import GeneratorFailed
from rag_service.serving import Service
from tests.api.authors import Author, Frame, gauge, streaming, until, written_by
from tests.api.conftest import running, serving

HOLIDAYS = {"question": "How many days of paid holiday does an employee have?"}
ANONYMOUS = {**HOLIDAYS, "cache": False}


def whole(frames: list[Frame]) -> dict[str, Any]:
    """What `done` holds; checks what holds for every stream that ends well."""
    kinds = [frame.event for frame in frames]
    assert kinds[:2] == ["meta", "sources"]
    assert kinds[-1] == "done"
    assert set(kinds[2:-1]) <= {"delta", "citation"}
    assert [frame.data["seq"] for frame in frames] == list(range(len(frames)))
    assert all(frame.data["type"] == frame.event for frame in frames)
    done: dict[str, Any] = frames[-1].data
    assert "".join(frame.data["text"] for frame in frames if frame.event == "delta") == (done["answer"] or "")
    told = [{name: value for name, value in frame.data.items() if name not in {"type", "seq"}} for frame in frames]
    assert [data for frame, data in zip(frames, told, strict=True) if frame.event == "citation"] == done["citations"]
    meta = frames[0].data
    assert (meta["trace_id"], meta["answer_id"], meta["query"]) == (done["trace_id"], done["answer_id"], done["query"])
    assert meta["trace"]["release"] == done["trace"]["release"]
    assert [hit["chunk_id"] for hit in frames[1].data["hits"]] == [hit["chunk_id"] for hit in done["hits"]]
    written = ""
    for frame in frames:
        if frame.event == "delta":
            written += frame.data["text"]
        elif frame.event == "citation":
            start, end = frame.data["answer_span"]
            assert str(frame.data["marker"]) in written[start:end], "a citation came before its marker"
    return done


def test_a_stream_tells_what_was_found_then_the_answer_then_all_of_it_again(client: Any) -> None:
    with streaming(client, ANONYMOUS, x_request_id="mine") as stream:
        frames = list(stream)
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-cache, no-transform"
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["x-request-id"] == "mine"
    done = whole(frames)
    assert stream.headers["x-trace-id"] == done["trace_id"]
    plain = client.ask(ANONYMOUS).json
    for name in ("answer", "citations", "hits", "status", "warnings", "usage"):
        assert done[name] == plain[name]


def test_the_accept_header_alone_asks_for_a_stream(client: Any) -> None:
    with streaming(client, {**ANONYMOUS, "stream": False}, accept="text/event-stream") as stream:
        assert whole(list(stream))["status"] == "answered"


def test_an_answer_from_the_cache_is_told_the_same_way(client: Any) -> None:
    asked = {"question": "How long is a password, at the least?"}
    first = client.ask(asked).json
    with streaming(client, asked) as stream:
        done = whole(list(stream))
    assert done["repeats"] == first["answer_id"]
    assert done["answer"] == first["answer"]
    assert done["citations"]


def test_an_abstention_has_no_deltas(client: Any) -> None:
    with streaming(client, {**ANONYMOUS, "filters": {"source": "nowhere.md"}}) as stream:
        frames = list(stream)
    assert [frame.event for frame in frames] == ["meta", "sources", "done"]
    assert whole(frames)["abstain_reason"] == "no_hits"


def test_text_arrives_while_the_generator_still_writes_and_nothing_of_a_false_marker(serve: Any, pipeline: Pipeline) -> None:
    more, last = threading.Event(), threading.Event()
    author = Author("There are 28 da", "ys [", "1]. ", more, "None expire [9]. ", "Some do [2", last, "].")
    with streaming(serve(written_by(author, pipeline)), HOLIDAYS) as stream:
        frames = [stream.next() for _ in range(2)]
        while (frame := stream.next()) is not None and frame.event != "citation":
            frames.append(frame)
        frames.append(frame)
        assert author.ended == 0
        more.set()
        frames.append(stream.next())
        last.set()
        frames += list(stream)
    done = whole(frames)  # type: ignore[arg-type]
    assert done["answer"] == "There are 28 days [1]. None expire. Some do [2]."
    assert [citation["marker"] for citation in done["citations"]] == [1, 2]
    assert [warning["code"] for warning in done["warnings"]] == ["sentence_unsupported", "citation_dropped"]


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"question": " "}, 422, "invalid_question"),
        ({"top_k": 51}, 422, "invalid_request"),
        ({"nonsense": 1}, 422, "invalid_request"),
        ({"prompt": "answer/99"}, 404, "not_found"),
        ({"release": "0123456789ab"}, 404, "not_found"),
        ({"timeout_ms": 1}, 504, "deadline_exceeded"),
    ],
)
def test_what_goes_wrong_before_the_first_word_is_an_http_error(client: Any, changed: dict[str, Any], status: int, code: str) -> None:
    with streaming(client, {**ANONYMOUS, **changed}) as stream:
        assert stream.status == status
        assert stream.headers["content-type"] == "application/json"
        body = json.loads(stream.read())
    assert body["error"]["code"] == code
    assert body["trace_id"] == stream.headers["x-trace-id"]


def test_a_service_that_is_not_ready_or_full_says_so_before_any_frame(serve: Any, pipeline: Pipeline) -> None:
    with streaming(serve(Service(lambda: "none", lambda _, __: pytest.fail("opened"))), HOLIDAYS) as stream:
        assert (stream.status, stream.headers["retry-after"]) == (503, "1")
    full = serve(written_by(Author("Well ", threading.Event()), pipeline), max_concurrent=1, max_queue=0)
    with streaming(full, HOLIDAYS) as first:
        assert first.status == 200
        with streaming(full, HOLIDAYS) as second:
            assert (second.status, json.loads(second.read())["error"]["code"]) == (429, "queue_full")
            assert int(second.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("error", "code", "stage"),
    [(GeneratorFailed("the model is gone"), "generator_error", "generate"), (ZeroDivisionError("secret"), "internal", None)],
)
def test_a_failure_after_the_first_word_is_the_last_frame(
    serve: Any, pipeline: Pipeline, error: Exception, code: str, stage: str | None
) -> None:
    with streaming(serve(written_by(Author("There are 28 days. ", error), pipeline)), {**HOLIDAYS, "request_id": "mine"}) as stream:
        frames = list(stream)
    assert stream.headers["x-request-id"] == "mine"
    assert [frame.event for frame in frames] == ["meta", "sources", "delta", "error"]
    last = frames[-1].data
    assert (last["error"]["code"], last["error"]["stage"], last["request_id"]) == (code, stage, "mine")
    assert last["trace_id"] == stream.headers["x-trace-id"] == frames[0].data["trace_id"]
    assert last["seq"] == 3
    assert "secret" not in json.dumps(last)


def test_the_deadline_ends_a_stream_with_an_error(serve: Any, pipeline: Pipeline) -> None:
    client = serve(written_by(Author("There are ", threading.Event()), pipeline))
    with streaming(client, {**HOLIDAYS, "timeout_ms": 400}) as stream:
        last = list(stream)[-1]
    assert (last.event, last.data["error"]["code"], last.data["error"]["stage"]) == ("error", "deadline_exceeded", "generate")
    until(lambda: gauge(client, "rag_in_flight") == 0)


def test_silence_is_filled_with_comments_that_never_stand_in_a_frame(
    serve: Any, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.02)
    go_on = threading.Event()
    with streaming(serve(written_by(Author("There are ", go_on, "28 days [1]."), pipeline)), HOLIDAYS) as stream:
        frames: list[Frame] = []
        for frame in stream:
            frames.append(frame)
            if [other.event for other in frames].count("comment") == 3:
                go_on.set()
    assert {frame.data for frame in frames if frame.event == "comment"} == {": keep-alive\n"}
    whole([frame for frame in frames if frame.event != "comment"])


def tasks() -> int:
    gc.collect()
    return sum(isinstance(thing, asyncio.Task) and not thing.done() for thing in gc.get_objects())


def test_a_hundred_clients_that_leave_in_mid_stream_leave_nothing_behind(
    serve: Any, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    author = Author("There are ", threading.Event())
    client = serve(written_by(author, pipeline))
    client.get("/health/live")
    before, longest_s = tasks(), 0.0
    for number in range(1, 101):
        with streaming(client, HOLIDAYS) as stream:
            assert [stream.next().event for _ in range(3)] == ["meta", "sources", "delta"]  # type: ignore[union-attr]
        left_s = time.monotonic()
        until(lambda number=number: author.ended == number)  # type: ignore[misc]
        longest_s = max(longest_s, time.monotonic() - left_s)
    assert longest_s < 1
    until(lambda: gauge(client, "rag_in_flight") == gauge(client, "rag_open_streams") == gauge(client, "rag_queue_depth") == 0)
    until(lambda: tasks() <= before)
    assert not [record for record in caplog.records if record.name == "asyncio" or record.levelname == "ERROR"]
    assert 'code="client_closed"' in client.get("/metrics").body.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_leave_while_they_wait_free_their_places(serve: Any, pipeline: Pipeline, stream: bool) -> None:
    go_on = threading.Event()
    author = Author(go_on, "28 days [1].")
    client = serve(written_by(author, pipeline), max_concurrent=1, max_queue=20)
    body = json.dumps({**HOLIDAYS, "stream": stream}).encode()
    head = f"POST /ask HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    sockets = []
    for number in range(21):
        sockets.append(socket.create_connection(("127.0.0.1", client.port)))
        sockets[-1].sendall(head + body)
        until(lambda number=number: (gauge(client, "rag_in_flight"), gauge(client, "rag_queue_depth")) == (1, number))  # type: ignore[misc]
    assert author.begun == 1
    for waiting in reversed(sockets):
        waiting.close()
    until(lambda: (gauge(client, "rag_in_flight"), gauge(client, "rag_queue_depth")) == (0, 0))
    assert author.begun == author.ended == 1
    go_on.set()
    assert client.ask(HOLIDAYS).status == 200


def test_a_server_without_time_ends_each_stream_with_a_word(pipeline: Pipeline) -> None:
    author = Author("There are ", threading.Event())
    with ThreadPoolExecutor(1) as reader, running(serving(written_by(author, pipeline)), grace_s=1.2) as client:
        opened = threading.Event()

        def read() -> list[Frame]:
            with streaming(client, HOLIDAYS) as stream:
                opened.set()
                return list(stream)

        frames = reader.submit(read)
        assert opened.wait(10)
    kinds = [frame.event for frame in frames.result(10)]
    assert kinds == ["meta", "sources", "delta", "error"]
    error = frames.result().pop().data["error"]
    assert (error["code"], error["retryable"]) == ("shutting_down", True)
    until(lambda: author.ended == 1)


def test_events_do_not_wait_for_each_other_in_many_streams_at_once(client: Any) -> None:
    def ask(number: int) -> dict[str, Any]:
        with streaming(client, {**ANONYMOUS, "request_id": f"r{number}"}) as stream:
            return whole(list(stream))

    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(ask, range(40)))
    assert [each["request_id"] for each in done] == [f"r{number}" for number in range(40)]
    assert len({each["trace_id"] for each in done}) == 40
    assert all(one["answer"] == other["answer"] for one, other in pairwise(done))
