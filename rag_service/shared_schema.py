"""The tables of indexes in PostgreSQL, in the schema `rag`.

versions      what was built: one row each; its vectors are in a table of their own, `vectors_<id>`
files         what a process reads beside the vectors: files of versions and of encoders, in parts, as they were written
releases      releases, as canonical JSON under their ids
transitions   each change of what an index serves; the newest says what is served now
"""

from rag_service.database import Connection, make_once
from rag_service.errors import Mismatch, MissingDependency, StorageFailed

SCHEMA_VERSION = 1
_MAKING = 0x52414753
_TABLES = """
CREATE SCHEMA IF NOT EXISTS rag;
CREATE TABLE rag.indexes (version integer NOT NULL);
INSERT INTO rag.indexes VALUES (1);
CREATE TABLE rag.versions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, version text NOT NULL, rows integer NOT NULL,
    built_at timestamptz NOT NULL DEFAULT clock_timestamp(), UNIQUE (name, version)
);
CREATE TABLE rag.files (
    owner text NOT NULL, path text NOT NULL, part integer NOT NULL, body bytea NOT NULL, PRIMARY KEY (owner, path, part)
);
ALTER TABLE rag.files ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE rag.releases (
    name text NOT NULL, id text NOT NULL, body bytea NOT NULL, added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, id)
);
CREATE TABLE rag.transitions (
    name text NOT NULL, seq integer NOT NULL, at text NOT NULL, action text NOT NULL, release text NOT NULL, previous text,
    who text NOT NULL, why text NOT NULL, PRIMARY KEY (name, seq)
)
"""


def make_tables(connection: Connection) -> None:
    """Within a transaction. Makes what is not there; a role that may make nothing needs the tables to be there. Raises `Mismatch`."""
    make_once(connection, "indexes", _TABLES, lock=_MAKING)
    [(version,)] = connection.execute("SELECT version FROM rag.indexes").fetchall()
    if version != SCHEMA_VERSION:
        raise Mismatch(
            f"the indexes in the database have schema version {version}, and this program knows {SCHEMA_VERSION}",
            hint="use the rag-service that wrote them, or another database",
        )


def require_building(connection: Connection) -> None:
    """That this role can write versions, said before hours are spent on one. Raises `MissingDependency` where the server has no pgvector,
    and `StorageFailed` where this role may not add it, or may make no tables.
    """
    if connection.execute("SELECT has_schema_privilege('rag', 'CREATE')").fetchall() != [(True,)]:
        raise StorageFailed("this role may make no tables in the schema rag", hint="build and activate with the role that made the schema")
    if connection.execute("SELECT to_regtype('vector')").fetchall() != [(None,)]:
        return
    if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchall():
        raise MissingDependency("the database server has no pgvector", hint="install it there: github.com/pgvector/pgvector")
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
