"""Span names and trace context, in one place because the conventions behind them still move.

Only the OpenTelemetry API is used: without an SDK configured, spans cost next to nothing and the trace id still travels.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

TRACER_NAME = "rag_service"
ASK = "invoke_workflow ask"
STAGES = {
    "condense": "rag.query.condense",
    "embed": "embeddings",
    "retrieve": "retrieval",
    "prompt": "rag.prompt.render",
    "generate": "chat",
    "cite": "rag.postprocess",
}

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def remote_context(traceparent: str | None) -> SpanContext:
    """The caller's W3C context, or a new trace where there is none or it is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match and _known_form(match) and int(match[2], 16) and int(match[3], 16):
        return SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=TraceFlags(int(match[4], 16) & 1))
    return SpanContext(_random(16), _random(8), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _known_form(match: re.Match[str]) -> bool:
    """Version ff is forbidden, and version 00 has nothing after the flags; later versions may have (Trace Context §3.2)."""
    return match[1] != "ff" and not (match[1] == "00" and match[5])


@contextmanager
def within(span_context: SpanContext) -> Iterator[str]:
    """Makes `span_context` the parent of what happens inside; yields its trace id, 32 hex digits."""
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(span_context)))
    try:
        yield trace.format_trace_id(span_context.trace_id)
    finally:
        context.detach(token)


@contextmanager
def root_span(name: str) -> Iterator[str]:
    """A span below the current context, or below a new trace if there is none; yields the trace id."""
    if not trace.get_current_span().get_span_context().is_valid:
        with within(remote_context(None)), root_span(name) as trace_id:
            yield trace_id
        return
    with trace.get_tracer(TRACER_NAME).start_as_current_span(name) as span:
        yield trace.format_trace_id(span.get_span_context().trace_id)


@contextmanager
def stage_span(stage: str) -> Iterator[None]:
    with trace.get_tracer(TRACER_NAME).start_as_current_span(STAGES[stage]):
        yield


def current_trace_id() -> str:
    """32 hex digits; those of a new trace where there is none."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id if found.is_valid else _random(16))


def _random(size_bytes: int) -> int:
    while not (number := int.from_bytes(secrets.token_bytes(size_bytes))):
        pass
    return number
