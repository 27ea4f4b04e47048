"""Chunks by id, of any index version that is still there: what a citation of last month links to."""

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_service.archive import MOST_OPEN, Archive
from rag_service.catalog import Catalog
from rag_service.errors import Damaged, NotFound
from rag_service.filters import Filter, parse_filter
from rag_service.stores.chunks import SqliteChunks
from rag_service.types import ChunkId
from rag_service.wiring.releases import open_chunks


@pytest.fixture
def catalog(own_indexes: Path) -> Catalog:
    return Catalog(own_indexes)


@pytest.fixture
def archive(catalog: Catalog) -> Archive:
    """As a server has it."""
    return Archive(lambda: catalog.versions("handbook")[::-1], lambda version: open_chunks(catalog, "handbook", version))


@pytest.fixture
def build_page(catalog: Catalog, build: Any, tmp_path: Path) -> Callable[[str, str], str]:
    """Builds a version of one page; gives its id."""

    def build_it(name: str, text: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "page.md").write_text(text)
        version: str = build(catalog.root, folder).manifest.version
        return version

    return build_it


def first_chunk(catalog: Catalog, version: str) -> ChunkId:
    return open_chunks(catalog, "handbook", version).chunks([0])[0].id


def only(**conditions: Any) -> Filter | None:
    return parse_filter(conditions)


def damage(catalog: Catalog, version: str) -> None:
    path = catalog.version_folder("handbook", version) / "chunks.sqlite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_chunk_of_an_old_version_still_resolves_after_the_index_was_built_again(
    catalog: Catalog, archive: Archive, build_page: Callable[[str, str], str]
) -> None:
    [old] = catalog.versions("handbook")
    identifier = first_chunk(catalog, old)
    new = build_page("pets", "# Pets\n\nDogs may come on Fridays.\n")
    assert catalog.versions("handbook")[-1] == new
    for version in (old, None):
        chunk, found_in = archive.chunk(identifier, version=version, access=None)
        assert (chunk.id, found_in) == (identifier, old)
    with pytest.raises(NotFound, match=f"in index version {new}"):
        archive.chunk(identifier, version=new, access=None)


def test_without_a_version_the_newest_that_has_the_chunk_gives_it(catalog: Catalog, archive: Archive, build: Any, handbook: Path) -> None:
    [old] = catalog.versions("handbook")
    new = build(catalog.root, handbook, store="hnsw").manifest.version
    assert new != old
    identifier = first_chunk(catalog, old)
    assert archive.chunk(identifier, version=None, access=None)[1] == new
    assert archive.chunk(identifier, version=old, access=None)[1] == old


def test_a_chunk_that_the_key_may_not_see_is_as_if_it_were_not_there(catalog: Catalog, archive: Archive) -> None:
    [version] = catalog.versions("handbook")
    identifier = first_chunk(catalog, version)
    chunk, _ = archive.chunk(identifier, version=version, access=None)
    assert archive.chunk(identifier, version=None, access=only(source=chunk.source))[0] == chunk
    messages = set()
    for asked in (version, None):
        with pytest.raises(NotFound) as refused:
            archive.chunk(identifier, version=asked, access=only(source="other.md"))
        with pytest.raises(NotFound) as missing:
            archive.chunk(ChunkId("nowhere"), version=asked, access=only(source="other.md"))
        messages.add((refused.value.message.replace(identifier, "…"), refused.value.hint))
        assert (missing.value.message.replace("nowhere", "…"), missing.value.hint) in messages


def test_a_damaged_version_hides_no_other_but_is_an_error_when_it_is_named(
    catalog: Catalog, archive: Archive, build_page: Callable[[str, str], str]
) -> None:
    [old] = catalog.versions("handbook")
    identifier = first_chunk(catalog, old)
    newer = build_page("pets", "# Pets\n\nDogs may come on Fridays.\n")
    damage(catalog, newer)
    assert archive.chunk(identifier, version=None, access=None)[1] == old
    with pytest.raises(Damaged, match=r"chunks\.sqlite"):
        archive.chunk(identifier, version=newer, access=None)


@pytest.mark.parametrize("version", ["0123456789ab", "..", "", "x" * 500])
def test_a_version_that_is_not_there_is_not_found(archive: Archive, version: str) -> None:
    with pytest.raises(NotFound):
        archive.chunk(ChunkId("anything"), version=version, access=None)


def test_an_index_without_versions_has_no_chunk(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    archive = Archive(lambda: catalog.versions("handbook"), lambda version: open_chunks(catalog, "handbook", version))
    with pytest.raises(NotFound, match="in the index"):
        archive.chunk(ChunkId("anything"), version=None, access=None)


class Shelf:
    """Many versions, all with the chunks of one; remembers which were opened."""

    def __init__(self, path: Path, versions: Sequence[str]) -> None:
        self._path = path
        self.versions = versions
        self.opened: list[str] = []

    def open(self, version: str) -> SqliteChunks:
        self.opened.append(version)
        return SqliteChunks.open(self._path)


def test_a_table_is_opened_once_and_only_a_few_are_kept_open(catalog: Catalog) -> None:
    [version] = catalog.versions("handbook")
    identifier = first_chunk(catalog, version)
    names = [f"{number:012x}" for number in range(MOST_OPEN + 1)]
    shelf = Shelf(catalog.version_folder("handbook", version) / "chunks.sqlite", names)
    archive = Archive(lambda: shelf.versions, shelf.open)
    for name in (*names[:-1], names[0], names[-1], names[0]):
        assert archive.chunk(identifier, version=name, access=None)[1] == name
    assert shelf.opened == names
    archive.chunk(identifier, version=names[1], access=None)
    assert shelf.opened == [*names, names[1]], "the one that was asked for longest ago had been closed"


def test_only_the_newest_versions_are_looked_through(catalog: Catalog) -> None:
    [version] = catalog.versions("handbook")
    shelf = Shelf(catalog.version_folder("handbook", version) / "chunks.sqlite", [f"{number:012x}" for number in range(50)])
    with pytest.raises(NotFound):
        Archive(lambda: shelf.versions, shelf.open).chunk(ChunkId("nowhere"), version=None, access=None)
    assert shelf.opened == list(shelf.versions[:MOST_OPEN])


def test_a_table_that_is_dropped_is_freed(catalog: Catalog) -> None:
    [version] = catalog.versions("handbook")
    identifier = first_chunk(catalog, version)
    shelf = Shelf(catalog.version_folder("handbook", version) / "chunks.sqlite", [])
    tables: list[weakref.ref[SqliteChunks]] = []

    def open_one(name: str) -> SqliteChunks:
        table = shelf.open(name)
        tables.append(weakref.ref(table))
        return table

    archive = Archive(lambda: (), open_one)
    for number in range(MOST_OPEN + 3):
        archive.chunk(identifier, version=f"{number:012x}", access=None)
    gc.collect()
    assert [table() is not None for table in tables] == [False] * 3 + [True] * MOST_OPEN
