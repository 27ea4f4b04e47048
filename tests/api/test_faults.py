"""Generators that hang or write nonsense behind a real server, and servers that are told to stop while they answer."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rag_service.ask import Pipeline
from rag_service.generators.breaker import Breaker
from tests.api.authors import Author, Frame, gauge, streaming, until, written_by
from tests.api.conftest import Client
from tests.conftest import PROJECT

HOLIDAYS = {"question": "How many days of paid holiday does an employee have?"}

# A generator that hangs


@pytest.mark.parametrize("deaf", [False, True])
def test_a_generator_that_hangs_costs_its_own_request_alone(serve: Any, pipeline: Pipeline, deaf: bool) -> None:
    """Also one that does not look after its deadline: nobody waits for it."""
    never = threading.Event()
    client = serve(written_by(Author(never, "28 days [1].", deaf=deaf), pipeline), max_concurrent=2)
    try:
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(client.ask, {**HOLIDAYS, "timeout_ms": 300})
            until(lambda: gauge(client, "rag_in_flight") == 1)
            assert client.search(HOLIDAYS).status == 200
            reply = hanging.result(5)
        assert (reply.status, reply.json["error"]["code"]) == (504, "deadline_exceeded")
        with streaming(client, {**HOLIDAYS, "timeout_ms": 300}) as stream:
            assert list(stream)[-1].data["error"]["code"] == "deadline_exceeded"
        assert client.get("/health/ready").status == 200
        until(lambda: gauge(client, "rag_in_flight") == (2 if deaf else 0))  # a thread that goes on keeps its place
    finally:
        never.set()
    until(lambda: gauge(client, "rag_in_flight") == 0)
    assert client.ask(HOLIDAYS).status == 200


def test_a_generator_that_hangs_again_and_again_is_left_alone(serve: Any, pipeline: Pipeline) -> None:
    go_on = threading.Event()
    breaker = Breaker(Author(go_on, "28 days [1]."), failures=2, pause_s=1.0, least_s=0.05)
    client = serve(written_by(breaker, pipeline))
    for _ in range(2):
        assert client.ask({**HOLIDAYS, "timeout_ms": 300}).json["error"]["code"] == "deadline_exceeded"
    paused = client.ask(HOLIDAYS)
    assert (paused.status, paused.json["error"]["code"], paused.headers["retry-after"]) == (503, "generator_paused", "1")
    with streaming(client, HOLIDAYS) as stream:
        assert list(stream)[-1].data["error"]["code"] == "generator_paused"
    assert client.search(HOLIDAYS).status == 200
    go_on.set()
    until(lambda: client.ask(HOLIDAYS).status == 200, within_s=5)


# A generator that writes nonsense


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (["}{][[1", "]]]\u202e<|im_end|>\x00 ", "[", "99] ", "`"], "}{][[1]]]\u202e<|im_end|>\x00 `"),
        (["[1][1][1]", "[2] [1,2,", "77]"], "[1][1][1][2] [1, 2]"),
        (["𝕳𝖊𝖑𝖑𝖔 👩‍👩‍👧 \r\n\r\ndata: [DONE]\n\nevent: done\n\n [1]"], "𝕳𝖊𝖑𝖑𝖔 👩‍👩‍👧 \r\n\r\ndata: [DONE]\n\nevent: done\n\n [1]"),
        (["x" * 2**20] * 10, "x" * 10 * 2**20),
    ],
    ids=["garbage", "markers", "frames", "ten megabytes"],
)
def test_whatever_a_generator_writes_arrives_whole(serve: Any, pipeline: Pipeline, pieces: list[str], answer: str) -> None:
    client = serve(written_by(Author(*pieces), pipeline))
    assert client.ask(HOLIDAYS).json["answer"] == answer
    with streaming(client, HOLIDAYS) as stream:
        frames = list(stream)
    assert "".join(frame.data["text"] for frame in frames if frame.event == "delta") == frames[-1].data["answer"] == answer


def test_text_that_is_no_unicode_is_an_error_of_the_service_in_either_form(serve: Any, pipeline: Pipeline) -> None:
    client = serve(written_by(Author("There are \ud800 days", " [1]."), pipeline))
    plain = client.ask(HOLIDAYS)
    assert (plain.status, plain.json["error"]["code"]) == (500, "internal")
    with streaming(client, HOLIDAYS) as stream:
        frames = list(stream)
    assert [frame.event for frame in frames[:2]] == ["meta", "sources"]
    assert (frames[-1].event, frames[-1].data["error"]["code"]) == ("error", "internal")
    assert [frame.data["seq"] for frame in frames] == list(range(len(frames)))
    chat = {"model": "handbook", "messages": [{"role": "user", "content": HOLIDAYS["question"]}], "stream": True}
    *_, error, done = client.post("/v1/chat/completions", chat).body.strip().split(b"\n\n")
    assert json.loads(error[6:])["error"]["code"] == "internal"
    assert done == b"data: [DONE]"
    until(lambda: gauge(client, "rag_in_flight") == gauge(client, "rag_open_streams") == 0)


def test_a_generator_that_returns_other_text_than_it_wrote_ends_its_stream_with_an_error(serve: Any, pipeline: Pipeline) -> None:
    class Liar(Author):
        def generate(self, *arguments: Any, write: Callable[[str], None] | None = None, **options: Any) -> Any:
            if write is not None:
                write("There are 30 days. ")
            return super().generate(*arguments, **options)

    with streaming(serve(written_by(Liar("There are 28 days [1]."), pipeline)), HOLIDAYS) as stream:
        assert list(stream)[-1].data["error"]["code"] == "generator_error"


# A server that is told to stop

SLOW = """
from rag_service.generators import extractive
from tests.api.authors import Author
extractive.ExtractiveGenerator = lambda embedder: Author({steps})
"""


@pytest.fixture
def served(start: Any, own_indexes: Path) -> Callable[..., Any]:
    """`served("'text ', 0.1, 'more'", RAG_DRAIN_S="1")` starts `rag-service serve` with an author of these steps."""

    def begin(steps: str, **environ: str) -> Any:
        process = start(
            "serve", "--port", "0", "--name", "handbook", "--indexes", own_indexes,
            environ={"PYTHONPATH": str(PROJECT), **environ}, prelude=SLOW.format(steps=steps),
        )  # fmt: skip
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                return SimpleNamespace(process=process, client=Client(int(found[1])))
        raise AssertionError(f"it ended with {process.wait(10)}")

    return begin


def check_end(server: Any) -> None:
    assert server.process.wait(20) == 0
    log = server.process.stderr.read()
    assert "Traceback" not in log
    assert "never retrieved" not in log


def test_a_stream_that_is_open_when_the_server_is_told_to_stop_ends_well(served: Any) -> None:
    steps = ", ".join(f"'word{number} ', 0.05" for number in range(20)) + ", '[1]'"
    server = served(steps, RAG_DRAIN_S="0")
    with streaming(server.client, HOLIDAYS) as stream:
        frames: list[Frame] = [frame for _ in range(4) if (frame := stream.next()) is not None]
        server.process.send_signal(signal.SIGTERM)
        frames += list(stream)
    assert frames[-1].event == "done"
    assert frames[-1].data["answer"] == " ".join([*(f"word{number}" for number in range(20)), "[1]"])
    check_end(server)


def test_a_stream_that_would_take_too_long_ends_with_an_error_and_the_server_ends(served: Any) -> None:
    server = served("'There are ', __import__('threading').Event()", RAG_DRAIN_S="0", RAG_TIMEOUT_S="1")
    with streaming(server.client, HOLIDAYS) as stream:
        assert stream.next() is not None
        server.process.send_signal(signal.SIGTERM)
        last = list(stream)[-1]
    assert (last.event, last.data["error"]["code"]) == ("error", "deadline_exceeded")
    check_end(server)


def test_under_load_nobody_who_was_let_in_is_cut_off_when_the_server_is_told_to_stop(served: Any) -> None:
    server = served("'28 days [1].', 0.05", RAG_DRAIN_S="2", RAG_MAX_QUEUE="100", RAG_CACHE_MIB="0")
    client, told = server.client, threading.Event()

    def ask_on(number: int) -> list[tuple[int, str | None]]:
        """Until the service says that it stops, as a load balancer would. Any refusal and any reset is an error."""
        seen: list[tuple[int, str | None]] = []
        while not told.is_set():
            if number % 2:
                reply = client.ask(HOLIDAYS)
                seen.append((reply.status, reply.json.get("error", {}).get("code")))
            else:
                with streaming(client, HOLIDAYS) as stream:
                    if stream.status == 200:
                        seen.append((200, None if list(stream)[-1].event == "done" else "cut off"))
                    else:
                        seen.append((stream.status, json.loads(stream.read())["error"]["code"]))
        return seen

    with ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(ask_on, number) for number in range(16)]
        until(lambda: gauge(client, "rag_in_flight") > 0)
        os.kill(server.process.pid, signal.SIGTERM)
        until(lambda: client.get("/health/ready").status == 503, within_s=0.5)
        assert client.get("/health/live").status == 200
        assert client.ask(HOLIDAYS).status == 200, "whoever has not heard of it yet is answered"
        told.set()
        seen = [asked.result(20) for asked in asking]
    assert all(one == (200, None) for each in seen for one in each)
    assert all(seen)
    check_end(server)
