"""The verb: what no longer serves anybody → gone. Index versions, releases, kept embeddings and encoders.

An index version stays while it is active, while going back could lead to it, while it is the newest, while a record that is kept was made
by it, and while any process has it open. A version is removed in one rename, so it is there whole or not at all. What killed writers and
builds left is cleared away without a word.
"""

import shutil
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag_service.catalog import ENCODERS_FOLDER, Catalog
from rag_service.digests import short_id
from rag_service.durable import STAGING_PREFIX, fsync_folder, remove_stale_staging, remove_unfinished, storage_errors, unused
from rag_service.errors import Damaged, NotFound, RagError
from rag_service.manifest import MANIFEST_FILE, read_manifest
from rag_service.record import Lineage

What = Literal["version", "release", "embeddings", "encoder"]


@dataclass(frozen=True, slots=True)
class Swept:
    """One thing that was looked at. `why` says why it stays, and is empty where it goes."""

    what: What
    name: str
    """Of the index; empty for an encoder."""
    id: str
    size_bytes: int
    why: str

    @property
    def goes(self) -> bool:
        return not self.why


def sweep(catalog: Catalog, names: Iterable[str], *, recorded: Collection[Lineage], depth: int, dry_run: bool) -> list[Swept]:
    """Removes what none of the indexes `names` needs, and says of everything whether it went or why it stays.

    `recorded` are the lineages of the records that are kept; `depth` is how many steps back must stay possible. Raises `Conflict` where an
    index is being built, `Damaged` where it cannot be known what is served, and `StorageFailed`.
    """
    found: list[Swept] = []
    for name in names:
        with catalog.building(name), catalog.activating(name):
            if not dry_run:
                remove_stale_staging(catalog.versions_folder(name))
                shutil.rmtree(catalog.pulling_folder(name), ignore_errors=True)
                for folder in catalog.folders_of_files(name):
                    remove_unfinished(folder)
            found += _sweep_index(catalog, name, recorded, depth, dry_run=dry_run)
    with catalog.building(ENCODERS_FOLDER):
        found += _sweep_encoders(catalog, gone={(one.name, one.id) for one in found if one.what == "version" and one.goes}, dry_run=dry_run)
    return found


def _sweep_index(catalog: Catalog, name: str, recorded: Collection[Lineage], depth: int, *, dry_run: bool) -> list[Swept]:
    versions, releases = reasons(catalog, name, recorded, depth)
    found: list[Swept] = []
    for version in catalog.versions(name):
        folder = catalog.version_folder(name, version)
        size_bytes, why = _size(folder), versions.get(version, "")
        if not why:
            why = remove_version_files(folder, dry_run=dry_run)
            if not why and not dry_run:
                _remove(catalog.notes_path(name, version))
        found.append(Swept("version", name, version, size_bytes, why))
    left = {one.id for one in found if not one.goes}
    for release in catalog.releases(name):
        path = catalog.release_path(name, release)
        why = releases.get(release) or ("its version stays" if version_of(catalog, name, release) in left else "")
        found.append(Swept("release", name, release, path.stat().st_size, why))
        if not why and not dry_run:
            _remove(path)
    return found + _sweep_embeddings(catalog, name, dry_run=dry_run)


def reasons(catalog: Catalog, name: str, recorded: Collection[Lineage], depth: int) -> tuple[dict[str, str], dict[str, str]]:
    """Why versions and releases stay: by id, the weightiest reason of each."""
    versions: dict[str, str] = {}
    releases: dict[str, str] = {}
    for lineage in recorded:
        if lineage.index.name == name:
            versions[lineage.index.version] = releases[lineage.release.id] = "records need it"
    for number, release in reversed(list(enumerate(catalog.history(name).recent(depth)))):
        why = f"{number} step{'s' if number > 1 else ''} back" if number else "active"
        releases[release] = why
        version = version_of(catalog, name, release)
        if version is not None:
            versions[version] = why
        elif not number:
            raise Damaged(
                f"release {release} of {name!r} is active and cannot be read", hint=f"run `rag-service index activate --name {name}`"
            )
    newest = next((version for version in reversed(catalog.versions(name)) if _is_whole(catalog, name, version)), None)
    return {**({newest: "the newest"} if newest else {}), **versions}, releases


def _is_whole(catalog: Catalog, name: str, version: str) -> bool:
    """As far as its manifest tells: what is none, or damaged, must not stand for the newest."""
    try:
        read_manifest(catalog.version_folder(name, version))
    except (NotFound, Damaged):
        return False
    return True


def version_of(catalog: Catalog, name: str, release: str) -> str | None:
    try:
        return catalog.release(name, release).index.version
    except RagError:
        return None


def remove_version_files(folder: Path, *, dry_run: bool) -> str:
    """Why it was not removed after all; empty where it was, or would be."""
    manifest = folder / MANIFEST_FILE
    with ExitStack() as held:
        if manifest.is_file() and not held.enter_context(unused(manifest)):
            return "in use"
        if not dry_run:
            _remove(folder)
    return ""


def _sweep_embeddings(catalog: Catalog, name: str, *, dry_run: bool) -> list[Swept]:
    """All but those that the last build used."""
    files = sorted(catalog.embeddings_folder(name).glob("*.sqlite"), key=lambda path: path.stat().st_mtime_ns)
    found = []
    for path in files:
        why = "the last build used them" if path == files[-1] else ""
        found.append(Swept("embeddings", name, path.stem, path.stat().st_size, why))
        if not why and not dry_run:
            for part in path.parent.glob(f"{path.name}*"):
                _remove(part)
    return found


def _sweep_encoders(catalog: Catalog, *, gone: Collection[tuple[str, str]], dry_run: bool) -> list[Swept]:
    """All but those that some version of any index was built with, and the newest, which the next build may use."""
    if not dry_run:
        remove_stale_staging(catalog.encoders_folder())
        shutil.rmtree(catalog.pulling_folder(ENCODERS_FOLDER), ignore_errors=True)
    needed: set[str] = set()
    for name in catalog.names():
        for version in catalog.versions(name):
            try:
                if (name, version) not in gone:
                    needed.add(short_id(read_manifest(catalog.version_folder(name, version)).encoder.digest))
            except NotFound:
                continue
            except Damaged:
                return []  # nobody knows which encoder it needs
    folders = sorted(catalog.encoders(), key=lambda folder: folder.stat().st_mtime_ns)
    found = []
    for folder in folders:
        why = "versions need it" if folder.name in needed else "the newest" if folder == folders[-1] else ""
        found.append(Swept("encoder", "", folder.name, _size(folder), why))
        if not why and not dry_run:
            _remove(folder)
    return found


def _remove(path: Path) -> None:
    """In one rename, from which a crash leaves what the next build or sweep clears away."""
    with storage_errors(path.name):
        if path.is_dir():
            going = path.with_name(f"{STAGING_PREFIX}removed-{path.name}")
            path.rename(going)
            fsync_folder(path.parent)
            shutil.rmtree(going)
        else:
            path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
