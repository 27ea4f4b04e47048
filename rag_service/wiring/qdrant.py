"""Versions whose vectors are in Qdrant: taken there by a build, and opened from there. Nothing is loaded before one is needed."""

import atexit
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rag_service.errors import Damaged, InvalidSettings, Mismatch, MissingDependency
from rag_service.manifest import Manifest
from rag_service.settings import Settings
from rag_service.stores.arrays import map_rows

if TYPE_CHECKING:
    from rag_service.stores.qdrant import QdrantStore
    from rag_service.stores.qdrant_place import QdrantPlace

_places: "dict[tuple[str, str | None], QdrantPlace]" = {}
"""A folder of the local mode can be opened once."""
_lock = threading.Lock()


def sharing(settings: Settings) -> Callable[[Path, Manifest], None] | None:
    """What takes vectors of a build to Qdrant; None where the settings keep them elsewhere. Asks Qdrant now, so that a build does not embed
    for hours to learn that it is away. Raises `InvalidSettings`, `MissingDependency`, and `StorageFailed`.
    """
    if settings.store != "qdrant":
        return None
    if settings.qdrant_url is None:
        raise InvalidSettings(
            "RAG_STORE=qdrant needs to know where Qdrant is", hint="set RAG_QDRANT_URL: docs/qdrant.md", param="qdrant_url"
        )
    _place(settings, settings.qdrant_url).check()

    def share(file: Path, manifest: Manifest) -> None:
        from rag_service.stores.qdrant import fill

        rows = map_rows(file, "f4", columns=manifest.encoder.dimension)
        fill(_store(settings, manifest), rows, digest=_digest(manifest))

    return share


def open_qdrant(settings: Settings, manifest: Manifest, *, full: bool) -> "QdrantStore":
    """The vectors of a version, which are counted; with `full` all are compared with its manifest. Raises what `sharing` raises, `Mismatch`
    where it is not said where Qdrant is, and `Damaged`.
    """
    store = _store(settings, manifest)
    if full:
        store.check_all(_digest(manifest))
    else:
        store.check()
    return store


def _store(settings: Settings, manifest: Manifest) -> "QdrantStore":
    if settings.qdrant_url is None:
        raise Mismatch(
            f"the vectors of index version {manifest.version} are in Qdrant",
            hint="set RAG_QDRANT_URL to where that is; `python -m eval` needs an index in files",
        )
    place = _place(settings, settings.qdrant_url)
    from rag_service.stores.qdrant import QdrantStore

    return QdrantStore(
        place.collection(_said(manifest, "collection")),
        rows=manifest.counts.chunks,
        dimension=manifest.encoder.dimension,
        search="hnsw" if manifest.store.parameters.get("search") == "hnsw" else "exact",
    )


def _place(settings: Settings, url: str) -> "QdrantPlace":
    try:
        from rag_service.stores.qdrant_place import QdrantPlace
    except ImportError as error:
        raise MissingDependency(
            f"Qdrant needs the extra [qdrant], which is not installed: {error}", hint="pip install 'rag-service[qdrant]'"
        ) from error
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    with _lock:
        if (url, key) not in _places:
            _places[url, key] = QdrantPlace(url, key)
        return _places[url, key]


def close_places() -> None:
    """Ends connections, and lets others open folders of the local mode."""
    with _lock:
        for place in _places.values():
            place.close()
        _places.clear()


atexit.register(close_places)  # left to itself, the local mode closes when it can import no more, and complains


def _digest(manifest: Manifest) -> str:
    return _said(manifest, "vectors")


def _said(manifest: Manifest, what: str) -> str:
    said = manifest.store.parameters.get(what)
    if not isinstance(said, str):
        raise Damaged(f"the manifest of index version {manifest.version} does not say {what}", hint="build the index again")
    return said
