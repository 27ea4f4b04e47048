"""Ten times more requests than there is room for: the rest is refused, and nothing else about the service changes."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from rag_service.ask import Pipeline
from rag_service.ports import Generator
from rag_service.types import Completion, Prompt

HOLIDAYS = "How many days of paid holiday does an employee have?"
RUNNING, WAITING = 2, 3
CLIENTS = 10 * (RUNNING + WAITING)
WAIT_S = 20


class Held:
    """A generator that does not end before it is let go, and counts how many use it at once."""

    name, context_tokens = "held", 1_000_000

    def __init__(self, inner: Generator) -> None:
        self.inner, self.digest, self.parameters = inner, inner.digest, inner.parameters
        self.go = threading.Event()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            assert self.go.wait(WAIT_S)
            return self.inner.generate(prompt, **options)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def held(pipeline: Pipeline) -> Iterator[Held]:
    generator = Held(pipeline.generator)
    yield generator
    generator.go.set()


@pytest.fixture
def client(serve: Any, pipeline: Pipeline, held: Held) -> Any:
    return serve(dataclasses.replace(pipeline, generator=held), max_concurrent=RUNNING, max_queue=WAITING)


def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not true():  # what is waited for happens in another thread
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def ask(client: Any) -> Any:
    return client.ask({"question": HOLIDAYS, "cache": False})


def test_what_there_is_no_room_for_is_refused_at_once_and_the_rest_is_answered(client: Any, held: Held) -> None:
    with ThreadPoolExecutor(CLIENTS) as many:
        try:
            asked: list[Future[Any]] = [many.submit(ask, client) for _ in range(CLIENTS)]
            # Nothing has been answered yet: whoever has a reply now was refused, and did not have to wait for anybody.
            until(lambda: sum(reply.done() for reply in asked) == CLIENTS - RUNNING - WAITING)
            refused = [reply.result() for reply in asked if reply.done()]
            assert {(reply.status, reply.json["error"]["code"]) for reply in refused} == {(429, "queue_full")}
            for reply in refused:
                assert 1 <= int(reply.headers["retry-after"]) <= 60
                assert reply.json["error"]["retryable"] is True
                assert reply.json["trace_id"] == reply.headers["x-trace-id"]
        finally:
            held.go.set()
        assert sorted(reply.result().status for reply in asked) == [200] * (RUNNING + WAITING) + [429] * len(refused)
    assert held.most == RUNNING


def test_a_saturated_service_is_live_and_stays_ready(client: Any, held: Held) -> None:
    with ThreadPoolExecutor(RUNNING + WAITING) as many:
        try:
            asked = [many.submit(ask, client) for _ in range(RUNNING + WAITING)]
            until(lambda: "\nrag_queue_depth 3" in client.get("/metrics").body.decode())
            for _ in range(20):
                assert ask(client).status == 429
                assert client.get("/health/live").status == 200
                assert client.get("/health/ready").status == 200
        finally:
            held.go.set()
        assert {reply.result().status for reply in asked} == {200}


def test_ten_times_the_load_for_a_while_never_computes_more_at_once_and_is_over_when_it_is_over(client: Any, held: Held) -> None:
    held.go.set()
    with ThreadPoolExecutor(CLIENTS) as many:
        replies = list(many.map(lambda _: ask(client), range(4 * CLIENTS)))
    codes = {(reply.status, None if reply.status == 200 else reply.json["error"]["code"]) for reply in replies}
    assert codes <= {(200, None), (429, "queue_full")}
    assert (200, None) in codes
    assert held.most <= RUNNING
    answers = [ask(client) for _ in range(3)]
    assert {(reply.status, reply.json["status"]) for reply in answers} == {(200, "answered")}
