"""What a running service says that it serves."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from rag_service.errors import InvalidInput, Mismatch, NotReady, Unauthorized

FOLLOWS_WITHIN_S = 10.0
"""A service follows an activation within a second, and takes some to open a large index."""
STEADY_S = 1.0
"""For so long every reply must name the release: of several processes on one port, all must have followed."""
_PAUSE_S = 0.1
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Live:
    """A service and, where it has keys, one with the scope `ask`. Raises `InvalidInput` for what is no address."""

    url: str
    key: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise InvalidInput(f"{self.url!r} is not the address of a service", hint="it looks like http://127.0.0.1:8000", param="url")


def served_digest(live: Live) -> str:
    """Digest of the release that answers now. Raises `NotReady` where nothing answers, `Unauthorized`, or `Mismatch` for something else."""
    address = f"{live.url.rstrip('/')}/info"
    headers = {"accept": "application/json", **({"authorization": f"Bearer {live.key}"} if live.key else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT_S) as reply:  # http and https alone
            body = reply.read()
    except urllib.error.HTTPError as error:
        with error:
            if error.code in {401, 403}:
                raise Unauthorized(f"{live.url} refuses the key: {error.reason}", hint="give one with the scope ask with --key") from error
            if error.code == 503:
                raise NotReady(f"{live.url} is not ready", hint="wait until /health/ready says so") from error
            raise Mismatch(f"{address} says {error.code} {error.reason}", hint="is this the address of the service?") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise NotReady(f"nothing answers at {live.url}: {reason}", hint="start the service, or promote with --no-live") from error
    try:
        return str(json.loads(body)["release"]["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise Mismatch(f"{address} does not say which release is served", hint="is this the address of the service?") from error


def follows(live: Live, digest: str, *, within_s: float = FOLLOWS_WITHIN_S, steady_s: float = STEADY_S) -> str | None:
    """Waits until the service has named this release, and no other, for `steady_s`. None then; else what it said last, in words."""
    ends_s = time.monotonic() + within_s
    since_s: float | None = None
    last = "nothing"
    while True:
        now_s = time.monotonic()
        try:
            found = served_digest(live)
            last = f"release {found.removeprefix('sha256:')[:12]}"
        except (NotReady, Mismatch) as error:
            found, last = "", error.message
        since_s = (since_s or now_s) if found == digest else None
        if since_s is not None and now_s - since_s >= steady_s:
            return None
        if since_s is None and now_s >= ends_s:
            return last
        time.sleep(_PAUSE_S)
