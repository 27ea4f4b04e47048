"""An answer as server-sent events, while it is made.

The status line waits until the search is done, so that whatever fails before is a real HTTP error. The worker thread tells events; the
event loop writes them. What waits in between is bounded by the length of one answer.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from rag_service.api.answering import Answering, Wanted
from rag_service.api.errors import from_rag_error, internal_error
from rag_service.api.outcome import current_outcome
from rag_service.api.schemas import ErrorReply
from rag_service.api.trace import REQUEST_HEADER, current_ids
from rag_service.errors import Cancelled, RagError, ShuttingDown
from rag_service.question import Question
from rag_service.record import Event, Record

logger = logging.getLogger("rag_service.api")

KEEP_ALIVE_S = 15.0
"""Proxies cut connections that are silent for longer; 30 s is the shortest default among the common ones."""

SSE_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
SSE_TYPE = "text/event-stream"

_COMMENT = b": keep-alive\n\n"

Told = Event | Record | Exception
"""Events, then a record or what went wrong."""


class Frames(Protocol):
    """How events look on the wire. Makes the frames of one stream."""

    def told(self, told: Event | Record) -> bytes: ...

    def failed(self, error: ErrorReply) -> bytes: ...


class Telling:
    """The events of one answer on their way from the thread that makes it to the connection. Nothing follows the end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._untold: list[Told] = []
        self._over = False

    def tell(self, told: Told) -> None:
        """From any thread; what is told first comes first."""
        with suppress(RuntimeError):  # the loop is closed: the process is ending, and nobody listens
            self._loop.call_soon_threadsafe(self._take, told)

    async def batch(self) -> list[Told]:
        """What there is, as soon as there is something; an empty list after a silence."""
        with suppress(TimeoutError):
            async with asyncio.timeout(KEEP_ALIVE_S):
                await self._news.wait()
        self._news.clear()
        batch, self._untold = self._untold, []
        return batch

    def _take(self, told: Told) -> None:
        if not self._over:
            self._over = _ends(told)
            self._untold.append(told)
            self._news.set()


class OpenStreams:
    """Those that are being written. When the server has no more time, each is ended with an error that says so."""

    def __init__(self) -> None:
        self._open: set[Telling] = set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, telling: Telling) -> None:
        self._open.add(telling)

    def discard(self, telling: Telling) -> None:
        self._open.discard(telling)

    def expire(self) -> None:
        for telling in self._open:
            telling.tell(ShuttingDown("the service shuts down and had no more time for this answer", hint="ask another instance"))


async def stream_answer(
    answering: Answering, receive: Receive, question: Question, wanted: Wanted, frames: Frames, open_streams: OpenStreams
) -> StreamingResponse:
    """Returns when the search is done. Raises what goes wrong until then."""
    telling = Telling()
    making = asyncio.ensure_future(_make(answering, receive, question, wanted, telling))
    try:
        first: list[Told] = []
        while not first:
            first = await telling.batch()
        if isinstance(first[0], Exception):
            raise first[0]
    except BaseException:
        making.cancel()
        raise
    writer = _Writer(frames, question.request_id)
    open_streams.add(telling)

    def close() -> None:
        open_streams.discard(telling)
        wanted.cancellation.cancel()
        making.cancel()
        writer.close()

    headers = {REQUEST_HEADER: question.request_id} if question.request_id else {}
    return _Streamed(writer.written(first, telling), close, headers)


async def _make(answering: Answering, receive: Receive, question: Question, wanted: Wanted, telling: Telling) -> None:
    try:
        telling.tell(await answering.ask(receive, question, wanted, telling.tell))
    except Exception as error:  # noqa: BLE001 - whoever reads the stream must learn of it, whatever it is
        telling.tell(error)


class _Streamed(StreamingResponse):
    """Calls `close` however it ends, also where it never began: an unfinished generator would only be closed some time later."""

    def __init__(self, body: AsyncGenerator[bytes, None], close: Callable[[], None], headers: dict[str, str]) -> None:
        super().__init__(body, headers={**SSE_HEADERS, **headers}, media_type=SSE_TYPE)
        self._body = body
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()
            await self._body.aclose()


class _Writer:
    """Turns what is told into frames, up to the one that ends the stream."""

    def __init__(self, frames: Frames, request_id: str | None) -> None:
        self._frames = frames
        self._ids = current_ids()
        self._request_id = request_id
        self._outcome = current_outcome()
        self._over = False

    async def written(self, batch: list[Told], telling: Telling) -> AsyncGenerator[bytes, None]:
        """`batch` comes first, then what `telling` gives."""
        while True:
            content = self._joined(batch) if batch else _COMMENT
            if content:
                yield content
            if self._over:
                return
            batch = await telling.batch()

    def close(self) -> None:
        """An answer that nobody waited for counts as one."""
        if not self._over:
            self._over = True
            self._outcome.failed(Cancelled.code)

    def _joined(self, batch: list[Told]) -> bytes:
        written = []
        for told in batch:
            written.append(self._frame(told))
            if self._over:
                break
        return b"".join(written)

    def _frame(self, told: Told) -> bytes:
        self._over = _ends(told)
        if isinstance(told, Exception):
            return self._failed(told)
        try:
            return self._frames.told(told)
        except Exception as error:  # noqa: BLE001 - the status line is gone: the only place to say it is the stream
            self._over = True
            return self._failed(error)

    def _failed(self, error: Exception) -> bytes:
        if isinstance(error, RagError):
            _, reply = from_rag_error(error, trace_id=self._ids.trace_id, request_id=self._request_id)
        else:
            _, reply = internal_error(trace_id=self._ids.trace_id, request_id=self._request_id)
        if reply.error.code == "internal":
            logger.error("unexpected error in a stream, trace %s", self._ids.trace_id, exc_info=error)
        self._outcome.failed(reply.error.code, reply.error.stage)
        return self._frames.failed(reply)


def _ends(told: Told) -> bool:
    return isinstance(told, Record | Exception)
