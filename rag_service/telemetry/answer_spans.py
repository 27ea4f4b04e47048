"""What a service tells about its answers, as spans. Where no collector is configured nothing is made, and nothing is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind

from rag_service.errors import RagError
from rag_service.record import Attempt, Lineage, Record, Search
from rag_service.telemetry import span_names as names
from rag_service.telemetry.otel_variables import Exporting
from rag_service.telemetry.span_content import Content
from rag_service.telemetry.span_export import Counts, SpanExport
from rag_service.telemetry.span_tree import (
    Attributes,
    Place,
    Replay,
    Spun,
    Workflow,
    identity,
    spans_of_failure,
    spans_of_record,
    spans_of_search,
)
from rag_service.telemetry.spans import request_span, sampled_as


@dataclass(frozen=True, slots=True)
class Served:
    """A request to a route that answers, when its reply is over. Times are nanoseconds since 1970."""

    span: SpanContext
    caller: SpanContext | None
    """None where the trace began here."""
    method: str
    route: str
    status: int
    start_ns: int
    end_ns: int
    error: str | None
    """Code of the error that was replied, if one was."""
    answer_id: str | None
    lineage: Lineage | None
    """Of what answered, where that is known."""


class AnswerSpans:
    """With `exporting` None it costs next to nothing. Safe to use from several threads."""

    def __init__(self, exporting: Exporting | None, counts: Counts, redact: Callable[[str], str]) -> None:
        self._sampler = exporting.sampler if exporting is not None else None
        self._content = Content(exporting.capture_content, redact) if exporting is not None else Content()
        self._export = SpanExport(exporting, counts) if exporting is not None else None

    @contextmanager
    def exporting(self) -> Iterator[None]:
        """Spans go out while this is open; its end gives what still waits a moment."""
        if self._export is None:
            yield
            return
        with self._export:
            yield

    def of_request(self, caller: SpanContext | None, name: str) -> SpanContext:
        """The span of a request that has come in, with the decision whether it and what is below it are exported."""
        span = request_span(caller)
        if self._sampler is None:
            return span
        parent = trace.set_span_in_context(NonRecordingSpan(caller)) if caller is not None else None
        decision = self._sampler.should_sample(parent, span.trace_id, name, SpanKind.SERVER).decision
        return sampled_as(span, decision.is_sampled())  # type: ignore[no-untyped-call]  # the SDK leaves it so

    def record(self, record: Record, *, replay: Replay | None = None) -> None:
        span = record.attempt.span
        if self._export is not None and span is not None and span.sampled:
            spans = 1 if record.repeats is not None else 1 + len(record.stages)
            self._export.put(spans, partial(spans_of_record, record, self._content, replay))

    def search(self, search: Search) -> None:
        span = search.attempt.span
        if self._export is not None and span is not None and span.sampled:
            self._export.put(1 + len(search.attempt.stages), partial(spans_of_search, search, self._content))

    def failure(self, error: RagError, workflow: Workflow = "ask") -> None:
        """Nothing where the error came before a release was at work."""
        attempt = error.attempt
        if self._export is not None and isinstance(attempt, Attempt) and attempt.span is not None and attempt.span.sampled:
            spans = 2 + len(attempt.stages)
            self._export.put(spans, partial(spans_of_failure, attempt, workflow, error.code, error.stage))

    def served(self, served: Served) -> None:
        if self._export is not None and served.span.trace_flags.sampled:
            self._export.put(1, partial(_server_span, served))


def _server_span(served: Served) -> list[Spun]:
    attributes: Attributes = {
        names.KIND: names.CHAIN,
        names.HTTP_METHOD: served.method,
        names.HTTP_ROUTE: served.route,
        names.URL_PATH: served.route,
        names.HTTP_STATUS: served.status,
    }
    if served.error is not None:
        attributes[names.ERROR_TYPE] = served.error
    if served.answer_id is not None:
        attributes[names.ANSWER_ID] = served.answer_id
    if served.lineage is not None:
        attributes.update(identity(served.lineage))
    span, caller = served.span, served.caller
    place = Place(span.trace_id, span.span_id, caller.span_id if caller is not None else 0, remote_parent=caller is not None)
    faulty = served.error if served.status >= 500 else None  # what a caller did wrong is no error of a server (HTTP conventions)
    state = span.trace_state.to_header() if span.trace_state else ""
    return [Spun(f"{served.method} {served.route}", "server", place, served.start_ns, served.end_ns, attributes, faulty, trace_state=state)]
