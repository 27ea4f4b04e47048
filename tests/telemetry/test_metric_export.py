"""Metrics on their way to a collector that takes them, refuses, hangs or is away: nothing that it does is noticed, and no count is lost."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from rag_service.record import Lineage, Record
from rag_service.telemetry.metric_catalogue import CATALOGUE
from rag_service.telemetry.metric_export import ExportOutcome, MetricExport
from rag_service.telemetry.metrics import Metrics
from rag_service.telemetry.otel_variables import ExportingMetrics
from rag_service.telemetry.otlp_collector import Collector
from tests.telemetry.metric_sink import Point
from tests.telemetry.sink import Sink, running_sink, until
from tests.telemetry.test_metrics import CENTROID, watched
from tests.telemetry.test_span_export import refusing

QUICK_S = 0.03
MakeRecord = Callable[..., Record]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


@pytest.fixture
def metrics(lineage: Callable[..., Lineage]) -> Metrics:
    metrics = Metrics()
    metrics.know(routes=["/ask"], fields=["question"])
    metrics.watch(watched(lineage))
    metrics.measure_from(lambda _: CENTROID)
    return metrics


Opened = Callable[..., MetricExport]


@pytest.fixture
def export(metrics: Metrics) -> Iterator[Opened]:
    """`export(url, delta=…, interval_s=…)` exports `metrics` until the end of the test."""
    with ExitStack() as opened:

        def start(
            url: str, *, timeout_s: float = 10.0, flush_s: float = 1.5, interval_s: float = QUICK_S, delta: bool = False
        ) -> MetricExport:
            collector = Collector(f"{url}/v1/metrics", headers={"api-key": "k"}, timeout_s=timeout_s)
            exporting = ExportingMetrics(collector, {"service.name": "tested", "service.instance.id": "i"}, interval_s, delta)
            made = MetricExport(exporting, metrics.collect, metrics.metrics_exported, of_worker=(("worker", "2"),), flush_s=flush_s)
            return opened.enter_context(made)

        yield start


def outcomes(metrics: Metrics, outcome: ExportOutcome) -> float:
    body, _ = metrics.exposition()
    return float(next(line for line in body.decode().splitlines() if f'rag_metric_exports_total{{outcome="{outcome}"}}' in line).split()[1])


def next_export(sink: Sink) -> list[Point]:
    """One that began after this moment."""
    seen = len(sink.exports)
    sink.until(lambda sink: len(sink.exports) >= seen + 2)
    return sink.exports[-1]


def told(points: list[Point], name: str, **labels: str) -> Point:
    [found] = [point for point in points if point.name == name and labels.items() <= point.labels.items()]
    return found


def test_every_metric_arrives_as_the_catalogue_describes_it(metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord) -> None:
    metrics.request("/ask", 200, 0.2)
    metrics.answered(make_record())
    export(sink.url)
    points = next_export(sink)
    kinds = {"counter": "sum", "gauge": "gauge", "info": "gauge", "histogram": "histogram"}
    assert {(point.name, point.kind, point.help) for point in points} == {
        (entry.name, kinds[entry.type], entry.help) for entry in CATALOGUE
    }
    for entry in CATALOGUE:
        assert {frozenset(point.labels) for point in points if point.name == entry.name} == {frozenset((*entry.labels, "worker"))}
    assert {point.labels["worker"] for point in points} == {"2"}
    assert points[0].resource == {"service.name": "tested", "service.instance.id": "i"}
    assert (sink.requests[0]["api-key"], sink.requests[0]["content-type"]) == ("k", "application/x-protobuf")
    assert told(points, "rag_request_duration_seconds").unit == "s"
    assert told(points, "rag_cache_bytes").unit == "By"
    assert not [point for point in points if point.start_ns > point.at_ns]


def test_a_histogram_arrives_with_its_buckets_its_sum_and_the_trace_behind_it(
    metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord
) -> None:
    export(sink.url)
    sink.until(lambda sink: len(sink.exports) > 0)
    for scores in ((0.2, 0.1), (0.35, 0.1), (0.36, 0.1)):
        metrics.answered(make_record(scores=scores))
    sink.until(lambda sink: sum(told(sink.exports[-1], "rag_top_score").counts) == 3)
    first = next(export for export in sink.exports if sum(told(export, "rag_top_score").counts) == 3)
    found = told(first, "rag_top_score")
    within = {bound: count for bound, count in zip((*found.bounds, None), found.counts, strict=True) if count}
    assert within == {0.2: 1, 0.35: 1, 0.4: 1}, "a bound belongs to the bucket below it"
    assert found.value == pytest.approx(0.91)
    assert (found.delta, found.labels) == (False, {"worker": "2"})
    values = {value for export in sink.exports for _, value in told(export, "rag_top_score").exemplars}
    assert values == {0.2, 0.35, 0.36}
    assert {trace for trace, _ in found.exemplars} == {make_record().trace_id}
    assert told(next_export(sink), "rag_top_score").exemplars == (), "a trace is told once"


def test_cumulative_points_tell_everything_since_the_start(metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord) -> None:
    metrics.answered(make_record())
    export(sink.url)
    first = told(next_export(sink), "rag_answers_total", status="answered")
    metrics.answered(make_record())
    sink.until(lambda sink: told(sink.exports[-1], "rag_answers_total", status="answered").value == 2)
    second = told(sink.exports[-1], "rag_answers_total", status="answered")
    assert (first.value, first.start_ns) == (1, second.start_ns)
    assert told(sink.exports[-1], "rag_answers_total", status="abstained").value == 0


def total(sink: Sink, name: str, **labels: str) -> float:
    """Of deltas, over all exports."""
    points = [point for export in sink.exports for point in export if point.name == name and labels.items() <= point.labels.items()]
    return sum(sum(point.counts) if point.kind == "histogram" else point.value for point in points)


def test_deltas_tell_what_was_added_and_nothing_where_nothing_was(
    metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord
) -> None:
    export(sink.url, delta=True)
    for number in range(1, 6):
        metrics.answered(make_record())
        sink.until(lambda sink, number=number: total(sink, "rag_answers_total", status="answered") == number)
    quiet = next_export(sink)
    assert {point.name for point in quiet if point.kind != "gauge"} <= {"rag_metric_exports_total"}
    assert {point.name for point in quiet if point.kind == "gauge"} >= {"rag_ready", "rag_release_info", "rag_index_skipped"}
    assert total(sink, "rag_top_score") == total(sink, "rag_query_distance") == 5
    counted = [point for export in sink.exports for point in export if point.name == "rag_answers_total"]
    assert all(point.delta for point in counted)
    assert all(before.at_ns <= after.start_ns for before, after in itertools.pairwise(counted)), "intervals do not overlap"


@pytest.mark.parametrize("delta", [False, True])
def test_what_a_collector_missed_it_learns_from_the_next_export(
    metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord, delta: bool
) -> None:
    sink.status = 400  # for which nobody tries again
    export(sink.url, delta=delta)
    metrics.answered(make_record())
    until(lambda: outcomes(metrics, "failed") >= 2)
    metrics.answered(make_record())
    sink.status = 200
    until(lambda: outcomes(metrics, "taken") >= 2)
    if delta:
        assert total(sink, "rag_answers_total", status="answered") == 2
    else:
        assert told(sink.exports[-1], "rag_answers_total", status="answered").value == 2


def test_points_that_a_collector_rejects_are_not_sent_again(metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord) -> None:
    reply = ExportMetricsServiceResponse()
    reply.partial_success.rejected_data_points = 3
    sink.reply = reply.SerializeToString()
    metrics.answered(make_record())
    export(sink.url, delta=True)
    sink.until(lambda sink: len(sink.exports) >= 3)
    assert total(sink, "rag_answers_total", status="answered") == 1
    assert (outcomes(metrics, "failed") > 0, outcomes(metrics, "taken")) == (True, 0)


def test_failures_are_said_once_and_so_is_their_end(metrics: Metrics, export: Opened, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sink.status = 403
    export(sink.url)
    until(lambda: outcomes(metrics, "failed") >= 3)
    sink.status = 200
    until(lambda: outcomes(metrics, "taken") >= 2)
    said = [record.message for record in caplog.records]
    assert len([line for line in said if "metrics are not exported" in line and "status 403" in line]) == 1
    assert said.count("metrics are exported again") == 1


def test_a_collector_that_hangs_gets_one_export_at_a_time_and_holds_up_no_end(export: Opened, sink: Sink) -> None:
    gate, arrived = threading.Event(), []

    def hang() -> None:
        arrived.append(time.monotonic())
        gate.wait(20)

    sink.behave = hang
    opened = export(sink.url, flush_s=0.3)
    until(lambda: len(arrived) == 1)
    time.sleep(10 * QUICK_S)
    assert len(arrived) == 1
    assert len([thread for thread in threading.enumerate() if thread.name == "metric-export"]) == 1
    began_s = time.monotonic()
    opened.__exit__(None, None, None)
    assert time.monotonic() - began_s < 1.5
    gate.set()


def test_a_collector_that_takes_longer_than_its_time_is_given_up(metrics: Metrics, export: Opened, sink: Sink) -> None:
    gate = threading.Event()
    sink.behave = lambda: bool(gate.wait(20)) and None
    export(sink.url, timeout_s=0.2)
    until(lambda: outcomes(metrics, "failed") >= 2)
    gate.set()


def test_a_collector_that_is_away_costs_no_answer_any_time(metrics: Metrics, export: Opened, make_record: MakeRecord) -> None:
    export(refusing(), timeout_s=0.1)
    began_s = time.monotonic()
    for _ in range(200):
        metrics.answered(make_record())
    took_s = time.monotonic() - began_s
    until(lambda: outcomes(metrics, "failed") >= 1)
    assert took_s < 1.0


def test_a_collector_that_comes_later_gets_everything(metrics: Metrics, export: Opened, make_record: MakeRecord) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    export(f"http://127.0.0.1:{port}", timeout_s=0.1, delta=True)
    metrics.answered(make_record())
    until(lambda: outcomes(metrics, "failed") >= 1)
    with running_sink(port) as sink:
        sink.until(lambda sink: total(sink, "rag_answers_total", status="answered") == 1)


def test_the_end_exports_what_was_counted_last(metrics: Metrics, export: Opened, sink: Sink, make_record: MakeRecord) -> None:
    opened = export(sink.url, interval_s=3600)
    metrics.answered(make_record())
    opened.__exit__(None, None, None)
    assert told(sink.exports[-1], "rag_answers_total", status="answered").value == 1


def test_what_cannot_be_read_ends_no_export(metrics: Metrics, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    failing = [True]

    def collect() -> object:
        if failing:
            failing.clear()
            raise RuntimeError("a fault of ours")
        return metrics.collect()

    exporting = ExportingMetrics(Collector(f"{sink.url}/v1/metrics"), {}, QUICK_S)
    with MetricExport(exporting, collect, metrics.metrics_exported):  # type: ignore[arg-type]
        sink.until(lambda sink: len(sink.exports) >= 1)
    assert "metrics could not be exported; answers are not affected" in caplog.text
