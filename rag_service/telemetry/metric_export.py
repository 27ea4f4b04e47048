"""Metrics on their way to a collector, at intervals, in a thread of their own. Answers never wait for them.

What is sent is what `/metrics` tells, so an answer costs nothing more. One export is under way at a time, and nothing queues: a collector
that is away misses points in time, never counts, because the next export that it takes tells everything since the last that it took.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self

from prometheus_client.core import Metric

from rag_service.telemetry.otel_variables import ExportingMetrics
from rag_service.telemetry.otlp_http import ExportFailed, OtlpHttp
from rag_service.telemetry.readings import Labels, Readings, added, read

logger = logging.getLogger("rag_service.telemetry")

ExportOutcome = Literal["taken", "failed"]

FLUSH_S = 1.5
"""At the end, for the last export."""


class MetricExport:
    """Exports between `with` and its end, which takes at most `flush_s`. `collect` gives the metrics as they stand; `exported` is told how
    each export went.
    """

    def __init__(
        self,
        exporting: ExportingMetrics,
        collect: Callable[[], Iterable[Metric]],
        exported: Callable[[ExportOutcome], None],
        *,
        of_worker: Labels = (),
        flush_s: float = FLUSH_S,
    ) -> None:
        self._exporting = exporting
        self._collect = collect
        self._exported = exported
        self._of_worker = of_worker
        self._flush_s = flush_s
        self._http = OtlpHttp(exporting.collector)
        self._start_ns = self._taken_ns = time.time_ns()
        self._taken: Readings = {}
        """What the collector knows, of deltas."""
        self._failing = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metric-export", daemon=True)  # as with spans

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._http.stop_retrying()
        self._ending.set()
        self._thread.join(self._flush_s)
        self._http.abort()
        self._thread.join(0.1)

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(self._exporting.interval_s)
            self._export()

    def _export(self) -> None:
        from rag_service.telemetry.metric_encoding import Span, encoded, rejected  # protobuf: only where something is exported

        try:
            now_ns, now = time.time_ns(), read(self._collect())
            delta = self._exporting.delta
            told = added(now, self._taken) if delta else now
            span = Span(self._taken_ns if delta else self._start_ns, now_ns, self._taken_ns, delta)
            reply = self._http.send(encoded(told, span, self._exporting.resource, self._of_worker))
            self._taken, self._taken_ns = (now, now_ns) if delta else ({}, now_ns)
            if lost := rejected(reply):  # for good: what was partly taken must not be sent again (OTLP, "Partial Success")
                raise ExportFailed(f"{lost} data points were rejected")
        except ExportFailed as failed:
            self._failed(str(failed))
        except Exception:  # a fault of ours must not end the thread
            logger.exception("metrics could not be exported; answers are not affected")
            self._exported("failed")
        else:
            self._exported("taken")
            if self._failing:
                self._failing = False
                logger.info("metrics are exported again")

    def _failed(self, why: str) -> None:
        self._exported("failed")
        if not self._failing:
            self._failing = True
            logger.warning("metrics are not exported: the collector at %s does not take them (%s)", self._exporting.collector.url, why)
