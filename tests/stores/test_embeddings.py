"""Kept vectors: what is found is what was added, bit for bit; whatever else happens, a build goes on without them."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag_service.stores.embeddings import Embeddings
from rag_service.types import Matrix

DIMENSION = 8
TEXTS = [f"text {number} – é" for number in range(300)]


def vectors(count: int, seed: int = 7) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


VECTORS = vectors(len(TEXTS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "embeddings" / "0123456789ab.sqlite"


def filled(path: Path) -> Path:
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        kept.add(TEXTS, VECTORS)
    return path


def found(path: Path, texts: list[str] = TEXTS) -> list[bytes | None]:
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        return [vector.tobytes() if vector is not None else None for vector in kept.vectors(texts)]


ALL = [vector.tobytes() for vector in VECTORS]


def test_what_was_added_is_found_in_order_and_to_the_last_bit(path: Path) -> None:
    filled(path)
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        got = kept.vectors([TEXTS[5], "never seen", TEXTS[0], TEXTS[5]])
        assert [vector is None for vector in got] == [False, True, False, False]
        assert got[2] is not None
        assert got[2].tobytes() == VECTORS[0].tobytes()
        assert got[2].dtype == np.float32
        assert (kept.found, kept.added) == (3, 0)


def test_texts_that_differ_in_one_character_have_vectors_of_their_own(path: Path) -> None:
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        kept.add(["a", "a ", "A"], vectors(3))
    assert found(path, ["a ", "a", "A", "a  "]) == [vectors(3)[1].tobytes(), vectors(3)[0].tobytes(), vectors(3)[2].tobytes(), None]


def test_without_a_file_nothing_is_found_and_what_was_embedded_is_counted() -> None:
    with Embeddings.open(None, dimension=DIMENSION) as kept:
        kept.add(TEXTS, VECTORS)
        assert kept.vectors(TEXTS[:2]) == [None, None]
        assert kept.drop_unused(TEXTS, 1) == 0
        assert (kept.found, kept.added) == (0, 300)


ROW_DAMAGES = {
    "a bit of the vector": "UPDATE vectors SET vector = cast(x'00' || substr(vector, 2) AS BLOB)",
    "a shorter vector": "UPDATE vectors SET vector = substr(vector, 1, 8)",
    "an empty vector": "UPDATE vectors SET vector = x''",
    "the digest": "UPDATE vectors SET digest = zeroblob(16)",
    "another row's vector": "UPDATE vectors SET vector = (SELECT vector FROM vectors v WHERE v.key <> vectors.key), "
    "digest = (SELECT digest FROM vectors v WHERE v.key <> vectors.key)",
}


@pytest.mark.parametrize("damage", ROW_DAMAGES)
def test_a_damaged_row_is_not_found_and_is_repaired_by_adding_it_again(path: Path, damage: str) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(ROW_DAMAGES[damage] + " WHERE rowid = 3")
    connection.close()
    got = found(path)
    assert [number for number, vector in enumerate(got) if vector is None] == [2]
    assert got[3:] == ALL[3:]
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        kept.add(TEXTS[2:3], VECTORS[2:3])
    assert found(path) == ALL


def test_vectors_of_another_dimension_are_not_found(path: Path) -> None:
    filled(path)
    with Embeddings.open(path, dimension=DIMENSION + 1) as kept:
        assert kept.vectors(TEXTS[:3]) == [None] * 3


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


FILE_DAMAGES: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"this is no database at all" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a page of the tree": lambda path: overwrite(path, 2 * 4096, b"\xff" * 4096),
    "every page but the first": lambda path: overwrite(path, 4096, b"\xaa" * (path.stat().st_size - 4096)),
    "another schema": lambda path: (path.unlink(), sqlite3.connect(path).executescript("CREATE TABLE vectors (x)").close()),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", FILE_DAMAGES)
def test_a_damaged_file_never_gives_another_vector_and_the_build_after_the_next_finds_all_again(path: Path, damage: str) -> None:
    filled(path)
    FILE_DAMAGES[damage](path)
    for _ in range(3):
        with Embeddings.open(path, dimension=DIMENSION) as kept:
            got = kept.vectors(TEXTS)
            for vector, right in zip(got, ALL, strict=True):
                assert vector is None or vector.tobytes() == right
            missing = [number for number, vector in enumerate(got) if vector is None]
            kept.add([TEXTS[number] for number in missing], VECTORS[missing])
            kept.drop_unused(TEXTS, len(TEXTS))
    if damage not in {"a folder", "another schema"}:  # which no damage makes, and which are not for a build to remove
        assert found(path) == ALL


def test_what_is_not_used_is_dropped_once_it_is_more_than_what_is(path: Path) -> None:
    filled(path)
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        assert kept.drop_unused(TEXTS[:150], 150) == 0
        assert kept.drop_unused(TEXTS[:149], 149) == 151
    assert found(path) == [*ALL[:149], *[None] * 151]


FILLS = """
import sys
from pathlib import Path
from rag_service.stores.embeddings import Embeddings
from tests.stores.test_embeddings import DIMENSION, vectors
with Embeddings.open(Path(sys.argv[1]), dimension=DIMENSION) as kept:
    for start in range(0, 3000, 100):
        kept.add([f"text {number} – é" for number in range(start, start + 100)], vectors(100, seed=start))
    print("filled", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_build_had_embedded_is_there_for_the_next(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", FILLS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "filled\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    got = found(path, [f"text {number} – é" for number in range(3000)])
    kept = [number for number, vector in enumerate(got) if vector is not None]
    assert len(kept) >= 3000 - 1024
    assert kept == list(range(len(kept)))
    for number in kept:
        assert got[number] == vectors(100, seed=number // 100 * 100)[number % 100].tobytes()


def test_a_full_disk_ends_the_keeping_and_not_the_build(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "embeddings" / "0123456789ab.sqlite"
    rows = np.ones((2000, 384), np.float32)
    with Embeddings.open(path, dimension=384) as kept:
        for start in range(0, 10_000, 2000):
            kept.add([f"text {number}" for number in range(start, start + 2000)], rows)
        assert kept.added == 10_000
        assert kept.vectors(["text 0"]) == [None]
    assert [record.getMessage() for record in caplog.records] == ["embeddings are not kept any more: database or disk is full"]
    with Embeddings.open(path, dimension=384) as kept:
        kept.vectors([f"text {number}" for number in range(200)])  # and what is left can be opened


def test_a_folder_that_cannot_be_written_is_done_without(read_only: Callable[[Path], Path], path: Path) -> None:
    path.parent.mkdir()
    read_only(path.parent)
    with Embeddings.open(path, dimension=DIMENSION) as kept:
        kept.add(TEXTS, VECTORS)
        assert kept.vectors(TEXTS[:2]) == [None, None]
    assert list(path.parent.iterdir()) == []
