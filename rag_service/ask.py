"""The verb: question + release → record. The whole way of one question, in the order in which it happens.

A `Pipeline` is one opened release. It is immutable: a request that began with one ends with it, whatever is activated meanwhile.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rag_service import abstention
from rag_service.citations import CitedAnswer, cite
from rag_service.digests import Json, digest_bytes, digest_json, digest_text
from rag_service.errors import DeadlineExceeded, InvalidQuestion, RagError
from rag_service.normalise import normalise
from rag_service.ports import ChunkTable, Embedder, Generator, VectorStore
from rag_service.prompt import Template, render
from rag_service.record import Attempt, Lineage, Record, Stage, StageName, new_answer_id
from rag_service.telemetry.spans import ASK, root_span, stage_span
from rag_service.types import Completion, Hit, Notice, Prompt, Usage, Vector


@dataclass(frozen=True, slots=True)
class Question:
    """`top_k` and `min_score` override the release's for this question alone. `deadline_s` is a `time.monotonic()` instant."""

    text: str
    top_k: int | None = None
    min_score: float | None = None
    request_id: str | None = None
    deadline_s: float | None = None


@dataclass(slots=True)
class _Progress:
    """Stages done so far, with what they gave and took."""

    began_s: float = field(default_factory=time.perf_counter)
    stages: list[Stage] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def done(self, name: StageName, digest: str, seconds: float) -> None:
        self.stages.append(Stage(name, digest, round(seconds * 1000, 3)))

    def timings_ms(self) -> dict[str, float]:
        total = round((time.perf_counter() - self.began_s) * 1000, 3)
        return {**{stage.name: stage.duration_ms for stage in self.stages}, "total": total}


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Pipeline:
    lineage: Lineage
    embedder: Embedder
    store: VectorStore
    chunks: ChunkTable
    template: Template
    generator: Generator
    max_question_chars: int

    def ask(self, question: Question) -> Record:
        """Answers or abstains. Raises `InvalidQuestion`, `GeneratorFailed`, `EmbedderFailed` or `DeadlineExceeded`, with `stage` set
        where one failed and `attempt` in any case.
        """
        retrieval = self.lineage.release.retrieval
        top_k = retrieval.top_k if question.top_k is None else question.top_k
        min_score = retrieval.min_score if question.min_score is None else question.min_score
        progress = _Progress()
        with root_span(ASK) as trace_id:
            try:
                return self._record(question, trace_id, top_k, min_score, progress)
            except RagError as error:
                error.attempt = Attempt(trace_id, self.lineage, top_k, min_score, tuple(progress.stages))
                raise

    def _record(self, question: Question, trace_id: str, top_k: int, min_score: float, progress: _Progress) -> Record:
        created_at = datetime.now(UTC)
        text = clean_question(question.text, max_chars=self.max_question_chars)
        vector = self._embed(text, progress, question.deadline_s)
        hits = self._retrieve(vector, top_k, progress, question.deadline_s)
        reason = abstention.before_generation(hits, indexed_chunks=len(self.store), min_score=min_score)
        prompt = completion = cited = None
        if reason is None:
            prompt = self._prompt(text, hits, progress, question.deadline_s)
            completion = self._generate(prompt, progress, question.deadline_s)
            reason = abstention.after_generation(completion)
            if reason is None:
                cited = self._cite(completion, hits[: len(prompt.passages)], progress, question.deadline_s)
        return Record(
            answer_id=new_answer_id(),
            trace_id=trace_id,
            request_id=question.request_id,
            created_at=created_at,
            lineage=self.lineage,
            question=text,
            top_k=top_k,
            min_score=min_score,
            query_vector=vector,
            hits=tuple(hits),
            shown=len(prompt.passages) if prompt else 0,
            prompt=prompt,
            raw_answer=completion.text if completion else None,
            answer=cited.text if cited else None,
            status="answered" if cited else "abstained",
            abstain_reason=reason,
            citations=cited.citations if cited else (),
            notices=tuple(progress.notices) + (cited.notices if cited else ()),
            usage=completion.usage if completion else Usage(None, None),
            stages=tuple(progress.stages),
            timings_ms=progress.timings_ms(),
        )

    def search(self, text: str, k: int) -> list[Hit]:
        """Retrieval alone: at most `k` hits, best first."""
        vector = self.embedder.embed_query(clean_question(text, max_chars=self.max_question_chars))
        return self._hits(vector, k)

    def _embed(self, text: str, progress: _Progress, deadline_s: float | None) -> Vector:
        with _stage("embed", deadline_s):
            began = time.perf_counter()
            tokens, window = self.embedder.tokenizer.count(text), self.embedder.tokenizer.window_tokens
            if tokens > window:
                detail = f"the question has {tokens} tokens; {self.embedder.name} reads the first {window}"
                progress.notices.append(Notice("question_truncated", detail))
            vector = self.embedder.embed_query(text)
            progress.done("embed", digest_bytes(vector.astype("<f4").tobytes()), time.perf_counter() - began)
        return vector

    def _retrieve(self, vector: Vector, k: int, progress: _Progress, deadline_s: float | None) -> list[Hit]:
        with _stage("retrieve", deadline_s):
            began = time.perf_counter()
            hits = self._hits(vector, k)
            progress.done("retrieve", digest_json([[hit.chunk.id, hit.score] for hit in hits]), time.perf_counter() - began)
        return hits

    def _hits(self, vector: Vector, k: int) -> list[Hit]:
        positions, scores = self.store.search(vector, k)
        chunks = self.chunks.chunks(positions.tolist())
        return [Hit(chunk, round(float(score), 5)) for chunk, score in zip(chunks, scores, strict=True)]

    def _prompt(self, text: str, hits: list[Hit], progress: _Progress, deadline_s: float | None) -> Prompt:
        with _stage("prompt", deadline_s):
            began = time.perf_counter()
            budget = self.generator.context_tokens
            prompt, left_out = render(self.template, text, hits, budget_tokens=budget, count_tokens=self.generator.count_tokens)
            if left_out:
                detail = f"{left_out} of {len(hits)} passages did not fit into {budget} tokens"
                progress.notices.append(Notice("context_truncated", detail))
            digest = digest_json({"system": prompt.system, "user": prompt.user})
            progress.done("prompt", digest, time.perf_counter() - began)
        return prompt

    def _generate(self, prompt: Prompt, progress: _Progress, deadline_s: float | None) -> Completion:
        with _stage("generate", deadline_s):
            began = time.perf_counter()
            completion = self.generator.generate(prompt, deadline_s=deadline_s)
            if completion.finish_reason == "length":
                progress.notices.append(Notice("answer_truncated", "the generator stopped at its token limit"))
            progress.done("generate", digest_text(completion.text), time.perf_counter() - began)
        return completion

    def _cite(self, completion: Completion, hits: list[Hit], progress: _Progress, deadline_s: float | None) -> CitedAnswer:
        with _stage("cite", deadline_s):
            began = time.perf_counter()
            cited = cite(completion, hits)
            places: list[Json] = [[citation.marker, citation.chunk.id, list(citation.quote_span)] for citation in cited.citations]
            progress.done("cite", digest_json({"answer": cited.text, "citations": places}), time.perf_counter() - began)
        return cited


def clean_question(text: str, *, max_chars: int) -> str:
    """Normalised as documents are, on one line's worth of space. Raises `InvalidQuestion` when it is blank or too long."""
    if len(text) > max_chars:
        raise InvalidQuestion(
            f"the question has {len(text):,} characters; at most {max_chars:,} are accepted",
            hint="shorten it, or raise RAG_MAX_QUESTION_CHARS",
            param="question",
        )
    cleaned = normalise(text).strip()
    if not cleaned:
        raise InvalidQuestion("the question is blank", hint="ask something", param="question")
    return cleaned


@contextmanager
def _stage(name: StageName, deadline_s: float | None) -> Iterator[None]:
    """Opens the stage's span, refuses to begin it late, and names it in errors that pass through."""
    if deadline_s is not None and time.monotonic() >= deadline_s:
        raise DeadlineExceeded(f"the time for this request was over before stage {name!r}", stage=name)
    with stage_span(name):
        try:
            yield
        except RagError as error:
            error.stage = error.stage or name
            raise
