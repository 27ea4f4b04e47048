"""Two versions of an index: what was set otherwise, and what is in them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.errors import Damaged, NotFound
from rag_service.version_difference import version_difference

Build = Callable[..., Built]


@pytest.fixture
def catalog(own_indexes: Path) -> Catalog:
    return Catalog(own_indexes)


@pytest.fixture
def first(catalog: Catalog) -> str:
    return catalog.versions("handbook")[0]


def test_versions_of_other_documents_with_the_same_settings_differ_in_content_alone(
    catalog: Catalog, first: str, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "leave.md").write_text("# Leave\n\nEvery employee has 30 days of paid holiday a year.\n")
    second = build(catalog.root, tmp_path / "leave.md").manifest.version
    found = version_difference(catalog, "handbook", first, second, listed=10)
    assert found.settings == ()
    assert found.content.changed_ids == ("leave.md",)
    assert (found.content.added, found.content.changed, found.content.removed, found.content.same) == (0, 1, 5, 0)
    assert {"travel.md", "security/passwords.md", "visitors.txt"} < set(found.content.removed_ids)
    assert (found.a.version, found.b.version) == (first, second)


def test_versions_of_the_same_documents_with_other_settings_name_the_settings(
    catalog: Catalog, first: str, build: Build, handbook: Path
) -> None:
    second = build(catalog.root, handbook, chunk_tokens=64, store="hnsw").manifest.version
    found = version_difference(catalog, "handbook", first, second, listed=10)
    named = {field.name: (field.a, field.b) for field in found.settings}
    assert named["chunker.parameters.max_tokens"] == (192, 64)
    assert named["store.kind"] == ("flat", "hnsw")
    assert not any(name.startswith(("encoder", "loader", "files", "counts")) for name in named)
    assert (found.content.added, found.content.changed, found.content.removed) == (0, 0, 0)


def test_a_version_differs_in_nothing_from_itself(catalog: Catalog, first: str) -> None:
    found = version_difference(catalog, "handbook", first, first, listed=10)
    assert found.settings == ()
    assert found.content.nothing


def test_a_version_that_is_not_there_or_damaged_is_an_error(catalog: Catalog, first: str) -> None:
    with pytest.raises(NotFound, match="0123456789ab"):
        version_difference(catalog, "handbook", first, "0123456789ab", listed=10)
    (catalog.version_folder("handbook", first) / "chunks.sqlite").write_bytes(b"no table")
    with pytest.raises(Damaged):
        version_difference(catalog, "handbook", first, first, listed=10)
