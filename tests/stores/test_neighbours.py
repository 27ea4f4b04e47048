"""Which chunks stand beside each other in a document, by rows that are in another order."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.errors import Damaged
from rag_service.stores.arrays import write_rows
from rag_service.stores.neighbours import FILE, open_neighbours, write_neighbours


def written(folder: Path, places: list[tuple[int, int]]) -> list[list[int]]:
    write_neighbours(folder, iter(places))
    found = open_neighbours(folder, chunks=len(places))
    assert found.shape == (len(places), 2)
    rows: list[list[int]] = found.tolist()
    return rows


def test_a_worked_example_comes_out_as_worked(tmp_path: Path) -> None:
    # Rows 3, 0 and 4 are the first, second and third chunk of document 0; row 2 and row 1 those of document 1; row 5 is all of document 2.
    places = [(0, 1), (1, 1), (1, 0), (0, 0), (0, 2), (2, 0)]
    assert written(tmp_path, places) == [[3, 4], [2, -1], [-1, 1], [-1, 0], [0, -1], [-1, -1]]


def test_an_index_without_chunks_has_no_neighbours(tmp_path: Path) -> None:
    assert written(tmp_path, []) == []


@given(lengths=st.lists(st.integers(1, 5), max_size=8), seed=st.randoms(use_true_random=False))
def test_walking_to_the_next_chunk_reads_each_document_from_its_beginning_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: Random
) -> None:
    places = [(document, ordinal) for document, length in enumerate(lengths) for ordinal in range(length)]
    seed.shuffle(places)
    rows = written(tmp_path_factory.mktemp("walk"), places)
    read = []
    for first, (before, _) in enumerate(rows):
        if before != -1:
            continue
        row, walk = first, [places[first]]
        while (following := rows[row][1]) != -1:
            assert rows[following][0] == row
            row = following
            walk.append(places[row])
        read.append(walk)
    assert sorted(read) == [[(document, ordinal) for ordinal in range(length)] for document, length in enumerate(lengths)]


def test_the_same_places_give_the_same_bytes(tmp_path: Path) -> None:
    places = [(0, 1), (1, 0), (0, 0)]
    write_neighbours(tmp_path, places)
    once = (tmp_path / FILE).read_bytes()
    write_neighbours(tmp_path, places)
    assert (tmp_path / FILE).read_bytes() == once


@pytest.mark.parametrize("chunks", [0, 2, 4])
def test_a_file_of_an_index_of_another_size_is_damaged(tmp_path: Path, chunks: int) -> None:
    write_neighbours(tmp_path, [(0, 0), (0, 1), (0, 2)])
    with pytest.raises(Damaged, match=r"neighbours\.i4 is not of this index"):
        open_neighbours(tmp_path, chunks=chunks)


def test_a_row_that_there_is_not_is_damage(tmp_path: Path) -> None:
    write_rows(tmp_path / FILE, "i4", np.array([[-1, 1], [0, 2]]))
    with pytest.raises(Damaged, match="not of this index"):
        open_neighbours(tmp_path, chunks=2)


@pytest.mark.parametrize("left_bytes", [1, 4, 12, 23])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, left_bytes: int) -> None:
    write_neighbours(tmp_path, [(0, 0), (0, 1), (0, 2)])
    whole = (tmp_path / FILE).read_bytes()
    assert len(whole) == 24
    (tmp_path / FILE).write_bytes(whole[:left_bytes])
    with pytest.raises(Damaged):
        open_neighbours(tmp_path, chunks=3)


def test_a_file_that_is_not_there_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=FILE):
        open_neighbours(tmp_path, chunks=1)
