"""TREC: topics as tab-separated lines, query id and query, and a qrels file (https://trec.nist.gov/data/qrels_eng/).

Grades of zero or less judge a document irrelevant and are passed over. Topics without a relevant document are kept, and tagged.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from eval.questions.beir import UNJUDGED
from eval.questions.question import EvalQuestion
from eval.questions.rows import lines
from eval.text_file import read_text
from rag_service.errors import InvalidInput

_TOPIC = "a line is query id, tab, query"
_QREL = "a line is query id, 0, document id and a whole number, separated by white space"


def read_trec(topics: Path, qrels: Path | None, lost: Counter[str]) -> Iterator[tuple[str, EvalQuestion]]:
    """`lost` counts the judgements of queries that no topic has, as in qrels of several years. Raises `NotFound`, or `InvalidInput` naming
    `file:line`.
    """
    grades = {} if qrels is None else _qrels(qrels)
    known: set[str] = set()
    for place, line in lines(read_text(topics), topics.name):
        query, tab, text = line.rstrip("\r").partition("\t")
        if not tab:
            raise InvalidInput(f"{place}: there is no tab", hint=_TOPIC)
        known.add(query.strip())
        relevant = {document: grade for document, grade in grades.get(query.strip(), {}).items() if grade > 0}
        yield place, EvalQuestion(id=query.strip(), question=text, relevant=relevant, tags=() if relevant else (UNJUDGED,))
    foreign = sum(len(judged) for query, judged in grades.items() if query not in known)
    if foreign:
        lost["judgements of queries that no topic has"] += foreign


def _qrels(path: Path) -> Mapping[str, Mapping[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    for place, line in lines(read_text(path), path.name):
        fields = line.split()
        if len(fields) != 4:
            raise InvalidInput(f"{place}: {len(fields)} columns instead of 4", hint=_QREL)
        query, _, document, number = fields
        try:
            grade = int(number)
        except ValueError as error:
            raise InvalidInput(f"{place}: {number!r} is not a whole number", hint=_QREL) from error
        if grades.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InvalidInput(f"{place}: {query!r} and {document!r} were judged before, otherwise", hint="keep one of the two")
    return grades
