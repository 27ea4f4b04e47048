"""The cookie in which a browser keeps the key that somebody signed in with."""

import re
from http.cookies import SimpleCookie

from starlette.datastructures import Headers
from starlette.types import Scope

from rag_service.errors import Unauthorized

COOKIE = "rag_key"
_MOST_CHARS = 2000
_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def key_in_cookie(scope: Scope) -> str | None:
    """Raises `Unauthorized` where there are two: one of them may have been put there by somebody else."""
    found = {
        value.strip().strip('"')
        for header in Headers(scope=scope).getlist("cookie")
        for name, _, value in (pair.partition("=") for pair in header.split(";"))
        if name.strip() == COOKIE
    }
    if len(found) > 1:
        raise Unauthorized("the browser sent two different keys", hint="sign in again")
    return found.pop() if found else None


def kept_in_cookie(key: str, *, secure: bool) -> str:
    """Value of `Set-Cookie`: for this host alone, unseen by scripts, sent from pages of this service alone, gone with the browser."""
    return _set_cookie(key, secure=secure)


def forgotten(*, secure: bool) -> str:
    return _set_cookie("", secure=secure, **{"max-age": 0})


def _set_cookie(value: str, *, secure: bool, **more: object) -> str:
    morsel = SimpleCookie({COOKIE: value})[COOKIE]
    for name, given in {"path": "/", "httponly": True, "samesite": "Strict", "secure": secure, **more}.items():
        morsel[name] = given
    return morsel.OutputString()


def local_path(given: str) -> str:
    """`given` if it is a path on this host, otherwise `/`: after signing in nobody is sent elsewhere."""
    return given if len(given) <= _MOST_CHARS and _LOCAL.fullmatch(given) else "/"
