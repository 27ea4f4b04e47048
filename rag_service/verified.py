"""Which files have been compared with their digests since they last changed: what makes the start of a large index quick.

Hashing reads every byte; asking the file system who changed what reads none. A file whose device, inode, size and times are still those
of its last comparison counts as unchanged. Anybody who writes to it sets its change time, which cannot be set back. A disk that alters
bytes by itself changes no time, though: `--verify full` and `rag-service index verify` read everything.
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rag_service.digests import Json, canonical_json, digest_json
from rag_service.durable import write_atomically
from rag_service.errors import StorageFailed
from rag_service.manifest import Manifest, read_manifest, verify_version

_SETTLED_NS = 50_000_000
"""A file that changed so recently could change again within the same tick of the file system's clock."""

Stats = Mapping[str, list[int]]


def verified_version(folder: Path, *, notes: Path, full: bool) -> Manifest:
    """The manifest, after every file of the version has been compared with it now or since it last changed.

    `notes` is the file that remembers it; where that cannot be written, the next start compares again. Raises `NotFound` or `Damaged`.
    """
    manifest = read_manifest(folder)
    stats = _stats(folder, manifest)
    if not full and stats is not None and _noted(notes) == _note(manifest, stats):
        return manifest
    manifest = verify_version(folder)
    if stats is not None and _settled(stats):
        with suppress(StorageFailed):
            write_atomically(notes, canonical_json(_note(manifest, stats)))
    return manifest


def _note(manifest: Manifest, stats: Stats) -> Json:
    described: Json = {"manifest": manifest.digest, "files": {name: [str(number) for number in stat] for name, stat in stats.items()}}
    return {"note": described, "digest": digest_json(described)}


def _noted(notes: Path) -> object:
    try:
        return json.loads(notes.read_bytes())
    except (OSError, ValueError):
        return None


def _stats(folder: Path, manifest: Manifest) -> Stats | None:
    found = {}
    for name in sorted(manifest.files):
        try:
            stat = os.stat(folder / name)  # of what a link leads to: that is what is read
        except OSError:
            return None
        found[name] = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    return found


def _settled(stats: Stats) -> bool:
    now_ns = time.time_ns()
    return all(now_ns - max(stat[3:]) > _SETTLED_NS for stat in stats.values())
