"""From the schema of an earlier version to this one's, step by step, in one transaction. A copy stays as it was."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rag_service.errors import Conflict, Mismatch, NotFound
from rag_service.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, ledger_errors

STEPS: Mapping[int, str] = {}
"""From which version → the SQL that leads to the next one. Empty while none was released but this one."""


def migrate(path: Path) -> Path | None:
    """The copy that holds the ledger as it was; None where nothing was to be done.

    Raises `NotFound`, `Conflict` while another process has it open for writing, and `Mismatch` where no step leads from it to here.
    """
    if not path.is_file():
        raise NotFound(f"there is no ledger {path.name}", hint="RAG_LEDGER says where it lies")
    with ledger_errors(path, "migrate"), closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as connection:
        version = _version(connection, path)
        if version == SCHEMA_VERSION:
            return None
        missing = [step for step in range(version, SCHEMA_VERSION) if step not in STEPS]
        if version > SCHEMA_VERSION or missing:
            raise Mismatch(
                f"no step leads from schema version {version} of {path.name} to {SCHEMA_VERSION}",
                hint="use the rag-service that wrote it to export its records",
            )
        kept = path.with_name(f"{path.name}.v{version}")
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise Conflict(f"another process is using the ledger {path.name}", hint="stop the server first") from error
        _copy(path, kept)
        for step in range(version, SCHEMA_VERSION):
            for statement in STEPS[step].strip().split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    return kept


def _version(connection: sqlite3.Connection, path: Path) -> int:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise Mismatch(f"{path.name} is a database, but not a ledger", hint="set RAG_LEDGER to another file")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _copy(path: Path, kept: Path) -> None:
    """With what is still in the log, and for its owner alone, as the ledger itself."""
    kept.unlink(missing_ok=True)
    os.close(os.open(kept, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(kept)) as copy:
        source.backup(copy)
