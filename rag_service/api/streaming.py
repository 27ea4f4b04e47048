"""An answer as server-sent events, while it is made.

The status line waits until the search is done, so that whatever fails before is a real HTTP error. The worker thread tells events; the
event loop writes them. What waits in between is bounded by the length of one answer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive

from rag_service.api.answering import Answering, Wanted
from rag_service.api.errors import from_rag_error, internal_error
from rag_service.api.outcome import current_outcome
from rag_service.api.schemas import ErrorReply
from rag_service.api.trace import RequestIds, current_ids
from rag_service.errors import RagError, ShuttingDown
from rag_service.question import Question
from rag_service.record import Event, Record

logger = logging.getLogger("rag_service.api")

KEEP_ALIVE_S = 15.0
"""Proxies cut connections that are silent for longer; 30 s is the shortest default among the common ones."""

_COMMENT = b": keep-alive\n\n"
_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}

Told = Event | Record | Exception
"""Events, then a record or what went wrong."""


class Frames(Protocol):
    """How events look on the wire. Makes the frames of one stream."""

    def told(self, told: Event | Record) -> bytes: ...

    def failed(self, error: ErrorReply) -> bytes: ...


class Telling:
    """The events of one answer on their way from the thread that makes it to the connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Told] = asyncio.Queue()

    def tell(self, told: Told) -> None:
        """From any thread; what is told first comes first."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, told)

    async def batches(self) -> AsyncIterator[list[Told]]:
        """What there is, whenever there is something; an empty list after a silence."""
        while True:
            if self._queue.empty():
                waiting = asyncio.ensure_future(self._queue.get())
                try:
                    await asyncio.wait({waiting}, timeout=KEEP_ALIVE_S)
                finally:
                    first = [waiting.result()] if waiting.done() and not waiting.cancelled() else []
                    waiting.cancel()
            else:
                first = []
            yield [*first, *(self._queue.get_nowait() for _ in range(self._queue.qsize()))]


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


def sse_response(body: Iterable[bytes] | AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(body, headers=_HEADERS, media_type="text/event-stream")


async def stream_answer(
    answering: Answering, receive: Receive, question: Question, wanted: Wanted, frames: Frames, open_streams: OpenStreams
) -> StreamingResponse:
    """Returns when the search is done. Raises what goes wrong until then."""
    telling = Telling()
    making = asyncio.ensure_future(_make(answering, receive, question, wanted, telling))
    batches = telling.batches()
    try:
        first: list[Told] = []
        while not first:
            first = await anext(batches)
        if isinstance(first[0], Exception):
            raise first[0]
    except BaseException:
        making.cancel()
        raise
    return sse_response(_written(answering, first, batches, telling, making, wanted, frames, open_streams))


async def _make(answering: Answering, receive: Receive, question: Question, wanted: Wanted, telling: Telling) -> None:
    try:
        telling.tell(await answering.ask(receive, question, wanted, telling.tell))
    except Exception as error:  # noqa: BLE001 - whoever reads the stream must learn of it, whatever it is
        telling.tell(error)


async def _written(
    answering: Answering,
    first: list[Told],
    batches: AsyncIterator[list[Told]],
    telling: Telling,
    making: asyncio.Future[None],
    wanted: Wanted,
    frames: Frames,
    open_streams: OpenStreams,
) -> AsyncIterator[bytes]:
    ids = current_ids()
    open_streams.add(telling)
    try:
        batch = first
        while True:
            yield b"".join(_frame(answering, told, frames, ids) for told in batch) or _COMMENT
            if batch and isinstance(batch[-1], Record | Exception):
                return
            batch = await anext(batches)
    finally:
        open_streams.discard(telling)
        wanted.cancellation.cancel()
        making.cancel()


def _frame(answering: Answering, told: Told, frames: Frames, ids: RequestIds) -> bytes:
    if not isinstance(told, Exception):
        return frames.told(told)
    if isinstance(told, RagError):
        _, reply = from_rag_error(told, trace_id=ids.trace_id, request_id=ids.request_id)
    else:
        logger.error("unexpected error in a stream, trace %s", ids.trace_id, exc_info=told)
        _, reply = internal_error(trace_id=ids.trace_id, request_id=ids.request_id)
    current_outcome().outcome = reply.error.code
    answering.metrics.failed(reply.error.code, reply.error.stage)
    return frames.failed(reply)
