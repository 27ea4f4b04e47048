"""The centre of an index, and how far a question is from it."""

import numpy as np
import pytest

from rag_service.centroid import SAMPLED_ROWS, centroid_of, distance
from rag_service.stores.memory import MemoryStore


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def test_the_centre_is_the_direction_of_the_mean() -> None:
    store = MemoryStore(np.stack([unit(1, 0), unit(0, 1)]))
    assert centroid_of(store) == pytest.approx(unit(1, 1))


@pytest.mark.parametrize("rows", [np.empty((0, 2), np.float32), np.stack([unit(1, 0), unit(-1, 0)])], ids=["empty", "opposite"])
def test_there_is_no_centre_where_there_is_no_direction(rows: np.ndarray) -> None:
    assert centroid_of(MemoryStore(rows)) is None


def test_a_large_index_is_sampled_from_its_first_row_to_its_last() -> None:
    read: list[int] = []

    class Watched(MemoryStore):
        def vectors(self, positions: list[int]) -> np.ndarray:
            read.extend(positions)
            return super().vectors(positions)

    vectors = np.random.default_rng(7).normal(size=(5_000, 8)).astype(np.float32) + 1
    store = Watched(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    found = centroid_of(store)
    assert (len(read), read[0], read[-1]) == (SAMPLED_ROWS, 0, 4_999)
    assert found is not None
    exact = unit(*(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0))
    assert float(found @ exact) > 0.99


def test_distance_goes_from_0_for_the_same_direction_to_2_for_the_opposite() -> None:
    assert distance(unit(3, 4), unit(3, 4)) == pytest.approx(0, abs=1e-6)
    assert distance(unit(1, 0), unit(0, 1)) == 1.0
    assert distance(unit(1, 0), unit(-1, 0)) == 2.0
