"""The form of this project: JSON lines, one question each.

    {"id": "q1", "question": "…", "answers": ["…"], "relevant_ids": ["doc-7"], "answerable": true}

`relevant_ids` may be an object of grades, `{"doc-7": 2, "doc-9": 1}`; `gold_texts` gives whole paragraphs where no ids are known; `tags`
group questions. Only `id` and `question` are needed. A question with answers is answerable unless the row says otherwise.
"""

import difflib
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, StrictBool

from eval.questions.question import EvalQuestion, QuestionSet, question_set
from eval.questions.rows import Incoming, json_object, lines, validated
from rag_service.errors import InvalidInput

_EXAMPLE = 'a row looks like {"id": "q1", "question": "…", "answers": ["…"], "relevant_ids": ["doc-7"], "answerable": true}'


def _grades(value: object) -> object:
    """A list of ids is grade 1 for each."""
    if not isinstance(value, list):
        return value
    if any(isinstance(item, bool) or not isinstance(item, str | int) for item in value):
        raise ValueError("a list of document ids was expected, or an object of grades")
    return {str(item): 1 for item in value}


class _Row(Incoming):
    id: str
    question: str
    answers: tuple[str, ...] = ()
    relevant_ids: Annotated[dict[str, int], BeforeValidator(_grades), Field(default_factory=dict)]
    answerable: StrictBool | None = None
    gold_texts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def read_native(text: str, path: Path) -> QuestionSet:
    """Raises `InvalidInput` naming `file:line`."""
    return question_set(path.name, "native", [(place, _question(line, place)) for place, line in lines(text, path.name)])


def _question(line: str, place: str) -> EvalQuestion:
    fields = json_object(line, place)
    _refuse_near_misses(fields, place)
    if "question" not in fields and {"_id", "text"} <= fields.keys():
        raise InvalidInput(f"{place}: this is a row of a BEIR file", hint="give the folder that holds queries.jsonl and qrels/")
    row = validated(_Row, fields, place, hint=_EXAMPLE)
    answers = tuple(dict.fromkeys(answer for answer in row.answers if answer.strip()))
    return EvalQuestion(
        id=row.id,
        question=row.question,
        answers=answers,
        relevant={document: grade for document, grade in row.relevant_ids.items() if grade > 0},
        answerable=True if row.answerable is None and answers else row.answerable,
        gold_texts=tuple(dict.fromkeys(row.gold_texts)),
        tags=row.tags,
    )


def _refuse_near_misses(fields: dict[str, object], place: str) -> None:
    """Other keys are fine; one that was meant to be read and is misspelt would silently change what is measured."""
    missing = [name for name in _Row.model_fields if name not in fields]
    for key in fields:
        close = [] if key in _Row.model_fields else difflib.get_close_matches(key, missing, n=1, cutoff=0.8)
        if close and not (key == "_id" and "text" in fields):
            raise InvalidInput(f"{place}: there is no key {key!r}", hint=f"did you mean {close[0]!r}?")
