"""What is said over the connection to a llama.cpp server: one run of the model, told as it goes."""

import http.client
import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded, GeneratorFailed
from rag_service.generators.transcript import Transcript
from rag_service.generators.unix_http import UnixConnection

_LINE_BYTES = 2**20
"""An event of a run is a few hundred."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the model gave. `finish_reason` is `length` when it was cut by the limit on tokens."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int | None
    completion_tokens: int | None


def run(
    connection: UnixConnection, body: Mapping[str, object], said: Transcript, deadline_s: float | None, cancellation: Cancellation
) -> Run:
    with closing(_events(connection, body, cancellation)) as events:
        for event in events:
            cancellation.check()
            if deadline_s is not None and deadline_s <= time.monotonic():
                raise _stopped()
            said.add(str(event.get("content", "")))
            if "stop_type" in event:
                return Run(
                    text=said.end(),
                    finish_reason="length" if event["stop_type"] == "limit" else "stop",
                    prompt_tokens=event.get("tokens_evaluated"),
                    completion_tokens=event.get("tokens_predicted"),
                )
    cancellation.check()
    raise GeneratorFailed("llama.cpp broke off before the end of the answer", stage="generate")


def _events(connection: UnixConnection, body: Mapping[str, object], cancellation: Cancellation) -> Generator[dict[str, Any]]:
    """What llama.cpp tells of a run, as server-sent events: one for each piece of text, the last with `stop_type`."""
    with told(cancellation), asked(connection, "/completion", body) as response:
        if response.status != HTTPStatus.OK:
            raise refusal(response.status, json.loads(response.read(_LINE_BYTES)))
        while line := response.readline(_LINE_BYTES):
            field, _, value = line.decode("utf-8", "replace").partition(":")
            if field not in {"data", "error"}:
                continue  # the empty line between two events, or a comment that keeps the line open
            event = json.loads(value)
            if not isinstance(event, dict) or "error" in event or field == "error":
                raise refusal(response.status, event)
            yield event


@contextmanager
def asked(connection: UnixConnection, path: str, body: Mapping[str, object]) -> Iterator[http.client.HTTPResponse]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        yield response


@contextmanager
def told(cancellation: Cancellation) -> Iterator[None]:
    """Failures to speak with llama.cpp by their names. One that follows a cancellation was caused by it."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        cancellation.check()
        if isinstance(error, TimeoutError):
            raise _stopped() from error
        raise GeneratorFailed(f"llama.cpp did not answer: {type(error).__name__}", stage="generate") from error


def _stopped() -> DeadlineExceeded:
    return DeadlineExceeded("the model was stopped at the deadline", stage="generate")


def refusal(status: int, reply: object) -> GeneratorFailed:
    reason = "no reason given"
    if isinstance(reply, dict):
        error = reply.get("error", reply)
        reason = str(error.get("message", reason)) if isinstance(error, dict) else reason
    return GeneratorFailed(f"llama.cpp refused the request (HTTP {status}): {reason}", stage="generate")
