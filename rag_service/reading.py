"""Which sentences of the passages answer a question. Pure.

Each sentence is weighed by how close it is to the question, how many of its rare words it holds, whether it has something of the kind
that is asked for, and the passage that it stands in. The best is quoted; a second one only where it is nearly as good.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from rag_service.expected import Expected, expected, gives
from rag_service.languages import LANGUAGES
from rag_service.terms import terms
from rag_service.types import Chunk, Passage, Sentence
from rag_service.units import units


@dataclass(frozen=True, slots=True)
class Traits:
    """Of a sentence; also the weights of them."""

    similarity: float
    """Cosine with the question."""
    coverage: float
    """Share of the question's terms that it holds, by weight."""
    before: float
    """The same share of the sentence before it, or of the headings above the first: what `it` and `this` stand for."""
    kind: float
    """1 where it has something of the kind that is asked for."""
    passage: float
    """How much less relevant its passage is than the best."""
    length: float
    """Logarithm of its characters, above or below that of 100: a short one has little to say."""


WEIGHTS = Traits(similarity=3.71, coverage=6.02, before=1.14, kind=1.59, passage=15.41, length=0.11)
"""Fitted by `python -m benchmarks.answers fit reading` on one half of the questions of squad2, for the likelihood of sentences that hold
the answer (a softmax over all sentences of a question)."""


@dataclass(frozen=True, slots=True)
class Quotable:
    """A sentence that may be quoted. `passage` is an index; what is quoted is `text`, `passages[passage].chunk.text[start:end]`."""

    passage: int
    start: int
    end: int
    text: str
    score: float


def weighed(question: str, passages: Sequence[Passage]) -> list[Quotable]:
    """Every sentence of `passages`, in their order, with its score."""
    kind, wanted = expected(question), frozenset(terms(question, LANGUAGES))
    best = max((passage.score for passage in passages), default=0.0)
    found: list[Quotable] = []
    for number, passage in enumerate(passages):
        text = passage.chunk.text
        extents = {(unit.start, unit.end): unit for unit in units(text, passage.chunk.heading_path)}
        before = held_by_headings(wanted, passage.chunk)
        for sentence in passage.sentences:
            unit = extents.get((sentence.start, sentence.end))
            start, end = (unit.extent_start, unit.extent_end) if unit else (sentence.start, sentence.end)
            traits = traits_of(question, text[sentence.start : sentence.end], sentence, before, kind=kind, behind=best - passage.score)
            found.append(Quotable(number, start, end, text[start:end], round(score(traits), 5)))
            before = sentence.coverage
    return found


def held_by_headings(wanted: frozenset[str], chunk: Chunk) -> float:
    """Share of the terms of a question that the title and the headings above a chunk hold; every term counts the same."""
    return len(wanted & set(terms(" ".join((chunk.title, *chunk.heading_path)), LANGUAGES))) / len(wanted) if wanted else 0.0


def traits_of(question: str, text: str, sentence: Sentence, before: float, *, kind: Expected | None, behind: float) -> Traits:
    return Traits(
        similarity=sentence.similarity,
        coverage=sentence.coverage,
        before=before,
        kind=float(gives(kind, question, text)),
        passage=-behind,
        length=math.log(max(len(text), 1) / 100),
    )


def score(traits: Traits) -> float:
    return math.fsum(getattr(WEIGHTS, field.name) * getattr(traits, field.name) for field in fields(Traits))


def chosen(found: Sequence[Quotable], *, most: int, margin: float) -> list[Quotable]:
    """At most `most`, in the order in which they are quoted: the best, and others whose score is at most `margin` below its. Those of its
    passage first, and those of one passage as they were written. What is quoted with one that is better is not quoted again.
    """
    ranked = sorted(range(len(found)), key=lambda place: (-found[place].score, place))
    picked: list[int] = []
    for place in ranked:
        if len(picked) == most or found[place].score < found[ranked[0]].score - margin:
            break
        if not any(_within(found[place], found[other]) for other in picked):
            picked.append(place)
    lead = found[picked[0]].passage if picked else 0
    return [found[place] for place in sorted(picked, key=lambda place: (found[place].passage != lead, place))]


def _within(one: Quotable, other: Quotable) -> bool:
    """Whether it would be said twice."""
    return one.text in other.text or other.text in one.text
