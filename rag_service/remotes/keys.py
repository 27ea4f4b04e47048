"""What lies where in object storage. Pure.

    files/<2 hex>/<64 hex>              every file of a version or an encoder, once, under its SHA-256
    encoders/<id>.json                  the card of an encoder, which lists its files
    <name>/versions/<id>.json           the manifest of an index version, which lists its files
    <name>/versions/<id>.build.json     when and how it was built
    <name>/releases/<id>.json           a release
    <name>/ACTIVE                       the release that those who follow this store serve

What lists others is written after them. So a version whose manifest is there is there whole, and whatever a push that was cut short
leaves is never read.
"""

import re

from rag_service.errors import Mismatch
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE
from rag_service.stored import FileEntry

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = frozenset({MANIFEST_FILE, BUILD_FILE, "encoder.json"})


def file_key(entry: FileEntry) -> str:
    return f"files/{entry.sha256[:2]}/{entry.sha256}"


def card_key(encoder: str) -> str:
    return f"encoders/{encoder}.json"


def manifest_key(name: str, version: str) -> str:
    return f"{name}/versions/{version}.json"


def facts_key(name: str, version: str) -> str:
    return f"{name}/versions/{version}.build.json"


def release_key(name: str, release: str) -> str:
    return f"{name}/releases/{release}.json"


def pointer_key(name: str) -> str:
    return f"{name}/ACTIVE"


def require_plain(files: dict[str, FileEntry], what: str) -> None:
    """Raises `Mismatch` for names that would leave the folder, or hide in it, and sizes that cannot be."""
    for name, entry in files.items():
        if not _PLAIN.fullmatch(name) or name in _RESERVED or entry.size_bytes < 0:
            raise Mismatch(
                f"{what} lists a file that no build writes: {name[:100]!r}",
                hint="it was not written by `rag-service index push`: find out who may write to this store",
            )
