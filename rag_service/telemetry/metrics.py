"""What Prometheus can ask of a running service. `metric_catalogue` says what there is."""

from collections.abc import Callable, Iterable, Iterator
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
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from rag_service.centroid import distance
from rag_service.digests import short_id
from rag_service.errors import RagError
from rag_service.languages import LANGUAGES, language_of
from rag_service.record import Lineage, Record, Search, Stage, StageName
from rag_service.telemetry.gauges import Live, Watched
from rag_service.telemetry.metric_catalogue import CATALOGUE
from rag_service.telemetry.metric_export import ExportOutcome
from rag_service.telemetry.shared_metrics import Families, SharedMetrics, Worker
from rag_service.telemetry.span_export import DropReason
from rag_service.types import AbstainReason, Notice, SupportLevel, Vector, WarningCode

ShedReason = Literal["queue_full", "expired", "rate_limited", "shutting_down"]

_BY_NAME = {entry.name: entry for entry in CATALOGUE}

OTHER = "other"
NO_STAGE = "none"
NO_ROUTE = "unmatched"
NO_LANGUAGE = "none"

# Answers take milliseconds from the extractive generator and a minute from a model on a CPU; settings allow 600 s.
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 600)
_STAGE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)
_COSINE = (0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1)
_SHARE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
_DISTANCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 2)
_GAP = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2)
_CHARS = (10, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600)

_MOST_ENCODERS = 8
"""Whose distances have series of their own."""

_STAGES: tuple[str, ...] = get_args(StageName)
_VERDICTS = ("exact", "same_context", "diverged_at", "not_replayable")
_STATUSES = frozenset({str(status.value) for status in HTTPStatus} | {"499"})  # 499: nginx's, for a client that has gone
_HTTP_CODES = ("invalid_json", "method_not_allowed", "payload_too_large", "unsupported_media_type")
"""Codes of errors that only HTTP has; all others are in the tree of `errors`."""

_PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"

Child = TypeVar("Child", bound=MetricWrapperBase)


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
        self._confidence = self._histogram("rag_confidence", _SHARE)
        self._sentences = _Series(self._counter("rag_sentences_total"), get_args(SupportLevel))
        self._uncovered = self._counter("rag_uncovered_questions_total")
        self._languages = _Series(self._counter("rag_questions_total"), (*LANGUAGES, NO_LANGUAGE))
        self._distances = self._histogram("rag_query_distance", _DISTANCE)
        self._distance_series: dict[str, Histogram] = {}
        self._centroid_of: Callable[[Lineage], Vector | None] = lambda _: None
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
        self._metric_exports = _Series(self._counter("rag_metric_exports_total"), get_args(ExportOutcome))

    def know(self, *, routes: Iterable[str] = (), fields: Iterable[str] = (), codes: Iterable[str] = ()) -> None:
        """Adds to what `route`, `field` and `code` may say; all else is `other`. Routes are templates, such as `/traces/{id}`."""
        self._routes.update(routes)
        self._validation_failures.add(fields)
        for code in codes:
            self._codes.add(code)
            self._errors.labels(code, NO_STAGE)

    def watch(self, watched: Watched) -> None:
        """From now on the gauges are part of the exposition. Call it once."""
        self._registry.register(Live(watched))

    def measure_from(self, centroid_of: Callable[[Lineage], Vector | None]) -> None:
        """From now on the distance of each query to the centre of the index counts, where `centroid_of` what made the answer is known."""
        self._centroid_of = centroid_of

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
        self._asked(record, exemplar)
        if record.answer is not None:
            self._answer_chars.observe(len(record.answer), exemplar)
        for citation in record.citations:
            self._citations[citation.verbatim].inc()
        for sentence in record.support:
            if sentence.claims:
                self._sentences[sentence.level].inc(exemplar=exemplar if sentence.level == "unsupported" else None)
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

    def metrics_exported(self, outcome: ExportOutcome) -> None:
        self._metric_exports[outcome].inc()

    def collect(self) -> Iterable[Metric]:
        """Of this process alone, whoever shares."""
        return _WithoutCreated(self._registry).collect()

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

    def _asked(self, record: Record, exemplar: dict[str, str] | None) -> None:
        """What the question was like, and how the documents fit it."""
        self._question_chars.observe(len(record.question), exemplar)
        self._languages[language_of(record.question) or NO_LANGUAGE].inc()
        self._confidence.observe(record.confidence, exemplar)
        if record.confidence < record.lineage.release.retrieval.min_confidence:  # of the release: a request may ask for less
            self._uncovered.inc(exemplar=exemplar)
        if record.hits:
            self._top_score.observe(max(0.0, record.hits[0].score), exemplar)
        if len(record.hits) > 1:
            self._score_gap.observe(record.hits[0].score - record.hits[1].score, exemplar)
        centroid = self._centroid_of(record.lineage)
        if centroid is not None:
            self._distance_child(record.lineage).observe(distance(record.query_vector, centroid), exemplar)

    def _distance_child(self, lineage: Lineage) -> Histogram:
        encoder = f"{lineage.embedder.name}@{short_id(lineage.embedder.digest)}"
        if (series := self._distance_series.get(encoder)) is not None:
            return series
        if len(self._distance_series) >= _MOST_ENCODERS:
            return self._distances.labels(OTHER)
        return self._distance_series.setdefault(encoder, self._distances.labels(encoder))

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
