"""Gold to documents of one index, and to places in them: the same gold serves every index over the same texts, however they were divided
into documents, and documents into chunks.
"""

from collections.abc import Sequence
from itertools import chain

from eval.locating import Found, locate
from eval.questions import EvalQuestion
from eval.results import Gold
from rag_service.errors import Mismatch
from rag_service.ports import ChunkTable


def resolve_gold(questions: Sequence[EvalQuestion], chunks: ChunkTable, *, index: str) -> list[Gold]:
    """One `Gold` a question, in order. Documents that consist of a gold paragraph, or hold it, are relevant, and so are those of places.

    `relevant` ids are taken as they are. A group of places is missing where none of them is found: any of them would do. Groups are
    given where every place is one in a document: with a whole document among them, the question is judged by documents alone.

    Raises `Mismatch` where there are gold paragraphs or places and not one of them, nor any document id, is known: every figure would be
    empty.
    """
    found = locate(questions, chunks)
    if found.nothing and not any(question.relevant for question in questions):
        raise _foreign(found, index)
    return [_gold(question, found) for question in questions]


def _gold(question: EvalQuestion, found: Found) -> Gold:
    groups = [[found.places[place] for place in group] for group in question.places]
    paragraphs = [found.paragraphs[text] for text in question.gold_texts]
    every = [place for group in groups for place in group]
    named = chain((place.documents for place in every), (paragraph.documents for paragraph in paragraphs))
    relevant = dict.fromkeys(chain.from_iterable(named), 1)
    spans = [tuple(dict.fromkeys(span for place in group for span in place.spans)) for group in groups]
    exact = all(place.spans or place.lost for place in every)
    return Gold(
        relevant=relevant | dict(question.relevant),
        missing=sum(all(place.lost for place in group) for group in groups if group)
        + sum(not paragraph.documents for paragraph in paragraphs),
        groups=tuple(filter(None, spans)) if exact else (),
    )


def _foreign(found: Found, index: str) -> Mismatch:
    if found.paragraphs:
        return Mismatch(
            f"none of the {len(found.paragraphs):,} gold paragraphs of this question set is a document of index {index!r}",
            hint="evaluate the index of the corpus that belongs to the set; a paragraph is one document (a row of a JSONL or CSV file), or "
            "stands in one word for word",
        )
    return Mismatch(
        f"none of the {len(found.places):,} gold places of this question set is in a document of index {index!r}",
        hint="evaluate the index of the corpus that belongs to the set; a document's id is its path below the folder that was indexed",
    )
