"""What Prometheus can ask of a running service. `metric_catalogue` says what there is."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Literal, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from rag_service.errors import RagError
from rag_service.record import Lineage, Record, Search, Stage, StageName
from rag_service.telemetry.metric_catalogue import CATALOGUE
from rag_service.telemetry.shared_metrics import Families, SharedMetrics, Worker
from rag_service.telemetry.span_export import DropReason
from rag_service.types import AbstainReason, Notice, WarningCode

logger = logging.getLogger("rag_service.telemetry")

ShedReason = Literal["queue_full", "expired", "rate_limited", "shutting_down"]

_BY_NAME = {entry.name: entry for entry in CATALOGUE}

OTHER = "other"
NO_STAGE = "none"
NO_ROUTE = "unmatched"

# Answers take milliseconds from the extractive generator and a minute from a model on a CPU; settings allow 600 s.
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 600)
_STAGE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)
_COSINE = (0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1)
_GAP = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2)
_CHARS = (10, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600)

_STAGES: tuple[str, ...] = get_args(StageName)
_VERDICTS = ("exact", "same_context", "diverged_at", "not_replayable")
_STATUSES = frozenset({str(status.value) for status in HTTPStatus} | {"499"})  # 499: nginx's, for a client that has gone
_HTTP_CODES = ("invalid_json", "method_not_allowed", "payload_too_large", "unsupported_media_type")
"""Codes of errors that only HTTP has; all others are in the tree of `errors`."""

_PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"

Child = TypeVar("Child", bound=MetricWrapperBase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What gauges show. Called at each scrape, in the thread that serves it; must be quick. `lineage` is None while none answers."""

    ready: Callable[[], bool]
    in_flight: Callable[[], int]
    queue_depth: Callable[[], int]
    open_streams: Callable[[], int]
    cache_bytes: Callable[[], int]
    lineage: Callable[[], Lineage | None]


class _Series(dict[str, Child]):
    """The series of a metric with one label, made beforehand: one that begins at 1 hides its first event from `rate()`."""

    def __init__(self, metric: Child, values: Iterable[str]) -> None:
        super().__init__({value: metric.labels(value) for value in values})
        self._metric = metric

    def __missing__(self, value: str) -> Child:
        return self._metric.labels(OTHER)

    def add(self, values: Iterable[str]) -> None:
        self.update({value: self._metric.labels(value) for value in values if value not in self})


class Metrics:
    """The metrics of one service, in a registry of their own. Safe to use from several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._shared: SharedMetrics | None = None
        self._routes: set[str] = {NO_ROUTE}
        self._codes = {*_HTTP_CODES, *(kind.code for kind in _tree(RagError))}
        self._requests = self._histogram("rag_request_duration_seconds", _REQUEST_S)
        self._request_series: dict[tuple[str, int], Histogram] = {}
        self._errors = self._counter("rag_errors_total")
        for code in self._codes:
            self._errors.labels(code, NO_STAGE)
        self._shed = _Series(self._counter("rag_shed_total"), get_args(ShedReason))
        self._cache_hits = self._counter("rag_cache_hits_total")
        self._answers = _Series(self._counter("rag_answers_total"), ("answered", "abstained"))
        self._abstentions = _Series(self._counter("rag_abstentions_total"), get_args(AbstainReason))
        self._searches = self._counter("rag_searches_total")
        self._stages = _Series(self._histogram("rag_stage_duration_seconds", _STAGE_S), _STAGES)
        self._top_score = self._histogram("rag_top_score", _COSINE)
        self._score_gap = self._histogram("rag_score_gap", _GAP)
        self._answer_chars = self._histogram("rag_answer_chars", _CHARS)
        tokens = self._counter("rag_tokens_total")
        self._prompt_tokens, self._completion_tokens = tokens.labels("prompt"), tokens.labels("completion")
        citations = self._counter("rag_citations_total")
        self._citations = {verbatim: citations.labels(str(verbatim).lower()) for verbatim in (True, False)}
        self._question_chars = self._histogram("rag_question_chars", _CHARS)
        self._validation_failures = _Series(self._counter("rag_validation_failures_total"), ())
        self._warnings = _Series(self._counter("rag_warnings_total"), get_args(WarningCode))
        self._ledger_failures = self._counter("rag_ledger_failures_total")
        self._replays = _Series(self._counter("rag_replays_total"), _VERDICTS)
        self._spans_exported = self._counter("rag_spans_exported_total")
        self._spans_dropped = _Series(self._counter("rag_spans_dropped_total"), get_args(DropReason))

    def know(self, *, routes: Iterable[str] = (), fields: Iterable[str] = (), codes: Iterable[str] = ()) -> None:
        """Adds to what `route`, `field` and `code` may say; all else is `other`. Routes are templates, such as `/traces/{id}`."""
        self._routes.update(routes)
        self._validation_failures.add(fields)
        for code in codes:
            self._codes.add(code)
            self._errors.labels(code, NO_STAGE)

    def watch(self, watched: Watched) -> None:
        """From now on the gauges are part of the exposition. Call it once."""
        self._registry.register(_Live(watched))

    def also(self, collector: Collector) -> None:
        """From now on what it collects is part of the exposition."""
        self._registry.register(collector)

    def request(self, route: str | None, status: int, duration_s: float, trace_id: str | None = None) -> None:
        """One request, at the end of its reply. `route` is the template that it matched, None if none."""
        series = self._request_series.get((route or NO_ROUTE, status)) or self._request_child(route or NO_ROUTE, status)
        series.observe(duration_s, _exemplar(trace_id))

    def answered(self, record: Record) -> None:
        """An answer or an abstention. One that is repeated from the cache counts for what it told, not for the work, which was not done."""
        exemplar = _exemplar(record.trace_id)
        self._answers[record.status].inc()
        if record.abstain_reason is not None:
            self._abstentions[record.abstain_reason].inc(exemplar=exemplar)
        if record.repeats is not None:
            self._cache_hits.inc()
        else:
            self._worked(record.stages, exemplar)
            self._prompt_tokens.inc(record.usage.prompt_tokens or 0)
            self._completion_tokens.inc(record.usage.completion_tokens or 0)
        self._question_chars.observe(len(record.question))
        if record.hits:
            self._top_score.observe(max(0.0, record.hits[0].score), exemplar)
        if len(record.hits) > 1:
            self._score_gap.observe(record.hits[0].score - record.hits[1].score)
        if record.answer is not None:
            self._answer_chars.observe(len(record.answer))
        for citation in record.citations:
            self._citations[citation.verbatim].inc()
        self._warned(record.notices)

    def searched(self, search: Search) -> None:
        """A search without an answer. Its scores do not count: who searches asks for other things, and for more of them."""
        self._searches.inc()
        self._worked(search.attempt.stages, _exemplar(search.attempt.trace_id))
        self._warned(search.notices)

    def failed(self, code: str, stage: str | None = None, trace_id: str | None = None) -> None:
        """A request that ended in an error. `stage` is the error's own."""
        shown = (code if code in self._codes else OTHER, (stage if stage in _STAGES else OTHER) if stage else NO_STAGE)
        self._errors.labels(*shown).inc(exemplar=_exemplar(trace_id))

    def validation_failure(self, field: str) -> None:
        """`field` may be a path, such as `history.3.content`: the first part counts."""
        self._validation_failures[field.partition(".")[0]].inc()

    def shed(self, reason: ShedReason) -> None:
        self._shed[reason].inc()

    def not_recorded(self) -> None:
        self._ledger_failures.inc()

    def replayed(self, verdict: str) -> None:
        """`verdict` without its detail."""
        self._replays[verdict].inc()

    def spans_exported(self, spans: int) -> None:
        self._spans_exported.inc(spans)

    def spans_dropped(self, reason: DropReason, spans: int) -> None:
        self._spans_dropped[reason].inc(spans)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type for an `Accept` header: OpenMetrics, which alone has exemplars, where it is asked for; else text 0.0.4."""
        source = _WithoutCreated(self._registry) if self._shared is None else Families(self._shared.families())
        if _wants_openmetrics(accept):
            body: bytes = openmetrics.generate_latest(source)  # type: ignore[no-untyped-call]  # prometheus_client leaves it so
            return body, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(source), _PLAIN_TEXT

    def share(self, worker: Worker) -> None:
        """From now on the exposition is of all workers, which are asked for theirs, so it waits. Call it once."""
        self._shared = SharedMetrics(worker, own=lambda: bytes(openmetrics.generate_latest(_WithoutCreated(self._registry))))  # type: ignore[no-untyped-call]
        self._shared.start()

    def _request_child(self, route: str, status: int) -> Histogram:
        known = (route if route in self._routes else OTHER, str(status) if str(status) in _STATUSES else OTHER)
        series = self._requests.labels(*known)
        if known == (route, str(status)):
            self._request_series[route, status] = series
        return series

    def _worked(self, stages: Iterable[Stage], exemplar: dict[str, str] | None) -> None:
        for stage in stages:
            self._stages[stage.name].observe(stage.duration_ms / 1000, exemplar)

    def _warned(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self._warnings[notice.code].inc()

    def _counter(self, name: str) -> Counter:
        return Counter(name, _BY_NAME[name].help, _BY_NAME[name].labels, registry=self._registry)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, _BY_NAME[name].help, _BY_NAME[name].labels, buckets=buckets, registry=self._registry)


class _Live(Collector):
    """Gauges that are read when they are asked for, so that what is gone has no series left behind."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        watched = self._watched
        gauges: dict[str, Callable[[], float]] = {
            "rag_ready": watched.ready,
            "rag_in_flight": watched.in_flight,
            "rag_queue_depth": watched.queue_depth,
            "rag_open_streams": watched.open_streams,
            "rag_cache_bytes": watched.cache_bytes,
        }
        for name, read in gauges.items():
            try:
                yield _gauge(name, float(read()))
            except Exception:
                logger.exception("%s cannot be read; the other metrics can", name)
        try:
            lineage = watched.lineage()
            yield from _of_lineage(lineage) if lineage else ()
        except Exception:
            logger.exception("what answers now cannot be read; the other metrics can")


def _of_lineage(lineage: Lineage) -> Iterator[Metric]:
    release, index, deployment = lineage.release, lineage.index, lineage.deployment
    prompt = f"{release.prompt.name}/{release.prompt.version}"
    yield _info("rag_release_info", (release.id, index.name, index.version, lineage.embedder.name, prompt, release.generator.name))
    image = deployment.image.ref if deployment.image else ""
    yield _info("rag_deployment_info", (release.code.version, deployment.commit or "", image, deployment.environment))
    yield _gauge("rag_index_documents", index.documents)
    yield _gauge("rag_index_chunks", index.chunks)
    yield _gauge("rag_index_built_timestamp_seconds", datetime.fromisoformat(index.built_at).timestamp())


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, _BY_NAME[name].help, value=value)


def _info(name: str, values: tuple[str, ...]) -> Metric:
    described = _BY_NAME[name]
    return InfoMetricFamily(name.removesuffix("_info"), described.help, value=dict(zip(described.labels, values, strict=True)))


class _WithoutCreated(Collector):
    """Without `…_created`: a third more series, which Prometheus would keep as metrics of their own and nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _exemplar(trace_id: str | None) -> dict[str, str] | None:
    return {"trace_id": trace_id} if trace_id and len(trace_id) == 32 else None


def _wants_openmetrics(accept: str) -> bool:
    for offer in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in offer.split(";"))
        if media_type == "application/openmetrics-text":
            return not any(parameter in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for parameter in parameters)
    return False


def _tree(kind: type[RagError]) -> Iterator[type[RagError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)
