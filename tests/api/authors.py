"""Generators that write what a test says, when it says so, and clients that read a stream while it is written."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded
from rag_service.types import NO_SAMPLING, NOT_COUNTED, Completion, Prompt, Sampling

_LOOK_S = 0.005


class Author:
    """Port `Generator`. Its steps are text to write, events to wait for, seconds to take, and errors to raise.

    `deaf` waits on whatever the deadline and the client say, as no generator should.
    """

    name = "author"
    digest = f"sha256:{'a' * 64}"
    parameters: Mapping[str, str | int | float | None] = {}
    context_tokens = 100_000
    follows_instructions = False

    def __init__(self, *steps: str | float | threading.Event | Exception, deaf: bool = False) -> None:
        self._steps = steps
        self._deaf = deaf
        self._change = threading.Lock()
        self.begun = 0
        self.ended = 0

    def count_tokens(self, text: str) -> int:
        return len(text)

    def generate(
        self,
        prompt: Prompt,  # noqa: ARG002 - what is asked does not matter
        *,
        sampling: Sampling = NO_SAMPLING,  # noqa: ARG002
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        with self._change:
            self.begun += 1
        try:
            for step in self._steps:
                match step:
                    case str():
                        if write is not None:
                            write(step)
                    case Exception():
                        raise step
                    case threading.Event():
                        self._wait(step, deadline_s, cancellation)
                    case _:
                        time.sleep(step)
        finally:
            with self._change:
                self.ended += 1
        text = "".join(step for step in self._steps if isinstance(step, str)).strip()
        return Completion(text, False, "stop", self.name, NOT_COUNTED)

    def _wait(self, event: threading.Event, deadline_s: float | None, cancellation: Cancellation | None) -> None:
        while not event.wait(_LOOK_S):
            if self._deaf:
                continue
            if cancellation is not None:
                cancellation.check()
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise DeadlineExceeded("the author did not end in time")


def written_by(generator: Any, pipeline: Pipeline) -> Pipeline:
    return replace(pipeline, generator=generator)


@dataclass(frozen=True)
class Frame:
    event: str
    """`comment` for one of those."""
    data: Any


class Stream:
    """A reply that is read frame by frame."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next()) is not None:
            yield frame

    def next(self) -> Frame | None:
        """None at the end. Fails for anything that is no frame."""
        first = self._response.readline()
        if not first:
            return None
        if first.startswith(b":"):
            assert self._response.readline() == b"\n"
            return Frame("comment", first.decode())
        second = self._response.readline()
        assert first.startswith(b"event: "), first
        assert second.startswith(b"data: "), second
        assert self._response.readline() == b"\n"
        return Frame(first[7:].decode().strip(), json.loads(second[6:]))

    def read(self) -> bytes:
        return self._response.read()

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.close()
        self._response.close()
        self._connection.close()


@contextmanager
def streaming(client: Any, payload: Mapping[str, Any], path: str = "/ask", **headers: str) -> Iterator[Stream]:
    connection = HTTPConnection("127.0.0.1", client.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, json.dumps({"stream": True, **payload}), {"content-type": "application/json", **named})
    stream = Stream(connection, connection.getresponse())
    try:
        yield stream
    finally:
        stream.close()


def gauge(client: Any, name: str) -> float:
    lines = client.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come to that"
        time.sleep(_LOOK_S)
