"""The questions of a page as the JSON that its script draws them from: short, since thousands of them stand in one file.

Texts are named by their place in lists (`documents`, `chunks`, `statuses`, …). The names of fields are those that `report.js` reads.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eval.question_values import outcome
from eval.reports.comparison import is_right
from eval.reports.outcomes import KEY_METRICS, number
from eval.reports.relevance import Marked, marked, places_in, quotes_in
from eval.results import Measured, Row, Run
from eval.scores import Failed, Outcome, Undefined

MOST_QUESTIONS = 5_000
"""Beyond, those that differ are kept first, then those that are wrong: a page must stay a page."""
PASSAGE_CHARS = 2_000_000
"""Of all passages together. Those of questions that went wrong come first."""
_LONGEST_PASSAGE = 2_000
_LISTED = 5
"""Passages a question and candidate, at least, beside those that are relevant."""

SHOWN_METRICS = (
    *(metric for metric in KEY_METRICS if metric not in ("p50_ms", "p95_ms")),
    "em",
    "token_recall",
    "numbers_match",
    "prompt_all",
)
"""Of a question. `python -m eval show` has all."""

_MARKS = {"gold": 2, "document": 1, "": 0}


@dataclass(slots=True)
class Numbered:
    """Texts, each once, and the place of each."""

    texts: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


@dataclass(slots=True)
class _Lists:
    metrics: list[str]
    documents: Numbered = field(default_factory=Numbered)
    labels: Numbered = field(default_factory=Numbered)
    tags: Numbered = field(default_factory=Numbered)
    whys: Numbered = field(default_factory=Numbered)
    chunks: dict[str, int] = field(default_factory=dict)
    passages: list[list[Any]] = field(default_factory=list)

    def chunk(self, one: Marked) -> int:
        passage = one.ranked
        if passage.chunk_id not in self.chunks:
            self.chunks[passage.chunk_id] = len(self.passages)
            self.passages.append([self.documents.place(passage.document_id), passage.start, passage.end])
        return self.chunks[passage.chunk_id]


@dataclass(frozen=True, slots=True)
class Embedded:
    json: str
    """It may stand in a `script` element: no `<` is in it."""
    asked: int
    """Questions that all sides were asked."""
    listed: int
    """Of these, those that are in it."""
    passages_left_out: int


def embedded(run: Run, sides: Sequence[Measured], primary: str | None) -> Embedded:
    """`sides` are the base and the candidate, or one alone."""
    lists = _Lists(metrics=[metric for metric in SHOWN_METRICS if any(metric in row.scores for side in sides for row in side.rows)])
    others = [{row.id: row for row in side.rows} for side in sides]
    together = [[other[row.id] for other in others] for row in sides[0].rows if all(row.id in other for other in others)]
    listed = _listed(together, primary)
    rows = [_question(rows, primary, lists) for rows in listed]
    left_out = _with_texts(run, listed, primary, lists)
    content = {
        "run": run.id,
        "sides": [side.name for side in sides],
        "primary": primary,
        "metrics": lists.metrics,
        "labels": lists.labels.texts,
        "tags": lists.tags.texts,
        "documents": lists.documents.texts,
        "whys": lists.whys.texts,
        "chunks": lists.passages,
        "rows": rows,
    }
    return Embedded(as_data(content), asked=len(together), listed=len(rows), passages_left_out=left_out)


def as_data(content: object) -> str:
    """JSON in which `<`, `>` and `&` are escaped, so that no text in it can end the element or begin a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _listed(together: Sequence[list[Row]], primary: str | None) -> Sequence[list[Row]]:
    """In their order; where there are too many, those with the most to see."""
    by_trouble = sorted(range(len(together)), key=lambda place: -_trouble(together[place], primary))
    return [together[place] for place in sorted(by_trouble[:MOST_QUESTIONS])]


def _trouble(rows: Iterable[Row], primary: str | None) -> int:
    """How much there is to see: 2 where candidates differ, 1 where all are wrong or failed, 0 where all are right."""
    right = [_right(row, primary) for row in rows]
    return 2 if len(set(right)) > 1 else 0 if right[0] == 1 else 1


def _right(row: Row, primary: str | None) -> int:
    """1 right, 0 wrong, -1 where it cannot be said."""
    value = number(row, primary) if primary else None
    return -1 if value is None or primary is None else int(is_right(value, primary))


def _question(rows: Sequence[Row], primary: str | None, lists: _Lists) -> list[Any]:
    row = rows[0]
    question, gold = row.question, row.gold
    places = [[lists.documents.place(span.document), span.start, span.end] for group in gold.groups for span in group]
    documents = [[lists.documents.place(document)] for document in ([] if places else gold.relevant)]
    return [
        row.id,
        question.question,
        list(question.answers),
        {True: 1, False: 0, None: -1}[question.answerable],
        [lists.tags.place(tag) for tag in question.tags],
        places or documents,
        [_side(row, primary, lists) for row in rows],
    ]


def _side(row: Row, primary: str | None, lists: _Lists) -> list[Any]:
    sample = row.sample
    failed = "; ".join(f"{failure.code}{f' in {failure.stage}' if failure.stage else ''}: {failure.message}" for failure in sample.failures)
    return [
        sample.status,
        sample.abstain_reason or failed,
        sample.answer,
        lists.labels.place(row.label),
        row.evidence,
        _right(row, primary),
        [_passage(one, row, lists) for one in marked(row, most=_LISTED)],
        [_outcome(outcome(row, metric), lists) for metric in lists.metrics],
        [_short(sample.confidence), sample.prompt_tokens, sample.completion_tokens, _short(sample.took_ms.get("total"))],
    ]


def _passage(one: Marked, row: Row, lists: _Lists) -> list[Any]:
    """Chunk, rank, rank in the pool, score, mark, and where it was in the prompt: 1, or 2 where it is cited; places and quotes there."""
    found: list[Any] = [lists.chunk(one), one.rank, one.pool_rank, _short(one.ranked.score), _MARKS[one.mark]]
    if not one.in_prompt:
        return found
    return [*found, 2 if one.cited else 1, places_in(one.ranked, row), quotes_in(one.ranked, row) if one.cited else []]


def _outcome(found: Outcome | None, lists: _Lists) -> float | str | None:
    """A number, null where it does not apply, or as text the place of the reason why there is none."""
    match found:
        case None:
            return None
        case Undefined(reason):
            return str(lists.whys.place(f"undefined: {reason}"))
        case Failed(code):
            return str(lists.whys.place(f"failed: {code}"))
        case _:
            return _short(found)


def _short(value: float | None) -> float | int | None:
    if value is None:
        return None
    shortened = round(value, 4)
    return int(shortened) if shortened == int(shortened) else shortened


def _with_texts(run: Run, listed: Sequence[list[Row]], primary: str | None, lists: _Lists) -> int:
    """Adds texts of passages that stood in prompts, as long as there is room; how many were left out."""
    room, left_out, seen = PASSAGE_CHARS, 0, set[str]()
    for rows in sorted(listed, key=lambda rows: -_trouble(rows, primary)):
        for passage in (passage for row in rows for passage in row.sample.in_prompt):
            text = run.texts.get(passage.chunk_id)
            if passage.chunk_id in seen or text is None or passage.chunk_id not in lists.chunks:
                continue
            seen.add(passage.chunk_id)
            shown = text if len(text) <= _LONGEST_PASSAGE else f"{text[:_LONGEST_PASSAGE]}…"
            if len(shown) > room:
                left_out += 1
                continue
            room -= len(shown)
            lists.passages[lists.chunks[passage.chunk_id]].append(shown)
    return left_out
