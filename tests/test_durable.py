"""What must hold when the disk is full, the folder read-only, or the process killed at the worst moment."""

import errno
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rag_service.durable import (
    STAGING_PREFIX,
    exclusive_lock,
    publish_folder,
    remove_stale_staging,
    remove_unfinished,
    staging_folder,
    storage_errors,
    write_atomically,
)
from rag_service.errors import Conflict, StorageFailed

OLD, NEW = b"old" * 1000, b"new" * 2000


class FailingDisk:
    """Lets every operation of this thread through until the n-th, which fails with `error`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fail_at: int, error: int = errno.EIO) -> None:
        self.fail_at = fail_at
        self.error = error
        self.operations = 0
        self._thread = threading.get_ident()
        for owner, name in ((os, "fsync"), (os, "open"), (Path, "replace"), (Path, "rename"), (Path, "open"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            ours = threading.get_ident() == self._thread
            self.operations += ours
            if ours and self.operations == self.fail_at:
                raise OSError(self.error, os.strerror(self.error))
            return operation(*arguments, **keywords)

        return counted


def test_a_file_is_written_whole_with_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, OLD)
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_whichever_operation_fails_the_file_is_the_old_one_or_the_new_one_and_nothing_is_left_behind(tmp_path: Path, error: int) -> None:
    failed = 0
    for fail_at in range(1, 50):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        path = folder / "file"
        path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = FailingDisk(monkeypatch, fail_at=fail_at, error=error)
            try:
                write_atomically(path, NEW)
            except StorageFailed:
                failed += 1
        assert path.read_bytes() in {OLD, NEW}
        assert [entry.name for entry in folder.iterdir()] == ["file"]
        if disk.operations < fail_at:
            break
    assert failed >= 5, "making the folder, opening, fsync, renaming, and fsync of the folder"


LIMITED = """
import resource, sys
from pathlib import Path
from rag_service.durable import write_atomically
from rag_service.errors import StorageFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), b"new" * 2000)
except StorageFailed as error:
    sys.exit(f"{error.message} | {error.hint}")
"""


def test_a_file_that_outgrows_what_the_system_allows_is_refused_with_a_hint_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    ended = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "could not write file: File too large" in ended.stderr
    assert "ulimit" in ended.stderr
    assert path.read_bytes() == OLD
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
        (errno.EIO, ""),
    ],
)
def test_what_the_system_says_becomes_storage_failed_with_advice(error: int, advice: str) -> None:
    with pytest.raises(StorageFailed) as caught, storage_errors("the index"):
        raise OSError(error, os.strerror(error))
    assert caught.value.message == f"could not write the index: {os.strerror(error)}"
    assert advice in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_under_sqlite_is_storage_failed_too() -> None:
    with pytest.raises(StorageFailed, match="could not write chunks"), storage_errors("chunks"):
        raise sqlite3.OperationalError("database or disk is full")


def test_other_errors_are_not_dressed_up_as_storage_errors() -> None:
    with pytest.raises(KeyError), storage_errors("the index"):
        raise KeyError("a bug")


def test_a_path_through_a_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed):
        write_atomically(tmp_path / "file" / "below", NEW)


def test_a_published_folder_is_there_whole_under_its_final_name(tmp_path: Path) -> None:
    with staging_folder(tmp_path) as staged:
        (staged / "sub").mkdir()
        (staged / "sub" / "part").write_bytes(NEW)
        publish_folder(staged, tmp_path / "final")
    assert (tmp_path / "final" / "sub" / "part").read_bytes() == NEW
    assert [entry.name for entry in tmp_path.iterdir()] == ["final"]


def test_a_folder_that_was_not_published_is_gone_after_the_block(tmp_path: Path) -> None:
    def build() -> None:
        with staging_folder(tmp_path) as staged:
            (staged / "part").write_bytes(NEW)
            raise RuntimeError("the build failed")

    with pytest.raises(RuntimeError, match="the build failed"):
        build()
    assert list(tmp_path.iterdir()) == []


def test_whichever_operation_fails_a_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    failed = 0
    for fail_at in range(1, 50):
        parent = tmp_path / str(fail_at)
        parent.mkdir()
        with staging_folder(parent) as staged:
            (staged / "sub").mkdir()
            (staged / "sub" / "one").write_bytes(OLD)
            (staged / "two").write_bytes(NEW)
            with pytest.MonkeyPatch.context() as monkeypatch:
                disk = FailingDisk(monkeypatch, fail_at=fail_at)
                try:
                    publish_folder(staged, parent / "final")
                except StorageFailed:
                    failed += 1
        entries = [entry.name for entry in parent.iterdir()]
        assert entries in ([], ["final"])
        if entries:
            assert (parent / "final" / "sub" / "one").read_bytes() == OLD
            assert (parent / "final" / "two").read_bytes() == NEW
        if disk.operations < fail_at:
            break
    assert failed >= 6


def test_a_folder_is_not_published_over_another(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "part").write_bytes(OLD)
    with staging_folder(tmp_path) as staged:
        (staged / "part").write_bytes(NEW)
        with pytest.raises(StorageFailed):
            publish_folder(staged, tmp_path / "final")
    assert (tmp_path / "final" / "part").read_bytes() == OLD


def test_what_killed_builds_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{STAGING_PREFIX}dead").mkdir()
    (tmp_path / f"{STAGING_PREFIX}dead" / "part").write_bytes(OLD)
    (tmp_path / "0123456789ab").mkdir()
    remove_stale_staging(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["0123456789ab"]


HOLDER = """
import sys
from pathlib import Path
from rag_service.durable import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), doing="building 'handbook'"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_held_by_another_process_is_a_conflict_until_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    with held_by_another_process(path) as process:
        with pytest.raises(Conflict, match="already building 'handbook'"), exclusive_lock(path, doing="building 'handbook'"):
            pytest.fail("both hold it")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with exclusive_lock(path, doing="building 'handbook'"):
            pass


def test_a_lock_is_free_again_after_the_block_even_when_it_failed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(RuntimeError), exclusive_lock(path, doing="x"):
        raise RuntimeError
    with exclusive_lock(path, doing="x"), pytest.raises(Conflict), exclusive_lock(path, doing="x"):
        pass


def test_a_lock_below_a_file_is_storage_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed), exclusive_lock(tmp_path / "file" / ".lock", doing="x"):
        pass


KILLED_WHILE_REPLACING = """
import os, sys
from pathlib import Path
from rag_service.durable import write_atomically
path, n = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    n += 1
    write_atomically(path, (f"{n:08d}" * 20_000).encode())
    if n == 3:
        print("going", flush=True)
"""


def test_a_writer_killed_in_the_middle_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", KILLED_WHILE_REPLACING, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert [writer.stdout.readline(), writer.stdout.readline()] == ["ready\n", "going\n"]
        for _ in range(200):  # a reader never sees a mixture
            data = path.read_bytes()
            assert data == data[:8] * 20_000
        writer.kill()
    data = path.read_bytes()
    assert data == data[:8] * 20_000


KILLED_BEFORE_RENAMING = """
import os, signal, sys
from pathlib import Path
from rag_service.durable import write_atomically
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), b"new" * 2000)
"""


def kill_a_writer_of(path: Path) -> Path:
    """What it left."""
    ended = subprocess.run([sys.executable, "-c", KILLED_BEFORE_RENAMING, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    [left] = path.parent.glob(f".{path.name}.*")
    return left


def test_what_a_killed_writer_left_is_cleared_away_by_the_next_in_that_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    assert kill_a_writer_of(path).stat().st_size == len(NEW)
    assert path.read_bytes() == OLD
    kill_a_writer_of(tmp_path / "another")
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


SLOW_WRITER = """
import os, sys
from pathlib import Path
from rag_service.durable import write_atomically
real, os.fsync = os.fsync, lambda descriptor: (print("writing", flush=True), sys.stdin.readline(), setattr(os, "fsync", real))
write_atomically(Path(sys.argv[1]), b"new" * 2000)
"""


@pytest.mark.parametrize("end", ["goes on", "is killed"])
def test_what_a_running_writer_is_at_stays_and_it_comes_to_its_end(tmp_path: Path, end: str) -> None:
    path = tmp_path / "file"
    command = [sys.executable, "-c", SLOW_WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        write_atomically(path, OLD)
        remove_unfinished(tmp_path)
        assert path.read_bytes() == OLD
        assert len(list(tmp_path.iterdir())) == 2, "the other is still at it"
        if end == "goes on":
            writer.communicate("\n", timeout=30)
            assert writer.returncode == 0
        else:
            writer.kill()
            writer.communicate(timeout=30)
            remove_unfinished(tmp_path)
    assert path.read_bytes() == (NEW if end == "goes on" else OLD)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_writer_whose_file_was_taken_for_a_dead_ones_takes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making it and locking it."""
    path, locked, taken = tmp_path / "file", fcntl.flock, []

    def flock(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX and not taken:
            taken.extend(tmp_path.iterdir())
            with monkeypatch.context() as later:
                later.setattr(fcntl, "flock", locked)
                remove_unfinished(tmp_path)
            assert list(tmp_path.iterdir()) == []
        locked(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    write_atomically(path, NEW)
    assert len(taken) == 1
    assert path.read_bytes() == NEW
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_of_others_are_no_unfinished_ones(tmp_path: Path) -> None:
    others = [
        ".file.swp",
        ".file.0123abcd",
        "file.0123abcd.writing",
        ".file.0123ABCD.writing",
        ".0123abcd.writing",
        ".file.0123abcd.writing~",
    ]
    for name in others:
        (tmp_path / name).write_bytes(OLD)
    (tmp_path / ".folder.0123abcd.writing").mkdir()
    write_atomically(tmp_path / "file", NEW)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*others, ".folder.0123abcd.writing", "file"])


def test_nothing_is_cleared_away_where_there_is_no_folder(tmp_path: Path) -> None:
    remove_unfinished(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_where_only_the_last_fsync_fails_the_error_says_that_what_is_new_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    FailingDisk(monkeypatch, fail_at=6)  # making the folder, opening, fsync, renaming, opening the folder, and its fsync
    with pytest.raises(StorageFailed) as caught:
        write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert caught.value.message == f"file has been written, but the disk did not confirm that it lasts: {os.strerror(errno.EIO)}"
    assert "untouched" not in caught.value.hint
    assert "it may be the old one again" in caught.value.hint
