"""The file of API keys: who may call the service, for what, how often, and about which documents.

A key is shown once, as `rag_<id>_<secret>`. The file keeps the SHA-256 of the secret: 256 random bits need no slow hash. It is
`rag.keys/v1`, replaced as a whole, and for its owner alone.
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError, field_validator, model_validator

from rag_service.durable import exclusive_lock, storage_errors, write_atomically
from rag_service.errors import Conflict, Damaged, InvalidInput, NotFound, StorageFailed
from rag_service.filters import Filter, parse_filter
from rag_service.stored import Frozen, ShortId

Scope = Literal["ask", "traces", "admin"]
SCOPES: tuple[Scope, ...] = ("ask", "traces", "admin")
"""None of them implies another."""

MAX_NAME_CHARS = 64
MAX_KEYS = 10_000
MAX_RATE_PER_MINUTE = 1_000_000

_LOCK_WAIT_S = 10.0
_SHOWN = re.compile(r"rag_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class Key(Frozen):
    """One key as it is stored. Times are in UTC."""

    id: ShortId
    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    secret_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...] = Field(min_length=1)
    filter: dict[str, Any] | None
    """What `filters.parse_filter` reads: holds for everything that is asked with this key. Never empty."""
    rate_per_minute: int | None = Field(ge=1, le=MAX_RATE_PER_MINUTE)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None

    @field_validator("name")
    @classmethod
    def _one_printable_line(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("a name is printable text")
        return name

    @field_validator("filter")
    @classmethod
    def _filters_something(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            if given is not None:
                _parsed_filter(given)
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return given

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class KeyFile(Frozen):
    schema_name: Literal["rag.keys/v1"] = Field(alias="schema")
    keys: tuple[Key, ...] = Field(min_length=1, max_length=MAX_KEYS)

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have the same id")
        return self


def parts_of(presented: str) -> tuple[str, str] | None:
    """Id and secret in something that looks like a key. The id is no secret."""
    found = _SHOWN.fullmatch(presented)
    return (found[1], found[2]) if found else None


def filter_of(key: Key) -> Filter | None:
    """Which documents the key is for; None for all."""
    return _parsed_filter(key.filter) if key.filter is not None else None


def read_keys(path: Path) -> tuple[Key, ...]:
    """Every key in the file, revoked ones too; none where there is no file. Raises `Damaged` or `StorageFailed`."""
    read = read_with_signature(path)
    return read[0] if read else ()


def create_key(
    path: Path,
    *,
    name: str,
    scopes: tuple[Scope, ...] = ("ask",),
    documents: Mapping[str, Any] | None = None,
    rate_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """The new key and what is presented for it, which is kept nowhere. `documents` is a filter as `parse_filter` reads it.

    Raises `InvalidInput`, `Damaged`, `StorageFailed`, and `Conflict` when somebody else holds the file for too long or it is full.
    """
    secret = secrets.token_urlsafe(32)
    if documents is not None:
        documents = _parsed_filter(documents).as_json()
    with _changing(path) as keys:
        if len(keys) >= MAX_KEYS:
            raise Conflict(f"there are {MAX_KEYS:,} keys already", hint=f"remove revoked ones from {path.name}")
        key_id = secrets.token_hex(6)
        while any(key.id == key_id for key in keys):
            key_id = secrets.token_hex(6)
        try:
            key = Key(
                id=key_id,
                name=name,
                secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
                scopes=tuple(scope for scope in SCOPES if scope in scopes),
                filter=dict(documents) if documents is not None else None,
                rate_per_minute=rate_per_minute,
                created_at=_now(),
                expires_at=expires_at,
                revoked_at=None,
            )
        except ValidationError as error:
            problem = error.errors()[0]
            raise InvalidInput(f"{problem['loc'][0]}: {problem['msg']}", param=str(problem["loc"][0])) from error
        keys.append(key)
    return key, f"rag_{key.id}_{secret}"


def revoke_key(path: Path, key_id: str) -> Key:
    """The key as it is now. One that was revoked before keeps its time. Raises `NotFound`, and what `create_key` does."""
    with _changing(path) as keys:
        for position, key in enumerate(keys):
            if key.id == key_id:
                if key.revoked_at is None:
                    keys[position] = key.model_copy(update={"revoked_at": _now()})
                return keys[position]
        raise NotFound("there is no key with this id", hint="`rag-service keys list` shows the ids")


Signature = tuple[int, int, int, int]
"""Change and modification time in ns, size, inode. The change time tells of new permissions, too."""


def _signature(stat: os.stat_result) -> Signature:
    return stat.st_ctime_ns, stat.st_mtime_ns, stat.st_size, stat.st_ino


def signature_of(path: Path) -> Signature | None:
    with _read_errors(path):
        try:
            return _signature(path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return None


def read_with_signature(path: Path) -> tuple[tuple[Key, ...], Signature] | None:
    """The keys, and the signature of the very file that they were read from. None if there is none."""
    with _read_errors(path):
        try:
            with path.open("rb") as file:
                signature = _signature(os.fstat(file.fileno()))
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        return KeyFile.model_validate_json(data).keys, signature
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the whole"
        why = f"{path.name} is damaged: {where}: {error.errors()[0]['msg']}"
        raise Damaged(why, hint="restore it from a backup, or remove it and create new keys") from error


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "run `rag-service keys` as the user that runs the service, or give it the file"
        raise StorageFailed(f"could not read {path.name}: {error.strerror}", hint=hint) from error


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys, to change in place; written when the block ends well. Waits for others who are changing them."""
    with storage_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)  # with the usual mode: the folder may hold more than keys
    with _for_the_owner_alone(), _locked(path):
        keys = list(read_keys(path))
        yield keys
        file = KeyFile(schema_name="rag.keys/v1", keys=tuple(keys))
        write_atomically(path, file.model_dump_json(by_alias=True, indent=2).encode() + b"\n")


@contextmanager
def _for_the_owner_alone() -> Iterator[None]:
    """New files get mode 0600, from their first byte on. The mask is the process's: this is for command lines."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock, give_up_s = path.with_name(f".{path.name}.lock"), time.monotonic() + _LOCK_WAIT_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(exclusive_lock(lock, doing="changing the keys"))
                break
            except Conflict:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(0.02)
        yield


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _parsed_filter(given: Mapping[str, Any]) -> Filter:
    """Raises `InvalidInput`, also where nothing would be filtered: no condition must not be read as permission."""
    parsed = parse_filter(given, param="filter")
    if parsed is None:
        raise InvalidInput("filter has no condition", hint="leave it out for a key that may read every document", param="filter")
    return parsed
