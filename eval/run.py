"""The verb: opened release + question set → report. Asks the pipeline that serves, one question after the other."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from eval.gold import Gold, resolve_gold
from eval.metrics.answers import ANSWERS, SQUAD, usable, without_citations
from eval.metrics.retrieval import RETRIEVAL, by_best_rank
from eval.metrics.scores import Failed, Outcome, Undefined
from eval.questions import EvalQuestion, QuestionSet
from eval.report import (
    LISTED_DOCUMENTS,
    Failure,
    Parameters,
    QuestionsIdentity,
    ReleaseIdentity,
    Report,
    Row,
)
from eval.summary import abstain_reasons, count, error_codes, summarise, warn
from rag_service.ask import Pipeline
from rag_service.errors import RagError
from rag_service.ports import Progress
from rag_service.question import Question
from rag_service.record import Record

DEFAULT_DEPTH = 100
"""Chunks retrieved for the retrieval metrics."""

MISSING_GOLD = Undefined("gold not in index")


def evaluate(
    pipeline: Pipeline,
    questions: QuestionSet,
    *,
    depth: int = DEFAULT_DEPTH,
    limit: int | None = None,
    answers: bool = True,
    timeout_s: float | None = None,
    progress: Progress,
) -> Report:
    """Asks the first `limit` questions, or all. Retrieval is measured on the documents of the best `depth` chunks, answers as they are
    served, each within `timeout_s`.

    A `RagError` at one question is recorded in its row and counted in every score; the run goes on. Raises `Mismatch` when the question
    set does not belong to the index.
    """
    began_s = time.monotonic()
    created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    release, index = pipeline.lineage.release, pipeline.lineage.index
    parameters = Parameters(depth=depth, answers=answers, limit=limit, timeout_s=timeout_s)
    rows = list(_rows(pipeline, questions.questions, parameters, progress))
    return Report(
        created_at=created_at,
        duration_s=round(time.monotonic() - began_s, 3),
        release=ReleaseIdentity(id=release.id, digest=release.digest, content=release),
        index=index,
        deployment=pipeline.lineage.deployment,
        questions=_identity(questions, n_asked=len(rows)),
        parameters=parameters,
        counts=count(rows),
        abstain_reasons=abstain_reasons(rows),
        error_codes=error_codes(rows),
        metrics=summarise(rows, answers=answers),
        warnings=tuple(warn(rows, documents=index.documents)),
        rows=tuple(rows),
    )


def _rows(pipeline: Pipeline, questions: Sequence[EvalQuestion], parameters: Parameters, progress: Progress) -> Iterator[Row]:
    # Gold is resolved for the whole set, also where only a part is asked: whether it belongs to the index is a matter of all of it.
    gold = resolve_gold(questions, pipeline.chunks, index=pipeline.lineage.index.name)[: parameters.limit]
    progress.stage("asking" if parameters.answers else "searching", len(gold))
    for question, known in zip(questions, gold, strict=False):
        yield _row(pipeline, question, known, parameters)
        progress.advance()


def _row(pipeline: Pipeline, question: EvalQuestion, gold: Gold, parameters: Parameters) -> Row:
    # Asked first: a search for the same question just before would warm the caches that a served answer finds cold.
    asked = _ask(pipeline, question, parameters.timeout_s) if parameters.answers else None
    ranked, search_ms = _search(pipeline, question, parameters.depth)
    record = asked if isinstance(asked, Record) else None
    answer = _plain(record)
    answer_scores = {} if asked is None else _answer_scores(asked if isinstance(asked, Failure) else answer, question)
    return Row(
        id=question.id,
        question=question.question,
        tags=question.tags,
        answerable=question.answerable,
        answers=question.answers,
        status=record.status if record else "error" if asked else "not_asked",
        abstain_reason=record.abstain_reason if record else None,
        answer=answer,
        answer_id=record.answer_id if record else None,
        trace_id=record.trace_id if record else None,
        relevant=gold.relevant,
        missing_gold=gold.missing,
        retrieved=() if isinstance(ranked, Failure) else ranked[:LISTED_DOCUMENTS],
        scores={**_retrieval_scores(ranked, question, gold), **answer_scores},
        total_ms=record.timings_ms["total"] if record else None if asked else search_ms,
        failures=tuple(outcome for outcome in (asked, ranked) if isinstance(outcome, Failure)),
    )


def _ask(pipeline: Pipeline, question: EvalQuestion, timeout_s: float | None) -> Record | Failure:
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        return pipeline.ask(Question(question.question, deadline_s=deadline_s))
    except RagError as error:
        return Failure("ask", error.code, error.message, error.stage)


def _search(pipeline: Pipeline, question: EvalQuestion, depth: int) -> tuple[tuple[str, ...] | Failure, float | None]:
    """Document ids, best first, and how many milliseconds it took."""
    began_s = time.perf_counter()
    try:
        hits = pipeline.search(Question(question.question, top_k=depth)).hits
    except RagError as error:
        return Failure("search", error.code, error.message, error.stage), None
    search_ms = round((time.perf_counter() - began_s) * 1000, 3)
    return by_best_rank(hit.chunk.document_id for hit in hits), search_ms


def _plain(record: Record | None) -> str | None:
    """The answer without its citation markers, or None where there is none."""
    if record is None or record.answer is None:
        return None
    return without_citations(record.answer, [citation.answer_span for citation in record.citations])


def _retrieval_scores(ranked: tuple[str, ...] | Failure, question: EvalQuestion, gold: Gold) -> Mapping[str, Outcome]:
    """Of questions with gold. An unanswerable one has none, whatever paragraph it was written from: nothing there answers it."""
    if question.answerable is False:
        return {}
    if gold.missing:
        return dict.fromkeys(RETRIEVAL, MISSING_GOLD)
    if not gold.relevant:
        return {}
    if isinstance(ranked, Failure):
        return dict.fromkeys(RETRIEVAL, Failed(ranked.code))
    return {name: measure(ranked, gold.relevant) for name, measure in RETRIEVAL.items()}


def _answer_scores(answer: str | Failure | None, question: EvalQuestion) -> Mapping[str, Outcome]:
    """`answer` is None where the service abstained."""
    names = _applicable(question)
    if isinstance(answer, Failure):
        return dict.fromkeys(names, Failed(answer.code))
    if question.answerable is False:  # decided by status: an answer of nothing but punctuation is an answer all the same
        return dict.fromkeys(names, float(answer is None))
    if not usable(question.answers):
        return dict.fromkeys(names, Undefined("no reference answer has a token to compare"))
    metrics = {**ANSWERS, **SQUAD}
    return {name: metrics[name](answer or "", question.answers) for name in names}


def _applicable(question: EvalQuestion) -> Sequence[str]:
    if question.answerable is False:
        return list(SQUAD)
    return [*ANSWERS, *SQUAD] if question.answers else []


def _identity(questions: QuestionSet, *, n_asked: int) -> QuestionsIdentity:
    return QuestionsIdentity(
        name=questions.name,
        form=questions.form,
        split=questions.split,
        digest=questions.digest,
        n_questions=len(questions.questions),
        n_asked=n_asked,
        n_left_out=questions.left_out,
    )
