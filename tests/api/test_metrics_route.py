"""`GET /metrics` and the log after known traffic."""

import io
import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import GeneratorFailed
from rag_service.settings import load_settings
from rag_service.telemetry.logs import configure_logging
from rag_service.telemetry.otel_variables import ExportingMetrics
from rag_service.telemetry.otlp_collector import Collector
from rag_service.wiring.releases import make_release
from tests.api.conftest import running, serving
from tests.api.replies import HOLIDAYS
from tests.conftest import Build
from tests.doubles import Writes, with_generator
from tests.telemetry.sink import running_sink, until
from tests.telemetry.test_span_export import refusing

MARK = "zebra-crossing-3141"


class Samples:
    """What a server exposes, by name and labels."""

    def __init__(self, client: Any) -> None:
        reply = client.get("/metrics")
        assert reply.status == 200
        self.text = reply.body.decode()
        self.all = [sample for family in parse(self.text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.all if sample.name == name and labels.items() <= sample.labels.items())

    def labels(self, name: str) -> set[str]:
        return {value for sample in self.all if sample.name.startswith("rag_") for key, value in sample.labels.items() if key == name}


def test_known_traffic_is_counted(serve: Any, own_indexes: Any) -> None:
    client = serve(own_indexes)
    for body in (
        {"question": HOLIDAYS},
        {"question": HOLIDAYS},
        {"question": HOLIDAYS, "min_confidence": 1.0},
        {"question": " "},
        {"topk": 1},
    ):
        client.ask(body)
    client.ask({"question": HOLIDAYS, "top_k": 999})
    client.search({"question": HOLIDAYS})
    client.batch({"questions": [{"question": HOLIDAYS, "top_k": 2}, {"question": " "}]})
    client.get("/nothing")
    samples = Samples(client)
    assert samples.value("rag_answers_total", status="answered") == 3
    assert samples.value("rag_answers_total", status="abstained") == 1
    assert samples.value("rag_abstentions_total", reason="low_confidence") == 1
    assert samples.value("rag_cache_hits_total") == 1
    assert samples.value("rag_searches_total") == 1
    assert samples.value("rag_request_duration_seconds_count", route="/ask", status="200") == 3
    assert samples.value("rag_request_duration_seconds_count", route="/ask", status="422") == 3
    assert samples.value("rag_request_duration_seconds_count", route="unmatched", status="404") == 1
    assert samples.value("rag_errors_total", code="invalid_question") == 2  # one of them in the batch
    assert samples.value("rag_errors_total", code="invalid_request") == 2
    assert samples.value("rag_errors_total", code="not_found") == 1
    assert samples.value("rag_validation_failures_total", field="question") >= 1
    assert samples.value("rag_validation_failures_total", field="top_k") == 1
    assert samples.value("rag_validation_failures_total", field="other") == 1
    assert samples.value("rag_ready") == 1
    assert samples.value("rag_in_flight") == samples.value("rag_queue_depth") == 0
    assert samples.value("rag_cache_bytes") > 0


def test_a_failure_is_counted_with_the_stage_in_which_it_happened(serve: Any, pipeline: Pipeline) -> None:
    client = serve(with_generator(pipeline, Writes(GeneratorFailed("no"))))
    client.ask({"question": HOLIDAYS})
    assert Samples(client).value("rag_errors_total", code="generator_error", stage="generate") == 1


def test_whatever_clients_send_the_labels_stay_the_known_ones(serve: Any, pipeline: Pipeline) -> None:
    client = serve(pipeline)
    before = Samples(client)
    for number in range(20):
        client.get(f"/{MARK}/{number}")
        client.get(f"/chunks/{number:032x}")
        client.get(f"/v1/models/{MARK}-{number}")
        client.send(f"M{number}", "/ask")
        client.ask({f"{MARK}{number}": 1})
        client.ask({"question": f"{MARK} {number}", "filters": {f"{MARK}{number}": MARK}, "request_id": f"{MARK}-{number}"})
    after = Samples(client)
    assert MARK not in after.text
    assert after.labels("route") <= {"/chunks/{chunk_id}", "/v1/models/{model}", "/ask", "unmatched", "/metrics"}
    assert after.labels("field") - before.labels("field") <= {"other"}
    assert len(after.all) - len(before.all) < 200


def test_openmetrics_is_given_to_who_accepts_it(client: Any) -> None:
    client.ask({"question": HOLIDAYS})
    reply = client.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert list(parse_openmetrics(reply.body.decode()))


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """What is logged as JSON."""
    stream, root = io.BytesIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("info", "json", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def request_lines(log: io.BytesIO) -> dict[str, Any]:
    """By trace id."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return {line["trace_id"]: line for line in lines if line["logger"] == "rag_service.api" and "route" in line}


def test_a_log_line_tells_of_each_request_and_holds_no_question(serve: Any, pipeline: Pipeline, log: io.BytesIO) -> None:
    client = serve(pipeline)
    replies = [
        client.ask({"question": f"{HOLIDAYS} {MARK}"}),
        client.ask({"question": f"{MARK} " * 2000}),
        client.ask({MARK: 1}),
        client.search({"question": MARK, "filters": {MARK: MARK}}),
        client.batch({"questions": [{"question": MARK}]}),
        client.ask({"messages": [{"role": "user", "content": MARK}]}),
        client.ask({"question": MARK, "stream": True}),
        client.post("/v1/chat/completions", {"model": "handbook", "messages": [{"role": "user", "content": MARK}]}),
        client.get(f"/{MARK}?{MARK}"),
    ]
    deadline_s = time.monotonic() + 10
    while not {reply.headers["x-trace-id"] for reply in replies} <= set(told := request_lines(log)):
        assert time.monotonic() < deadline_s, "a request was not logged"
        time.sleep(0.01)  # a line is written when its reply has gone out
    assert MARK.encode() not in log.getvalue()
    for reply in replies:
        line = told[reply.headers["x-trace-id"]]
        assert line["status"] == reply.status
    answered = told[replies[0].headers["x-trace-id"]]
    assert (answered["route"], answered["method"], answered["outcome"]) == ("/ask", "POST", replies[0].json["status"])
    assert answered["answer_id"] == replies[0].json["answer_id"]
    assert told[replies[2].headers["x-trace-id"]]["outcome"] == "invalid_request"
    assert told[replies[-1].headers["x-trace-id"]]["route"] == "unmatched"


def test_a_release_that_cannot_be_opened_shows_while_the_one_before_goes_on(serve: Any, own_indexes: Path) -> None:
    client, active = serve(own_indexes), Catalog(own_indexes).active_path("handbook")
    pointer = active.read_bytes()
    assert Samples(client).value("rag_activation_failed") == 0
    active.write_bytes(b"damaged")
    until(lambda: Samples(client).value("rag_activation_failed") == 1)
    assert Samples(client).value("rag_ready") == 1
    assert client.ask({"question": HOLIDAYS}).status == 200
    active.write_bytes(pointer)
    until(lambda: Samples(client).value("rag_activation_failed") == 0)


def test_a_server_sends_its_metrics_to_a_collector_and_a_last_time_when_it_stops(pipeline: Pipeline) -> None:
    with running_sink() as sink:
        exporting = ExportingMetrics(Collector(f"{sink.url}/v1/metrics"), {}, interval_s=3600, delta=True)
        with running(serving(pipeline), exporting_metrics=exporting) as client:
            assert client.ask({"question": HOLIDAYS}).status == 200
            assert sink.exports == []
        [points] = sink.exports
    assert {point.labels["status"]: point.value for point in points if point.name == "rag_answers_total"} == {"answered": 1}
    [distance] = [point for point in points if point.name == "rag_query_distance"]
    assert sum(distance.counts) == 1
    assert 0 < distance.value < 1


@pytest.mark.parametrize("collector", ["away", "hangs", "refuses"])
def test_whatever_a_collector_of_metrics_does_answers_go_out_and_the_end_comes(pipeline: Pipeline, collector: str) -> None:
    gate = threading.Event()
    with running_sink() as sink:
        sink.status = 403
        sink.behave = (lambda: gate.wait(20) and None) if collector == "hangs" else (lambda: None)
        url = refusing() if collector == "away" else sink.url
        exporting = ExportingMetrics(Collector(f"{url}/v1/metrics", timeout_s=5), {}, interval_s=0.05)
        with running(serving(pipeline), exporting_metrics=exporting) as client:
            for _ in range(20):
                assert client.ask({"question": HOLIDAYS, "cache": False}).status == 200
            ending_s = time.monotonic()
        assert time.monotonic() - ending_s < 5
        gate.set()


def test_what_was_left_out_of_the_index_is_shown_by_a_real_service(serve: Any, indexes: Path, handbook: Path, build: Build) -> None:
    (documents := shutil.copytree(handbook, indexes.parent / "documents")).joinpath("nothing.md").write_text("")
    catalog = Catalog(indexes)
    release = make_release(load_settings({}, indexes=indexes), catalog, "handbook", build(indexes, documents).manifest.version)
    catalog.activate("handbook", release)
    samples = Samples(serve(indexes))
    assert samples.value("rag_index_skipped", reason="empty") == 1
    assert samples.value("rag_index_skipped") == 1
    assert samples.value("rag_concurrency_limit") > 0
    assert samples.value("rag_queue_limit") > 0
