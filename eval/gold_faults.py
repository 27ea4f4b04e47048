"""What is wrong with the gold of a question set: places that an index does not have, and answers that do not stand where they should."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from eval.findings import Finding
from eval.locating import Found, Located, locate, text_of
from eval.metrics.answers import containment, tokens
from eval.questions import EvalQuestion, GoldPlace, QuestionSet
from eval.quotes import folded
from rag_service.ports import ChunkTable
from rag_service.types import DocumentId

MOST_PLACES = 3
"""Of one quote."""
MOST_WORDS = 10
"""Longer answers are sentences of their own, which stand nowhere word for word."""
MOST_MOVED = 0.1
"""Share of the places that one would not think of a changed corpus at."""
NEAR_CHARS = 400
"""Around a place: what stands there is mostly shown with it."""
_TEXTS_KEPT = 64


def gold_faults(questions: QuestionSet, chunks: ChunkTable | None, *, index: str = "") -> Iterator[Finding]:
    """With the chunks of an index, also what of the gold is not in it, or elsewhere now."""
    found = locate(questions.questions, chunks) if chunks is not None else None
    if found is not None and chunks is not None:
        yield from _lost(questions, found, chunks, index)
        yield from _changed(questions, found, index)
    evidence = _Evidence(found, chunks)
    for question in questions.questions:
        texts = list(evidence.of(question))
        for what, wordings in _short(question):
            if texts and not any(_stands(wording, text) for text in texts for wording in wordings):
                yield Finding(
                    "warning", "answer_not_in_gold", questions.read_from.get(question.id, questions.name),
                    f"no wording of {what} of {question.id!r} stands in or near its gold: {', '.join(wordings)[:60]!r}",
                    "correct the gold, or add the wording of the document to the answers", question.id,
                )  # fmt: skip


def _lost(questions: QuestionSet, found: Found, chunks: ChunkTable, index: str) -> Iterator[Finding]:
    there = lru_cache(maxsize=None)(lambda document: chunks.document(DocumentId(document)) is not None)
    for question in questions.questions:
        place = questions.read_from.get(question.id, questions.name)
        reasons = [found.places[gold].lost for group in question.places for gold in group]
        reasons += [
            "its paragraph stands in no document of the index" for text in question.gold_texts if not found.paragraphs[text].documents
        ]
        reasons += [f"there is no document {document!r}" for document in question.relevant if not there(document)]
        for reason in dict.fromkeys(filter(None, reasons)):
            yield Finding(
                "error", "gold_not_found", place, f"gold of {question.id!r} is not in index {index!r}: {reason}",
                "correct the gold, or lint against the index of the corpus that belongs to the set", question.id,
            )  # fmt: skip
        for gold in dict.fromkeys(gold for group in question.places for gold in group):
            yield from _unsure(question, gold, found.places[gold], place)


def _unsure(question: EvalQuestion, gold: GoldPlace, located: Located, place: str) -> Iterator[Finding]:
    if located.moved:
        yield Finding(
            "warning", "quote_moved", place,
            f"a quote of {question.id!r} does not stand at {gold.start} of {gold.document!r} any more, but at {located.spans[0].start}",
            "the place found is used; write the new offsets, or leave them out", question.id,
        )  # fmt: skip
    if len(located.spans) > MOST_PLACES:
        yield Finding(
            "warning", "quote_ambiguous", place,
            f"a quote of {question.id!r} stands at {len(located.spans):,} places, and each of them counts: {(gold.quote or '')[:40]!r}",
            "quote more of the sentence that answers", question.id,
        )  # fmt: skip


def _changed(questions: QuestionSet, found: Found, index: str) -> Iterator[Finding]:
    off = sum(bool(place.moved or (place.lost and place.documents)) for place in found.places.values())
    if off > MOST_MOVED * len(found.places):
        yield Finding(
            "warning", "corpus_changed", questions.name,
            f"{off:,} of {len(found.places):,} places are not where the set says: the documents of index {index!r} have changed since",
            "build the index of the documents as they were, or bring the set up to date",
        )  # fmt: skip


class _Evidence:
    """Texts that should hold the answers of a question."""

    def __init__(self, found: Found | None, chunks: ChunkTable | None) -> None:
        self._found = found
        self._read = lru_cache(maxsize=_TEXTS_KEPT)(lambda document: None if chunks is None else text_of(document, chunks))

    def of(self, question: EvalQuestion) -> Iterator[str]:
        """Paragraphs, and places with what is around them; where documents alone are known, all of their text. Nothing where an index would
        be needed for that.
        """
        yield from question.gold_texts
        for gold in (gold for group in question.places for gold in group):
            yield from [gold.text] if gold.text is not None else self._at(gold)
        if not question.gold_texts and not question.places:
            yield from (read.text for document in question.relevant if (read := self._read(document)) is not None)

    def _at(self, gold: GoldPlace) -> Iterator[str]:
        located = self._found.places[gold] if self._found is not None else Located()
        for span in located.spans:
            if (read := self._read(span.document)) is not None:
                yield read.text[max(span.start - NEAR_CHARS, 0) : span.end + NEAR_CHARS]
        if not located.spans and not located.lost:
            yield from (read.text for document in located.documents if (read := self._read(document)) is not None)


def _stands(wording: str, text: str) -> bool:
    """As metrics look for it in an answer, or as people do, who see no difference between quotation marks."""
    return containment(text, [wording]) == 1.0 or folded(wording).casefold() in folded(text).casefold()


def _short(question: EvalQuestion) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What should stand in the gold word for word: one of the answers, if any is short, and of each fact one of its short wordings."""
    for what, wordings in (("the answers", question.answers), *(("a fact", fact) for fact in question.facts)):
        short = _usable(wordings)
        if short:
            yield what, short


def _usable(wordings: Iterable[str]) -> tuple[str, ...]:
    return tuple(wording for wording in wordings if 0 < len(tokens(wording)) <= MOST_WORDS)
