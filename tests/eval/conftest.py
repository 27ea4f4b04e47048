"""A whole pipeline of small real parts: no model, no files, milliseconds."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag_service.ask import Pipeline
from rag_service.deployment import Deployment
from rag_service.digests import digest_bytes, digest_text
from rag_service.filters import Filter
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.lexical.memory import MemoryKeywords
from rag_service.normalise import document_text
from rag_service.ports import Generator
from rag_service.prompt import load_template
from rag_service.record import EmbedderIdentity, IndexIdentity, Lineage
from rag_service.release import CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, Retrieval
from rag_service.retrieval import Retriever
from rag_service.stores.memory import MemorySentences, MemoryStore
from rag_service.stores.selections import selection_of
from rag_service.stores.sentences import ChunkSentences
from rag_service.terms import terms
from rag_service.types import Chunk, ChunkId, DocumentId, Matrix, Selection, Vector
from rag_service.units import units

PARAGRAPHS = {
    "tower": ["The Eiffel Tower stands in Paris. The Eiffel Tower was finished in 1889.", "The Eiffel Tower is 330 metres tall."],
    "river": ["The Danube flows through Vienna and Budapest."],
    "metal": ["Tungsten melts at 3422 degrees Celsius."],
    "bird": ["The arctic tern flies from pole to pole every year."],
}


class WordCounts:
    """Counts words as tokens."""

    window_tokens = 256

    def count(self, text: str) -> int:
        return len(text.split())


class HashingEmbedder:
    """Words hashed into 256 buckets: texts that share words are near. Deterministic, and without a model."""

    name = "hashing"
    digest = digest_bytes(b"hashing/256")
    dimension = 256
    runtime = "test"
    revision = None
    tokenizer = WordCounts()

    def embed_query(self, text: str) -> Vector:
        vector = np.zeros(self.dimension, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.dimension] += 1.0
        length = float(np.linalg.norm(vector))
        return vector / np.float32(length) if length else np.eye(1, self.dimension, dtype=np.float32)[0]

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        return self.embed_passages(texts)

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.embed_query(text) for text in texts])


class ListedChunks:
    """The chunk table as a list. A document's text is its chunks, a blank line between them."""

    def __init__(self, paragraphs: dict[str, list[str]]) -> None:
        self._chunks = [_chunk(document, ordinal, text) for document, texts in paragraphs.items() for ordinal, text in enumerate(texts)]
        self._documents = {document: digest_text(document_text("\n\n".join(texts))) for document, texts in paragraphs.items()}

    def __len__(self) -> int:
        return len(self._chunks)

    def chunks(self, positions: Sequence[int]) -> list[Chunk]:
        return [self._chunks[position] for position in positions]

    def chunk(self, identifier: ChunkId) -> Chunk | None:
        return next((chunk for chunk in self._chunks if chunk.id == identifier), None)

    def select(self, wanted: Filter) -> Selection:
        permitted = np.array([wanted.allows(chunk, chunk.document_id) for chunk in self._chunks], np.bool_)
        documents = {chunk.document_id for chunk, allowed in zip(self._chunks, permitted, strict=True) if allowed}
        return selection_of(permitted, documents=len(documents))

    def document_ids_by_text(self, text_digest: str) -> list[DocumentId]:
        return [DocumentId(document) for document, digest in self._documents.items() if digest == text_digest]


def _chunk(document: str, ordinal: int, text: str) -> Chunk:
    return Chunk(
        id=ChunkId(f"{document}-{ordinal}"),
        document_id=DocumentId(document),
        ordinal=ordinal,
        start=0,
        end=len(text),
        text=text,
        title="",
        heading_path=(),
        source=f"corpus.jsonl#{document}",
        page=None,
        embedded_text=text,
        tokens=len(text.split()),
    )


def _release(generator: Generator, retrieval: Retrieval) -> Release:
    template = load_template("answer/1")
    nothing = digest_bytes(b"")
    return Release(
        index=IndexRef(version="0" * 12, digest=nothing),
        encoder=NamedDigest(name=HashingEmbedder.name, digest=HashingEmbedder.digest),
        chunker=NamedDigest(name="whole", digest=nothing),
        retrieval=retrieval,
        prompt=PromptRef(name=template.name, version=template.version, digest=template.digest),
        generator=GeneratorRef(
            spec=generator.name,
            options={},
            name=generator.name,
            digest=generator.digest,
            parameters={**generator.parameters},
        ),
        code=CodeRef(version="0", digest=nothing),
    )


def retriever_of(embedder: HashingEmbedder, listed: ListedChunks, retrieval: Retrieval) -> Retriever:
    chunks = listed.chunks(range(len(listed)))
    keywords = MemoryKeywords([terms(chunk.embedded_text, ["en"]) for chunk in chunks])
    sentences = []
    for chunk in chunks:
        spans = [(unit.start, unit.end) for unit in units(chunk.text)]
        texts = [chunk.text[start:end] for start, end in spans]
        columns = [keywords.look_up(terms(text, ["en"])).columns for text in texts]
        sentences.append(ChunkSentences(spans, embedder.embed_passages(texts), columns))
    return Retriever(
        store=MemoryStore(embedder.embed_passages([chunk.embedded_text for chunk in chunks])),
        keywords=keywords,
        sentences=MemorySentences(sentences),
        chunks=listed,
        neighbours=np.full((len(chunks), 2), -1),
        languages=("en",),
        unrelated=0.0,
        mode=retrieval.mode,
        per_document=retrieval.per_document,
    )


MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def make_pipeline() -> MakePipeline:
    def make(
        paragraphs: dict[str, list[str]] = PARAGRAPHS,
        *,
        generator: Generator | None = None,
        retrieval: Retrieval | None = None,
        max_question_chars: int = 200,
    ) -> Pipeline:
        embedder = HashingEmbedder()
        chunks = ListedChunks(paragraphs)
        generator = generator or ExtractiveGenerator(embedder, max_sentences=1)
        release = _release(generator, retrieval or Retrieval(top_k=3, min_confidence=0.2))
        nothing = digest_bytes(b"")
        return Pipeline(
            lineage=Lineage(
                release=release,
                index=IndexIdentity("little", "0" * 12, nothing, nothing, "2025-01-01T00:00:00Z", len(paragraphs), len(chunks)),
                embedder=EmbedderIdentity(embedder.name, embedder.digest, embedder.dimension, embedder.runtime),
                deployment=Deployment("test", nothing, "test", None, None, None, {"code.commit": "a test"}),
            ),
            embedder=embedder,
            retriever=retriever_of(embedder, chunks, release.retrieval),
            template=load_template("answer/1"),
            condense_template=load_template("condense/1", condensing=True),
            generator=generator,
            max_question_chars=max_question_chars,
        )

    return make


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Pipeline:
    return make_pipeline()


@pytest.fixture
def question_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes text to a JSONL file."""

    def write(text: str) -> Path:
        path = tmp_path / "questions.jsonl"
        path.write_text(text, "utf-8")
        return path

    return write


class SilentProgress:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int | None]] = []
        self.done = 0

    def stage(self, name: str, total: int | None) -> None:
        self.told.append((name, total))

    def advance(self, amount: int = 1) -> None:
        self.done += amount


@pytest.fixture
def progress() -> SilentProgress:
    return SilentProgress()
