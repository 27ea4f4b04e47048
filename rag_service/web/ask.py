"""The page to ask on. With JavaScript the answer comes as a stream; without, as the page that the form leads to."""

from dataclasses import dataclass

from rag_service.record import IndexIdentity, Lineage, Record
from rag_service.web.pages import ANYBODY, Viewer, render
from rag_service.web.traces import WHY_ABSTAINED, answer_of, candidates_of


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in its fields."""

    question: str = ""
    top_k: str = ""
    min_confidence: str = ""
    release: str = ""
    fresh: bool = False
    """Not from the cache."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer, in words."""

    message: str
    trace_id: str
    retryable: bool = False


def ask_page(
    lineage: Lineage | None,
    *,
    form: Form = Form(),
    record: Record | None = None,
    problem: Problem | None = None,
    whole: bool = True,
    max_question_chars: int = 4000,
    viewer: Viewer = ANYBODY,
) -> str:
    """`lineage` is what answers now, None while nothing does; its size is shown to who may see the `whole` of the index."""
    return render(
        "ask.html",
        viewer=viewer,
        section="ask",
        lineage=lineage,
        whole=whole,
        form=form,
        record=record,
        problem=problem,
        answer=answer_of(record) if record else [],
        candidates=candidates_of(record) if record else [],
        version=_index_of(record, lineage),
        max_question_chars=max_question_chars,
        why=WHY_ABSTAINED,
    )


def _index_of(record: Record | None, lineage: Lineage | None) -> str:
    index: IndexIdentity | None = record.lineage.index if record else lineage.index if lineage else None
    return index.version if index else ""
