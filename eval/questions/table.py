"""Questions from a table of any shape (CSV, TSV, JSON lines): columns become fields of our own form, by their names or as told.

A cell that is a list, or text that holds one, has several values; ids and tags also stand one a line. A row without an id gets one that is
made of its question, so that it stays the same when rows are added.
"""

import difflib
import json
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from eval.questions.cells import Cells, cell, items, rows, texts
from eval.questions.native import native_question
from eval.questions.question import EvalQuestion
from rag_service.digests import digest_text, short_id
from rag_service.errors import InvalidInput

FIELDS: Mapping[str, Sequence[str]] = {
    "question": ("question", "query", "user_input", "input", "prompt"),
    "id": ("id", "_id", "qid", "query_id", "question_id"),
    "answers": (
        "answers", "expected_answer", "expected_output", "expected", "ground_truth", "ground_truths", "golden_answers", "golden_answer",
        "gt_answer", "reference", "reference_answer", "answer",
    ),
    "facts": ("facts", "expected_facts"),
    "answerable": ("answerable",),
    "relevant_ids": ("relevant_ids", "document_ids", "document_id", "doc_ids", "doc_id"),
    "quotes": ("quotes", "quote"),
    "gold_texts": ("gold_texts",),
    "group": ("group",),
    "split": ("split",),
    "tags": ("tags",),
}  # fmt: skip
"""What a column can become, and the names by which it does so unasked: the first that a table has. `quotes` must all be found, in the
document of the row if it names exactly one, else in any.
"""

_SEVERAL = ("answers", "relevant_ids", "quotes", "gold_texts", "tags")
_ONE_A_LINE = ("relevant_ids", "tags")
_BLANK: tuple[object, ...] = ("", None, [])
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_table(path: Path, told: Mapping[str, str], lost: Counter[str]) -> Iterator[tuple[str, EvalQuestion]]:
    """`told` is column → field. `lost` counts the cells of columns that became nothing.

    Raises `NotFound`, or `InvalidInput` naming the place, or the column that is not there.
    """
    table = list(rows(path))
    columns = _columns([cells for _, cells in table], told, path.name)
    used = {column.partition(".")[0] for column in columns.values()} | set(columns.values())
    ids: set[str] = set()
    for place, cells in table:
        lost.update(f"column {name!r}" for name, value in cells.items() if name not in used and value not in _BLANK)
        row = _row(cells, columns, lost)
        row.setdefault("id", made_id(str(row["question"]), ids))
        ids.add(str(row["id"]))
        yield place, native_question(json.dumps(row), place)


def check_told(told: Mapping[str, str]) -> None:
    for column, field in told.items():
        if field in FIELDS:
            continue
        if column in FIELDS:
            raise InvalidInput(f"--map {column}={field}: the column comes first", hint=f"write --map {field}={column}", param="map")
        close = difflib.get_close_matches(field, FIELDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(FIELDS)}"
        raise InvalidInput(f"--map {column}={field}: there is no field {field!r}", hint=hint, param="map")


def made_id(question: str, taken: Container[str]) -> str:
    """Of its text; numbered where the same question comes again."""
    made = name = f"q-{short_id(digest_text(question))}"
    number = 1
    while made in taken:
        number += 1
        made = f"{name}-{number}"
    return made


def _columns(table: Sequence[Cells], told: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Field → column. Raises `InvalidInput` for one that is told and not there, and where nothing holds questions."""
    there = list(dict.fromkeys(column for cells in table for column in cells))
    for column in told:
        if not any(cell(cells, column) is not None for cells in table):
            close = difflib.get_close_matches(column, there, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(there)}"
            raise InvalidInput(f"{name}: there is no column {column!r}", hint=hint, param="map")
    plain = {column.strip().casefold().replace(" ", "_").replace("-", "_"): column for column in there if column not in told}
    known = {field: next((plain[one] for one in names if one in plain), None) for field, names in FIELDS.items()}
    found = {field: column for field, column in known.items() if column is not None} | {field: column for column, field in told.items()}
    if table and "question" not in found:
        raise InvalidInput(
            f"{name}: no column is known to hold questions", hint=f"--map COLUMN=question; there are: {', '.join(there)}", param="map"
        )
    return found


def _row(cells: Cells, columns: Mapping[str, str], lost: Counter[str]) -> dict[str, object]:
    """Of our own form."""
    row: dict[str, object] = {"question": ""}
    for field, column in columns.items():
        value = cell(cells, column)
        if value in _BLANK:
            continue
        if field == "relevant_ids" and isinstance(value, dict):
            row[field] = value
        elif field == "facts":
            row[field] = [texts(item) for item in items(value)]
        elif field in _SEVERAL:
            several = texts(value)
            row[field] = [part.strip() for one in several for part in one.split("\n") if part.strip()] if field in _ONE_A_LINE else several
        elif field == "answerable":
            row[field] = _TRUTH.get(str(value).strip().casefold(), value)
        elif field == "split" and value not in ("dev", "test"):
            lost[f"split {value!r}"] += 1
        else:
            row[field] = value
    if quotes := row.pop("quotes", None):
        assert isinstance(quotes, list)
        row["gold"] = [{"quote": quote} for quote in quotes]
    return row
