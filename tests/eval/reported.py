"""Two candidates over forty questions, scored and labelled as a run does it: what reports are made of.

Question n asks for number n, which is 1000 + 7n, and document n says it. Every fifth has no answer. The base is right at the first
twenty; the candidate at the first eighteen, and at ten more: 10 are better, 2 are worse, 28 are the same.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.attribution import GoldState, attribute
from eval.questions import EvalQuestion
from eval.results import Gold, GoldSpan, Measured, Row, Run
from eval.sample import Cited, Failure, Judged, Ranked, Sample
from eval.scores import Score, Undefined
from eval.scoring import score
from eval.summary import labels, summarise
from rag_service.digests import digest_text
from tests.eval.built import a_candidate, a_release, a_run

N = 40
BASE_RIGHT = frozenset(range(20))
CANDIDATE_RIGHT = frozenset([*range(18), *range(20, 30)])
BROKEN = ("q18", "q19")


def chunk_id(document: str) -> str:
    return digest_text(document)[7:39]


def answer_to(number: int) -> str:
    return str(1000 + 7 * number)


def text_of(number: int) -> str:
    return f"A sentence before. The number of item {number} is {answer_to(number)}. A sentence behind."


TEXTS: Mapping[str, str] = {chunk_id(f"doc-{number}"): text_of(number) for number in range(100)}


def a_question(number: int, **more: Any) -> EvalQuestion:
    answerable = number % 5 != 4
    given: dict[str, Any] = {
        "id": f"q{number}",
        "question": f"What is the number of item {number}?",
        "answers": (answer_to(number),) if answerable else (),
        "answerable": answerable,
        "relevant": {f"doc-{number}": 1} if answerable else {},
        "tags": ("all", "even" if number % 2 == 0 else "odd"),
    }
    return EvalQuestion(**{**given, **more})


def a_told_row(number: int, *, right: bool, top_k: int = 3, question: EvalQuestion | None = None, **sample: Any) -> Row:
    """Where it is wrong, the gold is at rank 4 of the pool, behind the three that stand in the prompt; every third abstains then."""
    question = question or a_question(number)
    others = [f"doc-{number + 50 + step}" for step in range(11)]
    documents = [f"doc-{number}", *others] if right or not question.answerable else [*others[:3], f"doc-{number}", *others[3:]]
    text = text_of(number)
    pool = tuple(Ranked(chunk_id(document), document, 0, len(text), round(0.9 - rank / 20, 5)) for rank, document in enumerate(documents))
    start = text.index(answer_to(number))
    place = GoldSpan(f"doc-{number}", start, start + len(answer_to(number)))
    gold = Gold(dict(question.relevant), 0, ((place,),) if question.relevant else ())
    answers = (right or number % 3 > 0) if question.answerable else not right
    said = f"The number of item {number} is {answer_to(number) if right else 'unknown'}."
    given: dict[str, Any] = {
        "status": "answered" if answers else "abstained",
        "abstain_reason": None if answers else "low_confidence",
        "answer": f"{said} [1]" if answers else None,
        "plain": said if answers else None,
        "confidence": round(0.9 - number % 80 / 100, 2),
        "pool": pool,
        "hits": pool[:5],
        "shown": top_k,
        "cited": (Cited(1, pool[0].chunk_id, pool[0].document_id, 0, 18, True),) if answers else (),
        "sentences": (Judged("supported", True, True),) if answers else (),
        "prompt_tokens": 100 + number,
        "completion_tokens": 9,
        "took_ms": {"retrieve": 5.0, "generate": 10.0 + number, "total": 15.0 + number},
    }
    made = Sample(**{**given, **sample})
    row = Row(
        question=question,
        gold=gold,
        cluster=question.group or question.id,
        sample=made,
        scores=score(question, gold, made, texts=TEXTS, answers=True),
        oracle=replace(made, status="answered", plain=said, pool=()) if question.answerable else None,
    )
    label, evidence = attribute(row, GoldState(indexed=True, covered=True), considered=5)
    return replace(row, label=label, evidence=evidence)


def a_failed_row(number: int, message: str = "the answer took longer than 30.0 s") -> Row:
    failures = (Failure("ask", "deadline_exceeded", message, "generate"),)
    nothing: dict[str, Any] = {"answer": None, "plain": None, "cited": (), "sentences": (), "took_ms": {}, "shown": 0}
    return a_told_row(number, right=True, status="error", abstain_reason=None, failures=failures, **nothing)


def told(name: str, rows: Sequence[Row], *, top_k: int = 3, **more: Any) -> Measured:
    """A candidate with all that a run says of it."""
    headroom = {"retrieval": Score(0.25, 32, 32), "index": Score(Undefined("a flat index is exact"), 32, 0, n_undefined=32)}
    given: dict[str, Any] = {
        "metrics": summarise(rows, answers=True),
        "labels": labels(rows),
        "headroom": headroom,
        "release": a_release(top_k=top_k),
        "changed": {} if top_k == 3 else {"top_k": str(top_k)},
    }
    return a_candidate(name, rows, **{**given, **more})


def rows_of(right: Collection[int], *, n: int = N, top_k: int = 3) -> list[Row]:
    return [a_told_row(number, right=number in right, top_k=top_k) for number in range(n)]


def base() -> Measured:
    return told("base", rows_of(BASE_RIGHT))


def candidate() -> Measured:
    return told("better", rows_of(CANDIDATE_RIGHT, top_k=4), top_k=4)


def told_run(*candidates: Measured, **more: Any) -> Run:
    return a_run(*(candidates or (base(), candidate())), **{"texts": TEXTS, **more})
