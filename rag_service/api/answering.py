"""What the routes share: from a validated request to a record, through admission, with the client watched."""

import asyncio
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
from rag_service.errors import Cancelled, RagError
from rag_service.question import Question
from rag_service.record import Record, Search
from rag_service.telemetry.metrics import Metrics
from rag_service.telling import Tell

T = TypeVar("T")


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
        pipeline = self.desk.admit(wanted.pin)
        record = self.desk.recall(pipeline, question) if pipeline is not None and wanted.use_cache else None
        if record is None:  # without a thread until here: looking takes less than getting one
            record = await self._compute(
                receive, wanted, lambda: self.desk.ask(self._opened(pipeline, wanted), question, use_cache=wanted.use_cache, tell=tell)
            )
        elif tell is not None:
            retell(record, tell)
        self.metrics.answered(record)
        current_outcome().of_record(record)
        return record

    async def ask_many(self, receive: Receive, questions: Sequence[Question], wanted: Wanted) -> list[Record | RagError]:
        """In the order asked."""
        pipeline = self.desk.admit(wanted.pin)

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
        pipeline = self.desk.admit(wanted.pin)
        search = await self._compute(receive, wanted, lambda: self._opened(pipeline, wanted).search(question))
        self.metrics.searched(search)
        current_outcome().of_search(search)
        return search

    def _opened(self, pipeline: Pipeline | None, wanted: Wanted) -> Pipeline:
        """To be called in a thread. Raises what `Desk.open` raises."""
        return pipeline if pipeline is not None else self.desk.open(wanted.pin, deadline_s=wanted.deadline_s)

    async def _compute(self, receive: Receive, wanted: Wanted, work: Callable[[], T]) -> T:
        """`work` in a thread of its own when its turn has come. A client that goes away cancels it, also while it waits."""
        working = asyncio.ensure_future(self.admission.run(work, deadline_s=wanted.deadline_s, cancellation=wanted.cancellation))
        watching = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Cancelled("the client has closed the connection")
            return working.result()
        finally:
            watching.cancel()
            if not working.done():
                wanted.cancellation.cancel()
                working.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
