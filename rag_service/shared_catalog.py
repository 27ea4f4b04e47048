"""The catalog of indexes that several machines share: in PostgreSQL, with a folder on each machine for what it reads as files.

Everything that decides what is served is in the database, and changes in transactions. A version is immutable, so that what lies in the
folder needs no look at the database again; what is not there is brought, and compared with its digests before it is used.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rag_service.catalog import ANYTHING, ENCODERS_FOLDER, Catalog, activate_hint, check_id, check_name
from rag_service.database import Connection, Database, Rows, Unwritten
from rag_service.errors import Conflict, Damaged, NotFound, RagError
from rag_service.history import EMPTY, Action, History, Transition
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE, Manifest, read_manifest, verify_version
from rag_service.release import Release
from rag_service.shared_files import bring_folder, has_folder, put_folder
from rag_service.shared_schema import make_tables, require_building
from rag_service.stored import addressed

_READ, _WRITE = "read", "write to"
_SECONDS = "%Y-%m-%dT%H:%M:%SZ"
_FOLLOW_S = 0.25
"""How old what a server knows of the active release may be."""
_TRANSITION = "seq, at, action, release, previous, who, why"

WriteVectors = Callable[[Connection, str, Path, Manifest], None]
"""Makes the table of this name, of the vectors in the folder of a version."""
CheckVectors = Callable[[Database, str, Manifest], None]
"""Compares all vectors of the table of this name with a manifest. Raises `Damaged`."""


@dataclass(frozen=True)
class SharedCatalog(Catalog):
    """`root` is the folder of this machine. What knows of vectors and encoders comes from the wiring."""

    database: Database
    write_vectors: WriteVectors
    check_vectors: CheckVectors
    verify_encoder: Callable[[Path], object]

    @property
    def shares(self) -> bool:
        return True

    @property
    def where(self) -> str:
        return self.database.shown

    def close(self) -> None:
        self.database.close()

    def names(self) -> list[str]:
        return [name for (name,) in self._read("SELECT DISTINCT name FROM rag.versions ORDER BY name")]

    def versions(self, name: str) -> list[str]:
        query = "SELECT version FROM rag.versions WHERE name = %s ORDER BY built_at, id"
        return [version for (version,) in self._read(query, check_name(name))]

    def note_rebuilt(self, name: str, version: str) -> None:
        with self._writing() as connection:
            connection.execute("UPDATE rag.versions SET built_at = clock_timestamp() WHERE name = %s AND version = %s", (name, version))

    def version_folder(self, name: str, version: str) -> Path:
        """Brings the files of the version, where this machine does not have them."""
        folder = Catalog.version_folder(self, name, version)
        if not (folder / MANIFEST_FILE).is_file():
            bring_folder(self.database, owner_of_version(name, version), folder, verify_version)
        return folder

    def encoder_folder(self, encoder: str) -> Path:
        """Brings its files, where this machine does not have them."""
        folder = Catalog.encoder_folder(self, encoder)
        if not folder.is_dir():
            bring_folder(self.database, owner_of_encoder(encoder), folder, self.verify_encoder)
        return folder

    def vectors_table(self, name: str, version: str) -> str:
        """Raises `NotFound`."""
        found = self._read("SELECT id FROM rag.versions WHERE name = %s AND version = %s", check_name(name), version)
        if not found:
            raise self._no_version(name, version)
        return table_of(found[0][0])

    def _no_version(self, name: str, version: str) -> NotFound:
        return NotFound(
            f"there is no index version {version} of {name!r} in {self.where}", hint="`rag-service index list` shows what there is"
        )

    def holds(self, name: str, version: str) -> bool:
        """Reads all vectors: a build that comes to a version that is there puts it in order, where something is damaged."""
        if version not in self.versions(name):
            return False
        try:
            self.verify_vectors(name, read_manifest(self.version_folder(name, version)))
        except (NotFound, Damaged):
            return False
        return True

    def verify_vectors(self, name: str, manifest: Manifest) -> None:
        """Raises `NotFound` or `Damaged`."""
        self.check_vectors(self.database, self.vectors_table(name, manifest.version), manifest)

    def publish(self, name: str, staged: Path, manifest: Manifest) -> Path:
        """All of it in one transaction; then the files under their name on this machine."""
        added = "INSERT INTO rag.versions (name, version, rows) VALUES (%s, %s, %s) RETURNING id"
        with self._writing(unhurried=True) as connection:
            for (old,) in connection.execute(
                "DELETE FROM rag.versions WHERE name = %s AND version = %s RETURNING id", (name, manifest.version)
            ).fetchall():  # it was damaged: what cannot be served may go
                connection.execute(f"DROP TABLE IF EXISTS rag.{table_of(old)}".encode())
            [(number,)] = connection.execute(added, (name, manifest.version, manifest.counts.chunks)).fetchall()
            self.write_vectors(connection, table_of(number), staged, manifest)
            put_folder(connection, owner_of_version(name, manifest.version), staged, [*manifest.files, MANIFEST_FILE, BUILD_FILE])
            self._put_encoder(connection, manifest)
        return Catalog.publish(self, name, staged, manifest)

    def copy_version(self, name: str, version: str, source: str) -> None:
        """In one transaction. Nothing is read here: an activation compares files and vectors with the manifest."""
        added = "INSERT INTO rag.versions (name, version, rows) SELECT %s, version, rows FROM rag.versions WHERE id = %s RETURNING id"
        files = "INSERT INTO rag.files (owner, path, part, body) SELECT %s, path, part, body FROM rag.files WHERE owner = %s"
        with self._writing(unhurried=True) as connection:
            lock_encoders(connection)
            found = connection.execute("SELECT id FROM rag.versions WHERE name = %s AND version = %s", (source, version)).fetchall()
            if not found:
                raise self._no_version(source, version)
            [(number,)] = connection.execute(added, (check_name(name), found[0][0])).fetchall()
            original, copy = table_of(found[0][0]), table_of(number)
            connection.execute(f"CREATE TABLE rag.{copy} (LIKE rag.{original} INCLUDING ALL)".encode())
            connection.execute(f"INSERT INTO rag.{copy} SELECT * FROM rag.{original}".encode())
            connection.execute(files, (owner_of_version(name, version), owner_of_version(source, version)))

    def _put_encoder(self, connection: Connection, manifest: Manifest) -> None:
        encoder = manifest.encoder.digest.removeprefix("sha256:")[:12]
        folder = Catalog.encoder_folder(self, encoder)
        lock_encoders(connection)
        if manifest.encoder.embedder == "onnx" and folder.is_dir() and not has_folder(connection, owner_of_encoder(encoder)):
            files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            put_folder(connection, owner_of_encoder(encoder), folder, files)

    @contextmanager
    def building(self, name: str) -> Iterator[None]:
        """On this machine, and for an index on all others too, as long as the connection lasts. Raises what `require_building` raises."""
        with Catalog.building(self, name), nullcontext() if name == ENCODERS_FOLDER else self._building_anywhere(name):
            yield

    @contextmanager
    def _building_anywhere(self, name: str) -> Iterator[None]:
        with self._writing() as transaction:
            require_building(transaction)
        connection = self.database.connect(_WRITE)
        try:
            with connection.alone(_WRITE) as held:
                [(free,)] = held.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"rag building {name}",)).fetchall()
            if not free:
                raise Conflict(f"another process is already building {name!r}", hint="wait until it has ended, then try again")
            yield
        finally:
            connection.close()

    def add_release(self, name: str, release: Release) -> None:
        with self._writing() as connection:
            _add_release(connection, name, release)

    def release(self, name: str, identifier: str) -> Release:
        query = "SELECT body FROM rag.releases WHERE name = %s AND id = %s"
        found = self._read(query, check_name(name), check_id(identifier, "a release"))
        if not found:
            raise NotFound(f"index {name!r} has no release {identifier}", hint=f"{activate_hint(name)} to make one")
        body: bytes = found[0][0]
        return addressed(Release, body, identifier, shown=f"release {identifier}", hint=f"{activate_hint(name)} to make a release anew")

    def releases(self, name: str) -> list[str]:
        query = "SELECT id FROM rag.releases WHERE name = %s ORDER BY added_at, id"
        return [identifier for (identifier,) in self._read(query, check_name(name))]

    def active_id(self, name: str) -> str:
        found = self._read("SELECT release FROM rag.transitions WHERE name = %s ORDER BY seq DESC LIMIT 1", check_name(name))
        if not found:
            raise self._nothing_active(name)
        release: str = found[0][0]
        return release

    def follow(self, name: str) -> Callable[[], str]:
        """Every request asks what is active: one of them asks the database, four times a second, and no other waits for that."""
        return _Followed(lambda: self.active_id(name)).active_id

    def activate(
        self, name: str, release: Release, *, who: str = "", why: str = "", action: Action = "activate", expected: str | None = ANYTHING
    ) -> Transition | None:
        """In one transaction; of two that come at once, the second sees what the first did."""
        check_name(name)
        with self._writing() as connection:
            lock_activations(connection, name)
            newest = connection.execute(
                "SELECT seq, release FROM rag.transitions WHERE name = %s ORDER BY seq DESC LIMIT 1", (name,)
            ).fetchall()
            seq, served = newest[0] if newest else (0, None)
            if expected not in (ANYTHING, served):
                by_now = f"release {served}" if served else "nothing"
                raise Conflict(
                    f"{name!r} serves {by_now} by now, not {expected or 'nothing'}", hint="look at what changed, then decide again"
                )
            _add_release(connection, name, release)
            if served == release.id:
                return None
            at = datetime.now(UTC).strftime(_SECONDS)
            made = Transition(seq=seq + 1, at=at, action=action, release=release.id, previous=served, who=who, why=why)
            connection.execute(
                f"INSERT INTO rag.transitions (name, {_TRANSITION}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)".encode(),
                (name, made.seq, made.at, made.action, made.release, made.previous, made.who, made.why),
            )
        return made

    def history(self, name: str) -> History:
        found = self._read(f"SELECT {_TRANSITION} FROM rag.transitions WHERE name = %s ORDER BY seq", check_name(name))
        if not found:
            return EMPTY
        columns = _TRANSITION.split(", ")
        try:
            return History(tuple(Transition.model_validate(dict(zip(columns, row, strict=True))) for row in found))
        except ValueError as error:
            raise Damaged(f"the history of {name!r} in {self.where} cannot be read", hint="somebody wrote to its table") from error

    def _read(self, query: str, *values: object) -> Rows:
        """Nothing where there are no tables yet."""
        try:
            with self.database.reading(_READ) as connection:
                return connection.execute(query.encode(), values).fetchall()
        except Unwritten:
            return []

    @contextmanager
    def _writing(self, *, unhurried: bool = False) -> Iterator[Connection]:
        with self.database.writing(_WRITE, unhurried=unhurried) as connection:
            make_tables(connection)
            yield connection


class _Followed:
    """The newest that is known; what was known goes on being said while somebody looks. Raises what looking raised."""

    def __init__(self, look: Callable[[], str]) -> None:
        self._look = look
        self._looking = threading.Lock()
        self._known: str | RagError | None = None
        self._due_s = 0.0

    def active_id(self) -> str:
        known = self._known
        if time.monotonic() >= self._due_s and self._looking.acquire(blocking=known is None):
            try:
                known = self._known = self._looked()
                self._due_s = time.monotonic() + _FOLLOW_S
            finally:
                self._looking.release()
        if isinstance(known, RagError):
            raise known
        return known or self._look()

    def _looked(self) -> str | RagError:
        try:
            return self._look()
        except RagError as error:
            return error


def _add_release(connection: Connection, name: str, release: Release) -> None:
    insert = "INSERT INTO rag.releases (name, id, body) VALUES (%s, %s, %s) ON CONFLICT (name, id) DO UPDATE SET body = excluded.body"
    connection.execute(insert, (check_name(name), release.id, release.canonical()))


def lock_activations(connection: Connection, name: str) -> None:
    """For a transaction: nobody changes meanwhile what an index serves."""
    _lock(connection, f"rag activating {name}")


def lock_encoders(connection: Connection) -> None:
    """For a transaction: nobody counts meanwhile on an encoder that is there, or removes one."""
    _lock(connection, "rag encoders")


def _lock(connection: Connection, what: str) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (what,))


def owner_of_version(name: str, version: str) -> str:
    return f"version:{name}/{version}"


def owner_of_encoder(encoder: str) -> str:
    return f"encoder:{encoder}"


def table_of(number: int) -> str:
    return f"vectors_{number:d}"
