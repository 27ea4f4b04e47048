"""Gold to documents of one index. Question sets that know paragraphs but no ids are matched by the text's digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.questions import EvalQuestion
from rag_service.digests import digest_text
from rag_service.errors import Mismatch
from rag_service.normalise import document_text
from rag_service.ports import ChunkTable


@dataclass(frozen=True, slots=True)
class Gold:
    """Relevant document ids with grades, and how many gold paragraphs are no document of the index."""

    relevant: Mapping[str, int]
    missing: int


def resolve_gold(questions: Sequence[EvalQuestion], chunks: ChunkTable, *, index: str) -> list[Gold]:
    """One `Gold` a question, in order. A paragraph that several documents consist of makes each of them relevant.

    Raises `Mismatch` where there are gold paragraphs and not one of them, nor any document id, is known: every figure would be empty.
    """
    found = {text: _documents(text, chunks) for text in dict.fromkeys(text for q in questions for text in q.gold_texts)}
    if found and not any(found.values()) and not any(question.relevant for question in questions):
        raise Mismatch(
            f"none of the {len(found):,} gold paragraphs of this question set is a document of index {index!r}",
            hint="evaluate the index of the corpus that belongs to the set, built with every paragraph as one document "
            "(a row of a JSONL or CSV file)",
        )
    return [_gold(question, found) for question in questions]


def _documents(text: str, chunks: ChunkTable) -> Sequence[str]:
    return chunks.document_ids_by_text(digest_text(document_text(text)))


def _gold(question: EvalQuestion, found: Mapping[str, Sequence[str]]) -> Gold:
    by_text = {document: 1 for text in question.gold_texts for document in found[text]}
    return Gold(relevant=by_text | dict(question.relevant), missing=sum(not found[text] for text in question.gold_texts))
