"""The parts of a pipeline, each of which looks first whether it has done the same before."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import orjson

from eval.stages.cache import StageCache, stage_key
from eval.stages.code import code_digest
from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.deployment import numeric_class
from rag_service.generators.wrapped import Wrapped
from rag_service.ports import Embedder, Generator, Tokenizer
from rag_service.retrieval import KEPT, Retrieved, Retriever
from rag_service.types import (
    NO_SAMPLING,
    Chunk,
    ChunkId,
    Completion,
    Hit,
    Marker,
    Matrix,
    Notice,
    Passage,
    Prompt,
    Sampling,
    Selection,
    Sentence,
    Usage,
    Vector,
)


def remembering(pipeline: Pipeline, cache: StageCache) -> Pipeline:
    """`pipeline` with parts that remember. It answers what `pipeline` answers; only what it takes differs."""
    embedder = RememberedEmbedder(pipeline.embedder, cache)
    return replace(
        pipeline,
        embedder=embedder,
        retriever=remembered_retriever(pipeline, cache),
        generator=RememberedGenerator(pipeline.generator, cache),
    )


class RememberedEmbedder:
    """Each text apart, as a vector depends on its text alone."""

    def __init__(self, inner: Embedder, cache: StageCache) -> None:
        self._inner = inner
        self._cache = cache
        self._made_by = [code_digest(type(inner).__module__), inner.digest, inner.runtime, numeric_class()]

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def digest(self) -> str:
        return self._inner.digest

    @property
    def revision(self) -> str | None:
        return self._inner.revision

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    @property
    def runtime(self) -> str:
        return self._inner.runtime

    @property
    def tokenizer(self) -> Tokenizer:
        return self._inner.tokenizer

    def embed_query(self, text: str) -> Vector:
        return self._vector("query", text, self._inner.embed_query)

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        return self._matrix([self.embed_query(text) for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        return self._matrix([self._vector("passage", text, self._passage) for text in texts])

    def _passage(self, text: str) -> Vector:
        return np.asarray(self._inner.embed_passages([text])[0], np.float32)

    def _matrix(self, rows: list[Vector]) -> Matrix:
        return np.stack(rows) if rows else np.zeros((0, self.dimension), np.float32)

    def _vector(self, what: str, text: str, make: Callable[[str], Vector]) -> Vector:
        key = stage_key(what, text, *self._made_by)
        found = self._cache.get("embed", key)
        if found is not None:
            return np.frombuffer(found, "<f4")
        began_s = time.thread_time()
        vector = make(text)
        self._cache.put("embed", key, vector.astype("<f4").tobytes(), cpu_ms=_ms_since(began_s))
        return vector


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RememberedRetriever(Retriever):
    """One search serves every `k` that looks at the same candidates."""

    inner: Retriever
    """What searches."""
    cache: StageCache
    made_by: tuple[str, ...]

    def find(self, query: str, vector: Vector, k: int, within: Selection | None = None) -> Retrieved:
        if k <= 0:
            return self.inner.find(query, vector, k, within)
        deepest = self._deepest(k)
        only = "" if within is None else hashlib.sha256(within.positions.tobytes()).hexdigest()
        key = stage_key(query, hashlib.sha256(vector.tobytes()).hexdigest(), deepest, only, *self.made_by)
        found = self.cache.get("retrieve", key)
        if found is None:
            began_s = time.thread_time()
            retrieved = self.inner.find(query, vector, deepest, within)
            self.cache.put("retrieve", key, _packed(retrieved), cpu_ms=_ms_since(began_s))
            return replace(retrieved, hits=retrieved.hits[:k])
        return _unpacked(found, k, self.chunks.chunk)

    def _deepest(self, k: int) -> int:
        """The largest `k` for which the same candidates are looked at, and so of whose hits those for `k` are the first."""
        if type(self.inner) is not Retriever:  # who searches otherwise may look at others for each `k`
            return k
        same = self.rerank_depth if self.reranker is not None else KEPT // 2
        return max(same, k)


def remembered_retriever(pipeline: Pipeline, cache: StageCache) -> RememberedRetriever:
    inner = pipeline.retriever
    parts = [inner.store, inner.keywords, inner.sentences, inner.chunks, *([inner.reranker] if inner.reranker else [])]
    code = code_digest(*sorted({"rag_service.retrieval", type(inner).__module__, *(type(part).__module__ for part in parts)}))
    searches = type(inner).__qualname__
    reranked = [inner.reranker.digest, str(inner.rerank_depth)] if inner.reranker else ["none"]
    index = pipeline.lineage.index.digest
    made_by = (code, index, inner.mode, str(inner.per_document), numeric_class(), searches, type(inner.store).__name__, *reranked)
    return RememberedRetriever(
        **{field.name: getattr(inner, field.name) for field in fields(Retriever)}, inner=inner, cache=cache, made_by=made_by
    )


def _packed(retrieved: Retrieved) -> bytes:
    hits = [
        [hit.chunk.id, hit.score, hit.cosine, hit.keywords, [[s.start, s.end, s.similarity, s.coverage] for s in hit.sentences]]
        for hit in retrieved.hits
    ]
    return orjson.dumps([retrieved.confidence, retrieved.unknown, hits])


def _unpacked(data: bytes, k: int, chunk_of: Callable[[ChunkId], Chunk | None]) -> Retrieved:
    confidence, unknown, packed = orjson.loads(data)
    hits: list[Hit] = []
    for identifier, score, cosine, keywords, sentences in packed[:k]:
        chunk = chunk_of(ChunkId(identifier))
        if chunk is None:  # the index digest is part of the key: this cannot be
            raise AssertionError(f"chunk {identifier} is not in the index that it was found in")
        hits.append(Hit(chunk, score, cosine, keywords, tuple(Sentence(*sentence) for sentence in sentences)))
    return Retrieved(tuple(hits), confidence, unknown)


class RememberedGenerator(Wrapped):
    """By what is rendered, whoever retrieved it: candidates with the same prompt share the answer. That it declined is remembered, that it
    failed is not.
    """

    def __init__(self, inner: Generator, cache: StageCache) -> None:
        super().__init__(inner)
        self._cache = cache
        self._code = code_digest(type(inner).__module__)

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        key = self._key(prompt, sampling)
        found = self._cache.get("generate", key)
        if found is not None:
            completion = _completion(orjson.loads(found))
            if write is not None:
                write(completion.text)
            return completion
        began_s = time.perf_counter()
        completion = self._inner.generate(prompt, sampling=sampling, deadline_s=deadline_s, cancellation=cancellation, write=write)
        self._cache.put("generate", key, orjson.dumps(asdict(completion)), cpu_ms=(time.perf_counter() - began_s) * 1000)
        return completion

    def _key(self, prompt: Prompt, sampling: Sampling) -> bytes:
        rendered = [prompt.system, prompt.user, prompt.question, [_shown(passage) for passage in prompt.passages]]
        made_by = [self._code, self._inner.digest, self._inner.parameters, asdict(sampling)]
        return hashlib.sha256(orjson.dumps([rendered, made_by])).digest()


def _shown(passage: Passage) -> list[Any]:
    sentences = [[s.start, s.end, s.similarity, s.coverage] for s in passage.sentences]
    return [passage.marker, passage.chunk.text, passage.chunk.heading_path, passage.score, sentences]


def _completion(data: dict[str, Any]) -> Completion:
    markers = data["markers"]
    return Completion(
        text=data["text"],
        declined=data["declined"],
        finish_reason=data["finish_reason"],
        model=data["model"],
        usage=Usage(**data["usage"]),
        markers=None if markers is None else tuple(Marker(each["start"], each["end"], tuple(each["numbers"])) for each in markers),
        notices=tuple(Notice(**notice) for notice in data["notices"]),
    )


def _ms_since(began_s: float) -> float:
    return (time.thread_time() - began_s) * 1000
