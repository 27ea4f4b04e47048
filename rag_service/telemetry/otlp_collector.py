"""Where a signal goes, by the standard `OTEL_EXPORTER_OTLP_*` variables: spans and metrics read them alike."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from rag_service.errors import InvalidSettings

Compression = Literal["none", "gzip"]
Signal = Literal["traces", "metrics"]

_DEFAULT_ENDPOINT = "http://localhost:4318"


@dataclass(frozen=True, slots=True)
class Collector:
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    """For one export, with all its retries."""
    compression: Compression = "none"
    tls: ssl.SSLContext | None = None


class Variables:
    """Those of `environ` that are set, as `signal` reads them. What cannot be meant raises `InvalidSettings`."""

    def __init__(self, environ: Mapping[str, str], signal: Signal) -> None:
        self._values = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
        self._signal = signal

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def exporter(self, *, also: tuple[str, ...] = ()) -> str | None:
        """`otlp`, `none` or one of `also`; None where the signal's variable is not set. The SDK as a whole may be turned off."""
        if (self.get("OTEL_SDK_DISABLED") or "").lower() == "true":
            return "none"
        name = f"OTEL_{self._signal.upper()}_EXPORTER"
        exporter = self.get(name)
        if exporter not in {None, "otlp", "none", *also}:
            raise InvalidSettings(
                f"{name} is {exporter!r}", hint=f"it may be {', '.join(('otlp', *also))} or none; only otlp exports", param=name
            )
        return exporter

    def of_signal(self, name: str) -> str | None:
        """`OTEL_EXPORTER_OTLP_<SIGNAL>_<name>` where it is set, else the variable for all signals."""
        return self.get(self._name(name))

    def number(self, name: str, default: float, *, least: float = 0) -> float:
        try:
            value = float(self._values.get(name, default))
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            raise InvalidSettings(f"{name} is {self._values[name]!r}", hint=f"a number of at least {least:g}", param=name)
        return value

    def collector(self) -> Collector:
        self._check_protocol()
        url = self._url()
        compression = self.of_signal("COMPRESSION") or "none"
        if compression not in {"none", "gzip"}:
            raise InvalidSettings(
                f"OTEL_EXPORTER_OTLP_COMPRESSION is {compression!r}", hint="use gzip or none", param="OTEL_EXPORTER_OTLP_COMPRESSION"
            )
        return Collector(
            url=url,
            headers=_headers(self.of_signal("HEADERS") or ""),
            timeout_s=self.number(self._name("TIMEOUT"), 10, least=0.001),  # seconds, as the SDK for Python has it
            compression="gzip" if compression == "gzip" else "none",
            tls=self._tls() if url.startswith("https:") else None,
        )

    def _name(self, name: str) -> str:
        own = f"OTEL_EXPORTER_OTLP_{self._signal.upper()}_{name}"
        return own if own in self._values else f"OTEL_EXPORTER_OTLP_{name}"

    def _check_protocol(self) -> None:
        protocol = self.of_signal("PROTOCOL") or "http/protobuf"
        if protocol != "http/protobuf":
            raise InvalidSettings(
                f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}",
                hint="only http/protobuf is spoken; collectors take it at port 4318",
                param="OTEL_EXPORTER_OTLP_PROTOCOL",
            )

    def _url(self) -> str:
        url = self.get(f"OTEL_EXPORTER_OTLP_{self._signal.upper()}_ENDPOINT")
        if url is None:
            url = f"{self._values.get('OTEL_EXPORTER_OTLP_ENDPOINT', _DEFAULT_ENDPOINT).rstrip('/')}/v1/{self._signal}"
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
        return url

    def _tls(self) -> ssl.SSLContext:
        certificate, key = self.of_signal("CLIENT_CERTIFICATE"), self.of_signal("CLIENT_KEY")
        try:
            context = ssl.create_default_context(cafile=self.of_signal("CERTIFICATE"))
            if certificate is not None:
                context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidSettings(
                f"a certificate of OTEL_EXPORTER_OTLP_* cannot be used: {error.strerror or error}",
                hint="OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY name PEM files",
            ) from error
        return context


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
