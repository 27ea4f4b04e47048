"""Where one address serves programs and people: who is which, and what a page goes out with."""

from fastapi import Request, Response
from starlette.responses import HTMLResponse

from rag_service.api.browsers import accepts_page
from rag_service.api.gate import current_caller
from rag_service.api.refused import PAGE_HEADERS, viewer_of
from rag_service.web.pages import Viewer


def wants_page(request: Request) -> bool:
    """Browsers say so; programs get JSON."""
    return accepts_page(request.scope)


def page_headers() -> dict[str, str]:
    return dict(PAGE_HEADERS)


def as_page(page: str) -> Response:
    return HTMLResponse(page, headers=page_headers())


def as_json(content: bytes | str) -> Response:
    """Of an address that also has a page."""
    return Response(content, headers={"Vary": "Accept"}, media_type="application/json")


def viewer() -> Viewer:
    """Who looks at the page that is being made."""
    return viewer_of(current_caller())
