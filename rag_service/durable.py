"""Files that are there whole or not at all: write to a temporary name, fsync, rename, fsync the folder.

Every write that something may later be served from goes through here, and so does the translation of what the operating system
says (disk full, read-only, no permission) into `StorageFailed`.
"""

import errno
import fcntl
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rag_service.errors import Conflict, StorageFailed

STAGING_PREFIX = ".building-"

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.writing", re.DOTALL)
"""Names that `write_atomically` gives to what it has not finished, and nobody else."""

_HINTS = {
    errno.ENOSPC: "free some space or point RAG_INDEXES at another disk; what was served before is untouched",
    errno.EDQUOT: "your disk quota is used up; what was served before is untouched",
    errno.EROFS: "the file system is read-only; point RAG_INDEXES at a folder that can be written",
    errno.EACCES: "the folder cannot be written by this user; change its permissions or set RAG_INDEXES",
    errno.EPERM: "the folder cannot be written by this user; change its permissions or set RAG_INDEXES",
    errno.EFBIG: "a file-size limit was reached (see `ulimit -f`); what was served before is untouched",
    errno.ENOTDIR: "a part of this path is a file; set RAG_INDEXES to a folder",
}


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turns operating-system, SQLite and FAISS write failures inside the block into `StorageFailed` naming `what`."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageFailed(f"could not write {what}: {reason}", hint=_HINTS.get(error.errno or 0, "")) from error
    except sqlite3.OperationalError as error:
        raise StorageFailed(f"could not write {what}: {error}", hint=_HINTS[errno.ENOSPC]) from error


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Every file below `folder`, then every folder, deepest first."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            with (Path(parent) / name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(parent))


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces `path` with `data`; a reader sees the old bytes or the new ones. Clears away what killed writers left beside it.

    Raises `StorageFailed`; its message says so where the new bytes are there, and only their outliving a power failure is uncertain.
    """
    with storage_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent)
        with _unfinished(path) as (temporary, file):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    try:
        fsync_folder(path.parent)
    except OSError as error:
        raise StorageFailed(
            f"{path.name} has been written, but the disk did not confirm that it lasts: {error.strerror}",
            hint="what is new is read from now on; after a power failure it may be the old one again. Check the disk",
        ) from error


@contextmanager
def _unfinished(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `path`, locked for as long as its writer lives. Gone after the block unless it has been renamed."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.writing")
        with temporary.open("xb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not temporary.exists():  # somebody came between, and took it for a dead writer's
                    continue
                yield temporary, file
            finally:
                temporary.unlink(missing_ok=True)
            return


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writers left in `folder`: files of `write_atomically` that no running process, of whichever user, is writing."""
    with suppress(OSError):  # of a folder that is not there, say: what it holds disturbs nobody
        for name in filter(_UNFINISHED.fullmatch, os.listdir(folder)):
            with suppress(OSError), (folder / name).open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / name).unlink()


def append_line(path: Path, line: bytes) -> None:
    """Adds `line`, which ends with a newline, to `path` and forces it to disk. What a crash left of a line before it is cut off.

    Raises `StorageFailed`.
    """
    with storage_errors(path.name):
        created = not path.exists()
        with path.open("ab+") as file:
            file.seek(0)
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if created:
            fsync_folder(path.parent)


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """An empty folder below `parent` that is gone after the block unless `publish_folder` renamed it."""
    folder = parent / f"{STAGING_PREFIX}{uuid.uuid4().hex[:8]}"
    with storage_errors(f"below {parent.name}/"):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_folder(staged: Path, final: Path) -> None:
    """Makes `staged` durable and names it `final`, which must not exist."""
    with storage_errors(final.name):
        fsync_tree(staged)
        staged.rename(final)
        fsync_folder(final.parent)


def replace_folder(staged: Path, final: Path) -> None:
    """`publish_folder` where a damaged folder may stand under that name: what cannot be served may be moved away."""
    if final.exists():
        final.rename(final.with_name(f"{STAGING_PREFIX}damaged-{uuid.uuid4().hex[:8]}"))
    publish_folder(staged, final)
    for damaged in final.parent.glob(f"{STAGING_PREFIX}damaged-*"):
        shutil.rmtree(damaged, ignore_errors=True)


def remove_stale_staging(parent: Path) -> None:
    """Removes what killed builds left behind. Call it only while holding the lock that every builder takes."""
    for folder in parent.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def exclusive_lock(path: Path, *, doing: str) -> Iterator[None]:
    """Holds an advisory lock that the kernel drops when the process ends, however it ends. Raises `Conflict` at once if it is taken."""
    with storage_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another process is already {doing}", hint="wait until it has ended, then try again") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Keeps `unused` from succeeding for this file, in any process, until the block ends or the process does. Needs no right to write.

    Raises `Conflict` where it is being removed, or has been since it was looked up.
    """
    gone = Conflict(f"{path.parent.name} is being removed", hint="name another one")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageFailed(f"could not open {path.parent.name}/{path.name}: {error.strerror}", hint="check that it is there") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise gone from error
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise gone
        yield
    finally:
        os.close(descriptor)


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Whether nobody uses the file, in any process; and for as long as the block runs, nobody begins to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
