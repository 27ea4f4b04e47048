import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag_service.errors import Damaged, Mismatch
from rag_service.manifest import ROWS_FILE, VECTORS_FILE
from rag_service.stores.faiss import EXACT_ROWS, FaissStore, Kind, build_parameters, kind_for, open_store, write_store
from rag_service.stores.selections import selection_of

KINDS = pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
WriteRows = Callable[[Kind], bytes]
"""Writes 300 rows into a folder of that name, and gives what is in its index file."""


@pytest.fixture
def written(tmp_path: Path) -> WriteRows:
    def write(kind: Kind) -> bytes:
        rows = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)
        folder = tmp_path / kind
        folder.mkdir()
        write_store(folder, [rows / np.linalg.norm(rows, axis=1, keepdims=True)], dimension=8, kind=kind)
        return (folder / VECTORS_FILE).read_bytes()

    return write


def test_auto_means_exact_up_to_a_hundred_thousand_rows_and_lists_above() -> None:
    assert kind_for(0, "auto") == kind_for(EXACT_ROWS, "auto") == "flat"
    assert kind_for(EXACT_ROWS + 1, "auto") == "ivf"
    assert kind_for(1, "hnsw") == "hnsw"
    assert kind_for(10**7, "flat") == "flat"


def test_what_decides_the_result_is_recorded() -> None:
    assert build_parameters("flat", 1000) == {}
    assert build_parameters("ivf", 10**6) == {"lists": 4096, "probed_lists": 64, "bits": 8}
    assert build_parameters("ivf", 20) == {"lists": 1, "probed_lists": 64, "bits": 8}
    assert build_parameters("hnsw", 1000) == {"links": 32, "ef_construction": 200, "ef_search": 128}


@KINDS
def test_a_file_cut_anywhere_is_damaged(tmp_path: Path, written: WriteRows, kind: Kind) -> None:
    whole = written(kind)
    path = tmp_path / kind / VECTORS_FILE
    for length in (0, 1, 3, 4, 20, 45, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged, match=r"vectors\.faiss"):
            open_store(tmp_path / kind, kind)


def test_lists_and_rows_that_do_not_belong_together_are_damaged(tmp_path: Path, written: WriteRows) -> None:
    written("ivf")
    path = tmp_path / "ivf" / ROWS_FILE
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[:-32], whole + whole[:32]):
        path.write_bytes(content)
        with pytest.raises(Damaged, match=r"vectors\.f32"):
            open_store(tmp_path / "ivf", "ivf")
    path.unlink()
    with pytest.raises(Damaged, match=r"vectors\.f32"):
        open_store(tmp_path / "ivf", "ivf")


@pytest.mark.parametrize("content", [b"not an index", b"\x00" * 1000, b"\xff" * 1000, b"IxFI" + b"\xff" * 1000])
def test_a_file_of_something_else_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.faiss"
    path.write_bytes(content)
    with pytest.raises(Damaged):
        FaissStore.open(path)


def test_a_file_that_is_not_there_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        FaissStore.open(tmp_path / "missing.faiss")


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from rag_service.errors import StorageFailed
from rag_service.stores.faiss import write_store
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rows = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)
try:
    write_store(Path(sys.argv[1]), [rows], dimension=8, kind=sys.argv[2])
except StorageFailed:
    print("refused")
"""


@KINDS
def test_a_disk_that_is_full_at_the_very_last_byte_is_noticed(tmp_path: Path, written: WriteRows, kind: Kind) -> None:
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), kind, str(len(written(kind)) - 1)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "refused\n"


@KINDS
def test_a_selection_of_rows_that_the_store_does_not_have_is_refused(tmp_path: Path, written: WriteRows, kind: Kind) -> None:
    written(kind)
    store, query = open_store(tmp_path / kind, kind), np.full(8, 8**-0.5, np.float32)
    assert len(store.search(query, 5, selection_of(np.ones(300, np.bool_), documents=1))[0]) == 5
    with pytest.raises(Mismatch, match="row 300 of 300"):
        store.search(query, 5, selection_of(np.ones(301, np.bool_), documents=1))
