"""What keeps web pages of others from misusing the service through somebody's browser: host names, CORS, and security headers.

There is no Strict-Transport-Security: who ends TLS, the proxy, says that.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Literal
from urllib.parse import urlsplit

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_service.api.trace import REQUEST_HEADER, TRACE_HEADER
from rag_service.errors import InvalidSettings

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""The names of this machine. Allowing these alone keeps a page from reaching it under a name of its own (DNS rebinding)."""

_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9_.-]{1,253}))(?::\d{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*,?#@]+")

_ALLOWED_HEADERS = ("content-type", "authorization", "x-api-key", "x-request-id", "traceparent")
_EXPOSED_HEADERS = (TRACE_HEADER, REQUEST_HEADER, "Retry-After")

_NEVER_A_PAGE = "default-src 'none'; frame-ancestors 'none'"
_CDN = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"
_SWAGGER = (
    f"default-src 'none'; script-src 'unsafe-inline' {_CDN}; style-src 'unsafe-inline' {_CDN}; "
    "img-src 'self' data: https://fastapi.tiangolo.com/img/; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For the page that FastAPI makes at /docs: its inline script, its two files from a content network, its icon, the pictures in its style
sheet, and calls of the service itself."""

Sender = Literal["ours", "foreign", "unknown"]
"""Whose page made a browser send a request."""

_Headers = tuple[tuple[bytes, bytes], ...]


def _encoded(policy: str, *, cache: bool) -> _Headers:
    given = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "content-security-policy": policy,
        **({} if cache else {"cache-control": "no-store"}),
    }
    return tuple((name.encode(), value.encode()) for name, value in given.items())


_REPLY, _DOCS_PAGE, _DOCS_DATA = _encoded(_NEVER_A_PAGE, cache=False), _encoded(_SWAGGER, cache=True), _encoded(_NEVER_A_PAGE, cache=True)


class SecurityHeaders:
    """Sets them on every reply that passes, where the reply has not set them itself.

    `GateMiddleware` has one. Another, outside `TraceMiddleware`, covers what is refused before the gate, or breaks behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                set_already = {name.lower() for name, _ in headers}
                wanted = _headers_for(get_route_path(scope), message["status"])
                headers.extend(header for header in wanted if header[0] not in set_already)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _headers_for(path: str, status: int) -> _Headers:
    if status != 200:
        return _REPLY
    if path == "/openapi.json":
        return _DOCS_DATA
    return _DOCS_PAGE if path == "/docs" or path.startswith("/docs/") else _REPLY


def accepts_page(scope: Scope) -> bool:
    """Browsers say so; programs get JSON."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def changes_something(scope: Scope) -> bool:
    return scope["method"] not in ("GET", "HEAD", "OPTIONS")


def sent_from(scope: Scope, origins: Collection[str] = ()) -> Sender:
    """`ours` for a page of this service or of one of `origins`, `foreign` for one of anybody else, `unknown` where no browser says.

    `origins` are as `checked_origins` gives them. The fetch metadata of a browser cannot be forged by a page; where there is none, as over
    plain HTTP, the origin must be the host that was asked.
    """
    headers = Headers(scope=scope)
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.lower() in origins:
        return "ours"
    if site is not None:
        return "ours" if site in ("same-origin", "none") else "foreign"
    if origin is None:
        return "unknown"
    return "ours" if origin.lower().partition("://")[2] == headers.get("host", "").lower() else "foreign"


def origin_of(url: str | None) -> str | None:
    """Scheme, host and port of a URL, as browsers send them; None for what has none."""
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme and parts.netloc else None


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """`app` as pages from `origins` may call it, without cookies; `app` itself where there are none. Raises `InvalidSettings`."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=checked_origins(origins),
        allow_methods=("GET", "POST"),
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
        allow_credentials=False,
    )


def checked_origins(origins: Collection[str]) -> tuple[str, ...]:
    """In lower case, without a slash at the end. Raises `InvalidSettings` for what is no origin; `*` is none."""
    checked = tuple(origin.lower().removesuffix("/") for origin in origins)
    for origin in checked:
        if not _ORIGIN.fullmatch(origin):
            hint = "name each origin in full, as https://chat.example.org"
            raise InvalidSettings(f"cors_origins has {origin!r}", hint=hint, param="cors_origins")
    return checked


def checked_hosts(hosts: Collection[str]) -> frozenset[str]:
    """As `host_name` gives them. Raises `InvalidSettings` for what is no host name, or has a port."""
    checked = set()
    for host in hosts:
        name = host_name(f"[{host}]" if _is_ipv6(host) else host)
        if name is None or (":" in host and not _is_ipv6(host.strip("[]"))):
            raise InvalidSettings(
                f"allowed_hosts has {host!r}", hint="names are written without port: example.org, ::1", param="allowed_hosts"
            )
        checked.add(name)
    return frozenset(checked)


def host_name(header: str) -> str | None:
    """The name or address in a Host header, in lower case and without port or brackets. None if it is no such header."""
    found = _HOST.fullmatch(header.lower())
    return (found[1] or found[2]) if found else None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
