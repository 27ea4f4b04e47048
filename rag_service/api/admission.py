"""Who may compute now, who waits, and who is turned away.

Answers are computed by synchronous code, each in a thread of its own. There are as many threads as answers may be made at once; a
bounded number of requests waits for them, first come, first served; the rest is refused while refusing is still cheap.

All bookkeeping happens on the event loop, so it needs no lock. A slot passes straight from the one that ends to the one that has waited
longest; it is never free in between, so nobody can overtake.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded, QueueFull, RagError, ShuttingDown

T = TypeVar("T")
Shed = Literal["queue_full", "expired"]

_RETRY_AFTER_S = (1.0, 60.0)
"""Least and most that a refused client is told to wait."""
_MEMORY = 0.1
"""Weight of the latest work in the average of how long work takes."""


def _unobserved(_: Shed) -> None:
    pass


class Admission:
    """`max_running` pieces of work at once, `max_waiting` more in a queue. Open it with `with`; use it from one event loop.

    `observe` is told `queue_full` or `expired` for each piece of work that is turned away or dropped before it started.
    """

    def __init__(self, max_running: int, max_waiting: int, *, observe: Callable[[Shed], None] = _unobserved) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self._observe = observe
        self._pool: ThreadPoolExecutor | None = None
        self._running = 0
        self._waiting: OrderedDict[asyncio.Future[None], float] = OrderedDict()
        """Turn → its deadline, the one that has waited longest first. Nobody waits while a slot is free."""
        self._taken_s: float | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self.max_running, thread_name_prefix="answer")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Does not wait for threads that still run: whoever waited for their work is gone, and has told it so."""
        self.close_queue()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    @property
    def running(self) -> int:
        """Slots in use, 0 … `max_running`. One is in use until its thread has ended, whoever still waits for it."""
        return self._running

    @property
    def waiting(self) -> int:
        """0 … `max_waiting`."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether `run` would raise `QueueFull` now."""
        return self._running >= self.max_running and len(self._waiting) >= self.max_waiting

    def close_queue(self) -> None:
        """From now on `run` raises `ShuttingDown`; what runs or waits goes on."""
        self._closed = True

    def check(self) -> None:
        """Raises what `run` would raise now, so that a request can be refused before its body is read: `ShuttingDown`, `QueueFull`."""
        if self._closed:
            raise ShuttingDown("the service is shutting down", hint="ask another instance", retry_after_s=_RETRY_AFTER_S[0])
        if self.full:
            self._observe("queue_full")
            raise QueueFull(
                f"{self._running} requests are being answered and {len(self._waiting)} wait",
                hint="try again later",
                retry_after_s=self._retry_after_s(),
            )

    async def run(self, work: Callable[[], T], *, deadline_s: float, cancellation: Cancellation) -> T:
        """What `work` gives, or raises, in a thread and in this task's context. `deadline_s` is a `time.monotonic()` instant.

        Raises `ShuttingDown` and `QueueFull` at once, and `DeadlineExceeded` when the deadline passes before the work could start. A
        work that has started looks after its deadline itself. When this task is cancelled, so is `cancellation`, and a work that has
        not started never does.
        """
        self.check()
        if deadline_s <= time.monotonic():
            raise self._expired()
        if self._running < self.max_running:
            self._running += 1
        else:
            await self._turn(deadline_s)
        return await self._in_thread(work, cancellation)

    async def _turn(self, deadline_s: float) -> None:
        """Returns with a slot that is this task's."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting[turn] = deadline_s
        timer = loop.call_later(deadline_s - time.monotonic(), self._drop, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(turn, None) is None and _granted(turn):
                self._pass_on()  # cancelled in the very moment in which its turn came
            raise
        finally:
            timer.cancel()

    def _drop(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._waiting.pop(turn, None)
            turn.set_exception(self._expired())

    def _expired(self) -> RagError:
        self._observe("expired")
        return DeadlineExceeded("the time for this request was over before its turn came", stage="queue")

    async def _in_thread(self, work: Callable[[], T], cancellation: Cancellation) -> T:
        """With a slot in hand, which `_ended` gives back."""
        loop, began_s = asyncio.get_running_loop(), time.monotonic()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process is ending, nobody needs to know
                loop.call_soon_threadsafe(self._ended, ended, time.monotonic() - began_s)

        try:
            if self._pool is None:
                raise RuntimeError("this admission has not been entered")
            done = self._pool.submit(copy_context().run, work)
        except BaseException:
            self._pass_on()
            raise
        done.add_done_callback(tell)
        try:
            await ended
        except asyncio.CancelledError:
            cancellation.cancel()
            raise
        return done.result()

    def _ended(self, ended: asyncio.Future[None], took_s: float) -> None:
        self._taken_s = took_s if self._taken_s is None else self._taken_s + _MEMORY * (took_s - self._taken_s)
        self._pass_on()
        if not ended.done():  # somebody still waits for it
            ended.set_result(None)

    def _pass_on(self) -> None:
        """Gives the slot to whoever has waited longest and still has time, or frees it."""
        while self._waiting:
            turn, deadline_s = self._waiting.popitem(last=False)
            if turn.done():
                continue  # cancelled, and about to leave by itself
            if deadline_s <= time.monotonic():
                turn.set_exception(self._expired())
                continue
            turn.set_result(None)
            return
        self._running -= 1

    def _retry_after_s(self) -> float:
        """By when the queue as it is now will have been served, whole seconds."""
        least, most = _RETRY_AFTER_S
        taken_s = least if self._taken_s is None else self._taken_s
        return float(min(max(math.ceil((len(self._waiting) + 1) * taken_s / self.max_running), least), most))


def _granted(turn: asyncio.Future[Any]) -> bool:
    return turn.done() and not turn.cancelled() and turn.exception() is None
