"""The errors of providers' clients by this service's names, without the secrets that they may hold. Pure."""

import math
import re
import time
from email.utils import parsedate_to_datetime

from rag_service.errors import DeadlineExceeded, GeneratorFailed
from rag_service.generators.refused import PromptRefused, ProviderRefused

_MESSAGE_CHARS = 200
_REFUSED = frozenset({400, 413, 422})
"""HTTP statuses that are about one request, and say that the provider works."""
_MISTAKEN = frozenset({401, 403, 404})
"""Those that are about the settings."""
_LONGEST_WAIT_S = 3600.0
"""A provider that asks for more is not asked again today."""
_SECRET = re.compile(
    r"(?i)\b(?:sk|pk|rk|gsk|xai|hf|key|ghp|AIza)[-_][\w*.\-]+"  # keys by their usual beginnings, masked ones too
    r"|\b(?:bearer|basic)\s+\S+"
    r"|\b[\w-]*(?:api[-_ ]?key|token|secret|password|authorization)\b['\"]?\s*[:=]\s*\S+"
    r"|://[^/\s@]+@"  # user and password in a URL
    r"|\?\S+"  # a URL's query
    r"|(?=[\w+/=*-]*\d)[\w+/=*-]{24,}"  # anything long that looks random
)


def translated(name: str, error: Exception) -> DeadlineExceeded | GeneratorFailed:
    """Clients have no common class for a timeout, but all call it one."""
    if any("timeout" in kind.__name__.lower() for kind in type(error).__mro__):
        return DeadlineExceeded(f"{name} did not answer in time ({type(error).__name__})", stage="generate")
    status = getattr(error, "status_code", None)
    where = f"{type(error).__name__}, HTTP {status}" if isinstance(status, int) else type(error).__name__
    hint = {
        401: "check the provider's key",
        403: "check what the provider's key may do",
        404: "check the model's name and base_url",
        429: "the provider's limit is reached: try again later",
    }.get(status or 0, "")
    kind = PromptRefused if status in _REFUSED else ProviderRefused if status in _MISTAKEN else GeneratorFailed
    return kind(f"{name} failed ({where}): {redacted(error)}", hint=hint, stage="generate", retry_after_s=_retry_after_s(error))


def _retry_after_s(error: Exception) -> float | None:
    """What the provider's header `Retry-After` says, in seconds or as a date (RFC 9110 §10.2.3), where it makes sense."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    said = headers.get("retry-after") if headers is not None else None
    if not isinstance(said, str):
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(seconds, _LONGEST_WAIT_S) if math.isfinite(seconds) and seconds > 0 else None


def redacted(error: Exception) -> str:
    """The first line of the error's text, cut, with everything that may be a secret replaced."""
    first, *_ = str(error).strip().splitlines() or [""]
    return _SECRET.sub("[redacted]", first)[:_MESSAGE_CHARS]
