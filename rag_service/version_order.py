"""Which version of an index is the newest: by when builds came to it, as is written down, and not by the times of folders.

Copies and backups keep what is written, and seldom the times of folders (`cp -r`, `rsync` without `-t`, most archives of object stores).
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from rag_service.digests import canonical_json
from rag_service.durable import storage_errors, write_atomically
from rag_service.errors import RagError
from rag_service.manifest import BUILD_FILE, read_build_facts

_SECONDS = "%Y-%m-%dT%H:%M:%SZ"
_TIMES = TypeAdapter(dict[str, str])


def oldest_first(folders: Iterable[Path], rebuilt: Path) -> list[str]:
    """Ids of versions by when a build last came to them: what `build.json` says, or the file `rebuilt` if that is later.

    Of one second, or where it cannot be read, by the modification time of the folder; then by id. What is removed meanwhile is left out.
    """
    again, found = _again(rebuilt), []
    for folder in folders:
        with suppress(FileNotFoundError):
            modified_ns = folder.stat().st_mtime_ns
            built_at = _built_at(folder) or datetime.fromtimestamp(modified_ns / 1e9, UTC).strftime(_SECONDS)
            found.append((max(built_at, again.get(folder.name, "")), modified_ns, folder.name))
    return [version for *_, version in sorted(found)]


def note_rebuilt(folder: Path, rebuilt: Path) -> None:
    """Makes the newest of a version that was there already when a build came to it, and that stays as it is. `rebuilt` holds when that
    was: a JSON object of ids and times. Only for who holds the build lock. Raises `StorageFailed`.
    """
    there = {version: at for version, at in _again(rebuilt).items() if (folder.parent / version).is_dir()}
    write_atomically(rebuilt, canonical_json({**there, folder.name: datetime.now(UTC).strftime(_SECONDS)}))
    with storage_errors(folder.name):
        os.utime(folder)


def _again(rebuilt: Path) -> dict[str, str]:
    try:
        return _TIMES.validate_json(rebuilt.read_bytes())
    except (OSError, ValueError):
        return {}  # then the time of the first build counts


def _built_at(folder: Path) -> str:
    """UTC, ISO 8601, seconds; empty where it cannot be read."""
    try:
        stat = (folder / BUILD_FILE).stat()
        return _read_built_at(folder, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    except (OSError, RagError):
        return ""


@lru_cache(maxsize=1024)  # lists are asked for again and again, and hardly ever differ
def _read_built_at(folder: Path, stat: tuple[int, ...]) -> str:  # noqa: ARG001  # what it was read under
    return read_build_facts(folder).built_at
