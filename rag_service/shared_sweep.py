"""The verb `sweep` where indexes are in a database: what no longer serves anybody on any machine → gone.

A version goes in one transaction: its row, its table of vectors, its files. Copies of it on other machines stay until a sweep there.
"""

from collections.abc import Collection, Iterable

import orjson

from rag_service.database import Connection
from rag_service.digests import short_id
from rag_service.manifest import MANIFEST_FILE
from rag_service.record import Lineage
from rag_service.shared_catalog import SharedCatalog, lock_activations, lock_encoders, owner_of_encoder, owner_of_version, table_of
from rag_service.sweep import Swept, reasons, remove_version_files, version_of

_REMOVE = "remove from"
_VERSION_BYTES = """
    SELECT pg_total_relation_size(to_regclass('rag.vectors_' || id))
        + (SELECT coalesce(sum(length(body)), 0) FROM rag.files WHERE owner = %s)
    FROM rag.versions WHERE name = %s AND version = %s
"""
_SERVED = """
    SELECT r.body FROM rag.transitions t JOIN rag.releases r ON r.name = t.name AND r.id = t.release
    WHERE t.name = %s ORDER BY t.seq DESC LIMIT 1
"""


def sweep_shared(catalog: SharedCatalog, names: Iterable[str], *, recorded: Collection[Lineage], depth: int, dry_run: bool) -> list[Swept]:
    """As `sweep.sweep`. Raises `Conflict`, `Damaged` and `StorageFailed`."""
    found: list[Swept] = []
    for name in names:
        with catalog.building(name):
            found += _sweep_index(catalog, name, recorded, depth, dry_run=dry_run)
    return found + _sweep_encoders(catalog, {(one.name, one.id) for one in found if one.what == "version" and one.goes}, dry_run=dry_run)


def _sweep_index(catalog: SharedCatalog, name: str, recorded: Collection[Lineage], depth: int, *, dry_run: bool) -> list[Swept]:
    versions, releases = reasons(catalog, name, recorded, depth)
    found: list[Swept] = []
    for version in catalog.versions(name):
        [(size_bytes,)] = catalog.database.fetched(_REMOVE, _VERSION_BYTES, (owner_of_version(name, version), name, version))
        why = versions.get(version, "")
        if not why and not dry_run:
            why = _drop_version(catalog, name, version)
        found.append(Swept("version", name, version, int(size_bytes), why))
    left = {one.id for one in found if not one.goes}
    for release in catalog.releases(name):
        why = releases.get(release) or ("its version stays" if version_of(catalog, name, release) in left else "")
        found.append(Swept("release", name, release, len(catalog.release(name, release).canonical()), why))
        if not why and not dry_run:
            with catalog.database.writing(_REMOVE) as connection:
                connection.execute("DELETE FROM rag.releases WHERE name = %s AND id = %s", (name, release))
    if not dry_run:
        _remove_copies(catalog, name, left)
    return found


def _drop_version(catalog: SharedCatalog, name: str, version: str) -> str:
    """Why it was not dropped after all; empty where it was."""
    with catalog.database.writing(_REMOVE, unhurried=True) as connection:
        lock_activations(connection, name)
        served = connection.execute(_SERVED, (name,)).fetchall()
        if served and orjson.loads(served[0][0])["index"]["version"] == version:
            return "active"  # since it was looked at
        for (number,) in connection.execute(
            "DELETE FROM rag.versions WHERE name = %s AND version = %s RETURNING id", (name, version)
        ).fetchall():
            connection.execute(f"DROP TABLE IF EXISTS rag.{table_of(number)}".encode())
        _drop_files(connection, owner_of_version(name, version))
    return ""


def _remove_copies(catalog: SharedCatalog, name: str, left: Collection[str]) -> None:
    """Of versions that are not in the database any more, what this machine holds and does not use."""
    for folder in catalog.versions_folder(name).glob("*"):
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in left:
            remove_version_files(folder, dry_run=False)


def _sweep_encoders(catalog: SharedCatalog, gone: Collection[tuple[str, str]], *, dry_run: bool) -> list[Swept]:
    """All that no version of any index was built with. A machine that builds puts its own there again."""
    sizes = "SELECT owner, sum(length(body)) FROM rag.files WHERE owner LIKE %s GROUP BY owner ORDER BY owner"
    going = {owner_of_version(*one) for one in gone}  # and have not gone, where nothing shall be removed
    found = []
    with catalog.database.writing(_REMOVE) as connection:
        lock_encoders(connection)
        manifests = connection.execute("SELECT owner, body FROM rag.files WHERE path = %s", (MANIFEST_FILE,)).fetchall()
        digests = [orjson.loads(body)["encoder"]["digest"] for owner, body in manifests if owner not in going]
        needed = {owner_of_encoder(short_id(digest)) for digest in digests}
        for owner, size_bytes in connection.execute(sizes, (owner_of_encoder("%"),)).fetchall():
            found.append(Swept("encoder", "", owner.partition(":")[2], int(size_bytes), "versions need it" if owner in needed else ""))
            if owner not in needed and not dry_run:
                _drop_files(connection, owner)
    return found


def _drop_files(connection: Connection, owner: str) -> None:
    connection.execute("DELETE FROM rag.files WHERE owner = %s", (owner,))
