"""Spans on their way to a collector: bounded, in a thread of their own, and lossy by design. Answers never wait for them.

What does not fit into the queue is dropped, and so is what a collector did not take in its time; both are counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Protocol, Self

from rag_service.telemetry.otel_variables import Exporting
from rag_service.telemetry.otlp_http import ExportFailed, OtlpHttp
from rag_service.telemetry.span_tree import Spun

logger = logging.getLogger("rag_service.telemetry")

DropReason = Literal["queue_full", "export_failed"]

FLUSH_S = 1.5
"""At the end, for what still waits."""

Making = Callable[[], list[Spun]]
"""Makes the spans of an answer; called in the thread that exports."""


class Counts(Protocol):
    """Told how it goes, from any thread."""

    def spans_exported(self, spans: int) -> None: ...

    def spans_dropped(self, reason: DropReason, spans: int) -> None: ...


class SpanExport:
    """Exports between `with` and its end, which takes at most `flush_s`."""

    def __init__(self, exporting: Exporting, counts: Counts, *, flush_s: float = FLUSH_S) -> None:
        self._exporting = exporting
        self._counts = counts
        self._flush_s = flush_s
        self._resource: Mapping[str, object] = exporting.resource
        self._http = OtlpHttp(exporting.collector)
        self._waiting: deque[tuple[int, Making]] = deque()
        self._waiting_spans = 0
        self._news = threading.Condition()
        self._closing_s: float | None = None
        """When the flush has to be over, once it has begun."""
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)  # a hanging look-up of a name ends nobody's exit

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with self._news:
            self._closing_s = time.monotonic() + self._flush_s
            self._http.stop_retrying()
            self._news.notify()
        self._thread.join(self._flush_s)
        self._http.abort()
        self._thread.join(0.1)
        left = self._take_all()
        if left:
            self._counts.spans_dropped("export_failed", left)
            logger.warning("%d spans were not exported before the end", left)

    def put(self, spans: int, making: Making) -> None:
        """Quick; never raises, never waits. `making` gives so many `spans`."""
        exporting = self._exporting
        with self._news:
            full = self._waiting_spans + spans > exporting.max_queue_spans or self._closing_s is not None
            if not full:
                self._waiting.append((spans, making))
                self._waiting_spans += spans
                if self._waiting_spans >= exporting.max_batch_spans > self._waiting_spans - spans:
                    self._news.notify()
        if full:
            self._counts.spans_dropped("queue_full", spans)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            if batch:
                self._export(batch)

    def _next_batch(self) -> list[Making] | None:
        """When enough waits, or some of it long enough; None at the end. After a failure nobody is pressed."""
        most, delay_s = self._exporting.max_batch_spans, self._exporting.schedule_delay_s
        with self._news:
            until_s = time.monotonic() + delay_s
            while self._closing_s is None and (self._failing or self._waiting_spans < most):
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                self._news.wait(left_s)
            if self._closing_s is not None and (not self._waiting or time.monotonic() >= self._closing_s):
                return None
            batch: list[Making] = []
            taken = 0
            while self._waiting and (not batch or taken + self._waiting[0][0] <= most):
                spans, making = self._waiting.popleft()
                batch.append(making)
                taken += spans
            self._waiting_spans -= taken
            return batch

    def _export(self, batch: list[Making]) -> None:
        from rag_service.telemetry.otlp_encoding import encoded, rejected  # protobuf: only where something is exported

        spans: list[Spun] = []
        try:
            for making in batch:
                spans += making()
            reply = self._http.send(encoded(spans, self._resource))
        except ExportFailed as failed:
            self._failed(len(spans), str(failed))
        except Exception:  # a fault of ours must not end the thread
            logger.exception("spans could not be made; answers are not affected")
            self._counts.spans_dropped("export_failed", max(len(spans), 1))
        else:
            lost = min(rejected(reply), len(spans))
            self._counts.spans_exported(len(spans) - lost)
            self._counts.spans_dropped("export_failed", lost)
            if self._failing:
                self._failing = False
                logger.info("spans are exported again")

    def _failed(self, spans: int, why: str) -> None:
        self._counts.spans_dropped("export_failed", spans)
        if not self._failing:
            self._failing = True
            logger.warning("spans are dropped: the collector at %s does not take them (%s)", self._exporting.collector.url, why)

    def _take_all(self) -> int:
        with self._news:
            left, self._waiting_spans = self._waiting_spans, 0
            self._waiting.clear()
            return left
