"""Question → sample: asks the pipeline that serves, and looks at what its index gives. What was asked before is not asked again.

A sample is remembered under the digest of the release and of the question; a failure is not, so that it is tried again. Of the threshold
of confidence a sample depends by one bit alone, whether its confidence reaches it: releases that differ in it share their samples.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Any, cast

import orjson

from eval.metrics.answers import without_citations
from eval.sample import Cited, Failure, Judged, Ranked, Sample
from eval.stages.cache import StageCache, stage_key
from eval.stages.remembered import remembered_retriever, remembering
from rag_service.ask import Pipeline
from rag_service.deployment import numeric_class
from rag_service.digests import Json, digest_bytes
from rag_service.errors import RagError
from rag_service.question import Question, clean_question
from rag_service.record import Record
from rag_service.release import Release
from rag_service.retrieval import Retriever
from rag_service.types import Hit, Notice

SAMPLE_STAGE, POOL_STAGE, TEXT_STAGE, CONFIDENCE_STAGE = "sample", "pool", "text", "confidence"
_FORM = 1
"""Of what is stored here; another one is another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How questions are asked."""

    depth: int
    """Chunks to look at for the retrieval metrics."""
    answers: bool = True
    timeout_s: float | None = None
    """For one answer."""


@dataclass(slots=True, eq=False)
class Subject:
    """One release, asked. It is opened once, when there is the first question that it was not asked before. Safe for several threads."""

    release: Release
    open: Callable[[], Pipeline]
    cache: StageCache
    way: Way
    max_question_chars: int
    """Longer questions are refused: it is no part of a release."""
    asked_as: str = "served"
    """Beside the release, what decides a sample: the name of a bound."""
    texts: dict[str, str] = field(default_factory=dict)
    """Chunk id → text, of all chunks that stood in a prompt or were cited. May be shared between subjects."""
    lately: "dict[bytes, Sample]" = field(default_factory=dict)
    """Key → sample, of what was asked or read in this process; for whoever shares it to empty. May be shared between subjects."""
    _opened: "_Opened | None" = None
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _made_by: tuple[Json, ...] = ()

    def __post_init__(self) -> None:
        whatever = self.release.retrieval.model_copy(update={"min_confidence": 0.0})
        without_threshold = self.release.model_copy(update={"retrieval": whatever}).digest
        self._made_by = (without_threshold, numeric_class(), self.max_question_chars, self.asked_as, self.way.depth, self.way.answers)

    def sample(self, question: str, *, only: str = "", narrowed: Callable[[Pipeline], Pipeline] | None = None) -> Sample:
        """`narrowed` changes the pipeline for this question; `only` then names what it makes of it, as part of the key."""
        key = self._key(question, only)
        found = self.lately.get(key) or self._remembered(key)
        if found is not None:
            self.lately[key] = found
            return found
        began_s = time.thread_time()
        opened = self._open()
        pool, pool_key = opened.pool(question)
        sample = replace(_asked(opened, question, self.way, narrowed, self.texts), pool=())
        if isinstance(pool, Failure):
            return replace(sample, status="error" if sample.status == "not_asked" else sample.status, failures=(*sample.failures, pool))
        if not sample.failures:
            self._remember(question, only, sample, pool_key, cpu_ms=(time.thread_time() - began_s) * 1000)
        return replace(sample, pool=pool)

    def knows(self, question: str) -> bool:
        return self.cache.has(SAMPLE_STAGE, self._key(question))

    def _key(self, question: str, only: str = "") -> bytes:
        """One that nothing has, before it is known how sure the search is of the question."""
        confidence = self.cache.get(CONFIDENCE_STAGE, stage_key(_FORM, *self._made_by, only, question))
        return self._key_at(question, only, None if confidence is None else orjson.loads(confidence))

    def _key_at(self, question: str, only: str, confidence: float | None) -> bytes:
        threshold = self.release.retrieval.min_confidence if self.way.answers else 0.0  # a search asks for none
        reached = None if confidence is None else confidence >= threshold
        return stage_key(_FORM, *self._made_by, reached, only, question)

    def _remember(self, question: str, only: str, sample: Sample, pool_key: bytes, *, cpu_ms: float) -> None:
        for chunk_id in _shown(sample):
            self._keep_text(chunk_id)
        confidence = sample.confidence or 0.0
        self.cache.put(CONFIDENCE_STAGE, stage_key(_FORM, *self._made_by, only, question), orjson.dumps(confidence), cpu_ms=0.0)
        packed = orjson.dumps([pool_key.hex(), _packed(sample)])
        self.cache.put(SAMPLE_STAGE, self._key_at(question, only, confidence), packed, cpu_ms=cpu_ms)
        self.cache.keep()

    @property
    def pipeline(self) -> Pipeline:
        return self._open().pipeline

    def _open(self) -> "_Opened":
        with self._opening:
            if self._opened is None:
                self._opened = _Opened.of(self.open(), self.cache, self.way.depth)
            return self._opened

    def _remembered(self, key: bytes) -> Sample | None:
        found = self.cache.get(SAMPLE_STAGE, key)
        if found is None:
            return None
        pool_key, packed = orjson.loads(found)
        pool = self.cache.get(POOL_STAGE, bytes.fromhex(pool_key))
        sample = _unpacked(packed)
        unknown = [each for each in _shown(sample) if not self._has_text(each)]  # all are read: what is damaged is dropped at once
        if pool is None or unknown:
            return None
        return replace(sample, pool=_ranking(orjson.loads(pool)))

    def _has_text(self, chunk_id: str) -> bool:
        if chunk_id not in self.texts:
            text = self.cache.get(TEXT_STAGE, stage_key(chunk_id))
            if text is None:
                return False
            self.texts[chunk_id] = text.decode()
        return True

    def _keep_text(self, chunk_id: str) -> None:
        key = stage_key(chunk_id)
        if not self.cache.has(TEXT_STAGE, key):
            self.cache.put(TEXT_STAGE, key, self.texts[chunk_id].encode(), cpu_ms=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    pipeline: Pipeline
    """With parts that remember."""
    deep: Retriever
    """The same search without its reranker."""
    made_by: tuple[str, ...]
    cache: StageCache
    depth: int

    @classmethod
    def of(cls, pipeline: Pipeline, cache: StageCache, depth: int) -> "_Opened":
        plain = replace(pipeline, retriever=replace(pipeline.retriever, reranker=None, rerank_depth=0))
        return cls(remembering(pipeline, cache), plain.retriever, remembered_retriever(plain, cache).made_by, cache, depth)

    def pool(self, question: str) -> tuple[tuple[Ranked, ...] | Failure, bytes]:
        """The best chunks of the index, and the key under which they are remembered."""
        try:
            query = clean_question(question, max_chars=self.pipeline.max_question_chars)
            vector = self.pipeline.embedder.embed_query(query)
            key = stage_key(_FORM, query, digest_bytes(vector.tobytes()), self.depth, *self.made_by)
            found = self.cache.get(POOL_STAGE, key)
            if found is not None:
                return _ranking(orjson.loads(found)), key
            began_s = time.thread_time()
            pool = _ranked(self.deep.find(query, vector, self.depth).hits)
        except RagError as error:
            return Failure("search", error.code, error.message, error.stage), b""
        packed = orjson.dumps([[r.chunk_id, r.document_id, r.start, r.end, r.score] for r in pool])
        self.cache.put(POOL_STAGE, key, packed, cpu_ms=(time.thread_time() - began_s) * 1000)
        return pool, key


def _asked(opened: _Opened, question: str, way: Way, narrowed: Callable[[Pipeline], Pipeline] | None, texts: dict[str, str]) -> Sample:
    pipeline = opened.pipeline if narrowed is None else narrowed(opened.pipeline)
    if not way.answers:
        return searched(pipeline, question)
    outcome = answered(pipeline, question, way.timeout_s)
    if isinstance(outcome, Failure):
        return Sample(status="error", failures=(outcome,))
    texts.update((hit.chunk.id, hit.chunk.text) for hit in outcome.hits[: outcome.shown])
    texts.update((citation.chunk.id, citation.chunk.text) for citation in outcome.citations)
    return sample_of(outcome)


def _shown(sample: Sample) -> list[str]:
    """Ids of the chunks whose texts are known with a sample, each once."""
    return list(dict.fromkeys([*(hit.chunk_id for hit in sample.in_prompt), *(cited.chunk_id for cited in sample.cited)]))


def answered(pipeline: Pipeline, question: str, timeout_s: float | None) -> Record | Failure:
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        return pipeline.ask(Question(question, deadline_s=deadline_s))
    except RagError as error:
        return Failure("ask", error.code, error.message, error.stage)


def searched(pipeline: Pipeline, question: str) -> Sample:
    """What the release would have ranked for its answer."""
    try:
        found = pipeline.search(Question(question))
    except RagError as error:
        return Sample(status="error", failures=(Failure("search", error.code, error.message, error.stage),))
    return Sample(status="not_asked", hits=_ranked(found.hits), confidence=found.confidence)


def sample_of(record: Record) -> Sample:
    """All of it but the pool and the times."""
    citations = record.citations
    plain = None if record.answer is None else without_citations(record.answer, [citation.answer_span for citation in citations])
    return Sample(
        status=record.status,
        abstain_reason=record.abstain_reason,
        answer=record.answer,
        plain=plain,
        confidence=record.confidence,
        hits=_ranked(record.hits),
        shown=record.shown,
        cited=tuple(
            Cited(
                marker=citation.marker,
                chunk_id=citation.chunk.id,
                document_id=citation.chunk.document_id,
                start=citation.document_span[0],
                end=citation.document_span[1],
                verbatim=citation.verbatim,
            )
            for citation in citations
        ),
        sentences=tuple(Judged(sentence.level, sentence.cited, sentence.claims) for sentence in record.support),
        notices=record.notices,
        prompt_digest=next((stage.digest for stage in record.stages if stage.name == "prompt"), None),
        prompt_tokens=record.usage.prompt_tokens,
        completion_tokens=record.usage.completion_tokens,
    )


def _ranked(hits: Sequence[Hit]) -> tuple[Ranked, ...]:
    return tuple(Ranked(hit.chunk.id, hit.chunk.document_id, hit.chunk.start, hit.chunk.end, hit.score) for hit in hits)


def _ranking(rows: list[list[Any]]) -> tuple[Ranked, ...]:
    """Ids are held once, however many rankings they stand in."""
    return tuple(Ranked(intern(chunk), intern(document), *rest) for chunk, document, *rest in rows)


def _packed(sample: Sample) -> list[Any]:
    return [
        sample.status,
        sample.abstain_reason,
        sample.answer,
        sample.plain,
        sample.confidence,
        [[r.chunk_id, r.document_id, r.start, r.end, r.score] for r in sample.hits],
        sample.shown,
        [[c.marker, c.chunk_id, c.document_id, c.start, c.end, c.verbatim] for c in sample.cited],
        [[j.level, j.cited, j.claims] for j in sample.sentences],
        [[n.code, n.detail] for n in sample.notices],
        sample.prompt_digest,
        sample.prompt_tokens,
        sample.completion_tokens,
    ]


def _unpacked(packed: list[Any]) -> Sample:
    status, reason, answer, plain, confidence, hits, shown, cited, judged, notices, digest, prompt_tokens, completion_tokens = packed
    return Sample(
        status=status,
        abstain_reason=reason,
        answer=answer,
        plain=plain,
        confidence=confidence,
        hits=_ranking(hits),
        shown=shown,
        cited=tuple(Cited(*each) for each in cited),
        sentences=tuple(Judged(*each) for each in judged),
        notices=tuple(Notice(*cast("list[Any]", each)) for each in notices),
        prompt_digest=digest,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )
