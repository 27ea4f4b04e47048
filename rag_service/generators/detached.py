"""Calls that nothing can stop, so that whoever made one can at least leave."""

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded
from rag_service.generators.places import Places

Result = TypeVar("Result")
Tell = Callable[[str], None]
"""Hands a piece of text to the caller. Raises `CallerLeft` once the caller has gone; with an empty piece it does nothing else."""


class CallerLeft(Exception):
    """Nobody waits for this call any more: it should come to its end."""


@dataclass(frozen=True, slots=True)
class _Returned(Generic[Result]):
    value: Result


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


class DetachedCalls:
    """At most `most` run at once, each in a thread of its own, those counted whose caller has left. Any thread may call."""

    def __init__(self, most: int, *, name: str) -> None:
        """`name` is what is called, for messages."""
        self._places = Places(most)
        self._name = name

    def call(
        self,
        work: Callable[[Tell], Result],
        *,
        deadline_s: float | None,
        cancellation: Cancellation,
        write: Callable[[str], None] | None = None,
    ) -> Result:
        """What `work` returns or raises. The caller leaves at the deadline with `DeadlineExceeded`, at once with `Cancelled`, or with
        what `write` raises, which is called in the caller's thread with every piece that `work` tells; `work` then runs on until it
        tells the next piece.
        """
        cancellation.check()
        if deadline_s is not None and deadline_s <= time.monotonic():
            raise DeadlineExceeded("the time for this request was over before the model was asked", stage="generate")
        if not self._places.take(deadline_s=deadline_s, cancellation=cancellation):
            raise DeadlineExceeded(f"too many calls to {self._name} are running", stage="generate")
        left = threading.Event()
        events: SimpleQueue[str | _Returned[Result] | _Raised | None] = SimpleQueue()
        self._start(work, events, left)
        try:
            with cancellation.hanging_up(lambda: events.put(None)):
                while True:
                    event = self._next(events, deadline_s)
                    cancellation.check()
                    if isinstance(event, _Returned):
                        return event.value
                    if isinstance(event, _Raised):
                        raise event.error
                    if event is not None and write is not None:
                        write(event)
        finally:
            left.set()

    def _start(
        self, work: Callable[[Tell], Result], events: SimpleQueue[str | _Returned[Result] | _Raised | None], left: threading.Event
    ) -> None:
        def tell(piece: str) -> None:
            if left.is_set():
                raise CallerLeft
            if piece:
                events.put(piece)

        def run() -> None:
            end: _Returned[Result] | _Raised
            try:
                end = _Returned(work(tell))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
                end = _Raised(error)
            self._places.give_back()
            events.put(end)

        context = contextvars.copy_context()
        try:
            threading.Thread(target=context.run, args=(run,), name="detached-call", daemon=True).start()
        except BaseException:  # no thread can be started
            self._places.give_back()
            raise

    def _next(
        self, events: SimpleQueue[str | _Returned[Result] | _Raised | None], deadline_s: float | None
    ) -> str | _Returned[Result] | _Raised | None:
        remaining_s = None if deadline_s is None else deadline_s - time.monotonic()
        try:
            if remaining_s is not None and remaining_s <= 0:
                raise Empty
            return events.get(timeout=remaining_s)
        except Empty:
            raise DeadlineExceeded(f"{self._name} did not answer in time", stage="generate") from None
