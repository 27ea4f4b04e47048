"""People sign in with a key, which their browser then keeps in a cookie."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from rag_service.api.cookies import forgotten, kept_in_cookie, local_path
from rag_service.api.errors import STATUS
from rag_service.api.forms import read_form
from rag_service.api.gate import identify
from rag_service.api.outcome import current_outcome
from rag_service.api.pages import page_headers
from rag_service.api.refused import require_own_page
from rag_service.errors import RateLimited, Unauthorized
from rag_service.keys import Caller, Keyring
from rag_service.web.pages import sign_in_page


def signing_in_routes(keyring: Keyring, own_origin: str | None) -> APIRouter:
    """`own_origin` is where browsers see the service, where that is known: with https the cookie never goes out unencrypted."""
    router = APIRouter(include_in_schema=False)
    secure = own_origin is not None and own_origin.startswith("https://")

    @router.get("/sign-in")
    async def form(goes_to: Annotated[str, Query(alias="next")] = "/") -> Response:
        if not keyring.required:
            return _to("/")
        return HTMLResponse(sign_in_page(goes_to=local_path(goes_to)), headers=page_headers())

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        """A wrong key counts as one in a header does."""
        require_own_page(request.scope, own_origin)
        if not keyring.required:
            return _to("/")
        fields = await read_form(request)
        goes_to, key = local_path(fields.get("next", "/")), fields.get("key", "").strip()
        try:
            caller = identify(key)
        except (Unauthorized, RateLimited) as error:
            current_outcome().failed(error.code)
            wait = {"Retry-After": str(int(error.retry_after_s or 0) + 1)} if isinstance(error, RateLimited) else {}
            problem = f"{error.message}: {error.hint}"
            return HTMLResponse(sign_in_page(goes_to=goes_to, problem=problem), STATUS[error.code], {**page_headers(), **wait})
        return _to(_first_page(caller) if goes_to == "/" else goes_to, kept_in_cookie(key, secure=secure))

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        require_own_page(request.scope, own_origin)
        return _to("/sign-in", forgotten(secure=secure))

    return router


def _first_page(caller: Caller) -> str:
    return "/" if "ask" in caller.scopes else "/traces" if "traces" in caller.scopes else "/indexes"


def _to(path: str, cookie: str | None = None) -> Response:
    return RedirectResponse(path, 303, {**page_headers(), **({"Set-Cookie": cookie} if cookie else {})})
