"""What is exported, and how, by the standard `OTEL_*` variables and nothing else."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from rag_service import __version__
from rag_service.errors import InvalidSettings
from rag_service.telemetry import span_names as names
from rag_service.telemetry.otlp_collector import Collector, Variables

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

Temporality = Literal["cumulative", "delta", "lowmemory"]

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURES = {"": False, "false": False, "no_content": False, "event_only": False, "true": True, "span_only": True, "span_and_event": True}
_TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


@dataclass(frozen=True, slots=True)
class Exporting:
    """Of spans."""

    collector: Collector
    sampler: "Sampler"
    resource: Mapping[str, object]
    capture_content: bool = False
    max_queue_spans: int = 2048
    max_batch_spans: int = 512
    schedule_delay_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ExportingMetrics:
    collector: Collector
    resource: Mapping[str, object]
    interval_s: float = 60.0
    delta: bool = False
    """Whether counters and histograms tell what was added since the last export, instead of everything since the start."""


def exporting_by(environ: Mapping[str, str], declared: Mapping[str, object]) -> Exporting | None:
    """None where no collector is named, or OTEL_TRACES_EXPORTER or OTEL_SDK_DISABLED says so. `declared` are attributes of the resource
    that OTEL_RESOURCE_ATTRIBUTES may replace. The SDK, which knows how to read samplers and resources, is imported only where it is
    needed; it reads the variables of the process.

    Raises `InvalidSettings`.
    """
    variables = Variables(environ, "traces")
    exporter = variables.exporter()
    if exporter == "none" or (exporter is None and variables.of_signal("ENDPOINT") is None):
        return None
    collector = variables.collector()
    sampler, resource = _sampler_and_resource(variables, declared)
    queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048, least=1)
    return Exporting(
        collector=collector,
        sampler=sampler,
        resource=resource,
        capture_content=_captures(variables),
        max_queue_spans=int(queue),
        max_batch_spans=int(min(variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, least=1), queue)),
        schedule_delay_s=variables.number("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
    )


def exporting_metrics_by(environ: Mapping[str, str], declared: Mapping[str, object]) -> ExportingMetrics | None:
    """None unless OTEL_METRICS_EXPORTER is `otlp` or OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is set: an address for all signals alone does
    not do it, because many a collector of traces takes nothing else, and the metrics are at `/metrics` already. Otherwise as
    `exporting_by`.
    """
    variables = Variables(environ, "metrics")
    exporter = variables.exporter(also=("prometheus",))
    if exporter in {"none", "prometheus"} or (exporter is None and variables.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") is None):
        return None
    temporality = (variables.get(_TEMPORALITY) or "cumulative").lower()
    if temporality not in get_args(Temporality):
        raise InvalidSettings(
            f"{_TEMPORALITY} is {temporality!r}", hint=f"it may be {', '.join(get_args(Temporality))}", param=_TEMPORALITY
        )
    collector = variables.collector()
    _, resource = _sampler_and_resource(variables, declared)
    return ExportingMetrics(
        collector=collector,
        resource={names.INSTANCE: str(uuid.uuid4()), **resource},  # newer SDKs make one themselves
        interval_s=variables.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000, least=100) / 1000,
        delta=temporality != "cumulative",
    )


def _sampler_and_resource(variables: Variables, declared: Mapping[str, object]) -> "tuple[Sampler, Mapping[str, object]]":
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    own = {names.SERVICE_NAME: "rag-service", names.SERVICE_VERSION: __version__, **declared}
    found = dict(provider.resource.attributes)
    if variables.get("OTEL_SERVICE_NAME") is None and str(found.get(names.SERVICE_NAME, "")).startswith("unknown_service"):
        del found[names.SERVICE_NAME]
    return provider.sampler, {**own, **found}


def _captures(variables: Variables) -> bool:
    asked = (variables.get(_CAPTURE) or "").lower()
    if asked not in _CAPTURES:
        raise InvalidSettings(f"{_CAPTURE} is {asked!r}", hint=f"it may be {', '.join(filter(None, _CAPTURES))}", param=_CAPTURE)
    return _CAPTURES[asked]
