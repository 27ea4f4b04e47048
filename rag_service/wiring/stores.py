"""Where indexes and records lie: in files of this machine, or in a PostgreSQL that several machines share; vectors also in Qdrant.

Only what is asked for is loaded: without a database nothing of the extra `[postgres]` is needed.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_service.catalog import Catalog
from rag_service.embedders.encoder import verified_card
from rag_service.errors import Damaged, Mismatch, MissingDependency
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.manifest import VECTORS_TO_SHARE_FILE, Manifest
from rag_service.ports import Ledger, VectorStore
from rag_service.record import Lineage
from rag_service.settings import Settings, is_database_url
from rag_service.stores.arrays import map_rows
from rag_service.stores.faiss import open_store
from rag_service.stores.pgvector_parameters import Search
from rag_service.sweep import Swept
from rag_service.sweep import sweep as sweep_files
from rag_service.wiring.qdrant import open_qdrant

if TYPE_CHECKING:
    from rag_service.database import Connection, Database
    from rag_service.shared_catalog import SharedCatalog

_AT_ONCE = 5_000


def open_catalog(settings: Settings) -> Catalog:
    """Opens nothing yet. Raises `InvalidSettings` or `MissingDependency`."""
    if not is_database_url(settings.store):
        return Catalog(settings.indexes)
    require_postgres_extra()
    from rag_service.database import Database
    from rag_service.shared_catalog import SharedCatalog

    return SharedCatalog(settings.indexes, Database(settings.store), _write_vectors, _check_vectors, verified_card)


def open_ledger(settings: Settings) -> Ledger:
    """Opens nothing yet. The records lie where the indexes do, unless a setting says otherwise."""
    url = ledger_url(settings)
    if url is None:
        return SqliteLedger(ledger_path(settings))
    require_postgres_extra()
    from rag_service.database import Database
    from rag_service.ledger.postgres import PostgresLedger

    return PostgresLedger(Database(url))


def ledger_url(settings: Settings) -> str | None:
    """None where records are in a file."""
    if settings.ledger is None:
        return settings.store if is_database_url(settings.store) else None
    return settings.ledger if is_database_url(settings.ledger) else None


def ledger_path(settings: Settings) -> Path:
    return Path(settings.ledger) if settings.ledger is not None else settings.indexes / "ledger.sqlite"


def open_vectors(settings: Settings, catalog: Catalog, name: str, folder: Path, manifest: Manifest, *, full: bool) -> VectorStore:
    """The vectors of a version whose files are verified; with `full` all that are elsewhere are compared with its manifest too."""
    if manifest.store.kind == "qdrant":
        return open_qdrant(settings, manifest, full=full)
    if manifest.store.kind != "pgvector":
        return open_store(folder, manifest.store.kind)
    shared = _shared(catalog, manifest)
    if full:
        shared.verify_vectors(name, manifest)
    return _vectors(shared.database, shared.vectors_table(name, manifest.version), manifest)


def verify_vectors(settings: Settings, catalog: Catalog, name: str, manifest: Manifest) -> None:
    """Compares the vectors that are in no file with the manifest; those in files are compared as files. Raises `Damaged`."""
    if manifest.store.kind == "qdrant":
        open_qdrant(settings, manifest, full=True)
    if manifest.store.kind == "pgvector":
        _shared(catalog, manifest).verify_vectors(name, manifest)


def sweep(catalog: Catalog, names: Sequence[str], *, recorded: Collection[Lineage], depth: int, dry_run: bool) -> list[Swept]:
    """Removes what nobody needs, wherever it lies: see `rag_service.sweep`."""
    if not catalog.shares:
        return sweep_files(catalog, names, recorded=recorded, depth=depth, dry_run=dry_run)
    from rag_service.shared_catalog import SharedCatalog
    from rag_service.shared_sweep import sweep_shared

    assert isinstance(catalog, SharedCatalog)
    return sweep_shared(catalog, names, recorded=recorded, depth=depth, dry_run=dry_run)


def _shared(catalog: Catalog, manifest: Manifest) -> "SharedCatalog":
    if catalog.shares:
        from rag_service.shared_catalog import SharedCatalog

        if isinstance(catalog, SharedCatalog):
            return catalog
    raise Mismatch(f"the vectors of index version {manifest.version} are in a database", hint="set RAG_STORE to its URL")


def _vectors(database: "Database", table: str, manifest: Manifest) -> VectorStore:
    from rag_service.stores.pgvector import PgvectorStore

    return PgvectorStore(
        database, table, rows=manifest.counts.chunks, dimension=manifest.encoder.dimension, search=_search(manifest)
    )  # fmt: skip


def _search(manifest: Manifest) -> Search:
    return "hnsw" if manifest.store.parameters.get("search") == "hnsw" else "exact"


def _write_vectors(connection: "Connection", table: str, folder: Path, manifest: Manifest) -> None:
    from rag_service.stores.pgvector import make_vectors

    dimension = manifest.encoder.dimension
    rows = map_rows(folder / VECTORS_TO_SHARE_FILE, "f4", columns=dimension)
    batches = (rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE))
    make_vectors(connection, table, batches, dimension=dimension, search=_search(manifest))


def _check_vectors(database: "Database", table: str, manifest: Manifest) -> None:
    from rag_service.stores.pgvector import PgvectorStore

    store = _vectors(database, table, manifest)
    assert isinstance(store, PgvectorStore)
    if f"sha256:{store.digest()}" != manifest.store.parameters.get("vectors"):
        raise Damaged(
            f"the vectors of index version {manifest.version} in {database.shown} are not those that were written",
            hint="build the index again from its documents, which puts them right",
        )


def require_postgres_extra() -> None:
    """Raises `MissingDependency`."""
    try:
        import rag_service.database  # noqa: F401  # imports psycopg
    except ImportError as error:
        raise MissingDependency(
            f"a database needs the extra [postgres], which is not installed: {error}", hint="pip install 'rag-service[postgres]'"
        ) from error
