"""What went wrong at a store, in words of our own, and whether it may pass.

A provider's text is never repeated: it may hold account names, signed links or parts of keys. Its error code is, where it looks like one.
"""

import errno
import os
import re
import sys
from dataclasses import dataclass
from typing import Literal

Code = Literal["absent", "beyond", "no_bucket", "no_credentials", "denied", "refused", "silent", "unreachable", "cut", "failing", "disk"]

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{1,59}")
_OF_A_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EFBIG})
_PASSING_STATUS = frozenset({408, 429})
_NO_KEYS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound", "TokenRetrievalError"}
)
_CUT = frozenset({"IncompleteReadError", "ResponseStreamingError", "ClientPayloadError", "ChecksumMismatch", "FlexibleChecksumError"})
_UNREACHABLE = frozenset({"EndpointConnectionError", "ConnectionClosedError", "ConnectTimeoutError", "HTTPClientError", "SSLError"})
_REFUSED = frozenset({"ParamValidationError", "InvalidRegionError", "InvalidEndpointConfigurationError", "InvalidConfigError"})


@dataclass(frozen=True, slots=True)
class Trouble:
    code: Code
    passing: bool = False
    """Trying again may help."""
    detail: str = ""
    """The store's own error code, or what the operating system calls it; empty where there is none."""


def trouble_of(error: Exception) -> Trouble | None:
    """None for what is no failure of a store."""
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    if isinstance(response, dict):
        return _of_response(response)
    if isinstance(error, TimeoutError) or type(error).__name__ in {"FSTimeoutError", "ReadTimeoutError"}:
        return Trouble("silent", passing=True)
    if isinstance(error, FileNotFoundError):
        return Trouble("absent")
    if isinstance(error, PermissionError):
        return Trouble("denied")
    if isinstance(error, OSError) and error.errno in _OF_A_DISK:
        return Trouble("disk", detail=os.strerror(error.errno or 0))
    if trouble := _of_name(error):
        return trouble
    if isinstance(error, OSError):
        return Trouble("unreachable", passing=True)
    if isinstance(error, ValueError):  # botocore's, for an endpoint or a name that cannot be one
        return Trouble("refused")
    return Trouble("unreachable", passing=True) if _is_of_provider(error) else None


def _of_response(response: dict[str, object]) -> Trouble:
    told, about = response.get("Error"), response.get("ResponseMetadata")
    code = str(told.get("Code", "")) if isinstance(told, dict) else ""
    status = int(about.get("HTTPStatusCode", 0)) if isinstance(about, dict) else 0
    detail = code if _CODE.fullmatch(code) else str(status or "")
    if code == "NoSuchBucket":
        return Trouble("no_bucket")
    if code in {"NoSuchKey", "404"} or status == 404:
        return Trouble("absent")
    if code == "InvalidRange" or status == 416:
        return Trouble("beyond")
    if status in {401, 403}:
        return Trouble("denied", detail=detail)
    if status >= 500 or status in _PASSING_STATUS or code in {"SlowDown", "RequestTimeout", "InternalError"}:
        return Trouble("failing", passing=True, detail=detail)
    return Trouble("refused", detail=detail)


def _of_name(error: Exception) -> Trouble | None:
    """By the names of the error's classes: the libraries that define them need not be installed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NO_KEYS:
        return Trouble("no_credentials")
    if names & _REFUSED:
        return Trouble("refused")
    if names & _CUT:
        return Trouble("cut", passing=True)
    return Trouble("unreachable", passing=True) if names & _UNREACHABLE else None


def _is_of_provider(error: Exception) -> bool:
    for module, name in (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError")):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return True
    return False


def told_by(trouble: Trouble, shown: str, *, timeout_s: float, tries: int) -> tuple[str, str]:
    """A message and a hint."""
    detail = f" ({trouble.detail})" if trouble.detail else ""
    tried = f" in {tries} tries"
    match trouble.code:
        case "no_bucket":
            return f"there is no bucket for {shown}", "check its name, or make it first"
        case "no_credentials":
            return f"there are no credentials for {shown}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or use a role"
        case "denied":
            return f"{shown} refuses access{detail}", "check the credentials, and what they may do: read, and to push also write and list"
        case "refused":
            return f"{shown} refuses the request{detail}", "check the bucket's name, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"
        case "silent":
            return f"{shown} did not answer within {timeout_s:g} s{tried}", "try again later: what was done is kept. RAG_REMOTE_TIMEOUT_S"
        case "failing":
            return f"{shown} is failing{detail}{tried}", "try again later: what was done is kept"
        case "cut":
            return f"{shown} broke off in the middle{tried}", "try again later: what was done is kept"
        case "disk":
            return f"{shown} cannot be used: {trouble.detail}", "make room, or name another folder"
        case _:
            return f"{shown} cannot be reached{tried}", "check the network and AWS_ENDPOINT_URL; then try again: what was done is kept"
