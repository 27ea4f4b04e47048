"""What could be reached at best, and what without documents: the same pipeline with one part made perfect, or left out.

oracle        the search finds the gold passages and nothing else, and the service answers whatever its confidence: what is then still
              wrong is the reader's doing
closed_book   no passages at all: what the language model knows by itself
exact_index   every vector is compared: what the approximation of the index loses
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from eval.sample import Failure, Sample
from rag_service.ask import Pipeline
from rag_service.errors import RagError
from rag_service.prompt import render
from rag_service.question import clean_question
from rag_service.release import Release
from rag_service.retrieval import Retrieved, Retriever
from rag_service.stores.memory import MemoryStore
from rag_service.stores.selections import selection_of
from rag_service.types import Positions, Selection, Vector

MOST_GOLD = 12
"""Passages that an oracle shows at most."""
EXACT_KINDS = frozenset({"flat"})
"""Stores that compare every vector."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OnlyAmong(Retriever):
    """Searches these rows of the index, whatever else is in it."""

    inner: Retriever
    rows: Selection

    def find(self, query: str, vector: Vector, k: int, within: Selection | None = None) -> Retrieved:
        return self.inner.find(query, vector, k, self.rows if within is None else within)


def with_oracle(rows: Positions) -> Callable[[Pipeline], Pipeline]:
    """Makes a pipeline whose search finds these chunks and nothing else, and which answers whatever its confidence."""

    def narrowed(pipeline: Pipeline) -> Pipeline:
        permitted = np.zeros(len(pipeline.store), np.bool_)
        permitted[rows] = True
        selection = selection_of(permitted, documents=len(rows))
        inner = pipeline.retriever
        among = OnlyAmong(**{field.name: getattr(inner, field.name) for field in fields(Retriever)}, inner=inner, rows=selection)
        return replace(pipeline, lineage=replace(pipeline.lineage, release=oracle_release(pipeline.lineage.release)), retriever=among)

    return narrowed


def oracle_release(release: Release) -> Release:
    """With no threshold of confidence, and room for `MOST_GOLD` passages: one oracle for all candidates that differ in these alone."""
    wide = release.retrieval.model_copy(update={"min_confidence": 0.0, "top_k": MOST_GOLD})
    return release.model_copy(update={"retrieval": wide})


def with_exact_index(pipeline: Pipeline) -> Pipeline:
    """The same vectors, each of which is compared. They are read into memory: 1.5 kB a chunk at 384 dimensions."""
    store = pipeline.store
    return replace(pipeline, retriever=replace(pipeline.retriever, store=MemoryStore(store.vectors(range(len(store))))))


def closed_book(pipeline: Pipeline, question: str, timeout_s: float | None) -> Sample | None:
    """The model's answer to the prompt without passages. None where the generator only quotes: it has nothing to say then."""
    generator = pipeline.generator
    if not generator.follows_instructions:
        return None
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        text = clean_question(question, max_chars=pipeline.max_question_chars)
        budget = generator.context_tokens
        prompt = render(pipeline.template, text, (), budget_tokens=budget, count_tokens=generator.count_tokens).prompt
        completion = generator.generate(prompt, deadline_s=deadline_s)
    except RagError as error:
        return Sample(status="error", failures=(Failure("ask", error.code, error.message, error.stage),))
    if completion.declined:
        return Sample(status="abstained", abstain_reason="generator_declined")
    return Sample(
        status="answered",
        answer=completion.text,
        plain=completion.text,
        prompt_tokens=completion.usage.prompt_tokens,
        completion_tokens=completion.usage.completion_tokens,
    )
