"""The nouns: one question with what is known about it, and a set of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rag_service.digests import Json, digest_json, digest_text
from rag_service.errors import InvalidInput

Form = Literal["native", "squad", "beir", "trec", "ragas", "promptfoo", "table", "records"]
Split = Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class GoldPlace:
    """Where an answer stands, as a question set gives it: in a document named by its id or by its whole text, at character offsets (end
    exclusive, into the text as it is here) or where a quote stands. Without either, the whole document.

    With both, the offsets hold as long as the quote stands there; in a document that was changed since, the quote's nearest place does.
    A quote alone is looked for in every document.
    """

    document: str | None = None
    text: str | None = None
    """The whole text of the document, where no id is known."""
    start: int | None = None
    end: int | None = None
    quote: str | None = None


@dataclass(frozen=True, slots=True)
class EvalQuestion:
    """`answerable` is None where nobody said. Gold is given as document ids with grades (`relevant`, every grade positive), or as
    whole paragraphs (`gold_texts`, relevant in grade 1) that the index is asked for their documents. Both stay the same whatever the
    documents are cut into, and so do `places`.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    relevant: Mapping[str, int] = field(default_factory=dict)
    answerable: bool | None = None
    gold_texts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    places: tuple[tuple[GoldPlace, ...], ...] = ()
    """What must be found, each group anew (a question that needs two documents has two groups), at any one of its places."""
    facts: tuple[tuple[str, ...], ...] = ()
    """What a right answer says, each as the wordings that count."""
    group: str = ""
    """Questions that hang together, for statistics: those of one article, or of one template. Empty: alone, or its first document."""
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """`digest` is over the questions as read, whatever file they came from. `left_out` counts queries without a judgement."""

    name: str
    form: Form
    split: str | None
    digest: str
    questions: tuple[EvalQuestion, ...]
    left_out: int = 0
    read_from: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Question id → where it was read, such as `questions.jsonl:7`."""


def question_set(
    name: str, form: Form, placed: Iterable[tuple[str, EvalQuestion]], *, split: str | None = None, left_out: int = 0
) -> QuestionSet:
    """A set of questions, each with the place it was read from. Raises `InvalidInput` where one contradicts itself or another."""
    read_from: dict[str, str] = {}
    questions: list[EvalQuestion] = []
    digests: list[str] = []
    for place, question in placed:
        check(place, question)
        if question.id in read_from:
            raise repeated_id(place, question, read_from[question.id])
        read_from[question.id] = place
        questions.append(question)
        digests.append(_digest(place, question))
    if not questions:
        raise InvalidInput(f"{name} holds no question", hint="`python -m eval run --help` shows the formats")
    return QuestionSet(name, form, split, digest_json(digests), tuple(questions), left_out, read_from)


def repeated_id(place: str, question: EvalQuestion, earlier: str) -> InvalidInput:
    return InvalidInput(f"{place}: the id {question.id!r} is already that of {earlier}", hint="give every question its own id")


def check(place: str, question: EvalQuestion) -> None:
    """Raises `InvalidInput` where a question contradicts itself or cannot be reported."""
    if not question.id.strip():
        raise InvalidInput(f"{place}: the id is blank", hint="give every question an id; results are reported by it")
    if not question.question.strip():
        raise InvalidInput(f"{place}: question {question.id!r} is blank", hint="write the question or delete the row")
    for what, given in (("answers", question.answers), ("facts", question.facts)):
        if given and question.answerable is False:
            raise InvalidInput(
                f"{place}: question {question.id!r} is unanswerable and has {what}", hint=f"delete the {what} or mark it answerable"
            )
    for number, group in enumerate(question.places):
        if not group:
            raise InvalidInput(f"{place}: gold[{number}] is empty", hint="a group of gold lists the places that are each enough")
        for gold in group:
            _check_place(f"{place}: gold[{number}]", gold)


def _check_place(place: str, gold: GoldPlace) -> None:
    if gold.document is not None and gold.text is not None:
        raise InvalidInput(f"{place}: a document is named twice", hint="give `document` (its id) or `text` (its whole text)")
    if (gold.start is None) != (gold.end is None):
        raise InvalidInput(f"{place}: of start and end one is missing", hint="give both, or a quote")
    if gold.start is not None and gold.end is not None and not 0 <= gold.start < gold.end:
        raise InvalidInput(f"{place}: {gold.start} to {gold.end} is no span", hint="start counts characters from 0, end is exclusive")
    if gold.quote is not None and not gold.quote.strip():
        raise InvalidInput(f"{place}: the quote is blank", hint="quote words of the document, or leave `quote` out")
    if gold.document is None and gold.text is None and (gold.quote is None or gold.start is not None):
        raise InvalidInput(
            f"{place}: it does not say in which document",
            hint="add `document`: its id is the path below the folder that was indexed; only a quote alone is looked for everywhere",
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
    later: dict[str, Json] = {
        "places": [[_given(gold) for gold in group] for group in question.places],
        "facts": [list(wordings) for wordings in question.facts],
        "group": question.group,
        "split": question.split,
    }
    content |= {name: value for name, value in later.items() if value}  # a set without them keeps the digest it had before there were any
    try:
        return digest_json(content)
    except ValueError as error:
        raise InvalidInput(
            f"{place}: question {question.id!r} cannot be reported: {error}",
            hint="half surrogate pairs and numbers beyond 2**53 have no portable form",
        ) from error


def _given(gold: GoldPlace) -> dict[str, Json]:
    text = None if gold.text is None else digest_text(gold.text)  # paragraphs come again and again
    fields: dict[str, Json] = {"document": gold.document, "text": text, "start": gold.start, "end": gold.end, "quote": gold.quote}
    return {name: value for name, value in fields.items() if value is not None}
