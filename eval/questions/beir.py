"""BEIR (https://github.com/beir-cellar/beir): a folder of `queries.jsonl` and `qrels/<split>.tsv`.

Grades of zero or less judge a document irrelevant and are passed over. Queries that no document is relevant to are left out and
counted: `queries.jsonl` holds those of every split. An import keeps them.
"""

from collections.abc import Container, Mapping
from pathlib import Path

from pydantic import Field

from eval.questions.question import EvalQuestion, QuestionSet, question_set
from eval.questions.rows import Incoming, json_object, lines, validated
from eval.text_file import read_text
from rag_service.errors import InvalidInput, NotFound

_QUERY = 'a row looks like {"_id": "q1", "text": "…"}'
_JUDGEMENT = "a row is query id, document id and a whole number, separated by tabs"

_Qrels = dict[str, dict[str, int]]


class _Query(Incoming):
    id: str = Field(alias="_id")
    text: str


UNJUDGED = "unjudged"
"""Tag of a query that no document is relevant to."""


def read_beir(folder: Path, split: str | None, *, unjudged: bool = False) -> QuestionSet:
    """With `unjudged`, queries that no document is relevant to are kept and tagged so, but for those that other splits judge.

    Raises `NotFound` where a file is missing, and `InvalidInput` naming `file:line`.
    """
    queries = _queries(folder / "queries.jsonl", folder)
    judgements = _judgements_file(folder, split)
    qrels, places = _qrels(judgements)
    for query, place in places.items():
        if query not in queries:
            raise InvalidInput(f"{place}: queries.jsonl has no query {query!r}", hint="take both files from the same release")
    elsewhere = _judged_elsewhere(judgements, places) if unjudged else queries.keys()
    placed = [
        (
            place,
            EvalQuestion(
                id=query.id, question=query.text, relevant=qrels.get(query.id, {}), tags=() if qrels.get(query.id) else (UNJUDGED,)
            ),
        )
        for place, query in queries.values()
        if qrels.get(query.id) or query.id not in elsewhere
    ]
    return question_set(folder.resolve().name, "beir", placed, split=judgements.stem, left_out=len(queries) - len(placed))


def _judged_elsewhere(judgements: Path, here: Container[str]) -> Container[str]:
    """Queries that other files of judgements name, and this one does not."""
    others = [path for path in sorted(judgements.parent.glob("*.tsv")) if path != judgements]
    return {query for path in others for query in _qrels(path)[1] if query not in here}


def _queries(path: Path, folder: Path) -> Mapping[str, tuple[str, _Query]]:
    if not path.is_file():
        raise NotFound(f"{folder} holds no queries.jsonl", hint="a folder is read as BEIR: queries.jsonl and qrels/<split>.tsv")
    queries: dict[str, tuple[str, _Query]] = {}
    for place, line in lines(read_text(path), path.name):
        query = validated(_Query, json_object(line, place), place, hint=_QUERY)
        if query.id in queries:
            raise InvalidInput(
                f"{place}: the id {query.id!r} is already that of {queries[query.id][0]}", hint="give every query its own id"
            )
        queries[query.id] = (place, query)
    return queries


def _judgements_file(folder: Path, split: str | None) -> Path:
    found = {path.stem: path for path in sorted((folder / "qrels").glob("*.tsv"))}
    if not found:
        raise NotFound(f"{folder} holds no qrels/<split>.tsv", hint="without judgements there is nothing to measure against")
    names = ", ".join(found)
    if split is None:
        if len(found) > 1:
            raise InvalidInput(f"{folder} has several splits: {names}", hint="choose one with --split", param="split")
        return next(iter(found.values()))
    if split not in found:
        raise NotFound(f"{folder} has no split {split!r}", hint=f"there are: {names}", param="split")
    return found[split]


def _qrels(path: Path) -> tuple[_Qrels, dict[str, str]]:
    """Positive grades by query and document, and the place where each query is first named."""
    name = f"qrels/{path.name}"
    qrels: _Qrels = {}
    places: dict[str, str] = {}
    for place, line in lines(read_text(path), name):
        fields = line.rstrip("\r").split("\t")
        if place == f"{name}:1" and fields[-1].strip() == "score":
            continue
        query, document, grade = _judgement(fields, place)
        places.setdefault(query, place)
        judged = qrels.setdefault(query, {})
        if judged.setdefault(document, grade) != grade:
            raise InvalidInput(f"{place}: {query!r} and {document!r} were judged before, otherwise", hint="keep one of the two")
    return {query: {document: g for document, g in judged.items() if g > 0} for query, judged in qrels.items()}, places


def _judgement(fields: list[str], place: str) -> tuple[str, str, int]:
    if len(fields) != 3:
        raise InvalidInput(f"{place}: {len(fields)} columns instead of 3", hint=_JUDGEMENT)
    query, document, grade = (field.strip() for field in fields)
    try:
        return query, document, int(grade)
    except ValueError as error:
        raise InvalidInput(f"{place}: {grade!r} is not a whole number", hint=_JUDGEMENT) from error
