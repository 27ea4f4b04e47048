"""An index version that was built for an evaluation, taken over into the index that is served: the same bytes under the same id."""

from rag_service.catalog import Catalog
from rag_service.errors import Damaged, NotFound
from rag_service.manifest import read_manifest
from rag_service.release import IndexRef


def adopt(catalog: Catalog, name: str, wanted: IndexRef, source: str) -> bool:
    """Copies the version from index `source` to index `name`, unless it is there; gives whether it did. There whole or not at all.

    Raises `NotFound`, `Damaged`, `Conflict` where somebody builds the index just now, or `StorageFailed`; nothing has then changed.
    """
    with catalog.building(name):
        if _holds(catalog, name, wanted, hint="build the index again"):
            return False
        if source == name or not _holds(catalog, source, wanted, hint="run the evaluation again"):
            raise NotFound(
                f"index version {wanted.version} is neither in {name!r} nor in {source!r}",
                hint="it was removed since it was evaluated: run the evaluation again, and decide again",
            )
        catalog.copy_version(name, wanted.version, source)
    return True


def _holds(catalog: Catalog, name: str, wanted: IndexRef, *, hint: str) -> bool:
    """Raises `Damaged` for a version that is there and is not what was wanted: activating it would say so no better."""
    if wanted.version not in catalog.versions(name):
        return False
    if read_manifest(catalog.version_folder(name, wanted.version)).digest != wanted.digest:
        raise Damaged(f"index version {wanted.version} is not the one that was evaluated", hint=hint)
    return True
