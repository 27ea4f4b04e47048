"""Question to hits: candidates of two indexes, weighed with what their sentences and neighbours say, the alike and the many of one
document thinned out.

Filters are applied inside both searches. Nothing of a chunk that a filter forbids is looked at, but how rare a word is is counted over
the whole index.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rag_service.abstention import LOOKED_AT, confidence
from rag_service.languages import Language
from rag_service.ports import ChunkTable, KeywordIndex, Reranker, SentenceTable, VectorStore
from rag_service.ranking import ordered, thinned
from rag_service.relevance import HYBRID, Evidence, relevance
from rag_service.terms import terms
from rag_service.types import ChunkId, Hit, Positions, QueryTerms, Scalars, Selection, Sentence, SentenceMatches, Vector

Mode = Literal["hybrid", "dense"]

POOL = 50
"""Candidates from each index."""
KEPT = 24
"""Of these, how many are looked at in detail: the best by what the indexes alone say. More do not change nDCG@10."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The chunks that a question is compared with in detail: rows of the index, ascending, and what speaks for each."""

    positions: Positions
    evidence: Evidence
    matches: SentenceMatches


@dataclass(frozen=True, slots=True)
class Retrieved:
    hits: tuple[Hit, ...]
    confidence: float
    """That an answer is among them: see `abstention`."""
    unknown: float = 0.0
    """Share of the question's terms, by weight, that no chunk of the index holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Retriever:
    """The search of one opened index version."""

    store: VectorStore
    keywords: KeywordIndex
    sentences: SentenceTable
    chunks: ChunkTable
    neighbours: Positions
    """Shape (chunks, 2): the rows before and after each in its document, -1 where there is none."""
    languages: tuple[Language, ...]
    unrelated: float
    """Cosine of texts that have nothing to do with one another, by the encoder of this index."""
    mode: Mode = "hybrid"
    per_document: int = 3
    reranker: Reranker | None = None
    rerank_depth: int = 20

    def find(self, query: str, vector: Vector, k: int, within: Selection | None = None) -> Retrieved:
        """At most `k` hits, best first; equal scores in ascending row order."""
        if not len(self.store) or k <= 0 or (within is not None and not len(within)):
            return Retrieved((), 0.0)
        wanted = self.keywords.look_up(terms(query, self.languages))
        total = float(wanted.weights.sum())
        unknown = round(float(wanted.weights[wanted.columns < 0].sum()) / total, 5) if total else 0.0
        deep = max(k, LOOKED_AT, self.rerank_depth if self.reranker else 0)
        found = self.candidates(wanted, vector, within, pool=max(POOL, 2 * deep), keep=max(KEPT, 2 * deep))
        scores = found.evidence.cosine if self.mode == "dense" else relevance(found.evidence, HYBRID, unrelated=self.unrelated)
        places, scores = ordered(np.arange(len(found.positions)), scores)
        place_of: dict[ChunkId, int] = {}
        hits: Iterable[Hit] = self._hits(found, places, scores, deep, place_of)
        if self.reranker is not None:
            hits = _reranked(query, thinned(hits, deep, per_document=self.per_document), self.reranker)
        chosen = thinned(hits, max(k, LOOKED_AT), per_document=self.per_document)
        best = [replace(hit, sentences=_sentences(found.matches, place_of[hit.chunk.id])) for hit in chosen]
        sure = confidence(best, unknown, unrelated=self.unrelated)
        return Retrieved(tuple(best[:k]), sure, unknown)

    def candidates(self, query: QueryTerms, vector: Vector, within: Selection | None, *, pool: int, keep: int) -> Candidates:
        """The best `pool` of each index, and of these the best `keep`."""
        near, _ = self.store.search(vector, pool, within)
        scores = self.keywords.scores(query)
        most, worded = _best(scores, pool, within)
        positions = np.unique(near if self.mode == "dense" else np.concatenate([near, worded]))
        cosines = self._cosines(positions, vector)
        if len(positions) > keep:
            first = cosines if self.mode == "dense" else _first_sight(cosines, scores[positions] / (most or 1.0), self.unrelated)
            kept = np.sort(ordered(np.arange(len(positions)), first)[0][:keep])
            positions, cosines = positions[kept], cosines[kept]
        matches = self.sentences.match(positions, vector, query)
        around = self.neighbours[positions]
        beside = around >= 0
        cosines_around = np.where(beside, 0.0, cosines[:, None]).astype(np.float32)  # one's own stands in for a side that is not there
        cosines_around[beside] = self._cosines(around[beside], vector)
        keywords = scores[positions] / (most or 1.0)
        keywords_around = np.where(beside, scores[around] / (most or 1.0), keywords[:, None])
        return Candidates(
            positions,
            Evidence(
                cosine=cosines,
                sentence=_highest(matches.similarity, matches.owner, cosines),
                keywords=keywords,
                coverage=self.keywords.coverage(query, positions),
                sentence_coverage=_highest(matches.coverage, matches.owner, np.zeros_like(cosines)),
                cosine_around=cosines_around.mean(axis=1),
                keywords_around=keywords_around.mean(axis=1).astype(np.float32),
            ),
            matches,
        )

    def _cosines(self, positions: Positions, vector: Vector) -> Scalars:
        return np.asarray(self.store.vectors(positions.tolist()) @ vector, np.float32)

    def _hits(self, found: Candidates, places: Positions, scores: Scalars, at_once: int, place_of: dict[ChunkId, int]) -> Iterator[Hit]:
        """With their texts, `at_once` of which are read when one is wanted, and without their sentences; tells `place_of` of each."""
        for begin in range(0, len(places), at_once):
            some = places[begin : begin + at_once]
            chunks = self.chunks.chunks(found.positions[some].tolist())
            place_of.update(zip((chunk.id for chunk in chunks), some.tolist(), strict=True))
            cosines, coverage = found.evidence.cosine[some].tolist(), found.evidence.coverage[some].tolist()
            for chunk, score, cosine, held in zip(chunks, scores[begin : begin + at_once].tolist(), cosines, coverage, strict=True):
                yield Hit(chunk, round(score, 5), cosine=round(cosine, 5), keywords=round(held, 5))


def _best(scores: Scalars, k: int, within: Selection | None) -> tuple[float, Positions]:
    """The highest score, and the rows of the best `k` above 0, ties by row."""
    rows = np.flatnonzero(scores) if within is None else within.positions[scores[within.positions] > 0]
    if not len(rows):
        return 0.0, rows
    found = scores[rows]
    if len(rows) > k:
        above = found >= np.partition(found, -k)[-k]
        rows, found = rows[above], found[above]
    positions, kept = ordered(rows, found)
    return float(kept[0]), positions[:k]


def _highest(values: Scalars, owner: Positions, otherwise: Scalars) -> Scalars:
    """The largest of each owner's values; `otherwise` for those that have none."""
    found = np.full(len(otherwise), -np.inf, np.float32)
    np.maximum.at(found, owner, values)
    return np.where(np.isfinite(found), found, otherwise).astype(np.float32)


def _first_sight(cosines: Scalars, keywords: Scalars, unrelated: float) -> Scalars:
    """By what the two indexes say; what sentences and neighbours may add counts as the chunk does."""
    near = HYBRID.cosine + HYBRID.sentence + HYBRID.cosine_around
    return np.asarray(near * (cosines - unrelated) / (1.0 - unrelated) + (1.0 - near) * keywords, np.float32)


def _sentences(matches: SentenceMatches, place: int) -> tuple[Sentence, ...]:
    begin, end = np.searchsorted(matches.owner, [place, place + 1]).tolist()
    spans = matches.spans[begin:end].tolist()
    similarity = np.round(matches.similarity[begin:end].astype(np.float64), 5).tolist()
    coverage = np.round(matches.coverage[begin:end].astype(np.float64), 5).tolist()
    return tuple(map(Sentence, *zip(*spans, strict=True), similarity, coverage)) if spans else ()


def _reranked(query: str, hits: Sequence[Hit], reranker: Reranker) -> list[Hit]:
    scores = reranker.scores(query, [hit.chunk.embedded_text for hit in hits])
    order, kept = ordered(np.arange(len(hits)), scores)
    return [replace(hits[place], score=round(float(score), 5)) for place, score in zip(order.tolist(), kept, strict=True)]
