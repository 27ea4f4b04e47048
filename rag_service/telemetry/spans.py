"""Where the work of a request stands in its trace. While a question is answered there are only ids, which cost microseconds: nested
instrumentation, log lines and outgoing requests have a parent by them. What spans say is made later, from the record.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from rag_service.record import Span, StageName
from rag_service.telemetry.span_names import STAGE_MARKS

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE_CHARS = 512
"""What Trace Context §3.3.1.5 asks to be passed on; a longer one is left out."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)


def remote_context(traceparent: str | None, tracestate: str | None = None) -> SpanContext | None:
    """The caller's W3C context; None where there is none or it is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or not _known_form(match) or not int(match[2], 16) or not int(match[3], 16):
        return None
    state = TraceState.from_header([tracestate]) if tracestate and len(tracestate) <= _TRACESTATE_CHARS else None
    flags = _SAMPLED if int(match[4], 16) & TraceFlags.SAMPLED else _NOT_SAMPLED
    return SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=flags, trace_state=state)


def _known_form(match: re.Match[str]) -> bool:
    """Version ff is forbidden, and version 00 has nothing after the flags; later versions may have (Trace Context §3.2)."""
    return match[1] != "ff" and not (match[1] == "00" and match[5])


def new_trace() -> SpanContext:
    """The first span of a trace of its own."""
    return SpanContext(_random(16), _random(8), is_remote=False, trace_flags=_SAMPLED)


def below(parent: SpanContext, span_id: int | None = None) -> SpanContext:
    """A span of the same trace, sampled as its parent is; with a random id if None."""
    return SpanContext(parent.trace_id, span_id or _random(8), False, parent.trace_flags, parent.trace_state)


def request_span(caller: SpanContext | None) -> SpanContext:
    """Of a request that has come in: below the caller's, or the first of a new trace."""
    return below(caller) if caller is not None else new_trace()


def sampled_as(span: SpanContext, sampled: bool) -> SpanContext:
    flags = _SAMPLED if sampled else _NOT_SAMPLED
    return span if span.trace_flags == flags else SpanContext(span.trace_id, span.span_id, False, flags, span.trace_state)


@contextmanager
def within(span: SpanContext) -> Iterator[str]:
    """Makes `span` the parent of what happens inside; yields its trace id, 32 hex digits."""
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(span)))
    try:
        yield trace.format_trace_id(span.trace_id)
    finally:
        context.detach(token)


@contextmanager
def in_a_trace() -> Iterator[SpanContext]:
    """The span that this thread or task is in; that of a new trace where it is in none."""
    found = current_span()
    if found is not None:
        yield found
        return
    with within(new := new_trace()):
        yield new


@contextmanager
def stage_span(stage: StageName) -> Iterator[None]:
    """Within the span of an attempt."""
    found = current_span()
    if found is None:
        yield
        return
    with within(below(found, stage_span_id(found.span_id, stage))):
        yield


def answer_span_id(answer_id: str) -> int:
    """The last 16 hex digits of the id, which are random: whoever knows an answer can link to its span."""
    return int(answer_id[-16:], 16) or 1


def span_of_answer(answer_id: str, parent: SpanContext, began_at: datetime, *, ended_ms: float, under_way_ms: float | None = None) -> Span:
    return Span(
        span_id=f"{answer_span_id(answer_id):016x}",
        parent_id=f"{parent.span_id:016x}",
        sampled=parent.trace_flags.sampled,
        began_at=began_at,
        ended_ms=ended_ms,
        under_way_ms=under_way_ms,
    )


def stage_span_id(answer_span_id: int, stage: StageName) -> int:
    """Follows from that of the answer, so that nobody has to keep it."""
    return answer_span_id ^ STAGE_MARKS[stage] or 1


def current_span() -> SpanContext | None:
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def current_trace_id() -> str:
    """32 hex digits; those of a new trace where there is none."""
    found = current_span()
    return trace.format_trace_id(found.trace_id if found else _random(16))


def current_traceparent() -> str | None:
    """For the header of an outgoing request."""
    found = current_span()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}" if found else None


def _random(size_bytes: int) -> int:
    while not (number := int.from_bytes(secrets.token_bytes(size_bytes))):
        pass
    return number
