"""The standard variables: what they turn on, and what cannot be meant."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind

from rag_service.errors import InvalidSettings
from rag_service.telemetry.otel_variables import Exporting, exporting_by, exporting_metrics_by

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> "Read":
    return Read(monkeypatch)


class Read:
    """`read(OTEL_…=…)`: what a process with these variables, and no other of theirs, does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, declared: Mapping[str, object] | None = None, /, **variables: str) -> Exporting | None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        return exporting_by(variables, declared or {})

    def on(self, declared: Mapping[str, object] | None = None, /, **variables: str) -> Exporting:
        found = self(declared, **{**ENDPOINT, **variables})
        assert found is not None
        return found


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "mine"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"},
    ],
)
def test_nothing_is_exported_unless_a_collector_is_named(read: Read, variables: dict[str, str]) -> None:
    assert read(**variables) is None


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        (ENDPOINT, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/below/"}, "https://collector/below/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:1/as/it/is"}, "http://collector:1/as/it/is"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:1"}, "http://other:1"),
    ],
)
def test_where_spans_go_is_what_the_specification_says(read: Read, variables: dict[str, str], url: str) -> None:
    found = read(**variables)
    assert found is not None
    assert found.collector.url == url


def test_defaults_are_those_of_the_specification(read: Read) -> None:
    found = read.on()
    assert (found.max_queue_spans, found.max_batch_spans, found.schedule_delay_s) == (2048, 512, 5.0)
    assert (found.collector.timeout_s, found.collector.compression, found.collector.tls) == (10.0, "none", None)
    assert found.capture_content is False


def test_what_is_set_for_traces_counts_more_than_what_is_set_for_all_signals(read: Read) -> None:
    found = read.on(
        OTEL_EXPORTER_OTLP_HEADERS="a=1",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="api-key=k%20y, b=2",
        OTEL_EXPORTER_OTLP_TIMEOUT="3",
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="0.5",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_SCHEDULE_DELAY="250",
    )
    assert dict(found.collector.headers) == {"api-key": "k y", "b": "2"}
    assert (found.collector.timeout_s, found.collector.compression) == (0.5, "gzip")
    assert (found.max_queue_spans, found.max_batch_spans, found.schedule_delay_s) == (100, 100, 0.25)


def test_headers_do_not_show_where_the_configuration_is_shown(read: Read) -> None:
    assert "secret" not in repr(read.on(OTEL_EXPORTER_OTLP_HEADERS="api-key=secret"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "file:///etc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no equals but a secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret%0d%0aHost: other"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "nan"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "inf"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "yes please"),
    ],
)
def test_what_cannot_be_meant_stops_the_start_and_tells_no_secret(read: Read, name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read.on(**{name: value})
    assert "OTEL_" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(("value", "captures"), [("", False), ("false", False), ("no_content", False), ("true", True), ("SPAN_ONLY", True)])
def test_content_is_captured_only_where_it_is_asked_for(read: Read, value: str, captures: bool) -> None:
    assert read.on(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=value).capture_content is captures


def test_the_resource_is_what_the_deployment_declares_and_the_variables_replace(read: Read) -> None:
    declared = {"deployment.environment.name": "dev", "vcs.ref.head.revision": "c0ffee"}
    found = read.on(declared, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=staging,team=search").resource
    assert found["service.name"] == "rag-service"
    assert (found["deployment.environment.name"], found["vcs.ref.head.revision"], found["team"]) == ("staging", "c0ffee", "search")


@pytest.mark.parametrize(
    "variables", [{"OTEL_SERVICE_NAME": "mine"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine"}], ids=["own", "resource"]
)
def test_the_service_is_called_what_the_deployment_calls_it(read: Read, variables: dict[str, str]) -> None:
    assert read.on(**variables).resource["service.name"] == "mine"


def test_the_sampler_is_the_one_that_is_named(read: Read) -> None:
    sampler = read.on(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25").sampler
    decisions = [sampler.should_sample(None, number << 44, "/ask", SpanKind.SERVER).decision.is_sampled() for number in range(2**20)][::64]
    assert sum(decisions) / len(decisions) == pytest.approx(0.25, abs=0.01)


def test_a_certificate_that_is_not_there_stops_the_start(read: Read, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="certificate"):
        read.on(OTEL_EXPORTER_OTLP_ENDPOINT="https://collector", OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "none.pem"))


def test_an_https_collector_is_verified(read: Read) -> None:
    tls = read.on(OTEL_EXPORTER_OTLP_ENDPOINT="https://collector").collector.tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


METRICS = {"OTEL_METRICS_EXPORTER": "otlp"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        ENDPOINT,
        {**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_METRICS_EXPORTER": "prometheus"},
        {**METRICS, "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_metrics_are_not_exported_unless_that_is_asked_for(variables: dict[str, str]) -> None:
    assert exporting_metrics_by(variables, {}) is None


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        (METRICS, "http://localhost:4318/v1/metrics"),
        ({**METRICS, **ENDPOINT}, "http://collector:4318/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:1/as/it/is"}, "http://collector:1/as/it/is"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://other:1"}, "http://other:1"),
    ],
)
def test_where_metrics_go_is_what_the_specification_says(variables: dict[str, str], url: str) -> None:
    found = exporting_metrics_by(variables, {})
    assert found is not None
    assert found.collector.url == url


@pytest.mark.parametrize(
    ("preference", "delta"), [(None, False), ("cumulative", False), ("delta", True), ("DELTA", True), ("lowmemory", True)]
)
def test_the_temporality_is_the_one_that_is_preferred(preference: str | None, delta: bool) -> None:
    preferred = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference} if preference else {}
    found = exporting_metrics_by({**METRICS, **preferred}, {})
    assert found is not None
    assert (found.delta, found.interval_s) == (delta, 60.0)


def test_what_is_set_for_metrics_counts_for_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        **METRICS,
        **ENDPOINT,
        "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "api-key=k",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "3",
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip",
        "OTEL_METRIC_EXPORT_INTERVAL": "15000",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-7",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    metrics, spans = exporting_metrics_by(variables, {"deployment.environment.name": "dev"}), exporting_by(variables, {})
    assert metrics is not None
    assert spans is not None
    assert (metrics.collector.headers, metrics.collector.timeout_s, metrics.interval_s) == ({"api-key": "k"}, 3.0, 15.0)
    assert (metrics.collector.compression, spans.collector.compression) == ("gzip", "none")
    assert (spans.collector.headers, spans.collector.timeout_s) == ({"a": "1"}, 10.0)
    assert metrics.resource["service.instance.id"] == "pod-7"
    assert (metrics.resource["service.name"], metrics.resource["deployment.environment.name"]) == ("rag-service", "dev")


def test_whoever_exports_metrics_is_told_from_others_that_do() -> None:
    found = exporting_metrics_by(METRICS, {})
    assert found is not None
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(found.resource["service.instance.id"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "no equals but a secret"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
    ],
)
def test_what_cannot_be_meant_for_metrics_stops_the_start_too(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        exporting_metrics_by({**METRICS, name: value}, {})
    assert "OTEL_" in caught.value.message
    assert "secret" not in caught.value.message
