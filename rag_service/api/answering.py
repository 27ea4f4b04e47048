"""What the routes share: from a validated request to a record, through admission, with the client watched."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.types import Receive

from rag_service.api.admission import Admission
from rag_service.api.gate import current_caller
from rag_service.api.outcome import current_outcome
from rag_service.api.schemas import Limits
from rag_service.api.trace import current_ids
from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.desk import Desk, Pin, retell
from rag_service.errors import Cancelled, DeadlineExceeded, InvalidInput, NotFound, NotRecorded, RagError, StorageFailed
from rag_service.question import Question
from rag_service.record import Attempt, Receipt, Record, Search
from rag_service.telemetry.answer_spans import AnswerSpans
from rag_service.telemetry.metrics import Metrics
from rag_service.telemetry.span_tree import Workflow
from rag_service.telling import Tell

T = TypeVar("T")

Adding = Future[Receipt] | None
"""A record on its way to the disk; None where none is kept."""

_WRITE_WITHIN_S = 5.0
"""What the disk may take for a record; a disk that takes longer counts as one that cannot be written."""
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
    spans: AnswerSpans
    limits: Limits
    public_url: str | None

    async def ask(self, receive: Receive, question: Question, wanted: Wanted, tell: Tell | None = None) -> Record:
        """When it returns, the record is on the disk. Raises what `Desk.ask` raises, `QueueFull`, `Cancelled` when the client has gone, and
        `NotRecorded` where the service is strict.
        """
        pipeline, key_id = self.desk.admit(wanted.pin, question.access), current_caller().key_id
        known, use_cache = None, wanted.use_cache
        try:
            known = self.desk.recall(pipeline, question) if pipeline is not None and use_cache else None
        except InvalidInput:
            use_cache = False  # the pipeline says what is wrong with the question, and with its error what was at work
        if known is not None:  # without a thread: looking takes less than getting one
            record, adding = known, self.desk.recorder.add(known, key_id=key_id)
            if tell is not None:
                retell(known, tell)
        else:

            def work() -> tuple[Record, Adding]:
                made = self.desk.ask(self._opened(pipeline, wanted), question, use_cache=use_cache, tell=tell)
                return made, self.desk.recorder.add(made, key_id=key_id)

            record, adding = await self._compute(receive, wanted, work)
        record = await self._recorded(record, adding)
        self.metrics.answered(record)
        self.spans.record(record)
        current_outcome().of_record(record)
        return record

    async def ask_many(self, receive: Receive, questions: Sequence[Question], wanted: Wanted) -> list[Record | RagError]:
        """In the order asked."""
        pipeline = self.desk.admit(wanted.pin, next((question.access for question in questions), None))
        key_id = current_caller().key_id

        def work() -> list[tuple[Record, Adding] | RagError]:
            made = self.desk.ask_many(self._opened(pipeline, wanted), questions, use_cache=wanted.use_cache)
            return [(one, self.desk.recorder.add(one, key_id=key_id)) if isinstance(one, Record) else one for one in made]

        made = await self._compute(receive, wanted, work)
        results = [one if isinstance(one, RagError) else await self._recorded_or_error(*one) for one in made]
        for result in results:
            if isinstance(result, Record):
                self.metrics.answered(result)
                self.spans.record(result)
                current_outcome().lineage = result.lineage
            else:
                self.metrics.failed(result.code, result.stage)
                self._failed(result)
        current_outcome().outcome = "batch"
        return results

    async def search(self, receive: Receive, question: Question, wanted: Wanted) -> Search:
        pipeline = self.desk.admit(wanted.pin, question.access)
        search = await self._compute(receive, wanted, lambda: self._opened(pipeline, wanted).search(question), workflow="search")
        self.metrics.searched(search)
        self.spans.search(search)
        current_outcome().of_search(search)
        return search

    async def _recorded(self, record: Record, adding: Adding) -> Record:
        """Once it is on the disk. Raises `NotRecorded`."""
        if adding is None:
            return self.desk.recorder.settled(record, None)
        await _written(adding)
        if not adding.done():
            return self.desk.recorder.settled(record, StorageFailed(f"the ledger took longer than {_WRITE_WITHIN_S:g} s"))
        error = adding.exception()
        if error is not None and not isinstance(error, RagError):
            raise error
        return self.desk.recorder.settled(record, error or adding.result())

    async def _recorded_or_error(self, record: Record, adding: Adding) -> Record | RagError:
        try:
            return await self._recorded(record, adding)
        except NotRecorded as error:
            return error

    def _opened(self, pipeline: Pipeline | None, wanted: Wanted) -> Pipeline:
        """To be called in a thread. Raises what `Desk.open` raises."""
        if pipeline is not None:
            return pipeline
        try:
            return self.desk.open(wanted.pin, deadline_s=wanted.deadline_s)
        except NotFound as error:
            error.param = error.param or ("release" if wanted.pin.release is not None else "index_version")
            raise

    def _failed(self, error: RagError, workflow: Workflow = "ask") -> None:
        self.spans.failure(error, workflow)
        if isinstance(error.attempt, Attempt):
            current_outcome().lineage = error.attempt.lineage

    async def compute(self, receive: Receive, work: Callable[[], T]) -> T:
        """Anything else that takes long: in its turn, and within the time of an answer. What is going on does not end with its client."""
        deadline_s = current_ids().arrived_s + self.limits.timeout_s
        return await self._in_turn(receive, Wanted(Pin(), use_cache=False, deadline_s=deadline_s, cancellation=Cancellation()), work)

    async def _compute(self, receive: Receive, wanted: Wanted, work: Callable[[], T], *, workflow: Workflow = "ask") -> T:
        try:
            return await self._in_turn(receive, wanted, work)
        except RagError as error:
            self._failed(error, workflow)
            raise

    async def _in_turn(self, receive: Receive, wanted: Wanted, work: Callable[[], T]) -> T:
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


async def _written(adding: Future[Receipt]) -> None:
    """Until it is done, or has taken too long. Half the price of `asyncio.wait` around a wrapped future."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    def done(_: Future[Receipt]) -> None:
        with suppress(RuntimeError):  # nobody waits where the loop has ended
            loop.call_soon_threadsafe(wake)

    too_late = loop.call_later(_WRITE_WITHIN_S, wake)
    adding.add_done_callback(done)
    try:
        await waiting
    finally:
        too_late.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
