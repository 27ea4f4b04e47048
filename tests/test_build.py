"""Building: what decides a version's name, what stands in it, and what a build never leaves behind."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.errors import Conflict, InvalidName, InvalidSettings, NotFound, NothingToIndex
from rag_service.evidence import EVIDENCE_FILES
from rag_service.manifest import read_build_facts, read_manifest, verify_version

Build = Callable[..., Built]


@pytest.fixture
def another_root(tmp_path: Path, encoder_folder: Path) -> Path:
    root = tmp_path / "elsewhere"
    root.mkdir()
    (root / "encoders").symlink_to(encoder_folder.parent)
    return root


@pytest.fixture
def own_handbook(tmp_path: Path, handbook: Path) -> Path:
    """The handbook under another path, with other times, and written in another order."""
    copy = tmp_path / "copied" / "here"
    for path in sorted(handbook.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(handbook)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            os.utime(target, (1_000_000_000, 1_000_000_000))
    return copy


def contents(root: Path, built: Built, name: str = "handbook") -> dict[str, bytes]:
    folder = Catalog(root).version_folder(name, built.manifest.version)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def left_behind(root: Path, name: str = "handbook") -> list[str]:
    return [path.name for path in Catalog(root).versions_folder(name).glob(".*")]


@pytest.mark.parametrize("store", ["flat", "hnsw"])
def test_the_same_documents_and_settings_give_the_same_bytes_anywhere(
    build: Build, indexes: Path, another_root: Path, handbook: Path, own_handbook: Path, store: str
) -> None:
    first = build(indexes, handbook, store=store, build_threads=1)
    second = build(another_root, own_handbook, store=store, build_threads=4)
    assert first.manifest.digest == second.manifest.digest
    assert not first.existed
    assert not second.existed
    one, other = contents(indexes, first), contents(another_root, second)
    assert sorted(one) == sorted(["build.json", "chunks.sqlite", "manifest.json", "vectors.faiss", *EVIDENCE_FILES])
    del one["build.json"], other["build.json"]  # time, duration and source path: outside the digest
    assert one == other


def test_what_differs_from_build_to_build_stands_outside_the_digest(
    build: Build, indexes: Path, another_root: Path, handbook: Path, own_handbook: Path
) -> None:
    first, second = build(indexes, handbook), build(another_root, own_handbook)
    assert (first.facts.source, second.facts.source) == (str(handbook), str(own_handbook))
    manifest = contents(indexes, first)["manifest.json"].decode()
    assert str(handbook) not in manifest
    assert first.facts.built_at not in manifest


def test_the_index_may_have_another_name_and_the_version_stays_the_same(build: Build, indexes: Path, handbook: Path) -> None:
    assert build(indexes, handbook, name="one").manifest.version == build(indexes, handbook, name="two").manifest.version


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: _replace_text(folder / "leave.md", "28 days", "29 days"), id="one word"),
        pytest.param(lambda folder: _replace_text(folder / "visitors.txt", "reception.", "reception!"), id="one byte"),
        pytest.param(lambda folder: (folder / "visitors.txt").unlink(), id="a document less"),
        pytest.param(lambda folder: (folder / "new.txt").write_text("Bicycles stand in the yard."), id="a document more"),
        pytest.param(lambda folder: (folder / "visitors.txt").rename(folder / "guests.txt"), id="another file name"),
        pytest.param(lambda folder: _replace_text(folder / "rooms.csv", "Noether,4", "Noether,5"), id="a cell of a table"),
    ],
)
def test_any_change_of_the_documents_gives_another_version(
    build: Build, indexes: Path, served_indexes: Path, own_handbook: Path, change: Callable[[Path], object]
) -> None:
    [unchanged] = Catalog(served_indexes).versions("handbook")
    change(own_handbook)
    built = build(indexes, own_handbook)
    assert built.manifest.version != unchanged
    assert built.manifest.corpus_digest != read_manifest(Catalog(served_indexes).version_folder("handbook", unchanged)).corpus_digest


def _replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk_tokens": 128},
        {"chunk_overlap_tokens": 16},
        {"chunk_context": "none"},
        {"store": "hnsw"},
        {"max_file_bytes": 1_000_000},
        {"languages": "de"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_changed_setting_gives_another_version_of_the_same_corpus(
    build: Build, indexes: Path, served_indexes: Path, handbook: Path, settings: dict[str, object]
) -> None:
    catalog = Catalog(served_indexes)
    [version] = catalog.versions("handbook")
    default = read_manifest(catalog.version_folder("handbook", version))
    changed = build(indexes, handbook, **settings).manifest
    assert changed.version != default.version
    assert changed.corpus_digest == default.corpus_digest


def test_a_version_that_is_there_already_is_left_as_it_is(build: Build, own_indexes: Path, handbook: Path) -> None:
    catalog = Catalog(own_indexes)
    [version] = catalog.versions("handbook")
    folder = catalog.version_folder("handbook", version)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    built = build(own_indexes, handbook)
    assert built.existed
    assert built.facts == read_build_facts(folder)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    assert left_behind(own_indexes) == []


@pytest.mark.parametrize("file", ["manifest.json", "build.json", "vectors.faiss", "chunks.sqlite", *EVIDENCE_FILES])
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_damaged_version_is_replaced_by_building_it_again(
    build: Build, own_indexes: Path, handbook: Path, file: str, damage: str
) -> None:
    catalog = Catalog(own_indexes)
    [version] = catalog.versions("handbook")
    folder = catalog.version_folder("handbook", version)
    if damage == "flip":
        data = bytearray((folder / file).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / file).write_bytes(data)
    else:
        (folder / file).unlink()
    built = build(own_indexes, handbook)
    assert (built.manifest.version, built.existed) == (version, False)
    verify_version(folder)
    read_build_facts(folder)
    assert catalog.versions("handbook") == [version]
    assert left_behind(own_indexes) == []


def test_inputs_that_were_skipped_stand_in_the_manifest_with_their_reasons(build: Build, indexes: Path, own_handbook: Path) -> None:
    (own_handbook / "empty.md").touch()
    (own_handbook / "picture.txt").write_bytes(b"\x89PNG\r\n\x00\x01" * 9)
    (own_handbook / "copy.md").write_bytes((own_handbook / "leave.md").read_bytes())
    (own_handbook / "link.md").symlink_to(own_handbook / "leave.md")
    skipped = build(indexes, own_handbook).manifest.skipped
    assert skipped.by_reason == {"binary": 1, "duplicate": 1, "empty": 1, "symlink": 1}
    assert {(item.source, item.reason) for item in skipped.listed} == {
        ("empty.md", "empty"),
        ("picture.txt", "binary"),
        ("leave.md", "duplicate"),  # copy.md comes before it
        ("link.md", "symlink"),
    }


def test_what_was_skipped_before_the_first_document_is_counted_too(build: Build, indexes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "a.md").touch()
    (folder / "b.md").write_text("The only page.")
    (folder / "c.md").touch()
    manifest = build(indexes, folder).manifest
    assert manifest.counts.documents == 1
    assert [item.source for item in manifest.skipped.listed] == ["a.md", "c.md"]


@pytest.mark.parametrize("files", [{"a.md": b""}, {"a.md": b"\x00\x01\x02", "b.txt": b" \n"}, {"a.exe": b"x"}, {}])
def test_a_source_with_nothing_usable_is_an_error_and_leaves_no_folder(
    build: Build, indexes: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder = tmp_path / "useless"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(NothingToIndex) as caught:
        build(indexes, folder, name="new")
    assert caught.value.hint
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


@pytest.mark.parametrize("source", ["", "  ", "no/such/folder", "no/such/*.md"])
def test_a_source_that_is_blank_or_missing_is_an_error_and_leaves_no_folder(build: Build, indexes: Path, source: str) -> None:
    with pytest.raises(NothingToIndex):
        build(indexes, source, name="new")
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "encoders", ".hidden", "a..b", "Großes", "x" * 65])
def test_a_name_that_could_leave_the_folder_of_indexes_is_refused(build: Build, indexes: Path, handbook: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        build(indexes, handbook, name=name)
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


def test_an_unknown_encoder_is_refused_before_anything_is_written(build: Build, indexes: Path, handbook: Path) -> None:
    with pytest.raises(NotFound, match="no encoder 'all-MiniLM-L7'"):
        build(indexes, handbook, encoder="all-MiniLM-L7")
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


def test_chunks_longer_than_the_encoder_reads_are_refused_before_anything_is_written(build: Build, indexes: Path, handbook: Path) -> None:
    with pytest.raises(InvalidSettings, match="at most 256"):
        build(indexes, handbook, chunk_tokens=257)
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


def test_a_second_builder_of_the_same_index_is_turned_away_and_the_first_goes_on(build: Build, indexes: Path, handbook: Path) -> None:
    with Catalog(indexes).building("handbook"):
        with pytest.raises(Conflict, match="already building 'handbook'"):
            build(indexes, handbook)
        assert build(indexes, handbook, name="another").manifest.counts.documents > 0
    assert not build(indexes, handbook).existed


def test_of_builders_at_the_same_time_none_damages_the_version(build: Build, indexes: Path, handbook: Path) -> None:
    outcomes: list[str] = []

    def one() -> None:
        try:
            outcomes.append(build(indexes, handbook).manifest.version)
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    [version] = Catalog(indexes).versions("handbook")
    assert len(outcomes) == 4
    assert set(outcomes) <= {version, "conflict"}
    assert version in outcomes
    folder = Catalog(indexes).version_folder("handbook", version)
    verify_version(folder)
    assert left_behind(indexes) == []


def test_what_a_killed_build_left_is_removed_by_the_next_and_never_listed(build: Build, own_indexes: Path, handbook: Path) -> None:
    catalog = Catalog(own_indexes)
    versions = catalog.versions("handbook")
    for name in (".building-0123abcd", ".building-damaged-0123abcd"):
        shutil.copytree(catalog.version_folder("handbook", versions[0]), catalog.versions_folder("handbook") / name)
    assert catalog.versions("handbook") == versions
    build(own_indexes, handbook)
    assert left_behind(own_indexes) == []


def test_a_build_is_dated_in_utc_and_says_how_long_it_took(build: Build, indexes: Path, handbook: Path) -> None:
    began = time.time()
    built = build(indexes, handbook)
    stored = json.loads(contents(indexes, built)["build.json"])["build"]
    assert stored["built_at"] >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    assert 0 <= stored["duration_s"] <= time.time() - began + 1
    assert built.size_bytes == sum(map(len, contents(indexes, built).values()))
    assert 0 < built.longest_chunk_tokens <= 256


def test_a_process_of_its_own_with_another_hash_seed_builds_the_same_version(
    command: Callable[..., Any], indexes: Path, handbook: Path, build: Build
) -> None:
    expected = build(indexes, handbook).manifest.version
    for seed in ("1", "2"):
        name = f"seed-{seed}"
        outcome = command("index", "build", handbook, "--name", name, "--indexes", indexes, environ={"PYTHONHASHSEED": seed})
        assert outcome.code == 0
        assert Catalog(indexes).versions(name) == [expected]
