"""What becomes of builds, activations and sweeps when the n-th operation on the disk fails, or is the last that they come to.

A process that has imported and loaded everything, under the shim in `failing_disk.c`, forks a child for each attempt; so an attempt takes
about a tenth of a second and every n can be tried. Only what lies below the folder of indexes is counted and fails.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from rag_service.catalog import Catalog
from rag_service.digests import digest_bytes
from rag_service.manifest import read_build_facts, read_manifest, verify_version
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.doubles import HOLIDAYS

PROJECT = Path(__file__).resolve().parents[1]
SHIM_SOURCE = Path(__file__).with_suffix(".c")

Verb = Literal["build", "activate", "rollback", "gc", "ask", "load"]
How = Literal["once", "full", "kill"]
"""Fails with EIO once; every one that takes space fails with ENOSPC from the n-th on; the process is killed before it."""
HowToRead = Literal["once", "short", "interrupted"]
"""The n-th fails with EIO; gives one byte of what was asked for; fails with EINTR."""

_ERRORS = {"once": errno.EIO, "full": errno.ENOSPC, "kill": 0, "short": 0, "interrupted": errno.EINTR}
_HOW = {"once": 0, "full": 1, "kill": 2, "short": 3, "interrupted": 0}
_READS: set[Verb] = {"ask", "load"}
"""Of these the operations that read are counted, and of the others those that change something."""


@dataclass(frozen=True)
class Attempt:
    verb: Verb
    root: str
    argument: str = ""
    """Of `build` the documents, of `activate` the release, of `ask` and `load` the question."""
    at: int = 0
    """0 lets every operation through."""
    how: How | HowToRead = "once"
    kill_after_s: float | None = None
    """At any moment, rather than between two operations."""


@dataclass(frozen=True)
class Ended:
    outcome: str
    """`done`, `killed`, the code of a `RagError`, or the name of an exception that should not have come out."""
    told: str
    operations: int
    """-1 where it was killed."""


class FailingDisk:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def attempt(
        self,
        verb: Verb,
        root: Path,
        argument: object = "",
        *,
        at: int = 0,
        how: How | HowToRead = "once",
        kill_after_s: float | None = None,
    ) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = Attempt(verb, str(root), str(argument), at, how, kill_after_s)
        self._process.stdin.write(json.dumps(asdict(wanted)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that forks the attempts has ended"
        return Ended(**json.loads(line))

    def every(
        self, verb: Verb, argument: object, new_root: Callable[[], Path], how: How | HowToRead, *, step: int = 1
    ) -> Iterator[tuple[Path, Ended]]:
        """An attempt for each n, or each `step`-th, on a folder of its own, until there are fewer operations than n."""
        at = 1
        while True:
            root = new_root()
            ended = self.attempt(verb, root, argument, at=at, how=how)
            whole = ended.outcome == "done" and ended.operations < at
            if not whole:
                yield root, ended
            shutil.rmtree(root)
            if whole:
                return
            at += step


@contextmanager
def failing_disk(folder: Path) -> Iterator[FailingDisk]:
    """Compiles the shim into `folder`. Skips the test where there is no C compiler."""
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("making file operations fail takes gcc and Linux")
    shim = folder / "failing_disk.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(SHIM_SOURCE), "-ldl"], check=True)
    environ = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.failing_disk"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environ
    ) as process:
        yield FailingDisk(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


# What it is tried on


@dataclass(frozen=True)
class Switched:
    """An index that served `first` before it served `active`, of another version; `other` was never served."""

    root: Path
    first: str
    active: str
    active_version: str
    other: str
    documents: Path
    """To build. They make a version of the files `built`."""
    built: Mapping[str, bytes]


def switched_index(folder: Path, served_indexes: Path, build: Callable[..., Any]) -> Switched:
    for name, text in (("pets", "Dogs may come on Fridays."), ("bicycles", "Bicycles stand in the yard.")):
        (folder / name).mkdir()
        (folder / name / "page.md").write_text(f"# Page\n\n{text}\n\nEvery employee has 28 days of paid holiday a year.\n")
    root = shutil.copytree(served_indexes, folder / "indexes", symlinks=True)
    catalog, settings = Catalog(root), load_settings({}, indexes=root)
    first = catalog.active_id("handbook")
    version = build(root, folder / "pets").manifest.version
    active = make_release(settings, catalog, "handbook", version)
    other = active.model_copy(update={"retrieval": active.retrieval.model_copy(update={"top_k": 3})})
    catalog.activate("handbook", active)
    catalog.add_release("handbook", other)
    elsewhere = shutil.copytree(root, folder / "elsewhere", symlinks=True)
    built = Catalog(elsewhere).version_folder("handbook", build(elsewhere, folder / "bicycles").manifest.version)
    files = {path.name: path.read_bytes() for path in built.iterdir() if path.name != "build.json"}
    return Switched(root, first, active.id, version, other.id, folder / "bicycles", files)


# What must hold, whatever has happened


def served_whole(root: Path) -> str:
    """Id of the release that is served, after everything that a reader may come across has been found whole."""
    catalog = Catalog(root)
    for version in catalog.versions("handbook"):
        verify_version(catalog.version_folder("handbook", version))
        read_build_facts(catalog.version_folder("handbook", version))
    for release in catalog.releases("handbook"):
        catalog.release("handbook", release)
    history, active = catalog.history("handbook"), catalog.active_id("handbook")
    assert history.damaged == 0
    assert history.transitions[-1].release == active
    assert [one.seq for one in history.transitions] == list(range(1, len(history.transitions) + 1))
    assert [one.previous for one in history.transitions[1:]] == [one.release for one in history.transitions[:-1]]
    assert catalog.release("handbook", active).index.version in catalog.versions("handbook")
    return active


OUTCOMES: dict[How, set[str]] = {"once": {"done", "storage_failed"}, "full": {"done", "storage_failed"}, "kill": {"killed"}}
NewRoot = Callable[[], Path]


def tried_builds(disk: FailingDisk, on: Switched, new_root: NewRoot, how: How, *, step: int) -> Counter[str]:
    """What was served is; and the next build comes to its end, with the bytes of one that nothing disturbed."""
    outcomes: Counter[str] = Counter()
    for root, ended in disk.every("build", on.documents, new_root, how, step=step):
        outcomes[ended.outcome] += 1
        assert served_whole(root) == on.active
        again = disk.attempt("build", root, on.documents)
        assert again.outcome == "done", again
        folder = Catalog(root).version_folder("handbook", again.told)
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "build.json"} == on.built
        assert [path.name for path in folder.parent.glob(".*")] == []
    assert set(outcomes) <= OUTCOMES[how], outcomes
    return outcomes


def tried_activations(disk: FailingDisk, on: Switched, new_root: NewRoot, how: How, *, step: int) -> Counter[str]:
    """The old release or the new one is served; the next activation works, and the history has each change once."""
    outcomes: Counter[str] = Counter()
    for root, ended in disk.every("activate", on.other, new_root, how, step=step):
        served = served_whole(root)
        outcomes[f"{ended.outcome}, {'new' if served == on.other else 'old'}"] += 1
        assert ended.outcome in OUTCOMES[how], ended
        assert served in {on.active, on.other}
        assert ended.outcome != "done" or served == on.other
        if ended.outcome == "storage_failed":
            assert (f"release {on.other} is what 'handbook' serves now" in ended.told) == (served == on.other), ended
        assert disk.attempt("activate", root, on.other).outcome == "done"
        assert [path for folder in Catalog(root).folders_of_files("handbook") for path in folder.glob("*.writing")] == []
        assert served_whole(root) == on.other
        assert [one.release for one in Catalog(root).history("handbook").transitions] == [on.first, on.active, on.other]
    return outcomes


def tried_rollbacks(disk: FailingDisk, on: Switched, new_root: NewRoot, how: How, *, step: int) -> Counter[str]:
    """One step back was taken or none; and the next rollback takes it."""
    outcomes: Counter[str] = Counter()
    for root, ended in disk.every("rollback", "", new_root, how, step=step):
        served = served_whole(root)
        outcomes[f"{ended.outcome}, {'new' if served == on.first else 'old'}"] += 1
        assert ended.outcome in OUTCOMES[how], ended
        assert served in {on.active, on.first}
        if served == on.active:
            assert disk.attempt("rollback", root).told == on.first
        assert served_whole(root) == on.first
        assert Catalog(root).history("handbook").back() is None, "one step back was taken, and not two"
    return outcomes


def tried_sweeps(disk: FailingDisk, on: Switched, new_root: NewRoot, how: How, *, step: int) -> Counter[str]:
    """What is left is whole, and the next sweep clears away the rest."""
    outcomes: Counter[str] = Counter()
    for root, ended in disk.every("gc", "", new_root, how, step=step):
        outcomes[ended.outcome] += 1
        assert served_whole(root) == on.active
        assert disk.attempt("gc", root).outcome == "done"
        assert served_whole(root) == on.active
        assert Catalog(root).versions("handbook") == [on.active_version]
        assert [path.name for path in Catalog(root).versions_folder("handbook").glob(".*")] == []
    assert set(outcomes) <= OUTCOMES[how], outcomes
    return outcomes


def tried_reads(disk: FailingDisk, verb: Verb, new_root: NewRoot, how: HowToRead, *, step: int) -> Counter[str]:
    """The same came out as from a disk that is well, or an error that says which file cannot be read."""
    well = new_root()
    right = disk.attempt(verb, well, HOLIDAYS)
    shutil.rmtree(well)
    assert right.outcome == "done", right
    outcomes: Counter[str] = Counter()
    for _, ended in disk.every(verb, HOLIDAYS, new_root, how, step=step):
        outcomes[ended.outcome] += 1
        if ended.outcome == "done":
            assert ended.told == right.told, ended
        else:
            assert ended.outcome in {"storage_failed", "damaged"}, ended
            assert "read" in ended.told or "open" in ended.told or "load" in ended.told, ended
    return outcomes


# What runs under the shim


class Silent:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


def _serve() -> None:
    """Attempts from stdin, one a line of JSON, each in a fork of this process; how each ended, to stdout."""
    _import_everything()
    for line in sys.stdin:
        wanted = Attempt(**json.loads(line))
        parts = _loaded(wanted.root)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            ended = _tried(wanted, parts)
            os.write(writing, json.dumps(asdict(ended)).encode())
            os._exit(0)
        os.close(writing)
        if wanted.kill_after_s is not None:
            time.sleep(wanted.kill_after_s)
            os.kill(child, signal.SIGKILL)  # it may have ended, and has not been waited for: its id is still its own
        with open(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        print(told.decode() if told.endswith(b"}") else json.dumps(asdict(Ended("killed", "", -1))), flush=True)  # noqa: T201


def _import_everything() -> None:
    """Before the first fork: what a fork inherits, it need not load."""
    import rag_service.loading.markdown
    import rag_service.sweep
    import rag_service.wiring.activating
    import rag_service.wiring.building  # noqa: F401


_PARTS: dict[str, object] = {}


def _loaded(root: str) -> object:
    """The encoder, opened once."""
    from rag_service.wiring.encoders import embedder_to_build_with

    if "embedder" not in _PARTS:
        _PARTS["embedder"] = embedder_to_build_with(load_settings({}, indexes=root, build_threads=1), Catalog(Path(root)))
    return _PARTS["embedder"]


def _tried(wanted: Attempt, embedder: object) -> Ended:
    from rag_service.errors import RagError

    disk = ctypes.CDLL(None)
    work, below = _work(wanted, embedder), Path(wanted.root)
    if wanted.verb == "load":
        [below] = [folder.resolve() for folder in Catalog(below).encoders()]
    disk.disk_fails(str(below).encode(), wanted.at, _ERRORS[wanted.how], _HOW[wanted.how], int(wanted.verb in _READS))
    try:
        told = work()
    except RagError as error:
        outcome, told = error.code, f"{error.message}: {error.hint}"
    except BaseException as error:  # noqa: BLE001 - that one comes out is what the test is about
        outcome, told = type(error).__name__, str(error)
    else:
        outcome = "done"
    operations = disk.disk_operations()
    disk.disk_fails(b"", 0, 0, 0, 0)
    del work
    return Ended(outcome, told, operations)


def _work(wanted: Attempt, embedder: object) -> Callable[[], str]:
    """Everything of it that is not about the disk is done before."""
    from rag_service.question import Question
    from rag_service.sweep import sweep
    from rag_service.wiring import building
    from rag_service.wiring.activating import activate, earlier
    from rag_service.wiring.encoders import Encoders, embedder_of
    from rag_service.wiring.releases import open_release

    settings, catalog = load_settings({}, indexes=wanted.root, name="handbook"), Catalog(Path(wanted.root))

    class Loaded(Encoders):
        def of(self, manifest: object) -> object:  # type: ignore[override]  # noqa: ARG002 - the signature of `Encoders`
            return embedder

    encoders = Loaded(settings, catalog)

    def build() -> str:
        building.embedder_to_build_with = lambda *_: embedder  # type: ignore[assignment,return-value]
        return building.build(settings, catalog, "handbook", wanted.argument, Silent()).manifest.version

    def switch() -> str:
        back = wanted.verb == "rollback"
        release = earlier(catalog, "handbook", None) if back else catalog.release("handbook", wanted.argument)
        action: Literal["rollback", "activate"] = "rollback" if back else "activate"
        transition, _ = activate(settings, catalog, "handbook", release, who="a test", why="a test", action=action, encoders=encoders)
        return transition.release if transition else "none"

    def gc() -> str:
        found = sweep(catalog, ["handbook"], recorded=[], depth=0, dry_run=False)
        return " ".join(one.id for one in found if one.goes)

    def ask() -> str:
        release = catalog.release("handbook", catalog.active_id("handbook"))
        opened = open_release(settings, catalog, "handbook", release, encoders=encoders)
        return str(opened.pipeline.ask(Question(wanted.argument)).answer)

    def load() -> str:
        release = catalog.release("handbook", catalog.active_id("handbook"))
        manifest = read_manifest(catalog.version_folder("handbook", release.index.version))
        return digest_bytes(embedder_of(manifest, catalog, settings).embed_query(wanted.argument).tobytes())

    return {"build": build, "activate": switch, "rollback": switch, "gc": gc, "ask": ask, "load": load}[wanted.verb]


if __name__ == "__main__":
    _serve()
