"""What all pages share: templates, who looks at them, the files beside them, and the page that says what went wrong."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from rag_service.digests import short_id
from rag_service.web import links

Section = Literal["ask", "traces", "indexes", "drift", ""]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every page: its own style sheet and script, and nothing that could come out of a document."""

_MEDIA_TYPES = {"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}
STATIC_FILES = frozenset(_MEDIA_TYPES)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page: it offers only what they may do. `name` is that of their key, None where no key is needed."""

    name: str | None
    scopes: frozenset[str]


ANYBODY = Viewer(None, frozenset({"ask", "traces", "admin"}))
NOBODY = Viewer(None, frozenset())


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    media_type: str
    tag: str
    """12 hex digits of its SHA-256, in every link to it: what is linked never changes."""


@cache
def static_file(name: str) -> StaticFile:
    """`name` is one of `STATIC_FILES`."""
    content = (files("rag_service.web") / "static" / name).read_bytes()
    return StaticFile(content, _MEDIA_TYPES[name], hashlib.sha256(content).hexdigest()[:12])


def render(page: str, /, *, viewer: Viewer, section: Section = "", **values: Any) -> str:
    return _environment().get_template(page).render(viewer=viewer, section=section, **values)


def error_page(status: int, message: str, hint: str, trace_id: str, *, viewer: Viewer = NOBODY) -> str:
    """For a browser that hits an error. `hint` may be empty."""
    heading = _HEADINGS.get(status, "This did not work")
    return render("error.html", viewer=viewer, status=status, heading=heading, message=message, hint=hint, trace_id=trace_id)


def sign_in_page(*, goes_to: str = "/", problem: str = "") -> str:
    """`goes_to` is a checked local path. `problem` says what was wrong with the key that was tried."""
    return render("sign_in.html", viewer=NOBODY, goes_to=goes_to, problem=problem)


_HEADINGS = {
    400: "This request cannot be understood",
    401: "A key is needed",
    403: "This key may not do this",
    404: "Nothing is here",
    405: "This is not possible here",
    409: "This is not available any more",
    413: "This is too large",
    422: "Something in this request does not fit",
    429: "Too many requests",
    500: "Something went wrong",
    502: "The model did not answer",
    503: "The service cannot answer now",
    504: "The time was over",
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rag_service.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        moment=moment, iso=_iso, short=short_id, ms=milliseconds, score=_score, count=_count, bytes=_bytes, json=_json
    )
    environment.globals.update(static=_static_url, links=links)
    return environment


def _static_url(name: str) -> str:
    return f"/static/{name}?v={static_file(name).tag}"


def at(milliseconds_since_1970: int) -> datetime:
    return datetime.fromtimestamp(milliseconds_since_1970 / 1000, UTC)


def _iso(moment: datetime | str) -> str:
    """ISO 8601 in UTC with milliseconds; a text as it is."""
    return moment if isinstance(moment, str) else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(given: datetime | str) -> str:
    """For the eye: seconds, in UTC."""
    given = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    return given.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:,.1f} s"
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bytes(value: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value} B"
