"""What is removed, and above all what is not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.durable import in_use, unused
from rag_service.errors import Conflict, Damaged
from rag_service.manifest import read_build_facts, read_manifest, verify_version, write_manifest
from rag_service.question import Question
from rag_service.record import Lineage
from rag_service.settings import Settings, load_settings
from rag_service.sweep import Swept, sweep
from rag_service.wiring.releases import make_release, open_release
from tests.doubles import HOLIDAYS

Build = Callable[..., Built]


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, build: Build) -> Path:
    """Indexes with five versions of the handbook, each of which was served once; the last is active."""
    folder = tmp_path_factory.mktemp("five")
    root = shutil.copytree(served_indexes, folder / "indexes", symlinks=True)
    catalog, chosen, page = Catalog(root), load_settings({}, indexes=root), folder / "page.md"
    for number in range(4):
        page.write_text(f"# Page\n\nThis is edition {number}.\n")
        version = build(root, page).manifest.version
        catalog.activate("handbook", make_release(chosen, catalog, "handbook", version))
    return root


@pytest.fixture
def catalog(five: Path, tmp_path: Path) -> Catalog:
    return Catalog(shutil.copytree(five, tmp_path / "own", symlinks=True))


@pytest.fixture
def chosen(catalog: Catalog) -> Settings:
    return load_settings({}, indexes=catalog.root, name="handbook")


@pytest.fixture
def versions(catalog: Catalog) -> list[str]:
    """Oldest first."""
    found = catalog.versions("handbook")
    assert len(found) == 5
    return found


def swept(catalog: Catalog, *, depth: int = 0, recorded: tuple[Lineage, ...] = (), dry_run: bool = False) -> list[Swept]:
    return sweep(catalog, ["handbook"], recorded=recorded, depth=depth, dry_run=dry_run)


def whys(found: list[Swept], what: str = "version") -> dict[str, str]:
    return {one.id: one.why for one in found if one.what == what}


def tree(root: Path) -> dict[str, tuple[int, int]]:
    paths = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def test_what_is_active_and_the_steps_back_that_are_asked_for_stay(catalog: Catalog, versions: list[str]) -> None:
    found = swept(catalog, depth=2)
    assert whys(found) == dict(zip(versions, ["", "", "2 steps back", "1 step back", "active"], strict=True))
    assert catalog.versions("handbook") == versions[2:]
    assert len(catalog.releases("handbook")) == 3
    for version in versions[2:]:
        verify_version(catalog.version_folder("handbook", version))
    assert catalog.history("handbook").back() in catalog.releases("handbook")


def test_everything_stays_where_as_many_steps_back_are_asked_for(catalog: Catalog) -> None:
    before = tree(catalog.root / "handbook")
    assert not any(one.goes for one in swept(catalog, depth=5))
    assert tree(catalog.root / "handbook") == before


def test_a_dry_run_says_the_same_and_removes_nothing(catalog: Catalog, versions: list[str]) -> None:
    (catalog.versions_folder("handbook") / ".building-0123abcd").mkdir()
    before = tree(catalog.root / "handbook")
    told = swept(catalog, dry_run=True)
    assert tree(catalog.root / "handbook") == before
    assert (catalog.versions_folder("handbook") / ".building-0123abcd").is_dir()
    assert told == swept(catalog)
    assert catalog.versions("handbook") == versions[-1:]
    assert list(catalog.versions_folder("handbook").glob(".*")) == []


def test_the_newest_stays_although_it_was_never_served(catalog: Catalog, versions: list[str], build: Build, tmp_path: Path) -> None:
    (tmp_path / "next.md").write_text("# Next\n\nThe next edition.\n")
    newest = build(catalog.root, tmp_path / "next.md").manifest.version
    assert whys(swept(catalog))[newest] == "the newest"
    assert catalog.versions("handbook") == [versions[-1], newest]


def test_what_a_kept_record_was_made_by_stays_with_its_release(catalog: Catalog, chosen: Settings, versions: list[str]) -> None:
    release = catalog.release("handbook", catalog.release_of_version("handbook", versions[1]))
    lineage = open_release(chosen, catalog, "handbook", release).pipeline.lineage
    found = swept(catalog, recorded=(lineage,))
    assert whys(found) == dict(zip(versions, ["", "records need it", "", "", "active"], strict=True))
    assert whys(found, "release")[release.id] == "records need it"
    again = open_release(chosen, catalog, "handbook", release).pipeline.ask(Question("Which edition is this?"))
    assert again.lineage.index.version == versions[1]


def test_records_of_another_index_keep_nothing_here(
    catalog: Catalog, chosen: Settings, versions: list[str], build: Build, handbook: Path
) -> None:
    version = build(catalog.root, handbook, name="other").manifest.version
    assert version == versions[0]
    release = make_release(chosen, catalog, "other", version)
    lineage = open_release(chosen, catalog, "other", release).pipeline.lineage
    assert whys(swept(catalog, recorded=(lineage,)))[version] == ""


HOLDS = """
import sys
import time
from pathlib import Path
from rag_service.durable import in_use
with in_use(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(catalog: Catalog, versions: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that uses the third version."""
    manifest = catalog.version_folder("handbook", versions[2]) / "manifest.json"
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(manifest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_what_another_process_uses_stays_until_that_ends_even_by_a_kill(
    catalog: Catalog, versions: list[str], holder: "subprocess.Popen[str]"
) -> None:
    for dry_run in (True, False):
        found = swept(catalog, dry_run=dry_run)
        assert whys(found)[versions[2]] == "in use"
    assert whys(found, "release")[catalog.release_of_version("handbook", versions[2])] == "its version stays"
    assert catalog.versions("handbook") == [versions[2], versions[4]]
    verify_version(catalog.version_folder("handbook", versions[2]))
    holder.kill()
    holder.wait(10)
    assert whys(swept(catalog))[versions[2]] == ""
    assert catalog.versions("handbook") == [versions[4]]


def test_an_opened_release_stays_until_its_last_reader_lets_go(catalog: Catalog, chosen: Settings, versions: list[str]) -> None:
    release = catalog.release("handbook", catalog.release_of_version("handbook", versions[0]))
    opened = open_release(chosen, catalog, "handbook", release)
    assert whys(swept(catalog))[versions[0]] == "in use"
    assert opened.pipeline.ask(Question(HOLIDAYS)).status == "answered"
    del opened
    assert whys(swept(catalog))[versions[0]] == ""


def test_nobody_begins_to_use_what_is_being_removed(catalog: Catalog, versions: list[str]) -> None:
    manifest = catalog.version_folder("handbook", versions[0]) / "manifest.json"
    with unused(manifest) as nobody:
        assert nobody
        with pytest.raises(Conflict, match="is being removed"), in_use(manifest):
            pytest.fail("it was removed under its reader")
    with in_use(manifest), in_use(manifest), unused(manifest) as nobody:
        assert not nobody
    with unused(manifest) as nobody:
        assert nobody, "nobody does any more"


def test_an_index_that_is_being_built_or_switched_is_left_alone(catalog: Catalog, versions: list[str]) -> None:
    for busy in (catalog.building, catalog.activating):
        with busy("handbook"), pytest.raises(Conflict):
            swept(catalog)
    assert catalog.versions("handbook") == versions


@pytest.mark.parametrize("damage", ["pointer", "active release"])
def test_where_it_cannot_be_known_what_is_served_nothing_is_removed(catalog: Catalog, versions: list[str], damage: str) -> None:
    path = catalog.active_path("handbook")
    (path if damage == "pointer" else catalog.release_path("handbook", catalog.active_id("handbook"))).write_bytes(b"?")
    with pytest.raises(Damaged) as caught:
        swept(catalog)
    assert "index activate" in caught.value.hint
    assert catalog.versions("handbook") == versions
    assert len(catalog.releases("handbook")) == 5


def test_a_folder_that_is_no_version_any_more_goes(catalog: Catalog, versions: list[str]) -> None:
    folder = catalog.version_folder("handbook", versions[1])
    (folder / "manifest.json").unlink()
    os.utime(folder, (1, 1))  # as the change of it made it the newest
    swept(catalog, depth=2)
    assert versions[1] not in catalog.versions("handbook")


def test_kept_vectors_of_encoders_that_the_last_build_did_not_use_go(catalog: Catalog) -> None:
    [kept] = catalog.embeddings_folder("handbook").glob("*.sqlite")
    old = kept.with_name("0123456789ab.sqlite")
    for suffix in ("", "-wal"):
        old.with_name(old.name + suffix).write_bytes(b"x")

    os.utime(old, (1, 1))
    assert whys(swept(catalog), "embeddings") == {"0123456789ab": "", kept.stem: "the last build used them"}
    assert [path.name for path in catalog.embeddings_folder("handbook").iterdir()] == [kept.name]


def test_an_encoder_that_no_version_needs_goes_and_those_of_every_index_stay(catalog: Catalog, encoder_folder: Path) -> None:
    encoders = catalog.encoders_folder()
    encoders.unlink()  # the link to the shared ones
    shutil.copytree(encoder_folder, encoders / encoder_folder.name)

    for age, name in ((300, "000000000000"), (200, encoder_folder.name), (100, "111111111111")):
        (encoders / name).mkdir(exist_ok=True)
        os.utime(encoders / name, (1_000_000 - age, 1_000_000 - age))
    (encoders / ".building-removed-222222222222").mkdir()
    assert whys(swept(catalog), "encoder") == {"000000000000": "", encoder_folder.name: "versions need it", "111111111111": "the newest"}
    assert sorted(path.name for path in encoders.iterdir() if path.is_dir()) == ["111111111111", encoder_folder.name]


def test_what_was_noted_of_a_version_goes_with_it(catalog: Catalog, chosen: Settings, versions: list[str]) -> None:

    time.sleep(0.06)
    for version in versions:
        open_release(chosen, catalog, "handbook", catalog.release("handbook", catalog.release_of_version("handbook", version)))
    assert all(catalog.notes_path("handbook", version).exists() for version in versions)
    swept(catalog)
    assert [version for version in versions if catalog.notes_path("handbook", version).exists()] == versions[-1:]


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from rag_service.durable import write_atomically
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), b"x")
"""


def test_what_killed_writers_left_goes_and_not_before_it_is_meant(catalog: Catalog, versions: list[str]) -> None:
    active = catalog.active_id("handbook")
    for written in (
        catalog.active_path("handbook"), catalog.release_path("handbook", active), catalog.notes_path("handbook", versions[-1]),
    ):  # fmt: skip
        ended = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(written)], check=False)
        assert ended.returncode == -signal.SIGKILL

    def left() -> list[str]:
        return sorted(path.name for path in (catalog.root / "handbook").rglob("*.writing"))

    assert [name.split(".")[1] for name in left()] == sorted(["ACTIVE", active, versions[-1]])
    swept(catalog, dry_run=True)
    assert len(left()) == 3
    swept(catalog)
    assert left() == []
    assert catalog.active_id("handbook") == active


def test_the_newest_stays_in_a_copy_that_kept_no_times_and_beside_what_is_no_version(
    catalog: Catalog, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "page.md").write_text("# Page\n\nThis edition was never served.\n")
    newest = build(catalog.root, tmp_path / "page.md").manifest.version
    folder, stray = catalog.version_folder("handbook", newest), catalog.version_folder("handbook", "0123456789ab")
    write_manifest(folder, read_manifest(folder), read_build_facts(folder).model_copy(update={"built_at": "2030-01-01T00:00:00Z"}))
    stray.mkdir()
    for one in catalog.versions_folder("handbook").iterdir():
        os.utime(one, (1, 1) if one == folder else (2_000_000_000, 2_000_000_000))  # in 2033
    assert catalog.versions("handbook")[-2:] == [newest, stray.name]
    found = whys(swept(catalog))
    assert (found[newest], found["0123456789ab"]) == ("the newest", "")
    assert not stray.exists()
