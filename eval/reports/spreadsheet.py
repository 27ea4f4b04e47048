"""A run as CSV: one row for each question under each candidate, for spreadsheets and data frames."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from eval.metrics.catalogue import METRICS
from eval.results import Measured, Row, Run
from eval.scores import Failed, Outcome, Undefined

_FORMULA = re.compile("\\s*[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet takes for the beginning of a formula, full-width forms too
(OWASP, https://owasp.org/www-community/attacks/CSV_Injection)."""

_COLUMNS = (
    "question_id", "candidate", "question", "tags", "cluster", "answerable", "references", "status", "abstain_reason", "answer",
    "confidence", "label", "evidence", "documents_in_prompt", "documents_cited", "relevant_documents", "total_ms", "errors",
)  # fmt: skip


def as_csv(run: Run) -> str:
    """UTF-8 text with a header. A score that is not a number is an empty cell, and the last column says why; it is never 0.

    Texts come from documents and models: one that a spreadsheet would run as a formula begins with an apostrophe. Lists are joined by
    `|`.
    """
    metrics = _metrics(run.candidates)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([*_COLUMNS, *(safe(name) for name in metrics), "not_scored"])
    for candidate in run.candidates:
        writer.writerows(_cells(candidate, row, metrics) for row in candidate.rows)
    return written.getvalue()


def safe(text: str) -> str:
    """A cell that no spreadsheet runs. NUL, which ends a text for some readers, is left out."""
    text = text.replace("\0", "")
    return f"'{text}" if _FORMULA.match(text) else text


def _metrics(candidates: Iterable[Measured]) -> list[str]:
    """In the order of the catalogue; behind them those that it does not know any more."""
    found = dict.fromkeys(name for candidate in candidates for row in candidate.rows for name in row.scores)
    return [*(name for name in METRICS if name in found), *(name for name in found if name not in METRICS)]


def _cells(candidate: Measured, row: Row, metrics: Sequence[str]) -> list[str]:
    sample, question = row.sample, row.question
    texts = [
        row.id,
        candidate.name,
        question.question,
        _joined(question.tags),
        row.cluster,
        "" if question.answerable is None else str(question.answerable).lower(),
        _joined(question.answers),
        sample.status,
        sample.abstain_reason or "",
        sample.answer or "",
    ]
    lists = [_joined(hit.document_id for hit in sample.in_prompt), _joined(cited.document_id for cited in sample.cited)]
    return [
        *map(safe, texts),
        _number(sample.confidence),
        row.label,
        safe(row.evidence),
        *map(safe, [*lists, _joined(row.gold.relevant)]),
        _number(sample.took_ms.get("total")),
        safe(_joined(f"{failure.code}: {failure.message}" for failure in sample.failures)),
        *(_score(row.scores.get(name)) for name in metrics),
        safe(_joined(f"{name}: {why}" for name in metrics if (why := _why(row.scores.get(name))))),
    ]


def _joined(parts: Iterable[str]) -> str:
    return "|".join(dict.fromkeys(parts))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _score(outcome: Outcome | None) -> str:
    return _number(outcome) if isinstance(outcome, float) else ""


def _why(outcome: Outcome | None) -> str:
    match outcome:
        case Undefined(reason):
            return f"undefined, {reason}"
        case Failed(code):
            return f"failed, {code}"
        case _:
            return ""
