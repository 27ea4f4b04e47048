"""What the routes share: from a validated request to a record, through admission, with the client watched."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.types import Receive

from rag_service.api.admission import Admission
from rag_service.api.outcome import current_outcome
from rag_service.api.schemas import Limits
from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.desk import Desk, Pin, retell
from rag_service.errors import Cancelled, DeadlineExceeded, InvalidInput, NotFound, RagError
from rag_service.question import Question
from rag_service.record import Record, Search
from rag_service.telemetry.metrics import Metrics
from rag_service.telling import Tell

T = TypeVar("T")

_NOTICE_S = 0.5
"""After the deadline, for whoever works to notice it: such an error says in which stage, and how far the answer had come."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, beside its questions. `deadline_s` is a `time.monotonic()` instant."""

    pin: Pin
    use_cache: bool
    deadline_s: float
    cancellation: Cancellation


@dataclass(frozen=True, slots=True)
class Answering:
    desk: Desk
    admission: Admission
    metrics: Metrics
    limits: Limits
    public_url: str | None

    async def ask(self, receive: Receive, question: Question, wanted: Wanted, tell: Tell | None = None) -> Record:
        """Raises what `Desk.ask` raises, `QueueFull`, and `Cancelled` when the client has gone."""
        pipeline = self.desk.admit(wanted.pin, question.access)
        record, use_cache = None, wanted.use_cache
        try:
            record = self.desk.recall(pipeline, question) if pipeline is not None and use_cache else None
        except InvalidInput:
            use_cache = False  # the pipeline says what is wrong with the question, and with its error what was at work
        if record is None:  # without a thread until here: looking takes less than getting one
            record = await self._compute(
                receive, wanted, lambda: self.desk.ask(self._opened(pipeline, wanted), question, use_cache=use_cache, tell=tell)
            )
        elif tell is not None:
            retell(record, tell)
        self.metrics.answered(record)
        current_outcome().of_record(record)
        return record

    async def ask_many(self, receive: Receive, questions: Sequence[Question], wanted: Wanted) -> list[Record | RagError]:
        """In the order asked."""
        pipeline = self.desk.admit(wanted.pin, next((question.access for question in questions), None))

        def work() -> list[Record | RagError]:
            return self.desk.ask_many(self._opened(pipeline, wanted), questions, use_cache=wanted.use_cache)

        results = await self._compute(receive, wanted, work)
        for result in results:
            if isinstance(result, Record):
                self.metrics.answered(result)
            else:
                self.metrics.failed(result.code, result.stage)
        current_outcome().outcome = "batch"
        return results

    async def search(self, receive: Receive, question: Question, wanted: Wanted) -> Search:
        pipeline = self.desk.admit(wanted.pin, question.access)
        search = await self._compute(receive, wanted, lambda: self._opened(pipeline, wanted).search(question))
        self.metrics.searched(search)
        current_outcome().of_search(search)
        return search

    def _opened(self, pipeline: Pipeline | None, wanted: Wanted) -> Pipeline:
        """To be called in a thread. Raises what `Desk.open` raises."""
        if pipeline is not None:
            return pipeline
        try:
            return self.desk.open(wanted.pin, deadline_s=wanted.deadline_s)
        except NotFound as error:
            error.param = error.param or ("release" if wanted.pin.release is not None else "index_version")
            raise

    async def _compute(self, receive: Receive, wanted: Wanted, work: Callable[[], T]) -> T:
        """`work` in a thread of its own when its turn has come. A client that goes away cancels it, also while it waits.

        Nobody waits beyond the deadline for work that does not look after it. Its slot stays taken until its thread has ended.
        """
        working = asyncio.ensure_future(self.admission.run(work, deadline_s=wanted.deadline_s, cancellation=wanted.cancellation))
        watching = asyncio.ensure_future(_gone(receive))
        try:
            left_s = max(wanted.deadline_s - time.monotonic(), 0) + _NOTICE_S
            await asyncio.wait({working, watching}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if watching.done():
                raise Cancelled("the client has closed the connection")
            raise DeadlineExceeded("the time for this request was over, and what was at work did not end by itself")
        finally:
            watching.cancel()
            if not working.done():
                wanted.cancellation.cancel()
                working.cancel()
            elif not working.cancelled():
                working.exception()  # seen, also where this task was cancelled in the moment in which the work failed


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
