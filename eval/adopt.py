"""An index version that was built for an evaluation, taken over into the index that is served: the same bytes under the same id."""

import shutil
from pathlib import Path

from rag_service.catalog import Catalog
from rag_service.durable import in_use, publish_folder, remove_stale_staging, staging_folder, storage_errors
from rag_service.errors import Damaged, NotFound
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE, read_manifest, verify_version
from rag_service.release import IndexRef


def adopt(catalog: Catalog, name: str, wanted: IndexRef, source: str) -> bool:
    """Copies the version from index `source` to index `name`, unless it is there; gives whether it did. There whole or not at all.

    Every file is compared with the manifest before the copy can be seen. Raises `NotFound`, `Damaged`, `Conflict` where somebody builds the
    index just now, or `StorageFailed`; nothing has then changed.
    """
    final = catalog.version_folder(name, wanted.version)
    with catalog.building(name):
        if _is_there(final, wanted):
            return False
        found = catalog.version_folder(source, wanted.version)
        if source == name or not found.is_dir():
            raise NotFound(
                f"index version {wanted.version} is neither in {name!r} nor in {source!r}",
                hint="it was removed since it was evaluated: run the evaluation again, and decide again",
            )
        versions = catalog.versions_folder(name)
        remove_stale_staging(versions)
        with in_use(found / MANIFEST_FILE), staging_folder(versions) as staged:
            copy = staged / wanted.version  # a version is only valid under its own name
            _copy(found, copy)
            if verify_version(copy).digest != wanted.digest:
                raise Damaged(f"index version {wanted.version} is not the one that was evaluated", hint="run the evaluation again")
            publish_folder(copy, final)
    return True


def _is_there(folder: Path, wanted: IndexRef) -> bool:
    """Raises `Damaged` for a version that is there and is not what was wanted: activating it would say so no better."""
    if not folder.exists():
        return False
    if read_manifest(folder).digest != wanted.digest:
        raise Damaged(f"index version {folder.name} is not the one that was evaluated", hint="build the index again")
    return True


def _copy(found: Path, to: Path) -> None:
    """The files that make up a version, and nothing else that lies there."""
    names = [MANIFEST_FILE, BUILD_FILE, *read_manifest(found).files]
    with storage_errors(f"index version {to.name}"):
        to.mkdir()
        for name in names:
            shutil.copyfile(found / name, to / name)
