"""Folders kept in PostgreSQL, file by file: put there by who makes them, and brought to each machine that reads them.

What comes is not believed: who brings a folder compares it with digests before it gets its name.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rag_service.database import Connection, Database
from rag_service.durable import exclusive_lock, publish_folder, remove_stale_staging, staging_folder, storage_errors
from rag_service.errors import Conflict, Damaged

_PART_BYTES = 4 * 2**20
_WAIT_S = 600.0
"""For another process of this machine that brings the same."""


def put_folder(connection: Connection, owner: str, folder: Path, names: list[str]) -> None:
    """The files `names` below `folder`, instead of what `owner` had; within a transaction."""
    connection.execute("DELETE FROM rag.files WHERE owner = %s", (owner,))
    for name in names:
        with (folder / name).open("rb") as file:
            part = 0
            while (body := file.read(_PART_BYTES)) or not part:
                connection.execute("INSERT INTO rag.files (owner, path, part, body) VALUES (%s, %s, %s, %s)", (owner, name, part, body))
                part += 1


def has_folder(connection: Connection, owner: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM rag.files WHERE owner = %s LIMIT 1", (owner,)).fetchall())


def bring_folder(database: Database, owner: str, final: Path, check: Callable[[Path], object]) -> None:
    """Makes the folder `final` of the files of `owner`, if there are any, once `check` has let it pass under that name.

    Raises what `check` raises, and `StorageFailed`. Wherever it is cut short, `final` is there whole or not at all.
    """
    with database.reading("read") as connection:
        listed = connection.execute("SELECT path, max(part) FROM rag.files WHERE owner = %s GROUP BY path", (owner,)).fetchall()
    if not listed:
        return
    bringing = final.parent / ".bringing"
    with _one_at_a_time(bringing):
        if final.is_dir():
            return  # somebody else brought it meanwhile
        remove_stale_staging(bringing)
        with staging_folder(bringing) as staged:
            folder = staged / final.name
            for path, last in listed:
                _write(database, owner, folder, path, last)
            check(folder)
            publish_folder(folder, final)


def _write(database: Database, owner: str, folder: Path, path: str, last: int) -> None:
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts:
        raise Damaged(f"the database names a file {path!r}, which lies outside of its folder", hint="somebody wrote to the table of files")
    target = folder / place
    with storage_errors(target.name):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for part in range(last + 1):
                query = "SELECT body FROM rag.files WHERE owner = %s AND path = %s AND part = %s"
                with database.reading("read") as connection:
                    found = connection.execute(query, (owner, path, part), binary=True).fetchall()
                if not found:
                    raise Damaged(f"part {part} of {path} is missing in the database", hint="build the index again")
                file.write(found[0][0])


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Workers of one machine start together, and need the same."""
    deadline_s = time.monotonic() + _WAIT_S
    while True:
        try:
            with exclusive_lock(folder / ".lock", doing="bringing an index from the database"):
                yield
                return
        except Conflict:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)
