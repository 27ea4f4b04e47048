"""The verb: question sets of other tools → questions in our own form, and what of them has no place in it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from eval.questions import EvalQuestion, Form, QuestionSet
from eval.questions.beir import read_beir
from eval.questions.native import native_lines
from eval.questions.promptfoo import read_promptfoo
from eval.questions.question import question_set
from eval.questions.ragas import read_ragas
from eval.questions.records import ledger_in, read_records
from eval.questions.squad import read_squad
from eval.questions.table import check_told, read_table
from eval.questions.trec import read_trec
from eval.text_file import read_text
from rag_service.durable import write_atomically
from rag_service.errors import InvalidInput
from rag_service.ports import Ledger

Source = Literal["squad", "beir", "trec", "ragas", "promptfoo", "csv", "tsv", "jsonl", "records"]
SOURCES: tuple[Source, ...] = get_args(Source)

_FORMS: Mapping[Source, Form] = {
    "squad": "squad", "beir": "beir", "trec": "trec", "ragas": "ragas", "promptfoo": "promptfoo", "records": "records",
    "csv": "table", "tsv": "table", "jsonl": "table",
}  # fmt: skip
_Placed = Iterator[tuple[str, EvalQuestion]]


@dataclass(frozen=True, slots=True)
class Imported:
    questions: QuestionSet
    left_out: Mapping[str, int]
    """What was not carried over, in words → how often it came; most first."""


def import_questions(source: Source, paths: Sequence[Path], *, told: Mapping[str, str] | None = None, split: str | None = None) -> Imported:
    """`told` is column → field of a table, or the variable of promptfoo that is the question. `split` chooses among the judgements of a
    BEIR folder. Several paths of one kind become one set; TREC is a file of topics and one of judgements.

    Raises `NotFound`, or `InvalidInput` naming the place and what to do; and of a ledger whatever reading it raises.
    """
    told = told or {}
    _check(source, paths, told, split)
    lost: Counter[str] = Counter()
    placed = _trec(paths, lost) if source == "trec" else (one for path in paths for one in _read(source, path, told, split, lost))
    questions = question_set(paths[0].name, _FORMS[source], placed, split=split)
    return Imported(questions, dict(lost.most_common()))


def import_records(ledger: Ledger, shown: str, *, told: Mapping[str, str] | None = None, split: str | None = None) -> Imported:
    """The same of the service's own records, wherever they are; `shown` names the place."""
    _check("records", [Path(shown)], told or {}, split)
    lost: Counter[str] = Counter()
    questions = question_set(shown, "records", read_records(ledger, shown, lost), split=None)
    return Imported(questions, dict(lost.most_common()))


def write_questions(file: Path, questions: Sequence[EvalQuestion]) -> None:
    """As JSON lines of our own form. Raises `StorageFailed`."""
    write_atomically(file, b"".join(native_lines(questions)))


def _read(source: Source, path: Path, told: Mapping[str, str], split: str | None, lost: Counter[str]) -> _Placed:
    match source:
        case "squad":
            return _of_set(read_squad(read_text(path), path))
        case "beir":
            read = read_beir(path, split, unjudged=True)
            lost.update({"query of another split": read.left_out} if read.left_out else {})
            return _of_set(read)
        case "ragas":
            return read_ragas(path, lost)
        case "promptfoo":
            return read_promptfoo(path, next(iter(told), None), lost)
        case "records":
            return read_records(ledger_in(path), path.name, lost)
        case _:
            return read_table(path, told, lost)


def _trec(paths: Sequence[Path], lost: Counter[str]) -> _Placed:
    return read_trec(paths[0], paths[1] if len(paths) > 1 else None, lost)


def _of_set(read: QuestionSet) -> _Placed:
    return ((read.read_from[question.id], question) for question in read.questions)


def _check(source: Source, paths: Sequence[Path], told: Mapping[str, str], split: str | None) -> None:
    if not paths:
        raise InvalidInput(f"nothing to import as {source}", hint="name a file; BEIR is a folder", param="paths")
    if source == "trec" and len(paths) > 2:
        raise InvalidInput(f"trec takes two files, not {len(paths)}", hint="give the topics, then the judgements (qrels)", param="paths")
    if split is not None and source != "beir":
        raise InvalidInput(f"{source} has no splits", hint="leave --split out: only a BEIR folder has them", param="split")
    if not told:
        return
    if source == "promptfoo":
        if list(told.values()) != ["question"]:
            raise InvalidInput("of promptfoo only one variable can be told", hint="write --map VARIABLE=question", param="map")
    elif _FORMS[source] == "table":
        check_told(told)
    else:
        raise InvalidInput(
            f"the fields of {source} are known", hint="leave --map out: it is for csv, tsv, jsonl and promptfoo", param="map"
        )
