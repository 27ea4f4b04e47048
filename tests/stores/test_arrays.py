"""Rows of numbers in raw files: what was written comes back, and nothing else is taken for it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rag_service.errors import Damaged
from rag_service.stores.arrays import RowWriter, map_rows, write_rows

KINDS = ("i1", "i4", "u4", "i8", "u8", "f4")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_come_back_as_they_were_written(tmp_path: Path, kind: str) -> None:
    numbers = np.array([0, 1, 100, 7], kind)
    write_rows(tmp_path / "rows", kind, numbers)
    found = map_rows(tmp_path / "rows", kind)
    assert found.dtype == np.dtype(kind)
    assert found.tolist() == [0, 1, 100, 7]


def test_bytes_are_little_endian_whatever_they_came_as(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", "i4", np.array([1, -2], ">i4"))
    assert (tmp_path / "rows").read_bytes() == b"\x01\0\0\0\xfe\xff\xff\xff"


def test_rows_come_back_with_their_columns(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", "u4", [[1, 2, 3], [4, 5, 6]])
    assert map_rows(tmp_path / "rows", "u4", columns=3).tolist() == [[1, 2, 3], [4, 5, 6]]


@given(
    blocks=st.lists(arrays(np.int32, array_shapes(min_dims=1, max_dims=1, min_side=0, max_side=9)), max_size=6),
)
def test_it_does_not_matter_in_which_pieces_rows_are_added(tmp_path_factory: pytest.TempPathFactory, blocks: list[np.ndarray]) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    with RowWriter(folder / "pieces", "i4") as file:
        counted = [file.rows]
        for block in blocks:
            file.add(block)
            counted.append(file.rows)
    whole = [number for block in blocks for number in block.tolist()]
    write_rows(folder / "whole", "i4", whole)
    assert counted == [sum(map(len, blocks[:number])) for number in range(len(blocks) + 1)]
    assert (folder / "pieces").read_bytes() == (folder / "whole").read_bytes()
    assert map_rows(folder / "pieces", "i4").tolist() == whole


@pytest.mark.parametrize(("columns", "shape"), [(0, (0,)), (5, (0, 5))])
def test_a_file_without_rows_is_an_array_without_rows(tmp_path: Path, columns: int, shape: tuple[int, ...]) -> None:
    write_rows(tmp_path / "rows", "f4", np.empty(shape))
    assert (tmp_path / "rows").read_bytes() == b""
    found = map_rows(tmp_path / "rows", "f4", columns=columns)
    assert found.shape == shape
    assert found.dtype == np.float32


def test_what_is_mapped_cannot_be_changed(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", "i4", [1, 2])
    found = map_rows(tmp_path / "rows", "i4")
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 9
    assert (tmp_path / "rows").read_bytes() == b"\x01\0\0\0\x02\0\0\0"


def test_a_look_up_gives_a_plain_array(tmp_path: Path) -> None:
    """Each slice of a `memmap` is one again, and slower."""
    write_rows(tmp_path / "rows", "i4", [[1, 2], [3, 4]])
    found = map_rows(tmp_path / "rows", "i4", columns=2)
    assert type(found) is type(found[1:]) is np.ndarray


@pytest.mark.parametrize(
    ("size_bytes", "kind", "columns"),
    [(3, "i4", 0), (7, "f4", 0), (9, "i8", 0), (12, "i4", 2), (5, "i1", 3)],
)
def test_a_file_that_was_cut_off_within_a_row_is_damaged(tmp_path: Path, size_bytes: int, kind: str, columns: int) -> None:
    (tmp_path / "rows.i4").write_bytes(b"\0" * size_bytes)
    with pytest.raises(Damaged, match=r"rows\.i4 does not hold what it should") as caught:
        map_rows(tmp_path / "rows.i4", kind, columns=columns)
    assert caught.value.hint == "build the index again"


def test_a_file_that_is_not_there_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="missing"):
        map_rows(tmp_path / "missing", "i4")


def test_a_folder_in_place_of_a_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    with pytest.raises(Damaged, match="rows"):
        map_rows(tmp_path / "rows", "i4")


def test_a_full_disk_is_not_taken_for_success(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_rows(small_disk / "rows", "i8", np.zeros(200_000))
