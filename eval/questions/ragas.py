"""Ragas (https://docs.ragas.io): data sets and generated test sets, as JSON lines, CSV, or a JSON list.

    v2   user_input, reference, reference_contexts, reference_context_ids
    v1   question, ground_truth (or ground_truths), contexts

A reference becomes the answer. Reference contexts become gold paragraphs: whatever document of ours holds one is relevant, since they were
cut by another chunker. Where there are ids alone, they become document ids. What a system retrieved and answered is no part of a question
set: `contexts` beside an `answer` are left out.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from eval.questions.cells import Cells, rows, texts
from eval.questions.question import EvalQuestion
from eval.questions.table import made_id
from rag_service.errors import InvalidInput

_HOP = re.compile(r"^<\d+-hop>\s*")
"""How the test set generator numbers the contexts of one question."""
_READ = {"id", "user_input", "question", "reference", "ground_truth", "ground_truths", "reference_contexts"}
_ABOUT = {"synthesizer_name", "evolution_type", "query_style"}
"""Kinds of generated questions: they become tags."""


def read_ragas(path: Path, lost: Counter[str]) -> Iterator[tuple[str, EvalQuestion]]:
    """`lost` counts what was left out. Raises `NotFound`, or `InvalidInput` naming the place."""
    ids: set[str] = set()
    for place, cells in rows(path):
        asked = cells.get("user_input", cells.get("question"))
        if asked is None:
            raise InvalidInput(
                f"{place}: there is neither user_input nor question", hint="other tables are imported with: import csv … --map"
            )
        if not isinstance(asked, str) or asked.lstrip().startswith("[{"):
            lost["conversations of several turns"] += 1
            continue
        question = _question(cells, asked, lost, ids)
        ids.add(question.id)
        yield place, question


def _question(cells: Cells, asked: str, lost: Counter[str], ids: set[str]) -> EvalQuestion:
    answers = tuple(dict.fromkeys(one for name in ("reference", "ground_truth", "ground_truths") for one in texts(cells.get(name))))
    contexts = texts(cells.get("reference_contexts"))
    used = set(_READ) | _ABOUT
    if not contexts and not (cells.get("answer") or cells.get("response")):
        contexts = texts(cells.get("contexts"))
        used.add("contexts")
    named = texts(cells.get("reference_context_ids")) if not contexts else []
    if named:
        used.add("reference_context_ids")
    lost.update(f"column {name!r}" for name, value in cells.items() if name not in used and value not in ("", None, []))
    return EvalQuestion(
        id=str(cells.get("id") or made_id(asked, ids)),
        question=asked,
        answers=answers,
        relevant=dict.fromkeys(named, 1),
        answerable=True if answers else None,
        gold_texts=tuple(dict.fromkeys(_HOP.sub("", context) for context in contexts)),
        tags=tuple(str(value) for name in sorted(_ABOUT) if (value := cells.get(name))),
    )
