"""Stores at 100,000 and a million chunks: time, memory and files of a build; time of a search, and recall@10 against exact search.

Vectors are made to lie as those of texts do: 200 subjects with 20,000 of their own each, of very unequal size, noise whose variance falls
off as 1/n over the dimensions, unit length. The best of a hundred thousand has a cosine of about 0.67 with a question, the tenth 0.59, and
any other 0. Each store is built in a process of its own, so that its memory is its own.

    python -m benchmarks scale            100,000 rows; takes five minutes
    python -m benchmarks scale-million    a million; takes an hour, 4 GB of memory and 8 GB of disk
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.inputs import PROJECT
from rag_service.ports import VectorStore
from rag_service.ranking import ordered
from rag_service.stores.faiss import open_store, write_store
from rag_service.types import Matrix, Positions, Selection, Vector

DIMENSION, QUERIES, K = 384, 200, 10
KINDS = ("flat", "sq8", "hnsw", "hnsw_sq8", "ivf")
_AT_ONCE = 20_000
_SUBJECTS, _SUBSUBJECTS = 200, 20_000


def run() -> None:
    _measure(100_000)


def run_million() -> None:
    _measure(1_000_000)


def _measure(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = _Source(rows)
        path = Path(folder) / "rows.f32"
        with path.open("wb") as file:
            for block in source.blocks():
                block.tofile(file)
        truth = _truth(path, source.queries())
        np.save(Path(folder) / "truth.npy", truth)
        print(f"{rows:,} rows × {DIMENSION}, {QUERIES} questions", flush=True)
        print(f"{'store':<9}{'built CPU-s':>12}{'peak MiB':>10}{'files MB':>10}{'p50 ms':>9}{'p95 ms':>9}{'recall@10':>11}", flush=True)
        for kind in KINDS:
            command = [sys.executable, "-m", "benchmarks.scale", folder, str(rows), kind]
            made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
            found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
            print(
                f"{kind:<9}{found['build_s']:>12.1f}{found['peak_mib']:>10,.0f}{found['size_mb']:>10,.0f}{found['p50_ms']:>9.2f}"
                f"{found['p95_ms']:>9.2f}{found['recall']:>11.4f}",
                flush=True,
            )


class _Source:
    """Rows and questions, the same each time."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        random = np.random.default_rng(7)
        spectrum = np.arange(1, DIMENSION + 1) ** -0.5
        self._spectrum = (spectrum / np.sqrt((spectrum**2).mean())).astype(np.float32)
        self._subjects = random.standard_normal((_SUBJECTS, DIMENSION)).astype(np.float32) * self._spectrum
        self._subsubjects = random.standard_normal((_SUBSUBJECTS, DIMENSION)).astype(np.float32) * self._spectrum
        sizes = random.pareto(1.5, _SUBSUBJECTS) + 0.1
        self._share = sizes / sizes.sum()
        self._of = random.integers(0, _SUBJECTS, _SUBSUBJECTS)

    def blocks(self) -> Iterator[Matrix]:
        for start in range(0, self._rows, _AT_ONCE):
            yield self._made(min(_AT_ONCE, self._rows - start), seed=100 + start)

    def queries(self) -> Matrix:
        return self._made(QUERIES, seed=1)

    def _made(self, count: int, *, seed: int) -> Matrix:
        random = np.random.default_rng(seed)
        chosen = random.choice(_SUBSUBJECTS, count, p=self._share)
        noise = random.standard_normal((count, DIMENSION)).astype(np.float32) * self._spectrum
        points = 0.8 * self._subjects[self._of[chosen]] + 0.6 * self._subsubjects[chosen] + 0.95 * noise
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def _blocks_of(path: Path) -> Iterator[Matrix]:
    rows = np.memmap(path, "<f4", "r").reshape(-1, DIMENSION)
    for start in range(0, len(rows), _AT_ONCE):
        yield np.array(rows[start : start + _AT_ONCE])


def _truth(path: Path, queries: Matrix) -> Positions:
    """The ten best rows of each question, by comparing all."""
    best_scores, best_rows, start = np.empty((QUERIES, 0), np.float32), np.empty((QUERIES, 0), np.int64), 0
    for block in _blocks_of(path):
        scores = np.hstack([best_scores, queries @ block.T])
        rows = np.hstack([best_rows, np.broadcast_to(np.arange(start, start + len(block)), (QUERIES, len(block)))])
        kept = np.argpartition(-scores, K, axis=1)[:, :K]
        best_scores, best_rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1)
        start += len(block)
    return best_rows


class _Quantised:
    """A byte a dimension, and the best scored anew from the rows as they are: what this package does not offer by itself."""

    def __init__(self, index: Any, rows: Matrix) -> None:
        self._index = index
        self._rows = rows

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        assert within is None
        _, found = self._index.search(query.reshape(1, -1), 4 * (k + 16))
        positions = np.sort(found[0])
        positions, scores = ordered(positions, np.asarray(self._rows[positions] @ query, np.float32))
        return positions[:k], scores[:k]


class _Memory:
    """The most memory of its own that this process has had so far; pages of mapped files, which others share, do not count."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            self.peak_mib = max(self.peak_mib, int(status.partition("RssAnon:")[2].split()[0]) / 1024)
            time.sleep(0.05)


def _built(folder: Path, source: Path, kind: str) -> tuple["VectorStore | _Quantised", float]:
    """And how many CPU-seconds it took."""
    faiss.omp_set_num_threads(1)
    made = folder / kind
    made.mkdir()
    began_s = time.process_time()
    if kind in ("flat", "hnsw", "ivf"):
        write_store(made, _blocks_of(source), dimension=DIMENSION, kind=kind)  # type: ignore[arg-type]  # one of them
        built_s = time.process_time() - began_s
        return open_store(made, kind), built_s  # type: ignore[arg-type]
    quantiser = faiss.ScalarQuantizer.QT_8bit
    if kind == "sq8":
        index: Any = faiss.IndexScalarQuantizer(DIMENSION, quantiser, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexHNSWSQ(DIMENSION, quantiser, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
    index.train(next(_blocks_of(source)))
    for block in _blocks_of(source):
        index.add(block)
    faiss.write_index(index, str(made / "index"))
    built_s = time.process_time() - began_s
    rows = np.memmap(source, "<f4", "r").reshape(-1, DIMENSION)
    return _Quantised(index, rows), built_s


def _one(folder: Path, rows: int, kind: str) -> None:
    """In a process of its own: builds, searches, prints what it found as JSON."""
    memory = _Memory()
    store, build_s = _built(folder, folder / "rows.f32", kind)
    peak_mib = memory.peak_mib
    truth, took_ms, recalled = np.load(folder / "truth.npy"), [], 0
    queries = _Source(rows).queries()
    for query in queries:
        store.search(query, K)  # what is mapped has been looked at once
    for query, best in zip(queries, truth, strict=True):
        began_s = time.process_time()
        found = store.search(query, K)[0]
        took_ms.append((time.process_time() - began_s) * 1000)
        recalled += len(np.intersect1d(found, best))
    p50_ms, p95_ms = np.percentile(took_ms, [50, 95])
    size_mb = sum(path.stat().st_size for path in (folder / kind).iterdir()) / 1e6
    recall = recalled / (QUERIES * K)
    print(json.dumps({"build_s": build_s, "peak_mib": peak_mib, "size_mb": size_mb, "p50_ms": p50_ms, "p95_ms": p95_ms, "recall": recall}))


if __name__ == "__main__":
    _one(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
