"""The verb: question + release → record. The whole way of one question, in the order in which it happens.

A `Pipeline` is one opened release. It is immutable: a request that began with one ends with it, whatever is activated meanwhile.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from opentelemetry.trace import SpanContext, format_trace_id

from rag_service import abstention
from rag_service.citations import CitedAnswer, cite
from rag_service.condense import condense
from rag_service.digests import Json, digest_bytes, digest_json, digest_text
from rag_service.errors import RagError
from rag_service.injection import instructing
from rag_service.links import unlinked
from rag_service.ports import ChunkTable, Embedder, Generator, VectorStore
from rag_service.prompt import Template, load_template, render
from rag_service.question import Question, clean_question
from rag_service.record import Attempt, Found, IndexFacts, Lineage, Parameters, Record, Scope, Search, new_answer_id
from rag_service.release import PromptRef
from rag_service.retrieval import Retriever
from rag_service.sampling import as_parameters, fitted
from rag_service.stages import Stages, named
from rag_service.support import assess
from rag_service.telemetry.spans import answer_span_id, below, in_a_trace, span_of_answer, within
from rag_service.telling import Tell, Telling
from rag_service.types import NOT_COUNTED, Completion, Hit, Matrix, Notice, Passage, Prompt, SentenceSupport, Usage, Vector


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Pipeline:
    lineage: Lineage
    embedder: Embedder
    retriever: Retriever
    template: Template
    condense_template: Template
    generator: Generator
    max_question_chars: int
    facts: IndexFacts = field(default_factory=IndexFacts, compare=False, repr=False)

    @property
    def chunks(self) -> ChunkTable:
        return self.retriever.chunks

    @property
    def store(self) -> VectorStore:
        return self.retriever.store

    def ask(self, question: Question, tell: Tell | None = None) -> Record:
        """Answers or abstains. `tell` is given the events of the answer as they happen, in this thread.

        Raises `InvalidQuestion`, `NotFound` for an unknown prompt, `GeneratorFailed`, `GeneratorPaused`, `EmbedderFailed`,
        `DeadlineExceeded` or `Cancelled`, with `stage` set where one failed and `attempt` in any case.
        """
        with in_a_trace() as parent:
            asking = _Asking(self, question, parent)
            with asking.explained():
                asking.prepare()
                asking.embed()
                return asking.answer(tell)

    def ask_many(self, questions: Sequence[Question]) -> list[Record | RagError]:
        """A record or an error for each question, in order. All are embedded in one call, then answered one after the other."""
        with in_a_trace() as parent:
            askings = [_Asking(self, question, parent) for question in questions]
            errors = [_error_of(asking, asking.prepare) for asking in askings]
            vectors = iter(_embedded(self.embedder, [asking for asking, error in zip(askings, errors, strict=True) if error is None]))
            return [error or _answered(asking, next(vectors)) for asking, error in zip(askings, errors, strict=True)]

    def search(self, question: Question) -> Search:
        """Retrieval alone. Raises what `ask` raises until then."""
        with in_a_trace() as parent:
            asking = _Asking(self, question, parent)
            with asking.explained():
                asking.prepare()
                asking.embed()
                return asking.search()


@dataclass(frozen=True, slots=True, eq=False)
class _Embedding:
    """Of one question of several that were embedded in one call, which began at `began_s`: its vector and its share of the time."""

    vector: Vector
    began_s: float
    share_s: float


class _Asking:
    """One question on its way through one pipeline. Its methods are called in the order in which they stand here."""

    def __init__(self, pipeline: Pipeline, question: Question, parent: SpanContext) -> None:
        self._pipeline = pipeline
        self._question = question
        self._parent = parent
        self._answer_id = new_answer_id()
        self._span = below(parent, answer_span_id(self._answer_id))
        self._created_at = datetime.now(UTC)
        self._stages = Stages(question.deadline_s, question.cancellation)
        self._template = pipeline.template
        self._sampling, adjusted = fitted(question.sampling, pipeline.generator.parameters)
        self._notices = list(adjusted)
        self._parameters = self._parameters_used()
        self._scope: Scope | None = None
        self._condensing = NOT_COUNTED
        self._confidence = 0.0
        self._text = ""
        self.query = ""
        self.vector: Vector

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors that pass through say how far the answer had come. Whatever happens inside has this answer's span for a parent."""
        try:
            with within(self._span):
                yield
        except RagError as error:
            error.attempt = self._attempt()
            raise

    def prepare(self) -> None:
        """The texts of the question and of the query."""
        question, pipeline = self._question, self._pipeline
        self._text = self.query = clean_question(question.text, max_chars=pipeline.max_question_chars)
        if question.prompt is not None:
            self._template = load_template(question.prompt)
            self._parameters = self._parameters_used()
        if any(turn.role == "user" for turn in question.history):
            self._condense()
        self._stages.check("embed")  # here, because a batch is embedded outside of the stages of its questions

    def _condense(self) -> None:
        question, pipeline = self._question, self._pipeline
        with self._stages.stage("condense") as output:
            found = condense(
                self._text,
                question.history,
                pipeline.generator,
                pipeline.condense_template,
                max_chars=pipeline.max_question_chars,
                deadline_s=question.deadline_s,
                cancellation=question.cancellation,
            )
            self.query, self._condensing = found.query, found.usage
            self._notices.extend(found.notices)
            output(digest_text(self.query))

    def embed(self) -> None:
        with self._stages.stage("embed") as output:
            self.vector = self._pipeline.embedder.embed_query(self.query)
            output(_vector_digest(self.vector))

    def embedded(self, embedding: _Embedding) -> None:
        """The same for a question that was embedded together with others."""
        self.vector = embedding.vector
        self._stages.add("embed", _vector_digest(self.vector), began_s=embedding.began_s, duration_s=embedding.share_s)

    def search(self) -> Search:
        hits = self._retrieve()
        return Search(
            attempt=self._attempt(),
            request_id=self._question.request_id,
            created_at=self._created_at,
            question=self._text,
            query=self.query,
            hits=hits,
            notices=tuple(self._notices),
            timings_ms=self._stages.timings_ms(),
            confidence=self._confidence,
        )

    def answer(self, tell: Tell | None = None) -> Record:
        hits = self._retrieve()
        if tell is not None:
            tell(Found(self._answer_id, self._attempt(), self.query, hits))
        reason = abstention.before_generation(
            hits,
            indexed_chunks=len(self._pipeline.store),
            confidence=self._confidence,
            min_confidence=self._parameters.min_confidence,
        )
        prompt = completion = cited = None
        support: tuple[SentenceSupport, ...] = ()
        if reason is None:
            prompt = self._prompt(hits)
            shown = hits[: len(prompt.passages)]
            strict = self._pipeline.lineage.release.checks.support == "strict"
            told = Telling(tell, shown) if tell is not None else None
            completion = self._generate(prompt, None if strict else told)  # what may be withheld is not told before it is checked
            reason = abstention.after_generation(completion)
            if reason is None:
                cited, support = self._cite(completion, shown, prompt.passages)
                reason = abstention.after_checks(support, strict=strict)
            if reason is not None:
                cited = None
            elif told is not None and cited is not None:
                told.finish(cited)
        return Record(
            answer_id=self._answer_id,
            attempt=self._attempt(),
            request_id=self._question.request_id,
            created_at=self._created_at,
            question=self._text,
            history=self._question.history,
            query=self.query,
            query_vector=self.vector,
            hits=hits,
            shown=len(prompt.passages) if prompt else 0,
            prompt=prompt,
            raw_answer=completion.text if completion else None,
            answer=cited.text if cited else None,
            status="answered" if cited else "abstained",
            abstain_reason=reason,
            citations=cited.citations if cited else (),
            notices=(*self._notices, *(cited.notices if cited else ())),
            usage=_total(self._condensing, completion.usage) if completion else self._condensing,
            timings_ms=self._stages.timings_ms(),
            confidence=self._confidence,
            support=support,
        )

    def _retrieve(self) -> tuple[Hit, ...]:
        pipeline = self._pipeline
        tokens, window = pipeline.embedder.tokenizer.count(self.query), pipeline.embedder.tokenizer.window_tokens
        if tokens > window:
            detail = f"the question has {tokens} tokens; {pipeline.embedder.name} reads the first {window}"
            self._notices.append(Notice("question_truncated", detail))
        with self._stages.stage("retrieve") as output:
            wanted = self._question.searched
            within = None if wanted is None else pipeline.chunks.select(wanted)
            index = pipeline.lineage.index
            self._scope = Scope(index.documents, index.chunks) if within is None else Scope(within.documents, len(within))
            found = pipeline.retriever.find(self.query, self.vector, self._parameters.top_k, within)
            self._confidence = found.confidence
            output(digest_json([found.confidence, *([hit.chunk.id, hit.score] for hit in found.hits)]))
        return found.hits

    def _prompt(self, hits: tuple[Hit, ...]) -> Prompt:
        generator = self._pipeline.generator
        with self._stages.stage("prompt") as output:
            budget = generator.context_tokens
            rendered = render(self._template, self.query, hits, budget_tokens=budget, count_tokens=generator.count_tokens)
            prompt, truncated = rendered.prompt, rendered.notice(budget)
            if truncated is not None:
                self._notices.append(truncated)
            self._notices.extend(instructing(prompt.passages))
            output(digest_json({"system": prompt.system, "user": prompt.user}))
        return prompt

    def _generate(self, prompt: Prompt, told: Telling | None) -> Completion:
        question = self._question
        with self._stages.stage("generate") as output:
            completion = self._pipeline.generator.generate(
                prompt,
                sampling=self._sampling,
                deadline_s=question.deadline_s,
                cancellation=question.cancellation,
                write=told.write if told is not None else None,
            )
            if completion.finish_reason == "length":
                self._notices.append(Notice("answer_truncated", "the generator stopped at its token limit"))
            self._notices.extend(completion.notices)
            output(digest_text(completion.text))
        return completion

    def _cite(
        self, completion: Completion, hits: tuple[Hit, ...], passages: tuple[Passage, ...]
    ) -> tuple[CitedAnswer, tuple[SentenceSupport, ...]]:
        """The checked answer, and how well the passages support each sentence of it."""
        with self._stages.stage("cite") as output:
            kept, removed = unlinked(completion, hits)
            self._notices.extend(removed)
            cited = cite(kept, hits)
            support = assess(cited.text, cited.citations, passages, self._pipeline.embedder.embed_passages)
            self._notices.extend(Notice("support_not_checked", note) for note in support.notes)
            unsupported = sum(sentence.claims and sentence.level == "unsupported" for sentence in support.sentences)
            if unsupported:
                detail = f"{unsupported} of {len(support.sentences)} sentences are not supported by what they cite"
                self._notices.append(Notice("sentence_unsupported", detail))
            places: list[Json] = [[citation.marker, citation.chunk.id, list(citation.quote_span)] for citation in cited.citations]
            levels: list[Json] = [[*sentence.span, sentence.level] for sentence in support.sentences]
            output(digest_json({"answer": cited.text, "citations": places, "support": levels}))
        return cited, support.sentences

    def _parameters_used(self) -> Parameters:
        release, question, template = self._pipeline.lineage.release, self._question, self._template
        used = Parameters(
            top_k=release.retrieval.top_k if question.top_k is None else question.top_k,
            min_confidence=release.retrieval.min_confidence if question.min_confidence is None else question.min_confidence,
            prompt=PromptRef(name=template.name, version=template.version, digest=template.digest),
            generator={**release.generator.parameters, **as_parameters(self._sampling)},
            filters=question.filters,
            access=question.access,
            overrides=(),
        )
        replaced = [name for name in ("top_k", "min_confidence") if getattr(used, name) != getattr(release.retrieval, name)]
        replaced += ["prompt"] if used.prompt != release.prompt else []
        replaced += [name for name, value in used.generator.items() if value != release.generator.parameters.get(name)]
        return replace(used, overrides=tuple(replaced))

    def _attempt(self) -> Attempt:
        stages = self._stages
        now_ms, under_way_ms = stages.now_ms(), stages.under_way_ms
        span = span_of_answer(self._answer_id, self._parent, self._created_at, ended_ms=now_ms, under_way_ms=under_way_ms)
        trace_id = format_trace_id(self._parent.trace_id)
        return Attempt(trace_id, self._pipeline.lineage, self._parameters, self._scope, stages.done, span)


def _embedded(embedder: Embedder, askings: Sequence[_Asking]) -> list[_Embedding | RagError]:
    """What went wrong with one went wrong with all of them."""
    if not askings:
        return []
    began_s = time.perf_counter()
    try:
        with named("embed"):
            vectors: Matrix = embedder.embed_queries([asking.query for asking in askings])
    except RagError as error:
        return [copy(error) for _ in askings]  # each says how far its own answer had come
    share_s = (time.perf_counter() - began_s) / len(askings)
    return [_Embedding(vector, began_s, share_s) for vector in vectors]


def _answered(asking: _Asking, embedded: _Embedding | RagError) -> Record | RagError:
    try:
        with asking.explained():
            if isinstance(embedded, RagError):
                raise embedded
            asking.embedded(embedded)
            return asking.answer()
    except RagError as error:
        return error


def _error_of(asking: _Asking, work: Callable[[], None]) -> RagError | None:
    try:
        with asking.explained():
            work()
    except RagError as error:
        return error
    return None


def _vector_digest(vector: Vector) -> str:
    return digest_bytes(vector.astype("<f4").tobytes())


def _total(first: Usage, second: Usage) -> Usage:
    def added(one: int | None, other: int | None) -> int | None:
        return other if one is None else one if other is None else one + other

    return Usage(added(first.prompt_tokens, second.prompt_tokens), added(first.completion_tokens, second.completion_tokens))
