"""Who is let in: the host that a request names, its key, what that key is for, and how often it may ask.

It stands inside `TraceMiddleware`, whose ids its refusals carry, and decides before anything of the body is read. What the reply tells
a browser is put on by `browsers`, refusals included.
"""

import ipaddress
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from functools import partial

from starlette._utils import get_route_path  # the very function that routes go by
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_service.api.browsers import SecurityHeaders, changes_something, checked_hosts, checked_origins, host_name, sent_from, with_cors
from rag_service.api.cookies import key_in_cookie
from rag_service.api.errors import error_reply, from_rag_error
from rag_service.api.outcome import current_outcome
from rag_service.api.refused import refusal_for
from rag_service.api.trace import current_ids
from rag_service.errors import Forbidden, NotFound, RagError, RateLimited, Unauthorized
from rag_service.key_file import Scope as KeyScope
from rag_service.key_file import parts_of
from rag_service.keys import OPEN, Caller, Keyring
from rag_service.rates import Rates, SharedRates
from rag_service.web.pages import STATIC_FILES

logger = logging.getLogger("rag_service.api.gate")

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""What probes ask, which have no key."""

OPEN_PAGES = frozenset({"/sign-in", "/sign-out", *(f"/static/{name}" for name in STATIC_FILES)})
"""Open to everybody too: the way in, and how it looks."""

SCOPES_BY_PREFIX: dict[str, frozenset[KeyScope]] = {
    "/": frozenset({"ask"}),
    "/ask": frozenset({"ask"}),
    "/search": frozenset({"ask"}),
    "/chunks": frozenset({"ask"}),
    "/documents": frozenset({"ask"}),
    "/v1": frozenset({"ask"}),
    "/info": frozenset({"ask"}),
    "/traces": frozenset({"traces"}),
    "/indexes": frozenset({"traces", "admin"}),
    "/releases": frozenset({"traces", "admin"}),
    "/drift": frozenset({"traces", "admin"}),
    "/metrics": frozenset({"traces", "admin"}),
}
"""First part of a path → scopes, one of which is needed. What is not listed needs a key, and any will do."""

_MAY_RATE: frozenset[KeyScope] = frozenset({"ask", "traces"})
"""Whoever asks may say what they think of the answer; the route looks whether it is theirs."""

FAILURES_PER_MINUTE = 20
_FAILURE_SLOTS = 4096
_MAX_RATED_KEYS = 10_000
_LOGGED_PER_MINUTE = 10
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BEARER = re.compile(r"bearer(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)

_NOBODY = Caller(key_id=None, name="nobody", scopes=frozenset(), filter=None, rate_per_minute=None)
_current: ContextVar[Caller] = ContextVar("caller")
_check: ContextVar[Callable[[str], Caller]] = ContextVar("check")


def current_caller() -> Caller:
    """Who makes the request that is being handled; `OPEN` where there are no keys. Its filter holds for all that is looked at.

    On the paths that are open to everybody it is a caller who may do nothing.
    """
    return _current.get()


def identify(presented: str) -> Caller:
    """Who presents this key in the request that is being handled, elsewhere than in its headers. A wrong one is logged and counted as
    there. Raises `Unauthorized`, `RateLimited` or `StorageFailed`.
    """
    return _check.get()(presented)


def scopes_for(path: str) -> frozenset[KeyScope] | None:
    """The scopes of which a key needs one, or None where any valid key will do."""
    if path.startswith("/traces/") and path.endswith("/feedback"):
        return _MAY_RATE
    end = path.find("/", 1)
    return SCOPES_BY_PREFIX.get(path if end < 0 else path[:end])


class CallRates:
    """How often callers have called. Workers that share it count together: make it before they are forked."""

    def __init__(self, *, failures_per_minute: int = FAILURES_PER_MINUTE) -> None:
        self.keys = Rates(_MAX_RATED_KEYS)
        self.failures = SharedRates(_FAILURE_SLOTS, failures_per_minute)
        self.log_lines = SharedRates(1, _LOGGED_PER_MINUTE)


class GateMiddleware:
    """`allowed_hosts` are names without ports, as `localhost` or `::1`; none given allows every one. `cors_origins` are origins of web
    pages, as `https://chat.example.org`; none given sends no header of CORS at all. Raises `InvalidSettings` for one that cannot be meant.

    Where no header has a key, that in a browser's cookie counts: for reading, and for what a page of this service sends. `own_origin` is
    where browsers see the service, if a proxy hides that. Without keys, what a page of another site sends is refused if it could change
    something.

    A key goes on from wherever it is used; requests without a valid one get 401, and after `FAILURES_PER_MINUTE` from one address 429.
    """

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        *,
        allowed_hosts: Collection[str] = (),
        cors_origins: Collection[str] = (),
        own_origin: str | None = None,
        rates: CallRates | None = None,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._hosts = checked_hosts(allowed_hosts)
        self._own_origins = checked_origins([own_origin] if own_origin else [])
        self._trusted_origins = (*self._own_origins, *checked_origins(cors_origins))
        self._let_in_from_pages = with_cors(self._let_in, cors_origins)
        self._answer = SecurityHeaders(self._to_this_host)
        self._rates = rates or CallRates()
        self._not_logged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # there is nothing to connect to, and nothing gets past the keys
        else:
            await self._app(scope, receive, send)

    async def _to_this_host(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A web page whose name was made to mean this machine still sends its own name. It gets nothing, CORS headers included."""
        if self._hosts:
            named = [value for name, value in scope["headers"] if name == b"host"]
            if len(named) != 1 or host_name(named[0].decode("latin-1")) not in self._hosts:
                ids = current_ids()
                current_outcome().failed("invalid_host")
                why = "the Host header names no host of this service: RAG_ALLOWED_HOSTS lists them"
                refusal = error_reply("invalid_host", why, trace_id=ids.trace_id, request_id=ids.request_id)
                await refusal_for(scope, *refusal)(scope, receive, send)
                return
        await self._let_in_from_pages(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = None
        try:
            caller = self._caller(scope)
            _check_scope(get_route_path(scope), caller)
        except RagError as error:
            ids = current_ids()
            current_outcome().failed(error.code, error.stage)
            headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
            refusal = from_rag_error(error, trace_id=ids.trace_id, request_id=ids.request_id)
            await refusal_for(scope, *refusal, headers, caller=caller)(scope, receive, send)
            return
        token, check = _current.set(caller), _check.set(partial(self._checked, scope))
        current_outcome().key_id = caller.key_id
        try:
            await self._app(scope, receive, send)
        finally:
            _current.reset(token)
            _check.reset(check)

    def _caller(self, scope: Scope) -> Caller:
        path = get_route_path(scope)
        if path in OPEN_PATHS or path in OPEN_PAGES:
            return _NOBODY
        if _CONTROL.search(path):
            raise NotFound("there is nothing at this path")  # routes take `/traces\n` for `/traces`; the table of scopes does not
        if not self._keyring.required:
            if changes_something(scope) and sent_from(scope, self._trusted_origins) == "foreign":
                raise Forbidden("a page of another site sent this", hint="RAG_CORS_ORIGINS lists those that may")
            return OPEN
        caller = self._identified(scope)
        if caller.key_id is not None and caller.rate_per_minute is not None:
            wait_s = self._rates.keys.take(caller.key_id, caller.rate_per_minute, time.monotonic())
            if wait_s is not None:
                limit = f"{caller.rate_per_minute:,} requests a minute"
                raise RateLimited(f"this key is for {limit}", hint="wait as long as Retry-After says", retry_after_s=wait_s)
        return caller

    def _identified(self, scope: Scope) -> Caller:
        try:
            presented = self._presented(scope)
        except Unauthorized:
            self._failed(scope, None)
            raise
        return self._checked(scope, presented)

    def _presented(self, scope: Scope) -> str | None:
        presented = _presented(scope["headers"])
        if presented is None and (not changes_something(scope) or sent_from(scope, self._own_origins) == "ours"):
            return key_in_cookie(scope)
        return presented

    def _checked(self, scope: Scope, presented: str | None) -> Caller:
        try:
            return self._keyring.identify(presented, time.time())
        except Unauthorized:
            self._failed(scope, presented)
            raise

    def _failed(self, scope: Scope, presented: str | None) -> None:
        """Raises `RateLimited` where there were too many."""
        address = scope["client"][0] if scope.get("client") else ""
        self._log_failure(address, presented)
        wait_s = self._rates.failures.take(_network(address), time.monotonic())
        if wait_s is not None:
            why = "too many requests without a valid key come from this address"
            raise RateLimited(why, hint="a valid key goes on from here", retry_after_s=wait_s) from None

    def _log_failure(self, address: str, presented: str | None) -> None:
        """Never more of a key than its id, and never more lines than somebody can read."""
        if self._rates.log_lines.take("", time.monotonic()) is not None:
            self._not_logged += 1
            return
        parts = parts_of(presented) if presented is not None else None
        what = f"key {parts[0]}" if parts else "no key" if presented is None else "what is no key"
        more = f"; {self._not_logged} more were not logged" if self._not_logged else ""
        logger.warning("not let in: %s from %s%s", what, address if _is_address(address) else "somewhere", more)
        self._not_logged = 0


def _check_scope(path: str, caller: Caller) -> None:
    needed = scopes_for(path)
    if needed is not None and caller is not _NOBODY and caller.scopes.isdisjoint(needed):
        raise Forbidden(f"this key may not do this: it needs the scope {' or '.join(sorted(needed))}")


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The one key in the headers. Two that differ, or a header that comes twice, may be read differently elsewhere: neither counts."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in (b"authorization", b"x-api-key"):
            if name in found:
                raise Unauthorized("the header with the key came more than once", hint="send one key")
            found[name] = value.decode("latin-1").strip()
    bearer = _BEARER.fullmatch(found.get(b"authorization", ""))
    keys = {key for key in (found.get(b"x-api-key"), (bearer[1] or "") if bearer else None) if key is not None}
    if len(keys) > 1:
        raise Unauthorized("Authorization and X-API-Key hold different keys", hint="send one key")
    return keys.pop() if keys else None


def _network(address: str) -> str:
    """Who stands behind an address: for IPv6 the first 64 bits, of which everybody has the rest to choose from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
