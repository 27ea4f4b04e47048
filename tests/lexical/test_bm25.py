"""The files of the keyword index: what is in them, and what is refused."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from rag_service.catalog import Catalog
from rag_service.errors import Damaged
from rag_service.lexical.bm25 import FILES, Bm25Index, parameters, write_bm25
from rag_service.settings import load_settings
from rag_service.wiring.releases import open_release

CHUNKS: Sequence[Sequence[str]] = (["ferry", "island"], ["island"], ["bread", "island", "bread"])


def hashed(term: str) -> int:
    return int.from_bytes(blake2b(term.encode(), digest_size=8).digest(), "little")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bm25(tmp_path, CHUNKS)
    return tmp_path


def test_each_file_has_the_type_that_its_name_ends_in(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    terms, columns, starts, chunks, scores = (np.fromfile(folder / name, name.rpartition(".")[2]) for name in FILES)
    by_hash = sorted(("ferry", "island", "bread"), key=hashed)
    assert terms.tolist() == [hashed(term) for term in by_hash]
    assert columns.tolist() == [["ferry", "island", "bread"].index(term) for term in by_hash]  # by first appearance
    assert starts.tolist() == [0, 1, 4, 5]
    assert chunks.tolist() == [0, 0, 1, 2, 2]
    assert (scores > 0).all()


def test_a_vocabulary_that_was_just_written_is_the_one_that_is_opened(tmp_path: Path) -> None:
    asked = ["island", "glacier", "ferry", "bread"]
    columns = write_bm25(tmp_path, CHUNKS).columns(asked)
    assert columns.tolist() == [1, -1, 0, 2]
    assert Bm25Index.open(tmp_path, rows=3).look_up(asked).columns.tolist() == columns.tolist()


def test_the_parameters_name_what_scores_depend_on() -> None:
    assert parameters().keys() == {"k1", "b", "bm25s"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(Damaged, match=name):
        Bm25Index.open(folder, rows=3)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cut_bytes", [1, 8])
def test_a_file_that_was_cut_off_is_damage(folder: Path, name: str, cut_bytes: int) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-cut_bytes])
    with pytest.raises(Damaged) as caught:
        Bm25Index.open(folder, rows=3)
    assert caught.value.hint == "build the index again"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_emptied_is_damage(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(Damaged):
        Bm25Index.open(folder, rows=3)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_index_is_damage(folder: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write_bm25(other, [*CHUNKS, ["summer", "bread"]])
    (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(Damaged, match="do not belong together"):
        Bm25Index.open(folder, rows=3)


@pytest.mark.parametrize(
    ("one", "other"),
    [("lexical.terms.u8", "lexical.starts.i8"), ("lexical.columns.i4", "lexical.chunks.i4"), ("lexical.chunks.i4", "lexical.starts.i8")],
)
def test_files_that_changed_places_are_damage(folder: Path, one: str, other: str) -> None:
    swap(folder, one, other)
    with pytest.raises(Damaged):
        Bm25Index.open(folder, rows=3)


def test_files_of_one_size_that_changed_places_are_found_by_their_digests(own_indexes: Path) -> None:
    catalog = Catalog(own_indexes)
    release = catalog.release("handbook", catalog.active_id("handbook"))
    folder = catalog.version_folder("handbook", release.index.version)
    swap(folder, "lexical.chunks.i4", "lexical.scores.f4")
    with pytest.raises(Damaged, match=r"lexical\.(chunks|scores)"):
        open_release(load_settings({}, indexes=own_indexes, name="handbook"), catalog, "handbook", release)


def swap(folder: Path, one: str, other: str) -> None:
    (folder / one).rename(folder / "between")
    (folder / other).rename(folder / one)
    (folder / "between").rename(folder / other)
