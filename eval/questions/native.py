"""The form of this project: JSON lines, one question each.

    {"id": "q1", "question": "…", "answers": ["…"], "relevant_ids": ["doc-7"], "answerable": true}

Only `id` and `question` are needed. A question with answers or facts is answerable unless the row says otherwise.

    answers        short strings that a right answer contains; any one is enough
    facts          what a right answer says: each a string, or a list of wordings of which one is enough
    relevant_ids   document ids, or an object of grades: {"doc-7": 2, "doc-9": 1}
    gold           where it stands: see below
    gold_texts     whole paragraphs, where no ids are known
    group          questions that hang together, for statistics
    split          "dev" or "test"
    tags           for slices

`gold` is a list of groups, and every group must be found. A group is a list of places, of which one is enough; a place by itself is a group
of one, so that a flat list means all of them.

    "gold": [{"document": "releases.md", "quote": "`rag-service release rollback` goes back"}]
    "gold": [[{"document": "a.md", "start": 40, "end": 95}, {"document": "b.md", "quote": "…"}], {"document": "c.md", "quote": "…"}]

A place names its document by `document` (an id) or `text` (its whole text), and where in it by `start` and `end` (characters, end
exclusive), by a `quote`, or both; without either it is the whole document. Where the row has exactly one document otherwise, in
`relevant_ids` or `gold_texts`, a place need not name it; a quote that names none otherwise is looked for in all documents.
`"spans": [[40, 95]]` is short for places in that one document that must all be found; where there are as many answers, and each as long as
its span, each is what stands there.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from eval.questions.question import EvalQuestion, GoldPlace, QuestionSet, Split, question_set
from eval.questions.rows import Incoming, json_object, lines, validated
from rag_service.errors import InvalidInput

_EXAMPLE = 'a row looks like {"id": "q1", "question": "…", "answers": ["…"], "relevant_ids": ["doc-7"], "answerable": true}'
_GOLD_EXAMPLE = 'gold looks like [{"document": "doc-7", "quote": "…"}] or [[{"document": "doc-7", "start": 40, "end": 95}]]'


def _grades(value: object) -> object:
    """A list of ids is grade 1 for each."""
    if not isinstance(value, list):
        return value
    if any(isinstance(item, bool) or not isinstance(item, str | int) for item in value):
        raise ValueError("a list of document ids was expected, or an object of grades")
    return {str(item): 1 for item in value}


def _lists(value: object) -> object:
    """An item that is no list is a list of one."""
    return [item if isinstance(item, list) else [item] for item in value] if isinstance(value, list) else value


class _Place(Incoming):
    document: str | None = None
    text: str | None = None
    start: StrictInt | None = None
    end: StrictInt | None = None
    quote: str | None = None


class _Row(Incoming):
    id: str
    question: str
    answers: tuple[str, ...] = ()
    relevant_ids: Annotated[dict[str, int], BeforeValidator(_grades), Field(default_factory=dict)]
    answerable: StrictBool | None = None
    gold_texts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    gold: Annotated[tuple[tuple[_Place, ...], ...], BeforeValidator(_lists)] = ()
    spans: tuple[tuple[StrictInt, StrictInt], ...] = ()
    facts: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_lists)] = ()
    group: str = ""
    split: Split | None = None


def read_native(text: str, path: Path) -> QuestionSet:
    """Raises `InvalidInput` naming `file:line`."""
    return question_set(path.name, "native", [(place, native_question(line, place)) for place, line in lines(text, path.name)])


def native_question(line: str, place: str) -> EvalQuestion:
    """Of one line. Raises `InvalidInput`."""
    fields = json_object(line, place)
    _refuse_near_misses(fields, _Row, place)
    if "question" not in fields and {"_id", "text"} <= fields.keys():
        raise InvalidInput(f"{place}: this is a row of a BEIR file", hint="give the folder that holds queries.jsonl and qrels/")
    _refuse_near_misses_in_gold(fields.get("gold"), place)
    row = validated(_Row, fields, place, hint=_EXAMPLE)
    answers = _distinct(row.answers)
    facts = tuple(filter(None, map(_distinct, row.facts)))
    return EvalQuestion(
        id=row.id,
        question=row.question,
        answers=answers,
        relevant={document: grade for document, grade in row.relevant_ids.items() if grade > 0},
        answerable=True if row.answerable is None and (answers or facts) else row.answerable,
        gold_texts=tuple(dict.fromkeys(row.gold_texts)),
        tags=row.tags,
        places=_places(row, place),
        facts=facts,
        group=row.group.strip(),
        split=row.split,
    )


def native_lines(questions: Iterable[EvalQuestion]) -> Iterator[bytes]:
    """JSON lines that `read_native` reads as these very questions. Fields that say nothing are left out."""
    for question in questions:
        yield orjson.dumps(_written(question), option=orjson.OPT_APPEND_NEWLINE)


def _written(question: EvalQuestion) -> Mapping[str, Any]:
    follows = True if question.answers or question.facts else None
    relevant = question.relevant
    only = _only_document(relevant, question.gold_texts)
    fields = {
        "id": question.id,
        "question": question.question,
        "answers": question.answers,
        "facts": [wordings[0] if len(wordings) == 1 else wordings for wordings in question.facts],
        "answerable": question.answerable,
        "relevant_ids": list(relevant) if set(relevant.values()) <= {1} else dict(relevant),
        "gold": [[_written_place(gold, only) for gold in group] for group in question.places],
        "gold_texts": question.gold_texts,
        "group": question.group,
        "split": question.split,
        "tags": question.tags,
    }
    return {name: value for name, value in fields.items() if (value != follows if name == "answerable" else value)}


def _written_place(gold: GoldPlace, only: GoldPlace | None) -> Mapping[str, Any]:
    named = only is None or (gold.document, gold.text) != (only.document, only.text) or (gold.start is None and gold.quote is None)
    fields = {"start": gold.start, "end": gold.end, "quote": gold.quote}
    if named:
        fields = {"document": gold.document, "text": gold.text, **fields}
    return {name: value for name, value in fields.items() if value is not None}


def _places(row: _Row, place: str) -> tuple[tuple[GoldPlace, ...], ...]:
    only = _only_document({name: grade for name, grade in row.relevant_ids.items() if grade > 0}, dict.fromkeys(row.gold_texts))
    if not row.spans:
        return tuple(tuple(dict.fromkeys(_place(given, only) for given in group)) for group in row.gold)
    if row.gold:
        raise InvalidInput(f"{place}: there are gold and spans", hint="spans are a short form of gold: keep one of the two")
    if only is None:
        raise InvalidInput(
            f"{place}: spans belong to one document, and the row does not name exactly one", hint=f"name it in each place: {_GOLD_EXAMPLE}"
        )
    answers = row.answers if len(row.answers) == len(row.spans) else ("",) * len(row.spans)
    return tuple(
        (replace(only, start=start, end=end, quote=answer if len(answer) == end - start else None),)
        for (start, end), answer in zip(row.spans, answers, strict=True)
    )


def _place(given: _Place, only: GoldPlace | None) -> GoldPlace:
    if only and given.document is None and given.text is None and (given.start is not None or given.quote is not None):
        return replace(only, start=given.start, end=given.end, quote=given.quote)
    return GoldPlace(given.document, given.text, given.start, given.end, given.quote)


def _only_document(relevant: Iterable[str], texts: Iterable[str]) -> GoldPlace | None:
    """What a place means that names no document."""
    found = [*(GoldPlace(document=document) for document in relevant), *(GoldPlace(text=text) for text in texts)]
    return found[0] if len(found) == 1 else None


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def _refuse_near_misses_in_gold(gold: object, place: str) -> None:
    for number, group in enumerate(gold if isinstance(gold, list) else []):
        for given in group if isinstance(group, list) else [group]:
            if not isinstance(given, dict):
                raise InvalidInput(f"{place}: gold[{number}]: a place was expected, not {given!r}", hint=_GOLD_EXAMPLE)
            _refuse_near_misses(given, _Place, f"{place}: gold[{number}]")


def _refuse_near_misses(fields: Mapping[str, object], model: type[Incoming], place: str) -> None:
    """Other keys are fine; one that was meant to be read and is misspelt would silently change what is measured."""
    missing = [name for name in model.model_fields if name not in fields]
    for key in fields:
        if key in model.model_fields or (key == "_id" and "text" in fields):
            continue
        close = difflib.get_close_matches(key, missing, n=1, cutoff=0.8)
        if not close and model is _Place:  # where `doc` can only be short for `document`
            close = [name for name in missing if len(key) > 2 and (name.startswith(key) or key.startswith(name))]
        if close:
            raise InvalidInput(f"{place}: there is no key {key!r}", hint=f"did you mean {close[0]!r}?")
