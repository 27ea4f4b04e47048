"""Exact and HNSW search of 384 dimensions: CPU per query, plain and within selections, and recall@10 against exact. Then how long a
chunk table of a million rows takes to select by a filter.

Vectors are clustered (2,000 centres, Gaussian spread) and of unit length, so that neighbours mean something; queries are drawn alike.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rag_service.digests import digest_text
from rag_service.filters import parse_filter
from rag_service.stores.chunks import SqliteChunks, write_chunk_table
from rag_service.stores.faiss import FaissStore, Kind, write_faiss
from rag_service.stores.memory import MemoryStore
from rag_service.stores.selections import selection_of
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId, Matrix, Selection

DIMENSION, QUERIES, K = 384, 100, 10
STORES: tuple[tuple[Kind, int], ...] = (("flat", 20_000), ("flat", 100_000), ("hnsw", 100_000))
SHARES = (0.01, 0.1, 0.5)
"""Of the rows that a random selection permits."""
DOCUMENTS, CHUNKS = 100_000, 1_000_000
FILTERS: tuple[dict[str, object], ...] = (
    {"language": "de"},
    {"author": "author 3"},
    {"language": {"in": ["de", "en"]}, "part": {"lt": 10}, "draft": False},
    {"source": {"prefix": "folder3"}},
)


def run() -> None:
    random = np.random.default_rng(7)
    centres = random.standard_normal((2000, DIMENSION)).astype(np.float32)
    vectors, queries = _around(centres, 100_000, random), _around(centres, QUERIES, random)
    with tempfile.TemporaryDirectory() as folder:
        for kind, rows in STORES:
            _search(Path(folder) / "vectors", kind, vectors[:rows], queries)
        _select(Path(folder) / "chunks")


def _around(centres: Matrix, count: int, random: np.random.Generator) -> Matrix:
    points = centres[random.integers(0, len(centres), count)] + 0.8 * random.standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def _search(path: Path, kind: Kind, vectors: Matrix, queries: Matrix) -> None:
    began = time.process_time()
    write_faiss(path, iter(np.array_split(vectors, 100)), dimension=DIMENSION, kind=kind)
    print(f"{kind} {len(vectors):,} rows: built in {time.process_time() - began:.1f} CPU-s", flush=True)
    store, random = FaissStore.open(path), np.random.default_rng(8)
    reference = MemoryStore(vectors)
    cases: list[tuple[str, Sequence[Selection | None]]] = [("all", [None] * QUERIES)]
    cases.extend(
        (f"{share:.0%} at random", [selection_of(random.random(len(vectors)) < share, documents=1) for _ in queries]) for share in SHARES
    )
    cases.append(("the farther half", [selection_of(row < np.median(row), documents=1) for row in queries @ vectors.T]))
    for name, selections in cases:
        for query, within in zip(queries[:10], selections[:10], strict=True):
            store.search(query, K, within)
        began = time.process_time()
        found = [store.search(query, K, within)[0] for query, within in zip(queries, selections, strict=True)]
        query_ms = (time.process_time() - began) * 1000 / QUERIES
        exact = [reference.search(query, K, within)[0] for query, within in zip(queries, selections, strict=True)]
        recall = sum(len(np.intersect1d(*pair)) for pair in zip(exact, found, strict=True)) / (QUERIES * K)
        print(f"  {name:<17} query {query_ms:6.2f} CPU-ms   recall@{K} {recall:.4f}", flush=True)


def _select(path: Path) -> None:
    write_chunk_table(path, _documents(), _chunks())
    table = SqliteChunks.open(path)
    print(f"select from {DOCUMENTS:,} documents and {CHUNKS:,} chunks (the first one also reads which document each chunk is of)")
    for given in FILTERS:
        wanted = parse_filter(given)
        assert wanted is not None
        began_s = time.perf_counter()
        selection = table.select(wanted)
        first_s, began_s = time.perf_counter() - began_s, time.perf_counter()
        table.select(wanted)
        again_ms = (time.perf_counter() - began_s) * 1000
        print(f"  {len(selection):>7,} chunks   first {first_s:5.2f} s   again {again_ms:5.2f} ms   {given}", flush=True)
    table.close()


def _documents() -> Iterator[DocumentFacts]:
    for row in range(DOCUMENTS):
        yield DocumentFacts(
            id=DocumentId(f"document {row:06d}"),
            title=f"Title {row}",
            source=f"folder{row % 37}/{row}.md",
            metadata={
                "language": ("en", "de", "fr", "it")[row % 4],
                "year": 2000 + row % 25,
                "part": row % 100,
                "author": f"author {row % 500}",
                "draft": row % 7 == 0,
            },
            digest=digest_text(f"document {row}"),
            text_digest=digest_text(str(row)),
        )


def _chunks() -> Iterator[Chunk]:
    text = "about three hundred characters " * 10
    for position in range(CHUNKS):
        yield Chunk(
            id=ChunkId(f"{position:064x}"),
            document_id=DocumentId(f"document {position * 7919 % DOCUMENTS:06d}"),
            ordinal=position // DOCUMENTS,
            start=0,
            end=len(text),
            text=text,
            title="",
            heading_path=(),
            source="",
            page=None,
            embedded_text=text,
            tokens=50,
        )
