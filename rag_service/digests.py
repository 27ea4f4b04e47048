"""Content addresses: canonical JSON, SHA-256, Merkle roots. Pure but for `file_digest`.

Canonical JSON is RFC 8785 (JCS): one byte sequence per value, so equal digests mean equal content on every machine.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import rfc8785

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]

SHORT_ID_CHARS = 12
"""Hex digits of a digest that name a version, a release or an encoder on disk: 48 bits, and always beside the whole digest."""


class FileDigest(NamedTuple):
    sha256: str
    """64 hex digits."""
    size_bytes: int


def canonical_json(value: Json) -> bytes:
    """RFC 8785 bytes of `value`. Raises `ValueError` for NaN, infinities and integers beyond 2**53."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def digest_bytes(data: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_text(text: str) -> str:
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def digest_json(value: Json) -> str:
    return digest_bytes(canonical_json(value))


def short_id(digest: str) -> str:
    """The first 12 hex digits of a `sha256:…` digest."""
    return digest.removeprefix("sha256:")[:SHORT_ID_CHARS]


def file_digest(path: Path) -> FileDigest:
    """Reads the file once, in bounded memory."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(sha256=sha256, size_bytes=file.tell())


def merkle_root(digests: Iterable[str]) -> str:
    """Root over `digests` in the order given, as in RFC 6962 §2.1: leaves are hashed with a 0x00 prefix and nodes with 0x01, so that
    a node can never be taken for a leaf; a lone right node moves up unchanged. The root of nothing is the SHA-256 of nothing.
    """
    level = [hashlib.sha256(b"\x00" + digest.encode()).digest() for digest in digests]
    if not level:
        return digest_bytes(b"")
    while len(level) > 1:
        paired = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[len(level) - len(level) % 2 :]
    return f"sha256:{level[0].hex()}"
