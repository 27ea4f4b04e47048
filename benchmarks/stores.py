"""Exact and HNSW search at 100,000 × 384: CPU per query and recall@10 of HNSW against exact.

Vectors are clustered (2,000 centres, Gaussian spread) and of unit length, so that neighbours mean something; queries are drawn alike.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from rag_service.stores.faiss import FaissStore, write_faiss
from rag_service.types import Matrix

ROWS, DIMENSION, QUERIES, K = 100_000, 384, 200, 10


def run() -> None:
    random = np.random.default_rng(7)
    centres = random.standard_normal((2000, DIMENSION)).astype(np.float32)
    vectors, queries = _around(centres, ROWS, random), _around(centres, QUERIES, random)
    exact: list[set[int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("flat", "hnsw"):
            path = Path(folder) / kind
            began = time.process_time()
            write_faiss(path, iter(np.array_split(vectors, 100)), dimension=DIMENSION, kind=kind)
            built_s = time.process_time() - began
            store = FaissStore.open(path)
            store.search(queries[0], K)
            began = time.process_time()
            found = [set(store.search(query, K)[0].tolist()) for query in queries]
            query_ms = (time.process_time() - began) * 1000 / QUERIES
            exact = exact or found
            recall = sum(len(a & b) for a, b in zip(exact, found, strict=True)) / (QUERIES * K)
            print(f"{kind:<5} build {built_s:7.1f} CPU-s   query {query_ms:6.2f} CPU-ms   recall@{K} {recall:.4f}")


def _around(centres: Matrix, count: int, random: np.random.Generator) -> Matrix:
    points = centres[random.integers(0, len(centres), count)] + 0.8 * random.standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)
