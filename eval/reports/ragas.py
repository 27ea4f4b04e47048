"""A candidate as JSON lines in the fields of a Ragas `SingleTurnSample`, for whoever judges answers with it."""

import json
from collections.abc import Mapping

from eval.results import Measured, Row, Run


def as_ragas(run: Run, candidate: Measured) -> str:
    """One line for each question that was asked. `response` is the answer without citation markers, and null where there is none.

    Contexts are those of the prompt. Context ids are document ids, so that both lists name the same things.
    """
    lines = (_line(row, run.texts) for row in candidate.rows if row.sample.status != "not_asked")
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def _line(row: Row, texts: Mapping[str, str]) -> dict[str, object]:
    shown = row.sample.in_prompt
    return {
        "id": row.id,
        "user_input": row.question.question,
        "response": row.sample.plain,
        "reference": row.question.answers[0] if row.question.answers else None,
        "reference_context_ids": list(row.gold.relevant),
        "retrieved_contexts": [texts.get(hit.chunk_id, "") for hit in shown],
        "retrieved_context_ids": [hit.document_id for hit in shown],
    }
