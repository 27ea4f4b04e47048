"""What a collector reads in an export of metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


@dataclass(frozen=True)
class Point:
    """One data point as it arrived. `counts` and `bounds` are those of a histogram; `value` is then its sum."""

    name: str
    kind: str
    labels: Mapping[str, str]
    value: float
    start_ns: int
    at_ns: int
    unit: str
    help: str
    delta: bool
    resource: Mapping[str, Any]
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    exemplars: tuple[tuple[str, float], ...] = ()
    """Trace id, 32 hex digits, and value."""


def points_of(body: bytes) -> Iterator[Point]:
    for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = {each.key: each.value.string_value for each in of_resource.resource.attributes}
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                for point in data.data_points:
                    histogram = kind == "histogram"
                    assert not histogram or point.count == sum(point.bucket_counts)
                    yield Point(
                        name=metric.name,
                        kind=kind,
                        labels={each.key: each.value.string_value for each in point.attributes},
                        value=point.sum if histogram else point.as_double,
                        start_ns=point.start_time_unix_nano,
                        at_ns=point.time_unix_nano,
                        unit=metric.unit,
                        help=metric.description,
                        delta=kind != "gauge" and data.aggregation_temporality == _DELTA,
                        resource=resource,
                        bounds=tuple(point.explicit_bounds) if histogram else (),
                        counts=tuple(point.bucket_counts) if histogram else (),
                        exemplars=tuple((each.trace_id.hex(), each.as_double) for each in point.exemplars),
                    )
