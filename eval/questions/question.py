"""The nouns: one question with what is known about it, and a set of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rag_service.digests import Json, digest_json
from rag_service.errors import InvalidInput

Form = Literal["native", "squad", "beir"]


@dataclass(frozen=True, slots=True)
class EvalQuestion:
    """`answerable` is None where nobody said. Gold is given as document ids with grades (`relevant`, every grade positive), or as
    whole paragraphs (`gold_texts`, relevant in grade 1) that the index is asked for their documents.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    relevant: Mapping[str, int] = field(default_factory=dict)
    answerable: bool | None = None
    gold_texts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """`digest` is over the questions as read, whatever file they came from. `left_out` counts queries without a judgement."""

    name: str
    form: Form
    split: str | None
    digest: str
    questions: tuple[EvalQuestion, ...]
    left_out: int = 0


def question_set(
    name: str, form: Form, placed: Iterable[tuple[str, EvalQuestion]], *, split: str | None = None, left_out: int = 0
) -> QuestionSet:
    """A set of questions, each with the place it was read from. Raises `InvalidInput` where one contradicts itself or another."""
    places: dict[str, str] = {}
    questions: list[EvalQuestion] = []
    digests: list[str] = []
    for place, question in placed:
        _check(place, question)
        if question.id in places:
            raise InvalidInput(
                f"{place}: the id {question.id!r} is already that of {places[question.id]}", hint="give every question its own id"
            )
        places[question.id] = place
        questions.append(question)
        digests.append(_digest(place, question))
    if not questions:
        raise InvalidInput(f"{name} holds no question", hint="`python -m eval run --help` shows the formats")
    return QuestionSet(name=name, form=form, split=split, digest=digest_json(digests), questions=tuple(questions), left_out=left_out)


def _check(place: str, question: EvalQuestion) -> None:
    if not question.id.strip():
        raise InvalidInput(f"{place}: the id is blank", hint="give every question an id; results are reported by it")
    if not question.question.strip():
        raise InvalidInput(f"{place}: question {question.id!r} is blank", hint="write the question or delete the row")
    if question.answers and question.answerable is False:
        raise InvalidInput(
            f"{place}: question {question.id!r} is unanswerable and has answers", hint="delete the answers or mark it answerable"
        )


def _digest(place: str, question: EvalQuestion) -> str:
    content: dict[str, Json] = {
        "id": question.id,
        "question": question.question,
        "answers": list(question.answers),
        "relevant": dict(question.relevant),
        "answerable": question.answerable,
        "gold_texts": list(question.gold_texts),
        "tags": list(question.tags),
    }
    try:
        return digest_json(content)
    except ValueError as error:
        raise InvalidInput(
            f"{place}: question {question.id!r} cannot be reported: {error}",
            hint="half surrogate pairs and grades beyond 2**53 have no portable form",
        ) from error
