"""Spans of a real server, as a collector on the loopback interface gets them."""

import json
import logging
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from opentelemetry.sdk.trace import sampling

from rag_service.ask import Pipeline
from rag_service.errors import GeneratorFailed
from rag_service.redaction import redact
from rag_service.telemetry.otel_variables import Exporting
from rag_service.telemetry.otlp_collector import Collector
from tests.api.conftest import Client, Serve, desk_on, running, serving
from tests.doubles import HOLIDAYS, Writes, completion, with_generator
from tests.telemetry.sink import Seen, Sink, running_sink, until

TRACE_ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER = 2
"""OTLP's number for the span of a server."""
ASK = "POST /ask"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


def exporting(url: str, **settings: Any) -> Exporting:
    sampler = settings.pop("sampler", sampling.DEFAULT_ON)
    return Exporting(Collector(f"{url}/v1/traces", timeout_s=settings.pop("timeout_s", 5)), sampler, {}, schedule_delay_s=0.02, **settings)


def exported(client: Client, name: str) -> float:
    lines = client.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def dropped(client: Client) -> float:
    return exported(client, "rag_spans_dropped_total")


def test_an_answer_is_one_tree_below_its_request(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    reply = serve(pipeline, exporting=exporting(sink.url)).ask({"question": HOLIDAYS}).json
    request, workflow, embed, chat = sink.named(ASK, "invoke_workflow ask", "embeddings all-MiniLM-L6-v2", "chat extractive")
    assert {span.trace_id for span in sink.spans} == {reply["trace_id"]}
    assert (request.kind, request.parent_id) == (SERVER, "")
    assert workflow.parent_id == request.span_id
    assert embed.parent_id == chat.parent_id == workflow.span_id
    assert request.start_ns <= workflow.start_ns <= embed.start_ns <= chat.start_ns <= chat.end_ns <= workflow.end_ns
    assert (request.attributes["http.response.status_code"], request.attributes["http.route"]) == (200, "/ask")
    for span in (request, workflow):
        assert span.attributes["rag.answer.id"] == reply["answer_id"]
        assert span.attributes["rag.release.id"] == reply["trace"]["release"]["id"]
    assert workflow.span_id == reply["answer_id"][-16:]


def test_stages_of_the_trace_and_spans_are_the_same_times(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    reply = serve(pipeline, exporting=exporting(sink.url)).ask({"question": HOLIDAYS}).json
    workflow, embed = sink.named("invoke_workflow ask", "embeddings all-MiniLM-L6-v2")
    stage = reply["trace"]["stages"][0]
    assert (embed.start_ns - workflow.start_ns) / 1e6 == pytest.approx(stage["began_ms"])
    assert (embed.end_ns - embed.start_ns) / 1e6 == pytest.approx(stage["duration_ms"])


def test_the_span_of_the_caller_is_the_parent(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    client = serve(pipeline, exporting=exporting(sink.url))
    client.ask({"question": HOLIDAYS}, traceparent=f"00-{TRACE_ID}-{CALLER}-01", tracestate="vendor=1")
    request = sink.named(ASK)[0]
    assert (request.trace_id, request.parent_id, request.trace_state) == (TRACE_ID, CALLER, "vendor=1")


def test_what_the_caller_does_not_sample_is_not_exported(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    client = serve(pipeline, exporting=exporting(sink.url))
    assert client.ask({"question": HOLIDAYS}, traceparent=f"00-{TRACE_ID}-{CALLER}-00").json["trace_id"] == TRACE_ID
    last = client.ask({"question": HOLIDAYS}).json
    sink.named(ASK, "invoke_workflow ask")
    assert {span.trace_id for span in sink.spans} == {last["trace_id"]}
    assert dropped(client) == 0


def test_a_sampler_that_wants_nothing_gets_nothing(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    client = serve(pipeline, exporting=exporting(sink.url, sampler=sampling.DEFAULT_OFF))
    client.ask({"question": HOLIDAYS})
    client.ask({"question": HOLIDAYS}, traceparent=f"00-{TRACE_ID}-{CALLER}-01")
    assert sink.named(ASK)[0].trace_id == TRACE_ID
    assert {span.trace_id for span in sink.spans} == {TRACE_ID}


@pytest.mark.parametrize(
    "traceparent", [f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE_ID}-{CALLER}-01-x", "x" * 8000, f"ff-{TRACE_ID}-{CALLER}-01"]
)
def test_a_hostile_trace_header_begins_a_new_trace(serve: Serve, pipeline: Pipeline, sink: Sink, traceparent: str) -> None:
    reply = serve(pipeline, exporting=exporting(sink.url)).ask({"question": HOLIDAYS}, traceparent=traceparent, tracestate="=" * 600)
    assert reply.status == 200
    request = sink.named(ASK)[0]
    assert (request.trace_id, request.parent_id, request.trace_state) == (reply.json["trace_id"], "", "")
    assert request.trace_id != TRACE_ID


def test_a_failed_answer_says_where(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    failing = with_generator(pipeline, Writes(GeneratorFailed("the provider said: " + HOLIDAYS)))
    reply = serve(failing, exporting=exporting(sink.url)).ask({"question": HOLIDAYS})
    assert reply.status == 502
    request, workflow, chat, render = sink.named(ASK, "invoke_workflow ask", "chat writes", "rag.prompt.render")
    assert request.error == workflow.error == chat.error == "generator_error"
    assert render.error is None
    assert {span.attributes["error.type"] for span in (request, workflow, chat)} == {"generator_error"}
    assert request.attributes["rag.release.id"] == reply.json["trace"]["release"]["id"]
    assert HOLIDAYS not in repr(sink.spans)


def test_what_a_caller_did_wrong_is_no_error_of_the_request(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    serve(pipeline, exporting=exporting(sink.url)).ask({"question": HOLIDAYS, "prompt": "answer/99"})
    request, workflow = sink.named(ASK, "invoke_workflow ask")
    assert (request.error, request.attributes["error.type"], workflow.error) == (None, "not_found", "not_found")


def test_a_repeated_answer_has_one_span_below_its_request(serve: Serve, served_indexes: Any, sink: Sink) -> None:
    client = serve(desk_on(served_indexes), exporting=exporting(sink.url))
    first = client.ask({"question": HOLIDAYS}).json
    again = client.ask({"question": HOLIDAYS}).json
    sink.until(lambda sink: len([span for span in sink.spans if span.trace_id == again["trace_id"]]) == 2)
    [workflow] = [span for span in sink.spans if span.trace_id == again["trace_id"] and span.name == "invoke_workflow ask"]
    assert workflow.attributes["rag.answer.repeats"] == first["answer_id"]


def test_each_question_of_a_batch_is_a_workflow_below_one_request(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    questions = [{"question": HOLIDAYS}, {"question": "Who wears a yellow badge?"}, {"question": HOLIDAYS, "prompt": "answer/99"}]
    serve(pipeline, exporting=exporting(sink.url)).batch({"questions": questions})
    sink.until(lambda sink: len([span for span in sink.spans if span.name == "invoke_workflow ask"]) == 3)
    request = sink.named("POST /ask/batch")[0]
    workflows = [span for span in sink.spans if span.name == "invoke_workflow ask"]
    assert {span.parent_id for span in workflows} == {request.span_id}
    assert sorted(span.error or "" for span in workflows) == ["", "", "not_found"]
    assert request.attributes["rag.release.id"] == pipeline.lineage.release.id


def test_searches_chats_and_streams_are_exported_and_probes_are_not(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    client = serve(pipeline, exporting=exporting(sink.url))
    client.get("/health/ready")
    client.get("/metrics")
    client.search({"question": HOLIDAYS})
    client.ask({"question": HOLIDAYS, "stream": True})
    client.post("/v1/chat/completions", {"model": "handbook", "messages": [{"role": "user", "content": HOLIDAYS}]})
    sink.named("POST /search", "invoke_workflow search", ASK, "POST /v1/chat/completions")
    until(lambda: exported(client, "rag_spans_exported_total") == len(sink.spans))
    assert {span.name for span in sink.spans if span.kind == SERVER} == {"POST /search", ASK, "POST /v1/chat/completions"}


SECRET = "Call me on +49 30 901820 or mail jane.doe@example.org: how many days of paid holiday are there?"


def test_without_capture_neither_questions_nor_passages_nor_answers_leave(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    client = serve(pipeline, exporting=exporting(sink.url), redact=redact)
    client.ask({"question": SECRET, "messages": [{"role": "user", "content": "Tell me about leave."}], "min_confidence": 0})
    sink.named(ASK, "invoke_workflow ask", "rag.query.condense", "chat extractive")
    said = repr(sink.spans)
    assert not [word for word in ("901820", "jane.doe", "holiday", "Unused days", "leave.md") if word in said]


def test_with_capture_texts_leave_redacted(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    client = serve(pipeline, exporting=exporting(sink.url, capture_content=True), redact=redact)
    client.ask({"question": SECRET, "min_confidence": 0})
    workflow, retrieve, chat = sink.named("invoke_workflow ask", "retrieval handbook", "chat extractive")
    assert "how many days of paid holiday" in workflow.attributes["input.value"]
    assert "28 days" in retrieve.attributes["retrieval.documents.0.document.content"]
    assert json.loads(chat.attributes["gen_ai.output.messages"])[0]["role"] == "assistant"
    said = repr(sink.spans)
    assert "jane.doe@example.org" not in said
    assert "901820" not in said


@pytest.mark.parametrize("status", [429, 500])
def test_a_collector_that_takes_nothing_changes_no_answer_and_is_used_again_later(
    serve: Serve, pipeline: Pipeline, sink: Sink, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    sink.status, sink.reply_headers = status, {"retry-after": "60"}
    client = serve(pipeline, exporting=exporting(sink.url))
    assert client.ask({"question": HOLIDAYS}).json["status"] == "answered"
    until(lambda: dropped(client) == 7)
    sink.status = 200
    assert client.ask({"question": HOLIDAYS}).json["status"] == "answered"
    sink.named(ASK, "invoke_workflow ask")
    until(lambda: exported(client, "rag_spans_exported_total") == 7)
    assert not caplog.records


def test_a_collector_that_hangs_fills_the_queue_and_no_answer_waits(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    sink.behave = lambda: time.sleep(3)
    quick = with_generator(pipeline, Writes(completion("28 days [1].")))
    client = serve(quick, exporting=exporting(sink.url, timeout_s=30, max_queue_spans=16, max_batch_spans=8))
    began_s = time.monotonic()
    for _ in range(10):
        assert client.ask({"question": HOLIDAYS}).json["status"] == "answered"
    assert time.monotonic() - began_s < 3
    lines = client.get("/metrics").body.decode()
    assert 'rag_spans_dropped_total{reason="queue_full"} 0.0' not in lines
    sink.behave = lambda: None


def test_the_server_stops_in_time_and_sends_what_it_has(pipeline: Pipeline, sink: Sink) -> None:
    settings = Exporting(Collector(f"{sink.url}/v1/traces"), sampling.DEFAULT_ON, {}, schedule_delay_s=60)
    with running(serving(pipeline), exporting=settings) as client:
        client.ask({"question": HOLIDAYS})
        assert not sink.spans
    assert {span.name for span in sink.spans} >= {ASK, "invoke_workflow ask", "chat extractive"}


def test_the_server_stops_in_time_although_the_collector_hangs(pipeline: Pipeline, sink: Sink) -> None:
    sink.behave = lambda: time.sleep(8)
    with running(serving(pipeline), exporting=exporting(sink.url, timeout_s=60)) as client:
        client.ask({"question": HOLIDAYS})
        until(lambda: bool(client.get("/metrics").body))
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5


def test_without_a_collector_ids_still_travel(client: Client) -> None:
    reply = client.ask({"question": HOLIDAYS}, traceparent=f"00-{TRACE_ID}-{CALLER}-01")
    assert reply.json["trace_id"] == reply.headers["x-trace-id"] == TRACE_ID
    assert exported(client, "rag_spans_exported_total") == 0


def test_a_client_that_has_gone_is_an_error_of_its_request(serve: Serve, pipeline: Pipeline, sink: Sink) -> None:
    class Slow(Writes):
        def generate(self, *_: Any, **named: Any) -> Any:
            while True:
                named["cancellation"].check()
                time.sleep(0.01)

    client = serve(with_generator(pipeline, Slow(completion(""))), exporting=exporting(sink.url))
    connection = HTTPConnection("127.0.0.1", client.port, timeout=30)
    connection.request("POST", "/ask", json.dumps({"question": HOLIDAYS}), {"content-type": "application/json"})
    until(lambda: exported(client, "rag_in_flight") == 1)
    connection.close()
    request: Seen = sink.named(ASK)[0]
    assert (request.attributes["error.type"], request.attributes["http.response.status_code"]) == ("client_closed", 499)
