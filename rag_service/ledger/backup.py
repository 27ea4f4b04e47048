"""A copy of a ledger that goes on being written to: of one moment, in one file, and looked through before it counts as a copy."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rag_service.durable import fsync_folder
from rag_service.errors import Conflict
from rag_service.kept import Audit
from rag_service.ledger.schema import ledger_errors, reading
from rag_service.ledger.sqlite import SqliteLedger


def back_up(path: Path, to: Path, told: Callable[[int], None] = lambda _: None) -> Audit:
    """Copies the ledger `path` to a new file `to`, for its owner alone, and says what the copy holds. Nobody who writes waits for it.

    A ledger that is not intact is copied as it is, with its flaws in the audit. `told` is given the number of entries looked at, now and
    then. Raises `NotFound`, `Conflict` where `to` is there already, `StorageFailed`, or `Damaged` where nothing can be read.
    """
    if to.exists():
        raise Conflict(f"{to.name} is there already", hint="a backup replaces nothing: name a new file")
    with _new_file(to) as unfinished:
        with reading(path) as source, ledger_errors(to, "write"), closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
            source.backup(copy)  # in one step: the moment at which it begins
            copy.execute("PRAGMA journal_mode = DELETE")  # a file by itself, without a log beside it
        audit = SqliteLedger(unfinished).audit(told)
        with ledger_errors(to, "write"):
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.rename(to)
            fsync_folder(to.parent)
    return audit


@contextmanager
def _new_file(to: Path) -> Iterator[Path]:
    """A path beside `to`, of mode 0600 from its first byte on; gone after the block unless it has been renamed."""
    unfinished = to.with_name(f".{to.name}.{os.getpid()}.writing")
    with ledger_errors(to, "write"):
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield unfinished
    finally:
        for left in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
            left.unlink(missing_ok=True)
