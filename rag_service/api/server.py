"""The server process: serves until it is told to stop, then lets everybody finish who can.

    first signal    not ready any more, but the port stays open for `drain_s`, and who comes is answered: probes and load balancers
                    see it and send nobody
    then            the port closes, and so does each connection once it has its answer; requests have `grace_s` to end
    1 s before      `on_grace_over`: streams can still end with a word
    grace is over   what still runs is cancelled and answered with an error
    second signal   the process ends at once, by that signal

Windows is not supported.
"""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_service.api.connection import Connection
from rag_service.api.connections import ConnectionLimits, Connections
from rag_service.api.refusals import refusal

logger = logging.getLogger("rag_service.serve")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_WORDS_S = 1.0
"""Between `on_grace_over` and the end of the grace; also how long what was cancelled may take to end."""
_SWITCH_S = 0.001
"""How long a thread that computes in Python keeps the event loop waiting. Beside two such threads on two cores, probes and refusals took
107 to 176 ms (p99) with Python's own 5 ms, and 33 to 40 ms with this; what the threads got done differed by less than 10 % either way."""
_LOOK_S = 0.05
"""How often is looked whether everybody has finished."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Ending:
    """How long the parts of an orderly stop take."""

    drain_s: float = 0.0
    grace_s: float = 30.0


class DrainingServer(uvicorn.Server):
    """`on_stop`, `on_closing` and `on_grace_over` are called on the event loop, once each at most; they must be quick and not raise.

    `run(sockets=[listener])` serves, in any thread; `stop` ends it.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        ending: Ending = Ending(),
        *,
        on_stop: Callable[[], None] = _nothing,
        on_closing: Callable[[], None] = _nothing,
        on_grace_over: Callable[[], None] = _nothing,
    ) -> None:
        self._shared = Connections(limits)
        super().__init__(
            uvicorn.Config(
                _answering_what_is_cancelled(app),
                http=cast(Any, partial(Connection, self._shared)),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        self._ending = ending
        self._on_stop = on_stop
        self._on_closing = on_closing
        self._on_grace_over = on_grace_over
        self._stop_asked = False
        self._closes_s: float | None = None
        """When the port closes, once that is known."""

    def stop(self) -> None:
        """What the first signal does. From any thread, and before the server runs, too."""
        self._stop_asked = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        if self._stop_asked:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone: `serve_until_signal` handles them from before the start until after the end."""
        yield

    async def on_tick(self, counter: int) -> bool:
        if self._stop_asked and self._closes_s is None:
            served = counter > 0  # nobody can have seen as ready what is stopped before it serves
            self._closes_s = time.monotonic() + (self._ending.drain_s if served else 0)
            self._shared.closing = True
            self._on_stop()
            logger.info("stopping: the port closes in %g s", self._ending.drain_s if served else 0)
        if self._closes_s is not None and time.monotonic() >= self._closes_s:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """In place of uvicorn's, which has no moment for last words and does not wait for what it cancels."""
        self._on_closing()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        grace_s = self._ending.grace_s
        if not await self._everybody_leaves(max(grace_s - _LAST_WORDS_S, 0)):
            self._on_grace_over()
            if not await self._everybody_leaves(min(grace_s, _LAST_WORDS_S)):
                await self._cut_off()
        self._shared.end_lingering()
        await self.lifespan.shutdown()

    async def _everybody_leaves(self, within_s: float) -> bool:
        until_s = time.monotonic() + within_s
        while self.server_state.connections or self.server_state.tasks:
            if time.monotonic() >= until_s:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _cut_off(self) -> None:
        tasks = list(self.server_state.tasks)
        if tasks:
            logger.warning("%d requests did not end within %g s and are cut off", len(tasks), self._ending.grace_s)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_LAST_WORDS_S)
        await self._everybody_leaves(_LOOK_S)  # what they said is on its way
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def serve_until_signal(server: DrainingServer, listener: socket.socket) -> None:
    """Serves on `listener` until SIGTERM, SIGINT or `server.stop()`, and returns when everybody has been served. Main thread only.

    Afterwards a signal ends the process at once again: who does not want to wait for a thread that goes on says it once more.
    """
    sys.setswitchinterval(_SWITCH_S)
    for number in _SIGNALS:
        signal.signal(number, server.handle_exit)
    try:
        server.run(sockets=[listener])
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def _answering_what_is_cancelled(app: ASGIApp) -> ASGIApp:
    """A request that is cancelled, which only the end of the server does, gets an error in the one shape rather than uvicorn's 500."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not started:  # otherwise the reply stays incomplete, which the client sees
                message = "the service is shutting down and had no more time for this request: ask another instance"
                await refusal("shutting_down", message)(scope, receive, send)

    return answering
