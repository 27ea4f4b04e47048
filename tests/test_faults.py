"""What may go wrong around an index, and what must hold then: a clear error, and what was served before still answers.

Damage to every file, builds killed at any moment, a full disk, a folder that cannot be written.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rag_service.catalog import Catalog
from rag_service.errors import Damaged, NotFound, RagError, StorageFailed
from rag_service.manifest import read_build_facts, read_manifest, verify_version
from rag_service.opened import Opened, Report
from rag_service.question import Question
from rag_service.serving import Service
from rag_service.settings import load_settings
from rag_service.wiring.releases import open_release
from tests.conftest import copy_of
from tests.damage import overwrite

HOLIDAYS = "How many days of paid holiday does an employee have?"

Cli = Callable[..., Any]


def answer(root: Path) -> str:
    """What the active release answers, opened anew with all its checks."""
    settings, catalog = load_settings({}, indexes=root, name="handbook"), Catalog(root)
    release = catalog.release("handbook", catalog.active_id("handbook"))
    return str(open_release(settings, catalog, "handbook", release).pipeline.ask(Question(HOLIDAYS)).answer)


KEPT_APART = {"embeddings", "verified"}
"""Folders of an index from which nothing is ever served: what they hold saves time, and may go or come at any moment."""


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file of the index from which something is served, or told."""
    folder = root / "handbook"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.relative_to(folder).parts[0] not in KEPT_APART
    }


def hidden(root: Path) -> list[str]:
    return [path.name for path in (root / "handbook" / "versions").glob(".*")]


def corpus(path: Path, rows: int, words: int) -> Path:
    """A file of documents, each of so many words."""
    vocabulary = ["release", "index", "answer", "question", "passage", "document", "token", "vector", "prompt", "digest"]
    dice = random.Random(rows)
    lines = (json.dumps({"id": str(row), "text": " ".join(dice.choices(vocabulary, k=words))}) for row in range(rows))
    path.write_text("\n".join(lines))
    return path


# Damage


@pytest.fixture(scope="module")
def damageable(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, encoder_folder: Path) -> Path:
    """The handbook with an encoder folder of its own. Tests put back what they damage."""
    root = tmp_path_factory.mktemp("damage") / "indexes"
    copy_of(served_indexes, root)
    (root / "encoders").unlink()
    shutil.copytree(encoder_folder, root / "encoders" / encoder_folder.name)
    return root


PARTS = {
    "manifest": "handbook/versions/*/manifest.json",
    "build facts": "handbook/versions/*/build.json",
    "vectors": "handbook/versions/*/vectors.faiss",
    "chunks": "handbook/versions/*/chunks.sqlite",
    "release": "handbook/releases/*.json",
    "pointer": "handbook/ACTIVE",
    "encoder card": "encoders/*/encoder.json",
    "encoder model": "encoders/*/model.onnx",
    "tokenizer": "encoders/*/tokenizer.json",
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    dice = random.Random(path.name)
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "truncate": truncate,
    "empty": lambda path: os.truncate(path, 0),
    "delete": Path.unlink,
}


@pytest.fixture(params=PARTS)
def part(request: pytest.FixtureRequest, damageable: Path) -> Iterator[Path]:
    [path] = damageable.glob(PARTS[request.param])
    data = path.read_bytes()
    yield path
    path.write_bytes(data)


def service_error(root: Path) -> RagError:
    """What ends `serve` before it is ever ready."""
    settings, catalog = load_settings({}, indexes=root, name="handbook"), Catalog(root)
    outcome: list[RagError | None] = []
    done = threading.Event()

    def open_one(release_id: str, report: Report) -> Opened:
        return open_release(settings, catalog, "handbook", catalog.release("handbook", release_id), report=report)

    def end(error: RagError | None) -> None:
        outcome.append(error)
        done.set()

    service = Service(lambda: catalog.active_id("handbook"), open_one)
    service.start(ready=lambda _: end(None), failed=end)
    assert done.wait(30)
    assert outcome[0] is not None, "it was served"
    assert not service.readiness().ready
    return outcome[0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_file_is_served_and_the_error_names_it(cli: Cli, damageable: Path, part: Path, damage: str) -> None:
    DAMAGES[damage](part)
    named = [part.name, part.stem, part.parent.name]
    if part.name == "ACTIVE":
        named = ["ACTIVE", "active release", "has no release"]  # the last when the flipped bit names another one
    for command in (["index", "verify"], ["ask", HOLIDAYS]):
        outcome = cli(*command, "--name", "handbook", "--indexes", damageable)
        assert outcome.code == 1
        assert outcome.out == ""
        assert outcome.err.startswith("error ")
        assert any(name in outcome.err for name in named)
        if (part.name, damage) != ("build.json", "delete"):
            assert re.search(r"\n +\S", outcome.err), "it does not say what to do"
    error = service_error(damageable)
    assert isinstance(error, Damaged | NotFound | StorageFailed)
    assert error.message in outcome.err


def test_undamaged_everything_is_fine(cli: Cli, damageable: Path) -> None:
    assert cli("index", "verify", "--name", "handbook", "--indexes", damageable).code == 0
    assert "28 days" in answer(damageable)


@pytest.mark.parametrize("name", ["manifest", "build facts", "release", "pointer"])
def test_a_flipped_bit_anywhere_in_what_is_parsed_is_noticed(damageable: Path, name: str) -> None:
    catalog = Catalog(damageable)
    [path] = damageable.glob(PARTS[name])
    data = path.read_bytes()

    def read() -> None:
        if name in {"manifest", "build facts"}:
            read_manifest(path.parent)
            read_build_facts(path.parent)
        else:
            catalog.release("handbook", catalog.active_id("handbook"))

    read()
    try:
        for bit in range(0, len(data) * 8, 1 if len(data) < 400 else 7):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            overwrite(path, flipped)
            with pytest.raises((Damaged, NotFound)):
                read()
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize("folder", ["handbook/versions", "handbook/releases", "handbook", "encoders"])
def test_a_folder_that_is_gone_is_an_error(cli: Cli, own_indexes: Path, folder: str) -> None:
    gone = own_indexes / folder
    gone.unlink() if gone.is_symlink() else shutil.rmtree(gone)
    for command in (["index", "verify"], ["ask", HOLIDAYS]):
        outcome = cli(*command, "--name", "handbook", "--indexes", own_indexes)
        assert outcome.code == 1
        assert outcome.err.startswith("error ")


def test_a_folder_of_something_else_is_not_an_index_version(cli: Cli, own_indexes: Path) -> None:
    foreign = Catalog(own_indexes).version_folder("handbook", "0123456789ab")
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"\xff\xd8\xff")
    for command in ("show", "verify", "activate"):
        outcome = cli("index", command, "0123456789ab", "--name", "handbook", "--indexes", own_indexes)
        assert outcome.code == 1
        assert "not an index version" in outcome.err
    assert "28 days" in answer(own_indexes)


def test_a_damaged_version_is_not_activated_and_the_active_one_stays(cli: Cli, own_indexes: Path, handbook: Path, build: Cli) -> None:
    before = Catalog(own_indexes).active_path("handbook").read_bytes()
    version = build(own_indexes, handbook, chunk_tokens=64).manifest.version
    flip(Catalog(own_indexes).version_folder("handbook", version) / "chunks.sqlite")
    outcome = cli("index", "activate", version, "--name", "handbook", "--indexes", own_indexes)
    assert outcome.code == 1
    assert f"{version}/chunks.sqlite is damaged" in outcome.err
    assert Catalog(own_indexes).active_path("handbook").read_bytes() == before
    assert "28 days" in answer(own_indexes)


# Builds that do not come to their end

BUILDER = """
import os, sys
from pathlib import Path
from rag_service.catalog import Catalog
from rag_service.settings import load_settings
from rag_service.wiring.building import build
import rag_service.embedders.onnx

class Silent:
    def stage(self, name, total): ...
    def advance(self, amount=1): ...

root, source = sys.argv[1:]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        build(load_settings({}, indexes=root, chunk_tokens=int(line)), Catalog(Path(root)), "handbook", source, Silent())
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Builds once a line, with that many tokens a chunk, each in a process of its own that has imported everything already."""

KILLS = 18


def test_a_build_killed_at_any_moment_leaves_nothing_half_built(own_indexes: Path, tmp_path: Path, build: Cli, cli: Cli) -> None:
    source = corpus(tmp_path / "documents.jsonl", rows=40, words=60)
    catalog, before, expected = Catalog(own_indexes), snapshot(own_indexes), answer(own_indexes)
    dice, killed = random.Random(7), 0
    builder = subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(own_indexes), str(source)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert builder.stdin is not None
        assert builder.stdout is not None

        def begin(chunk_tokens: int) -> int:
            print(chunk_tokens, file=builder.stdin, flush=True)
            return int(builder.stdout.readline())

        def end() -> int:
            return int(builder.stdout.readline())

        def whole(chunk_tokens: int) -> float:
            begin(chunk_tokens)
            began_s = time.monotonic()
            assert end() == 0
            return time.monotonic() - began_s

        whole_s = min(whole(178), whole(179))
        for chunk_tokens in range(180, 180 + 3 * KILLS):  # another setting, so another version, which is not there yet
            child = begin(chunk_tokens)
            time.sleep((killed + dice.random()) / KILLS * whole_s)  # somewhere in the build, and over all of it in the end
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            if end() == -signal.SIGKILL:
                killed += 1
            else:
                whole_s *= 0.8  # the machine has become faster
            for version in catalog.versions("handbook"):
                folder = catalog.version_folder("handbook", version)
                verify_version(folder)
                read_build_facts(folder)
            now = snapshot(own_indexes)
            assert {path: now.get(path) for path in before} == before
            if killed == KILLS:
                break
        child = begin(100)
        while not hidden(own_indexes):  # of this build, or still of one that was killed
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        assert end() == -signal.SIGKILL
        assert answer(own_indexes) == expected
    finally:
        builder.kill()
        builder.communicate(timeout=10)
    assert killed >= 15
    assert hidden(own_indexes)
    listed = cli("index", "list", "--indexes", own_indexes).out
    assert ".building" not in listed
    assert "damaged" not in listed
    build(own_indexes, source)
    assert hidden(own_indexes) == []


def await_staging(process: "subprocess.Popen[str]", root: Path) -> None:
    deadline_s = time.monotonic() + 30
    while not hidden(root):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_ctrl_c_in_a_build_leaves_nothing_and_what_was_served_is_still_served(
    start: Cli, cli: Cli, own_indexes: Path, tmp_path: Path
) -> None:
    source = corpus(tmp_path / "documents.jsonl", rows=3000, words=150)
    before = snapshot(own_indexes)
    process = start("index", "build", source, "--name", "handbook", "--activate", "--indexes", own_indexes)
    await_staging(process, own_indexes)
    second = cli("index", "build", source, "--name", "handbook", "--indexes", own_indexes)
    assert (second.code, "already building 'handbook'" in second.err) == (1, True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.strip() == "interrupted: nothing was changed, and what was served is still served"
    assert hidden(own_indexes) == []
    assert snapshot(own_indexes) == before
    assert "28 days" in answer(own_indexes)


# A disk that is full

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


@pytest.fixture(scope="module")
def many_short_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their vectors are the largest file of a build."""
    return corpus(tmp_path_factory.mktemp("documents") / "documents.jsonl", rows=120, words=3)


@pytest.fixture(scope="module")
def vectors_bytes(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, build: Cli, many_short_documents: Path) -> int:
    root = tmp_path_factory.mktemp("measured")
    (root / "encoders").symlink_to(encoder_folder.parent)
    files = build(root, many_short_documents).manifest.files
    assert files["vectors.faiss"].size_bytes > 2 * files["chunks.sqlite"].size_bytes
    return int(files["vectors.faiss"].size_bytes)


@pytest.mark.parametrize("missing", ["everything", "most", "the last byte"])
def test_a_file_that_cannot_grow_ends_the_build_with_nothing_partial(
    command: Cli, own_indexes: Path, many_short_documents: Path, vectors_bytes: int, missing: str
) -> None:
    limit = {"everything": 0, "most": 4096, "the last byte": vectors_bytes - 1}[missing]
    before = snapshot(own_indexes)
    outcome = command(
        "index", "build", many_short_documents, "--name", "handbook", "--activate", "--indexes", own_indexes,
        prelude=LIMITED.format(limit),
    )  # fmt: skip
    assert outcome.code == 1
    assert outcome.out == ""
    assert re.search(r"^.*error .*could not write ", outcome.err, re.MULTILINE)
    assert "untouched" in outcome.err
    assert hidden(own_indexes) == []
    assert snapshot(own_indexes) == before
    assert "28 days" in answer(own_indexes)


def test_an_activation_that_cannot_be_written_changes_nothing(command: Cli, own_indexes: Path) -> None:
    before = snapshot(own_indexes)
    outcome = command(
        "index", "activate", "--name", "handbook", "--indexes", own_indexes, environ={"RAG_TOP_K": "4"}, prelude=LIMITED.format(0)
    )
    assert outcome.code == 1
    assert re.search(r"^error could not write \w+\.json: File too large\n +\S", outcome.err)
    assert snapshot(own_indexes) == before


@pytest.mark.parametrize("room_bytes", [4096, 40_960, 204_800])
def test_a_full_disk_ends_the_build_and_what_was_served_still_answers(
    cli: Cli, small_disk: Path, served_indexes: Path, many_short_documents: Path, room_bytes: int
) -> None:
    root = copy_of(served_indexes, small_disk / "indexes")
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"x" * (free - room_bytes))
    before = snapshot(root)
    outcome = cli("index", "build", many_short_documents, "--name", "handbook", "--activate", "--indexes", root)
    assert outcome.code == 1
    assert re.match(r"error .*could not write ", outcome.err)
    assert "full" in outcome.err or "No space left" in outcome.err
    assert hidden(root) == []
    assert snapshot(root) == before
    assert "28 days" in answer(root)
    (small_disk / "filler").unlink()
    again = cli("index", "build", many_short_documents, "--name", "handbook", "--activate", "--indexes", root)
    assert again.code == 0, again.err


def test_a_folder_that_cannot_be_written_is_an_error_and_still_answers(
    cli: Cli, own_indexes: Path, many_short_documents: Path, read_only: Callable[[Path], Path]
) -> None:
    expected, other = answer(own_indexes), Catalog(own_indexes).active_path("handbook").read_bytes()
    read_only(own_indexes)
    here = ["--name", "handbook", "--indexes", own_indexes]
    calls: dict[str, list[object]] = {
        "build": ["index", "build", many_short_documents, *here],
        "build of a new index": ["index", "build", many_short_documents, "--name", "new", "--indexes", own_indexes],
        "activate": ["index", "activate", *here],
        "rollback": ["release", "rollback", "handbook", "--indexes", own_indexes],
        "gc": ["index", "gc", *here],
    }
    for what, call in calls.items():
        outcome = cli(*call, RAG_TOP_K="4")
        assert outcome.code == 1, what
        assert outcome.err.startswith("error "), what
        if what != "rollback":
            assert "could not write" in outcome.err, what
    assert Catalog(own_indexes).active_path("handbook").read_bytes() == other
    assert answer(own_indexes) == expected
    assert "28 days" in expected
