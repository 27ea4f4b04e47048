"""The API keys that are in force, and who calls.

A door that was closed stays closed: once the file of keys has been seen, neither its loss nor damage to it lets anybody in. A file that
vanishes leaves the last keys in force; one that cannot be used turns everybody away until it is mended. Revoking the last key
leaves the door closed too; to serve without keys, remove the file and start again.
"""

import hashlib
import hmac
import logging
import math
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rag_service.errors import RagError, StorageFailed, Unauthorized
from rag_service.filters import Filter
from rag_service.key_file import SCOPES, Key, Scope, Signature, filter_of, parts_of, read_with_signature, signature_of

logger = logging.getLogger("rag_service.keys")

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what holds for everything that they ask."""

    key_id: str | None
    name: str
    scopes: frozenset[Scope]
    filter: Filter | None
    rate_per_minute: int | None


OPEN = Caller(key_id=None, name="anybody", scopes=frozenset(SCOPES), filter=None, rate_per_minute=None)
"""Everybody, where there are no keys."""


class Keyring:
    """The keys that are in force. The file is looked at again every half second, when somebody calls.

    Call `load` at the start of a server, so that a file that cannot be used is an error then. Later, everybody gets `StorageFailed` until
    it can be used.
    """

    def __init__(self, path: Path, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._path = path
        self._look_every_s = look_every_s
        self._entries: Mapping[str, _Entry] = {}
        self._signature: Signature | None = None
        self._problem: RagError | None = None
        self._look_at_s = -math.inf
        self._looking = threading.Lock()

    def load(self) -> None:
        """Reads the file now, if there is one. Raises `Damaged` or `StorageFailed`."""
        with self._looking:
            self._look()
        if self._problem is not None:
            raise self._problem

    @property
    def required(self) -> bool:
        """Whether a key is needed: always, but where there has been no file since the start."""
        self._look_if_due()
        return bool(self._entries) or self._problem is not None

    def identify(self, presented: str | None, now_s: float) -> Caller:
        """Who presents this. `now_s` is seconds since the epoch. Raises `StorageFailed`, or `Unauthorized`: the same for every key.

        An unknown id costs what a wrong secret costs: both are hashed and compared, with an entry that fits nothing if need be.
        """
        self._look_if_due()
        if self._problem is not None:
            raise StorageFailed("the keys of this service cannot be read, so nobody is let in", hint="its log says why", retry_after_s=1)
        if presented is None:
            raise Unauthorized("this service needs a key", hint="send it in the header Authorization: Bearer <key>")
        key_id, secret = parts_of(presented) or ("", "")
        entry = self._entries.get(key_id, _NOBODY)
        fits = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), entry.secret_sha256)
        in_force = now_s < entry.ends_s
        if not (fits and in_force):
            raise Unauthorized("this key is not valid", hint="ask whoever runs the service for another")
        return entry.caller

    def _look_if_due(self) -> None:
        if time.monotonic() >= self._look_at_s and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()

    def _look(self) -> None:
        self._look_at_s = time.monotonic() + self._look_every_s
        try:
            signature = signature_of(self._path)
            if signature is None or signature == self._signature:
                return  # gone, or as it was: what is in force stays so
            read = read_with_signature(self._path)
        except RagError as error:
            if self._problem is None or self._problem.message != error.message:
                logger.error("nobody is let in: %s", error.message)
            self._problem, self._signature = error, None  # it may be readable at the next look without having changed
            return
        if read is not None:
            keys, self._signature = read
            self._entries = {key.id: _entry(key) for key in keys}
            if self._problem is not None:
                logger.warning("the keys can be read again: %d", len(keys))
            self._problem = None


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller
    secret_sha256: bytes
    ends_s: float
    """Seconds since the epoch from which on the key is not valid: 0 for a revoked one."""


_NOBODY = _Entry(Caller(None, "nobody", frozenset(), None, None), secrets.token_bytes(32), 0.0)


def _entry(key: Key) -> _Entry:
    caller = Caller(
        key_id=key.id,
        name=key.name,
        scopes=frozenset(key.scopes),
        filter=filter_of(key),
        rate_per_minute=key.rate_per_minute,
    )
    ends_s = 0.0 if key.revoked_at is not None else key.expires_at.timestamp() if key.expires_at is not None else math.inf
    return _Entry(caller, bytes.fromhex(key.secret_sha256), ends_s)
