"""Metrics as OTLP protobuf. The SDK is not used for them: it would count every answer a second time, beside `metrics`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, HistogramDataPoint, NumberDataPoint
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as Message

from rag_service import __version__
from rag_service.telemetry import span_names as names
from rag_service.telemetry.otlp_encoding import write_attributes, write_value
from rag_service.telemetry.readings import Distribution, Labels, Readings, Traced, Value

_UNITS = {"_seconds": "s", "_bytes": "By", "_chars": "{character}"}


@dataclass(frozen=True, slots=True)
class Span:
    """Of time, in nanoseconds since 1970, that counters and histograms cover. Exemplars from before `news_ns` are old news."""

    start_ns: int
    now_ns: int
    news_ns: int
    delta: bool


def encoded(readings: Readings, span: Span, resource: Mapping[str, object], of_worker: Labels = ()) -> bytes:
    """The body of one export. `of_worker` are labels that every series gets."""
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    write_attributes(of_resource.resource, resource)
    of_scope = of_resource.scope_metrics.add()
    of_scope.scope.name, of_scope.scope.version = names.SCOPE, __version__
    temporality = (
        AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA if span.delta else AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    for name, reading in readings.items():
        message = of_scope.metrics.add(name=name, description=reading.help, unit=_unit(name))
        if reading.type == "histogram":
            message.histogram.aggregation_temporality = temporality
        elif reading.type == "counter":
            message.sum.aggregation_temporality, message.sum.is_monotonic = temporality, True
        for labels, value in reading.values.items():
            _add(message, (*labels, *of_worker), value, span)
    return bytes(request.SerializeToString())


def rejected(content: bytes) -> int:
    """How many data points a collector that took the export says it did not keep."""
    try:
        return max(int(ExportMetricsServiceResponse.FromString(content).partial_success.rejected_data_points), 0)
    except DecodeError:  # some collectors answer with JSON
        return 0


def _add(message: Message, labels: Labels, value: Value, span: Span) -> None:
    point: NumberDataPoint | HistogramDataPoint
    if isinstance(value, Distribution):
        point = message.histogram.data_points.add()
        point.explicit_bounds.extend(value.bounds)
        point.bucket_counts.extend(value.counts)
        point.count, point.sum = sum(value.counts), value.total
    else:
        point = (message.sum if message.HasField("sum") else message.gauge).data_points.add()
        point.as_double = value.value
    if message.HasField("histogram") or message.HasField("sum"):
        point.start_time_unix_nano = span.start_ns
        _add_exemplars(point, value.exemplars, span.news_ns)
    point.time_unix_nano = span.now_ns
    for name, text in labels:
        write_value(point.attributes.add(key=name).value, text)


def _add_exemplars(point: NumberDataPoint | HistogramDataPoint, exemplars: Iterable[Traced], news_ns: int) -> None:
    for traced in exemplars:
        at_ns = round(traced.at_s * 1e9)
        if at_ns >= news_ns:
            point.exemplars.add(trace_id=bytes.fromhex(traced.trace_id), as_double=traced.value, time_unix_nano=at_ns)


def _unit(name: str) -> str:
    """As UCUM has it; empty for what is a plain number."""
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
