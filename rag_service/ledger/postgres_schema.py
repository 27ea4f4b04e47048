"""The tables of a ledger in PostgreSQL: the same as in a SQLite file (see `schema`), in the schema `rag`."""

from rag_service.database import Connection, make_once
from rag_service.errors import Damaged, Mismatch
from rag_service.ledger.packing import DAMAGED_HINT

SCHEMA_VERSION = 2
"""Of the same numbering as the file's."""

_MAKING = 0x5241474D
CHAIN = 0x5241474C
"""Advisory locks: of whoever makes the tables, and of whoever writes the next entries."""

_TABLES = """
CREATE SCHEMA IF NOT EXISTS rag;
CREATE TABLE rag.ledger (version integer NOT NULL);
INSERT INTO rag.ledger VALUES (2);
CREATE TABLE rag.entries (
    seq bigint PRIMARY KEY, kind text NOT NULL, at_ms bigint NOT NULL, content bytea NOT NULL, digest bytea NOT NULL,
    lineage bytea, body bytea, vector bytea
);
ALTER TABLE rag.entries ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN vector SET STORAGE EXTERNAL;
CREATE INDEX entries_by_time ON rag.entries (at_ms);
CREATE TABLE rag.lineages (digest bytea PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE rag.answers (
    seq bigint PRIMARY KEY, answer_id text NOT NULL UNIQUE, trace_id text NOT NULL, created_at_ms bigint NOT NULL, status text NOT NULL,
    abstain_reason text, release text NOT NULL, index_name text NOT NULL, index_version text NOT NULL, key_id text, access text,
    top_score double precision, total_ms double precision NOT NULL, repeats text, question text, answer text
);
CREATE INDEX answers_by_trace ON rag.answers (trace_id);
CREATE TABLE rag.feedback (seq bigint PRIMARY KEY, answer_id text NOT NULL, rating text);
CREATE INDEX feedback_by_answer ON rag.feedback (answer_id)
"""
"""Bodies are packed already: to compress them once more would only take time."""


def make_tables(connection: Connection) -> None:
    """Within a transaction. Makes what is not there; a role that may make nothing needs the tables to be there. Raises `Mismatch`."""
    make_once(connection, "ledger", _TABLES, lock=_MAKING)
    check_tables(connection)


def check_tables(connection: Connection) -> None:
    """Raises `Mismatch` for tables of another form, and `Damaged`."""
    found = connection.execute("SELECT version FROM rag.ledger").fetchall()
    if len(found) != 1:
        raise Damaged("the ledger does not say which schema it has", hint=DAMAGED_HINT)
    if found[0][0] != SCHEMA_VERSION:
        raise Mismatch(
            f"the ledger has schema version {found[0][0]}, and this program knows {SCHEMA_VERSION}",
            hint="use the rag-service that wrote it, or another database",
        )
