"""How spans are exported, by the standard `OTEL_*` variables and nothing else."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from rag_service import __version__
from rag_service.errors import InvalidSettings
from rag_service.telemetry import span_names as names

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

Compression = Literal["none", "gzip"]

_DEFAULT_ENDPOINT = "http://localhost:4318"
_PATH = "v1/traces"
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURES = {"": False, "false": False, "no_content": False, "event_only": False, "true": True, "span_only": True, "span_and_event": True}


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    """For one batch, with all its retries."""
    compression: Compression = "none"
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Exporting:
    collector: Collector
    sampler: "Sampler"
    resource: Mapping[str, object]
    capture_content: bool = False
    max_queue_spans: int = 2048
    max_batch_spans: int = 512
    schedule_delay_s: float = 5.0


def exporting_by(environ: Mapping[str, str], declared: Mapping[str, object]) -> Exporting | None:
    """None where no collector is named, or OTEL_TRACES_EXPORTER or OTEL_SDK_DISABLED says so. `declared` are attributes of the resource
    that OTEL_RESOURCE_ATTRIBUTES may replace. The SDK, which knows how to read samplers and resources, is imported only where it is
    needed; it reads the variables of the process.

    Raises `InvalidSettings`.
    """
    values = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    if not _wanted(values):
        return None
    _check_protocol(values)
    sampler, resource = _sampler_and_resource(values, declared)
    queue = _number(values, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, least=1)
    return Exporting(
        collector=_collector(values),
        sampler=sampler,
        resource=resource,
        capture_content=_captures(values),
        max_queue_spans=int(queue),
        max_batch_spans=int(min(_number(values, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, least=1), queue)),
        schedule_delay_s=_number(values, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
    )


def _wanted(values: Mapping[str, str]) -> bool:
    if values.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = values.get("OTEL_TRACES_EXPORTER")
    if exporter is None:
        return _of_signal(values, "ENDPOINT") is not None
    if exporter not in {"otlp", "none"}:
        raise InvalidSettings(
            f"OTEL_TRACES_EXPORTER is {exporter!r}", hint="spans are exported by otlp, or by none", param="OTEL_TRACES_EXPORTER"
        )
    return exporter == "otlp"


def _check_protocol(values: Mapping[str, str]) -> None:
    protocol = _of_signal(values, "PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        raise InvalidSettings(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}",
            hint="only http/protobuf is spoken; collectors take it at port 4318",
            param="OTEL_EXPORTER_OTLP_PROTOCOL",
        )


def _collector(values: Mapping[str, str]) -> Collector:
    url = values.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if url is None:
        url = f"{values.get('OTEL_EXPORTER_OTLP_ENDPOINT', _DEFAULT_ENDPOINT).rstrip('/')}/{_PATH}"
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        known = False
    if not known:
        raise InvalidSettings(
            "OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL without user and password",
            hint="such as http://localhost:4318; secrets belong into OTEL_EXPORTER_OTLP_HEADERS",
            param="OTEL_EXPORTER_OTLP_ENDPOINT",
        )
    compression = _of_signal(values, "COMPRESSION") or "none"
    if compression not in {"none", "gzip"}:
        raise InvalidSettings(
            f"OTEL_EXPORTER_OTLP_COMPRESSION is {compression!r}", hint="use gzip or none", param="OTEL_EXPORTER_OTLP_COMPRESSION"
        )
    return Collector(
        url=url,
        headers=_headers(_of_signal(values, "HEADERS") or ""),
        timeout_s=_number(values, _name_of_signal(values, "TIMEOUT"), 10, least=0.001),  # seconds, as the SDK for Python has it
        compression="gzip" if compression == "gzip" else "none",
        tls=_tls(values) if url.startswith("https:") else None,
    )


def _headers(listed: str) -> dict[str, str]:
    """`name=value,name=value`, percent-encoded (OTLP exporter, "Specifying headers via environment variables")."""
    found: dict[str, str] = {}
    for pair in listed.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        name, value = unquote(name), unquote(value)
        if not (name or value):
            continue
        if not (equals and name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise InvalidSettings(
                "OTEL_EXPORTER_OTLP_HEADERS holds what is no header",  # without its value, which may be a key
                hint="write name=value,name=value",
                param="OTEL_EXPORTER_OTLP_HEADERS",
            )
        found[name] = value
    return found


def _tls(values: Mapping[str, str]) -> ssl.SSLContext:
    certificate, key = _of_signal(values, "CLIENT_CERTIFICATE"), _of_signal(values, "CLIENT_KEY")
    try:
        context = ssl.create_default_context(cafile=_of_signal(values, "CERTIFICATE"))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"a certificate of OTEL_EXPORTER_OTLP_* cannot be used: {error.strerror or error}",
            hint="OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY name PEM files",
        ) from error
    return context


def _sampler_and_resource(values: Mapping[str, str], declared: Mapping[str, object]) -> "tuple[Sampler, Mapping[str, object]]":
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    own = {names.SERVICE_NAME: "rag-service", names.SERVICE_VERSION: __version__, **declared}
    found = dict(provider.resource.attributes)
    if "OTEL_SERVICE_NAME" not in values and str(found.get(names.SERVICE_NAME, "")).startswith("unknown_service"):
        del found[names.SERVICE_NAME]
    return provider.sampler, {**own, **found}


def _captures(values: Mapping[str, str]) -> bool:
    asked = values.get(_CAPTURE, "").lower()
    if asked not in _CAPTURES:
        raise InvalidSettings(f"{_CAPTURE} is {asked!r}", hint=f"it may be {', '.join(filter(None, _CAPTURES))}", param=_CAPTURE)
    return _CAPTURES[asked]


def _of_signal(values: Mapping[str, str], name: str) -> str | None:
    return values.get(_name_of_signal(values, name))


def _name_of_signal(values: Mapping[str, str], name: str) -> str:
    """The variable for traces where it is set, else the one for all signals."""
    own = f"OTEL_EXPORTER_OTLP_TRACES_{name}"
    return own if own in values else f"OTEL_EXPORTER_OTLP_{name}"


def _number(values: Mapping[str, str], name: str, default: float, *, least: float = 0) -> float:
    try:
        value = float(values.get(name, default))
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise InvalidSettings(f"{name} is {values[name]!r}", hint=f"a number of at least {least:g}", param=name)
    return value
