"""A million chunks from documents to answers: time and memory of the build, files, and what opening and searching take.

Everything is real but the vectors, which are made from a hash of each passage around 20,000 subjects: embedding a million passages would
take two hours. Takes an hour and a half, 4 GB of memory and 12 GB of disk. The variable CHUNKS takes another number of them, and
BUILDS=1 leaves out the second build.
"""

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.inputs import default_settings, encoder_folder
from benchmarks.quality import Silent
from rag_service.build import Recipe, build_index
from rag_service.catalog import Catalog
from rag_service.chunking import ChunkParameters, describe, make_chunker
from rag_service.digests import digest_text
from rag_service.embedders.onnx import OnnxEmbedder, OnnxTokenizer
from rag_service.lexical.bm25 import Bm25Index
from rag_service.manifest import Part
from rag_service.retrieval import Retriever
from rag_service.stores.chunks import SqliteChunks
from rag_service.stores.faiss import open_store
from rag_service.stores.neighbours import open_neighbours
from rag_service.stores.sentences import SentenceArrays
from rag_service.types import Block, Document, DocumentId, Matrix, Vector
from rag_service.verified import verified_version

CHUNKS, CHUNKS_PER_DOCUMENT, DIMENSION, SUBJECTS, QUESTIONS = 1_000_000, 10, 384, 20_000, 200
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
_WORDS = ["".join(_SYLLABLES[number // 60**place % 60] for place in range(3)) for number in range(20_000)]
"""Of which the first are much more frequent than the last, as in texts."""


class _Synthetic:
    """An embedder whose vectors come from a hash of the text. Counts tokens as the default encoder does."""

    name, revision, dimension, runtime = "synthetic", None, DIMENSION, "numpy"
    digest = digest_text("vectors around 20,000 subjects, by a hash of the text")

    def __init__(self, tokenizer: OnnxTokenizer) -> None:
        self.tokenizer = tokenizer
        self._subjects = np.random.default_rng(7).standard_normal((SUBJECTS, DIMENSION)).astype(np.float32)

    def embed_query(self, text: str) -> Vector:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        point = self._subjects[seed % SUBJECTS] + np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
        return np.asarray(point / np.linalg.norm(point), np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        return self.embed_queries(texts)


def run() -> None:
    chunks = int(os.environ.get("CHUNKS", CHUNKS))
    settings = default_settings(name="million")
    embedder = _Synthetic(OnnxEmbedder.open(encoder_folder(settings)).tokenizer)
    parameters = ChunkParameters(max_tokens=settings.chunk_tokens, overlap_tokens=0, context="headings")
    recipe = Recipe(
        embedder=embedder,
        embedder_kind="onnx",
        chunker=make_chunker(embedder.tokenizer, parameters),
        chunker_part=describe(parameters, encoder_digest=embedder.digest),
        loader_part=Part(name="files", digest=digest_text("none")),
        store="auto",
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        catalog = Catalog(Path(folder))
        for which in ("first", "again, one document in a thousand changed")[: int(os.environ.get("BUILDS", "2"))]:
            memory, began_s, cpu_s = _Memory(), time.perf_counter(), time.process_time()
            changed = which != "first"
            built = build_index(catalog, "million", _documents(chunks, changed=changed), recipe, source="", progress=Silent())
            print(
                f"build, {which}: {built.manifest.counts.chunks:,} chunks, {built.embedded:,} embedded, {built.reused:,} reused, "
                f"{time.process_time() - cpu_s:.0f} CPU-s, {time.perf_counter() - began_s:.0f} s, "
                f"peak {memory.peak_mib():,.0f} MiB of its own",
                flush=True,
            )
            memory.stop()
        _open(catalog, built.manifest.version, embedder)


def _open(catalog: Catalog, version: str, embedder: _Synthetic) -> None:
    folder, notes = catalog.version_folder("million", version), catalog.notes_path("million", version)
    for name, size_bytes in sorted((path.name, path.stat().st_size) for path in folder.iterdir()):
        print(f"  {name:<16}{size_bytes / 1e6:>10,.1f} MB")
    for which, full in (("full", True), ("cached", False)):
        began_s = time.perf_counter()
        manifest = verified_version(folder, notes=notes, full=full)
        print(f"verify {which}: {(time.perf_counter() - began_s) * 1000:,.1f} ms", flush=True)
    memory, began_s = _Memory(), time.perf_counter()
    before_mib = memory.now_mib()
    retriever = Retriever(
        store=open_store(folder, manifest.store.kind),
        keywords=Bm25Index.open(folder, rows=manifest.counts.chunks),
        sentences=SentenceArrays.open(folder, chunks=manifest.counts.chunks, dimension=DIMENSION),
        chunks=SqliteChunks.open(folder / "chunks.sqlite"),
        neighbours=open_neighbours(folder, chunks=manifest.counts.chunks),
        languages=tuple(manifest.keywords.languages),
        unrelated=manifest.encoder.unrelated_cosine,
    )
    print(f"opened in {(time.perf_counter() - began_s) * 1000:.0f} ms", flush=True)
    for name, searching in (("hybrid", retriever), ("dense", replace(retriever, mode="dense"))):
        took_ms, random = [], np.random.default_rng(1)
        for _ in range(QUESTIONS):
            question = _some_words(random, 8)
            vector = embedder.embed_query(question)
            began_s = time.process_time()
            searching.find(question, vector, 5)
            took_ms.append((time.process_time() - began_s) * 1000)
        p50_ms, p95_ms = np.percentile(took_ms, [50, 95])
        print(f"{name} search with passages: p50 {p50_ms:.1f} CPU-ms, p95 {p95_ms:.1f} CPU-ms", flush=True)
    print(f"{memory.now_mib() - before_mib:,.0f} MiB of its own more after {2 * QUESTIONS} questions")
    memory.stop()


def _some_words(random: np.random.Generator, count: int) -> str:
    return " ".join(_WORDS[int(len(_WORDS) * place**3)] for place in random.random(count))


def _documents(chunks: int, *, changed: bool) -> Iterator[Document]:
    for number in range(chunks // CHUNKS_PER_DOCUMENT):
        random = np.random.default_rng(number)
        paragraphs = []
        for part in range(CHUNKS_PER_DOCUMENT):
            words = _some_words(random, 40)
            paragraphs.append(f"Part {part} of document {number}: {words}.")
        if changed and number % 1000 == 0:
            paragraphs[0] = f"Changed. {paragraphs[0]}"
        text = "\n\n".join(paragraphs)
        blocks, at = [], 0
        for paragraph in paragraphs:
            blocks.append(Block(at, at + len(paragraph), "paragraph"))
            at += len(paragraph) + 2
        identifier = f"folder{number % 100}/{number}.txt"
        yield Document(DocumentId(identifier), text, f"Document {number}", identifier, tuple(blocks))


class _Memory:
    """Of this process; pages of mapped files, which others share, do not count."""

    def __init__(self) -> None:
        self._most_mib = 0.0
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def now_mib(self) -> float:
        return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

    def peak_mib(self) -> float:
        return max(self._most_mib, self.now_mib())

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(0.1):
            self._most_mib = max(self._most_mib, self.now_mib())
