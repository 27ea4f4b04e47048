"""What people thought of the service's own answers: rated records of a ledger, as questions.

What somebody said the answer should be is its reference. Otherwise an answer that was liked is, with what it cites as gold; and an
abstention that was liked is a question without an answer. The rest are questions without a reference, tagged `rated:down`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from eval.questions.native import native_question
from eval.questions.question import EvalQuestion, GoldPlace
from rag_service.errors import NotFound
from rag_service.export import as_question_line
from rag_service.kept import Flaw, Kept, RecordQuery
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.ports import Ledger


def ledger_in(path: Path) -> Ledger:
    """Raises `NotFound`."""
    if not path.is_file():
        raise NotFound(f"there is no ledger {path}", hint="name the file of records; `rag-service config show` says where it is")
    return SqliteLedger(path)


def read_records(ledger: Ledger, shown: str, lost: Counter[str]) -> Iterator[tuple[str, EvalQuestion]]:
    """Each question once: of several answers to it, the one rated last that says what would be right, or else the last. `shown` names the
    ledger. What was erased is not there, and where texts are not stored, or the question holds something masked, there is none: `lost`
    counts these. Raises `Damaged`, `Mismatch` or `StorageFailed`.
    """
    found: dict[str, EvalQuestion] = {}
    for kept in ledger.records(RecordQuery()):
        if isinstance(kept, Flaw):
            lost["records that cannot be read"] += 1
            continue
        if not any(said.rating is not None or said.expected for said in kept.feedback):
            continue
        line = as_question_line(kept)
        if line is None:
            lost["records without the text of their question"] += 1
            continue
        question = _with_places(native_question(line.decode(), f"{shown}: {kept.record.answer_id}"), kept)
        asked = " ".join(question.question.casefold().split())
        if asked in found:
            lost["answers to a question that was asked again"] += 1
        if asked not in found or question.answerable is not None or found[asked].answerable is None:
            found[asked] = question
    for question in found.values():
        yield f"{shown}: {question.id}", question


def _with_places(question: EvalQuestion, kept: Kept) -> EvalQuestion:
    """With what the answer cites as places, any one of which is enough; and without a reference that is partly masked."""
    if "answer" in kept.redacted and not any(said.expected for said in kept.feedback):
        question = replace(question, answers=())
    if not question.relevant:
        return question
    places = tuple(
        GoldPlace(
            document=citation.chunk.document_id,
            start=citation.document_span[0],
            end=citation.document_span[1],
            quote=citation.quote if citation.quote.strip() and "passages" not in kept.redacted else None,
        )
        for citation in kept.record.citations
        if citation.document_span[0] < citation.document_span[1]
    )
    return replace(question, places=(tuple(dict.fromkeys(places)),) if places else ())
