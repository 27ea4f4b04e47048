"""Trace context: what callers send, what is passed on, and the ids that follow from an answer."""

import pytest
from opentelemetry.trace import format_trace_id

from rag_service.record import new_answer_id
from rag_service.telemetry.span_names import STAGES
from rag_service.telemetry.spans import (
    answer_span_id,
    below,
    current_span,
    current_trace_id,
    current_traceparent,
    in_a_trace,
    new_trace,
    remote_context,
    request_span,
    stage_span_id,
    within,
)

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE_ID}-{SPAN_ID}-01"

HOSTILE = [
    None,
    "",
    "-",
    "00",
    GOOD.upper(),
    f" {GOOD}",
    f"{GOOD}\n",
    f"{GOOD}-more",
    f"ff-{TRACE_ID}-{SPAN_ID}-01",
    f"00-{'0' * 32}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-1",
    f"00-{TRACE_ID}-{SPAN_ID}-zz",
    f"00-{TRACE_ID}{SPAN_ID}-01",
    "00-" + "٤" * 32 + f"-{SPAN_ID}-01",
    "0" * 100_000,
]


def test_the_context_of_a_caller_is_taken_over() -> None:
    context = remote_context(GOOD, "vendor=1,other=2")
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert context.is_remote
    assert context.trace_flags.sampled
    assert context.trace_state.to_header() == "vendor=1,other=2"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_only_the_first_bit_of_the_flags_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:
    context = remote_context(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert context is not None
    assert context.trace_flags.sampled is sampled
    assert request_span(context).trace_flags.sampled is sampled


def test_a_later_version_may_have_more_after_the_flags() -> None:
    assert remote_context(f"01-{TRACE_ID}-{SPAN_ID}-01-more") is not None


@pytest.mark.parametrize("traceparent", HOSTILE)
def test_what_is_no_trace_context_begins_a_new_trace(traceparent: str | None) -> None:
    assert remote_context(traceparent) is None
    first, second = request_span(None), request_span(None)
    assert first.is_valid
    assert first.trace_id != second.trace_id


@pytest.mark.parametrize("tracestate", ["", "=", ",,,", "a=b," * 10_000, "no equals", "a=\x00"])
def test_a_hostile_trace_state_is_left_out_and_the_rest_is_taken(tracestate: str) -> None:
    context = remote_context(GOOD, tracestate)
    assert context is not None
    assert context.trace_state.to_header() == ""


def test_a_span_below_another_is_of_its_trace_and_has_its_own_id() -> None:
    parent = new_trace()
    child = below(parent)
    assert child.trace_id == parent.trace_id
    assert child.span_id != parent.span_id
    assert not child.is_remote


def test_what_is_within_a_span_has_it_for_a_parent_and_afterwards_nothing_has() -> None:
    assert current_traceparent() is None
    span = new_trace()
    with within(span) as trace_id:
        assert trace_id == format_trace_id(span.trace_id) == current_trace_id()
        assert current_span() == span
        assert current_traceparent() == f"00-{trace_id}-{span.span_id:016x}-01"
        with in_a_trace() as found:
            assert found == span
    assert current_span() is None
    assert len(current_trace_id()) == 32


def test_the_header_of_an_outgoing_request_says_that_a_trace_is_not_sampled() -> None:
    caller = remote_context(f"00-{TRACE_ID}-{SPAN_ID}-00")
    with within(request_span(caller)):
        outgoing = current_traceparent()
    assert outgoing is not None
    assert outgoing.startswith(f"00-{TRACE_ID}-")
    assert outgoing.endswith("-00")


def test_the_spans_of_an_answer_have_ids_that_follow_from_its_own_and_differ() -> None:
    for _ in range(100):
        answer_id = new_answer_id()
        root = answer_span_id(answer_id)
        assert f"{root:016x}" == answer_id[-16:]
        ids = {root, *(stage_span_id(root, stage) for stage in STAGES)}
        assert len(ids) == 1 + len(STAGES)
        assert all(0 < each < 2**64 for each in ids)


def test_no_span_has_the_id_that_means_none() -> None:
    assert answer_span_id("ans_" + "0" * 32) == 1
    for stage in STAGES:
        assert stage_span_id(stage_span_id(0, stage), stage) == 1
