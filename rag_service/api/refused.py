"""An error as the one who asked can read it: a page for a browser, the one JSON shape for programs."""

from collections.abc import Mapping

from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from rag_service.api.browsers import accepts_page, sent_from
from rag_service.api.cookies import local_path
from rag_service.api.errors import as_response
from rag_service.api.schemas import ErrorReply
from rag_service.errors import Forbidden
from rag_service.keys import Caller
from rag_service.web.pages import NOBODY, POLICY, Viewer, error_page, sign_in_page

PAGE_HEADERS: Mapping[str, str] = {
    "Vary": "Accept",
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # without one, a form of the page would be sent with the origin `null`
}
"""Of everything that is a page."""


def viewer_of(caller: Caller | None) -> Viewer:
    """None is somebody who has not been let in."""
    if caller is None:
        return NOBODY
    return Viewer(caller.name if caller.key_id is not None else None, frozenset(caller.scopes))


def require_own_page(scope: Scope, own_origin: str | None) -> None:
    """Raises `Forbidden` for what a page of another site sends, as to sign somebody in under a key that is not theirs."""
    if sent_from(scope, (own_origin,) if own_origin else ()) == "foreign":
        raise Forbidden("a page of another site sent this")


def refusal_for(
    scope: Scope, status: int, body: ErrorReply, headers: Mapping[str, str] | None = None, *, caller: Caller | None = None
) -> Response:
    """Whoever needs a key is asked for it in place: after that they go where they wanted to go."""
    response = as_response(status, body, headers)
    if not accepts_page(scope):
        return response
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    if status == 401:
        query = scope.get("query_string", b"").decode("latin-1")
        wanted = scope["path"] + (f"?{query}" if query else "") if scope["method"] in ("GET", "HEAD") else "/"
        page = sign_in_page(goes_to=local_path(wanted))
    else:
        page = error_page(status, body.error.message, "", body.trace_id, viewer=viewer_of(caller))
    return HTMLResponse(page, status, {**kept, **PAGE_HEADERS})
