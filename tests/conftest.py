"""What most tests stand on: the real encoder, a folder of indexes of their own, and a small handbook to index."""

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen, run
from sys import executable
from typing import Any

import pytest
from typer.testing import CliRunner

from rag_service.ask import Pipeline
from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.cli.app import app
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import Conflict
from rag_service.settings import Settings, load_settings
from rag_service.wiring.building import build as build_version
from rag_service.wiring.encoders import export_encoder, find_encoder
from rag_service.wiring.releases import make_release, open_release

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a test logged may hold half a surrogate pair, which cannot be sent from the process that ran it to the one that reports."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_sendable(key): _sendable(inner) for key, inner in value.items()}
        case list():
            return [_sendable(inner) for inner in value]
        case tuple():
            return tuple(map(_sendable, value))
    return value


@pytest.fixture(autouse=True, scope="session")
def _settings_of_the_shell_do_not_count() -> None:
    """A developer's RAG_* variables must not change what tests see; RAG_INDEXES may say where the encoder is."""
    for variable in [name for name in os.environ if name.startswith("RAG_") and name != "RAG_INDEXES"]:
        del os.environ[variable]


@pytest.fixture(scope="session")
def encoder_folder() -> Path:
    """The default encoder, as `make encoder` exports it; exported here if nobody did, by one of the processes that run the tests."""
    root = Path(os.environ.pop("RAG_INDEXES", "") or PROJECT / "indexes")
    settings = load_settings({}, indexes=root)
    catalog = Catalog(root)
    while (found := find_encoder(settings, catalog)) is None:
        try:
            return export_encoder(settings, catalog)[1]
        except Conflict:
            time.sleep(0.2)  # another one is at it
    return found


@pytest.fixture(scope="session")
def embedder(encoder_folder: Path) -> OnnxEmbedder:
    return OnnxEmbedder.open(encoder_folder)


@pytest.fixture
def indexes(tmp_path: Path, encoder_folder: Path) -> Path:
    """A folder of indexes that holds the default encoder and nothing else."""
    root = tmp_path / "indexes"
    root.mkdir()
    (root / "encoders").symlink_to(encoder_folder.parent)
    return root


@pytest.fixture
def settings(indexes: Path) -> Settings:
    return load_settings({}, indexes=indexes, name="handbook")


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three Markdown pages, a text and a CSV: enough to retrieve, cite and abstain on."""
    folder = tmp_path_factory.mktemp("handbook")
    (folder / "leave.md").write_text(
        "# Leave\n\n## Holidays\n\nEvery employee has 28 days of paid holiday a year. Unused days expire on 31 March.\n\n"
        "## Sick leave\n\nReport sickness to your manager before 9 o'clock. A doctor's note is needed from the third day.\n"
    )
    (folder / "travel.md").write_text(
        "# Travel\n\n## Trains\n\nBook second class. First class is allowed on journeys of more than four hours.\n\n"
        "## Expenses\n\nSend receipts to the finance office within 30 days:\n\n"
        "- scan each receipt\n- name the cost centre\n- press Submit\n"
    )
    (folder / "security").mkdir()
    (folder / "security" / "passwords.md").write_text(
        "# Passwords\n\nA password has at least 14 characters. Change it when you suspect that somebody else knows it.\n\n"
        "```bash\npasswd --expire $USER\n```\n"
    )
    (folder / "visitors.txt").write_text("Visitors sign the book at reception.\n\nThey wear a yellow badge at all times.\n")
    (folder / "rooms.csv").write_text("id,room,seats\nr1,Curie,12\nr2,Noether,4\n")
    return folder


class SilentProgress:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


Build = Callable[..., Built]


@pytest.fixture(scope="session")
def build() -> Build:
    """`build(root, source, name="handbook", **settings)` builds a version as the command line does, in this process."""

    def build_it(root: Path, source: Path | str, name: str = "handbook", **settings: object) -> Built:
        chosen = load_settings({}, indexes=root, **settings)
        return build_version(chosen, Catalog(root), name, str(source), SilentProgress())

    return build_it


@pytest.fixture(scope="session")
def served_indexes(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, handbook: Path, build: Build) -> Path:
    """The handbook, built and active. Shared by the whole session: take `own_indexes` to change anything."""
    root = tmp_path_factory.mktemp("served")
    (root / "encoders").symlink_to(encoder_folder.parent)
    version = build(root, handbook).manifest.version
    settings = load_settings({}, indexes=root)
    Catalog(root).activate("handbook", make_release(settings, Catalog(root), "handbook", version))
    return root


def copy_of(served: Path, to: Path) -> Path:
    """Without the ledger: servers of the whole session write to it, and it grows. The encoders stay the shared ones."""
    return shutil.copytree(served, to, symlinks=True, ignore=shutil.ignore_patterns("ledger.sqlite*"))


@pytest.fixture
def own_indexes(tmp_path: Path, served_indexes: Path) -> Path:
    """A copy of the active handbook, to change, damage or add to, with nothing recorded."""
    return copy_of(served_indexes, tmp_path / "own")


@pytest.fixture(scope="session")
def pipeline(served_indexes: Path) -> Pipeline:
    """What answers from `served_indexes`."""
    settings, catalog = load_settings({}, indexes=served_indexes, name="handbook"), Catalog(served_indexes)
    return open_release(settings, catalog, "handbook", catalog.release("handbook", catalog.active_id("handbook"))).pipeline


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 600 kB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, leave_bytes: int = 0) -> Path:
    """The file that does; deleting it makes room again."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"x" * max(free - leave_bytes, 0))
    return filler


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process sets up the log of this process."""
    before = [
        (logger, list(logger.handlers), logger.level) for logger in map(logging.getLogger, (None, "rag_service", "uvicorn.error", "httpx"))
    ]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _logging_as_it_was: None) -> Cli:
    """`cli("index", "list", "--indexes", root, RAG_TOP_K="3")` runs a command in this process; an exception that escapes fails."""
    monkeypatch.chdir(tmp_path)  # a rag.toml of the checkout does not count

    def run(*arguments: object, **environ: str) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert "Traceback" not in result.stderr
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


Start = Callable[..., "Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start("index", "build", …, environ={…}, prelude="…")` runs a command in a process of its own, which ends with the test.

    `prelude` is Python that runs in it first.
    """
    started: list[Popen[str]] = []

    def run(*arguments: object, environ: Mapping[str, str] | None = None, prelude: str = "") -> Popen[str]:
        program = f"{prelude}\nfrom rag_service.__main__ import main; main()" if prelude else ""
        how = ["-c", program] if program else ["-m", "rag_service"]
        command = [executable, *how, *(str(argument) for argument in arguments)]
        process = Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env={**os.environ, **(environ or {})})
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def command(start: Start) -> Callable[..., Outcome]:
    """`start`, and wait for the end: at most a minute."""

    def run(*arguments: object, environ: Mapping[str, str] | None = None, prelude: str = "") -> Outcome:
        process = start(*arguments, environ=environ, prelude=prelude)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return Outcome(process.returncode, out, err)

    return run


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], Path]]:
    """`read_only(folder)` lets nobody write below the folder until the test is over, not even root."""
    with ExitStack() as later:

        def close(folder: Path) -> Path:
            if os.geteuid() != 0:
                folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
                for one in folders:
                    later.callback(one.chmod, one.stat().st_mode)
                    one.chmod(0o555)
                return folder
            for options in (["--bind"], ["-o", "remount,bind,ro"]):
                mounted = run(["mount", *options, str(folder), str(folder)], capture_output=True, text=True, check=False)
                if mounted.returncode:
                    pytest.skip(f"no folder can be made read-only here: {mounted.stderr.strip()}")
                if options == ["--bind"]:
                    later.callback(run, ["umount", "--lazy", str(folder)], check=True)
            return folder

        yield close
