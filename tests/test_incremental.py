"""Building again: only what changed is embedded, and the version is the same as if everything had been."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import Conflict
from rag_service.ports import Embedder
from rag_service.relevance import UNRELATED
from rag_service.types import Matrix
from rag_service.wiring import building

Build = Callable[..., Built]
Cli = Callable[..., Any]

CHUNKS = SENTENCES = 36
EVERYTHING = CHUNKS + SENTENCES + len(UNRELATED)
"""Texts that a build of `pages` from nothing embeds."""


class Counts:
    """The real encoder, and the texts that it was given. With `digest` it passes for another one."""

    def __init__(self, inner: Embedder, digest: str | None = None) -> None:
        self._inner = inner
        self.digest = digest or inner.digest
        self.texts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        self.texts += texts
        return self._inner.embed_passages(texts)


@pytest.fixture
def counting(embedder: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch) -> Counts:
    counting = Counts(embedder)
    monkeypatch.setattr(building, "embedder_to_build_with", lambda *_: counting)
    return counting


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Twelve pages of three chunks each, of one sentence each."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(12):
        write_page(folder, number)
    return folder


def write_page(folder: Path, number: int, **changed: str) -> None:
    parts = {part: f"Page {number} says of {part} that it is number {number * 7}." for part in ("one", "two", "three")} | changed
    sections = (f"## {name}\n\n{text}\n\n" for name, text in parts.items())
    (folder / f"page{number:02}.md").write_text(f"# Page {number}\n\n" + "".join(sections))


def files(root: Path, built: Built) -> dict[str, bytes]:
    folder = Catalog(root).version_folder("handbook", built.manifest.version)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "build.json"}


def test_a_change_of_one_section_embeds_one_chunk_and_its_sentence(build: Build, indexes: Path, pages: Path, counting: Counts) -> None:
    first = build(indexes, pages)
    assert (first.embedded, first.reused, first.before, first.difference) == (CHUNKS, 0, None, None)
    assert first.manifest.counts.sentences == SENTENCES
    assert len(counting.texts) == len(set(counting.texts)) == EVERYTHING
    counting.texts.clear()
    write_page(pages, 4, two="Page 4 says something else now.")
    second = build(indexes, pages)
    chunk, sentence = counting.texts
    assert chunk.endswith("## two\n\nPage 4 says something else now.")
    assert sentence == "Page 4 says something else now."
    assert (second.embedded, second.reused) == (1, 35)
    assert not second.existed
    assert second.before == first.manifest.version
    assert Catalog(indexes).versions("handbook") == [first.manifest.version, second.manifest.version]
    assert second.difference is not None
    assert (second.difference.changed, second.difference.changed_ids) == (1, ("page04.md",))
    assert (second.difference.chunks_added, second.difference.chunks_removed, second.difference.chunks_same) == (1, 1, 35)


def test_what_came_went_and_changed_is_told(build: Build, indexes: Path, pages: Path, counting: Counts) -> None:
    build(indexes, pages)
    (pages / "page03.md").unlink()
    (pages / "page05.md").unlink()
    write_page(pages, 12)
    write_page(pages, 0, one="Other.", three="Others.")
    counting.texts.clear()
    difference = build(indexes, pages).difference
    sentences = {f"Page 12 says of {part} that it is number 84." for part in ("one", "two", "three")}
    assert {text for text in counting.texts if "#" not in text} == sentences  # `Other.` and `Others.` say too little to be compared
    assert len(counting.texts) == 5 + len(sentences)
    assert difference is not None
    assert difference.added_ids == ("page12.md",)
    assert difference.changed_ids == ("page00.md",)
    assert difference.removed_ids == ("page03.md", "page05.md")
    assert (difference.added, difference.changed, difference.removed, difference.same) == (1, 1, 2, 9)
    assert (difference.chunks_added, difference.chunks_removed, difference.chunks_same) == (3 + 2, 6 + 2, 36 - 8)


@pytest.mark.parametrize("store", ["flat", "hnsw"])
def test_after_any_edits_the_version_is_the_same_bytes_as_a_build_from_nothing(
    build: Build, indexes: Path, encoder_folder: Path, pages: Path, tmp_path: Path, store: str
) -> None:
    dice = random.Random(store)
    for step in range(6):
        for _ in range(dice.randint(1, 4)):
            match dice.choice(["change", "remove", "add", "move"]):
                case "change":
                    write_page(pages, dice.randrange(12), two=f"Changed in step {step} to {dice.random()}.")
                case "remove":
                    (pages / f"page{dice.randrange(12):02}.md").unlink(missing_ok=True)
                case "add":
                    write_page(pages, dice.randrange(12, 40))
                case "move":
                    path = dice.choice(sorted(pages.glob("*.md")))
                    path.rename(path.with_stem(f"{path.stem}-{step}"))
        fresh = tmp_path / f"fresh{step}"
        fresh.mkdir()
        (fresh / "encoders").symlink_to(encoder_folder.parent)
        incremental, full = build(indexes, pages, store=store), build(fresh, pages, store=store)
        assert full.reused == 0
        assert step == 0 or incremental.reused > 0
        assert files(indexes, incremental) == files(fresh, full)


def test_going_back_to_earlier_documents_embeds_nothing_and_gives_the_earlier_version(
    build: Build, indexes: Path, pages: Path, counting: Counts
) -> None:
    first = build(indexes, pages)
    write_page(pages, 4, two="Page 4 says something else now.")
    second = build(indexes, pages)
    write_page(pages, 4)
    counting.texts.clear()
    third = build(indexes, pages)
    assert counting.texts == []
    assert third.existed
    assert third.manifest.version == first.manifest.version
    assert third.before == second.manifest.version
    assert third.difference is not None
    assert third.difference.changed == 1


def test_another_chunk_size_embeds_only_what_is_cut_otherwise(build: Build, indexes: Path, pages: Path, counting: Counts) -> None:
    first = build(indexes, pages, chunk_tokens=128)
    counting.texts.clear()
    second = build(indexes, pages, chunk_tokens=127)
    assert second.manifest.version != first.manifest.version
    assert counting.texts == []
    third = build(indexes, pages, chunk_tokens=127, chunk_context="none")
    assert third.embedded == len(counting.texts) == CHUNKS  # the sentences are the same


def test_another_encoder_uses_nothing_that_this_one_made(build: Build, indexes: Path, pages: Path, counting: Counts) -> None:
    build(indexes, pages)
    counting.digest = "sha256:" + "9" * 64
    counting.texts.clear()
    assert build(indexes, pages).reused == 0
    assert len(counting.texts) == EVERYTHING


def test_a_build_where_nothing_changed_makes_nothing(build: Build, indexes: Path, pages: Path, counting: Counts) -> None:
    first = build(indexes, pages)
    before = {path: path.stat().st_mtime_ns for path in (indexes / "handbook" / "versions").rglob("*") if path.is_file()}
    counting.texts.clear()
    second = build(indexes, pages)
    assert second.existed
    assert counting.texts == []
    assert second.difference is not None
    assert second.difference.nothing
    assert second.facts == first.facts
    assert {path: path.stat().st_mtime_ns for path in (indexes / "handbook" / "versions").rglob("*") if path.is_file()} == before


def test_without_keeping_every_build_embeds_everything_and_leaves_no_file(
    build: Build, indexes: Path, pages: Path, counting: Counts
) -> None:
    for _ in range(2):
        assert build(indexes, pages, keep_embeddings=False).embedded == CHUNKS
    assert len(counting.texts) == 2 * EVERYTHING
    assert not (indexes / "handbook" / "embeddings").exists()


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_damaged_or_missing_kept_vectors_change_no_byte_of_the_version(
    build: Build, indexes: Path, pages: Path, counting: Counts, damage: bytes | None
) -> None:
    first = build(indexes, pages)
    expected = files(indexes, first)
    [kept] = (indexes / "handbook" / "embeddings").glob("*.sqlite")
    if damage is None:
        kept.unlink()
    else:
        kept.write_bytes(damage)
    (indexes / "handbook" / "versions" / first.manifest.version / "vectors.faiss").unlink()  # so that it is made again
    again = build(indexes, pages)
    assert len(counting.texts) == 2 * EVERYTHING
    assert files(indexes, again) == expected
    assert build(indexes, pages).reused == 36, "and they are kept again"


def test_kept_vectors_that_somebody_altered_are_noticed(build: Build, indexes: Path, pages: Path, counting: Counts) -> None:

    first = build(indexes, pages)
    expected = files(indexes, first)
    [kept] = (indexes / "handbook" / "embeddings").glob("*.sqlite")
    connection = sqlite3.connect(kept)
    connection.execute("UPDATE vectors SET vector = zeroblob(length(vector))")
    connection.commit()
    connection.close()
    (indexes / "handbook" / "versions" / first.manifest.version / "vectors.faiss").unlink()
    assert build(indexes, pages).reused == 0
    assert files(indexes, first) == expected
    assert counting.texts


def test_a_source_that_vanishes_during_the_build_ends_it_and_what_was_served_is_still_served(
    cli: Cli, own_indexes: Path, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in (own_indexes / "handbook" / "versions").rglob("*") if path.is_file()}
    chosen = building.embedder_to_build_with

    def then_gone(*arguments: Any) -> Embedder:  # after the files were found, before they are read
        (pages / "page07.md").unlink()
        return chosen(*arguments)

    monkeypatch.setattr(building, "embedder_to_build_with", then_gone)
    outcome = cli("index", "build", pages, "--name", "handbook", "--activate", "--indexes", own_indexes)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error page07.md has vanished while the documents were read\n")
    assert {path: path.read_bytes() for path in (own_indexes / "handbook" / "versions").rglob("*") if path.is_file()} == before


def test_a_source_that_is_written_during_the_build_ends_it(
    build: Build, own_indexes: Path, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = Catalog(own_indexes).versions("handbook")
    read = os.fstat
    sizes = iter(range(1, 1000))

    def growing(descriptor: int) -> os.stat_result:
        with (pages / "page07.md").open("a") as file:
            file.write(f"and more {next(sizes)}\n")
        return read(descriptor)

    monkeypatch.setattr("rag_service.loading.source.os.fstat", growing)
    with pytest.raises(Conflict, match=r"^page07\.md is being written"):
        build(own_indexes, pages)
    assert Catalog(own_indexes).versions("handbook") == versions
    assert [path.name for path in Catalog(own_indexes).versions_folder("handbook").glob(".*")] == []


def test_building_tells_what_was_reused_and_what_changed(cli: Cli, indexes: Path, pages: Path) -> None:
    here = ["index", "build", pages, "--name", "handbook", "--indexes", indexes]
    assert "embedded 36 chunks\n" in cli(*here).out
    [first] = Catalog(indexes).versions("handbook")
    write_page(pages, 12)
    (pages / "page01.md").unlink()
    said = cli(*here).out
    assert "embedded 3 chunks, reused 33" in said
    assert f"since version {first}: documents 1 added, 0 changed, 1 removed, 11 as they were · chunks 3 new, 3 gone, 33 kept" in said
    said = cli(*here).out
    assert "nothing has changed: this is version" in said
    assert "embedded 0 chunks, reused 36" in said
    assert len(Catalog(indexes).versions("handbook")) == 2


def test_watching_builds_and_serves_what_changes_until_ctrl_c(start: Cli, indexes: Path, pages: Path) -> None:
    process = start("index", "build", pages, "--name", "handbook", "--activate", "--watch", "--indexes", indexes)
    catalog = Catalog(indexes)

    def await_served(count: int, within_s: float = 40.0) -> None:
        deadline_s = time.monotonic() + within_s
        while len(catalog.history("handbook").transitions) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s, "nothing was built"
            time.sleep(0.05)

    await_served(1)
    for line in process.stderr:
        if line.startswith("watching "):
            break
    time.sleep(0.5)  # it says so before it does
    write_page(pages, 3, one="Bears may come to the office on Mondays.")
    await_served(2)
    (pages / "page03.md").unlink()
    await_served(3)
    assert [one.why for one in catalog.history("handbook").transitions] == ["", "the documents changed", "the documents changed"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "no longer watched; what was served is still served" in err
    assert out.count("built version") == 3
