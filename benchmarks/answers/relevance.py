"""nDCG@10 of retrieval, and the weights of the evidence that it rests on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from benchmarks.answers.intervals import shown
from benchmarks.answers.sets import Asked, asked_of, names, pipeline_of
from rag_service.relevance import HYBRID, Evidence, Weights, relevance
from rag_service.retrieval import POOL, Retriever
from rag_service.terms import terms
from rag_service.types import Scalars

CUT = 10
_ROUNDS = 6
_Floats = npt.NDArray[np.float64]


def report() -> list[str]:
    """Rows of a Markdown table: each way to search, on the half that nothing was fitted to, and on all questions."""
    lines = [
        "| set | questions | dense alone | keywords alone | both, equal weights | hybrid | hybrid, first half | hybrid, all |",
        "|" + "---|" * 8,
    ]
    for name in names():
        asked = [question for question in asked_of(name) if question.answerable]
        retriever = pipeline_of(name).retriever
        columns = {way: _served(name, asked, ranked) for way, ranked in _ways(retriever).items()}
        second = [number for number, question in enumerate(asked) if question.half == 1]
        first = [number for number, question in enumerate(asked) if question.half == 0]
        cells = [_cell(columns[way], asked, second) for way in ("dense", "keywords", "equal", "hybrid")]
        cells += [_cell(columns["hybrid"], asked, chosen) for chosen in (first, range(len(asked)))]
        lines.append(f"| {name} | {len(second)} of {len(asked)} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: Sequence[float], asked: Sequence[Asked], chosen: Sequence[int]) -> str:
    return shown([values[number] for number in chosen], [asked[number].cluster for number in chosen])


_Ranked = Callable[[str, Scalars], list[str]]


def _ways(retriever: Retriever) -> dict[str, _Ranked]:
    """From question and vector to document ids, best first."""

    def found(searching: Retriever) -> _Ranked:
        return lambda query, vector: [str(hit.chunk.document_id) for hit in searching.find(query, vector, 5 * CUT).hits]

    def weighed(score: Callable[[Evidence], Scalars]) -> _Ranked:
        def ranked(query: str, vector: Scalars) -> list[str]:
            candidates = retriever.candidates(
                retriever.keywords.look_up(terms(query, retriever.languages)), vector, None, pool=POOL, keep=2 * POOL
            )
            order = np.argsort(-score(candidates.evidence), kind="stable")[: 5 * CUT]
            return [str(chunk.document_id) for chunk in retriever.chunks.chunks(candidates.positions[order].tolist())]

        return ranked

    def scaled(cosines: Scalars) -> Scalars:
        least = np.sort(cosines)[-POOL:][0]
        return np.asarray(np.clip((cosines - least) / (cosines.max() - least + 1e-9), 0, 1), np.float32)

    return {
        "dense": found(replace(retriever, mode="dense")),
        "keywords": weighed(lambda evidence: evidence.keywords),
        "equal": weighed(lambda evidence: scaled(evidence.cosine) + evidence.keywords),
        "hybrid": found(retriever),
    }


def _served(name: str, asked: Sequence[Asked], ranked: _Ranked) -> list[float]:
    embedder = pipeline_of(name).embedder
    return [ndcg(ranked(one.question.question, embedder.embed_query(one.question.question)), one.relevant) for one in asked]


def ndcg(ranked: Sequence[str], relevant: dict[str, int] | object) -> float:
    """At `CUT`, documents by their best chunk, gains linear in the grade (as trec_eval's ndcg_cut)."""
    gains: dict[str, int] = dict(relevant)  # type: ignore[call-overload]
    found = [gains.get(document, 0) for document in list(dict.fromkeys(ranked))[:CUT]]
    ideal = sorted(gains.values(), reverse=True)[:CUT]
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(found)) / sum(
        gain / math.log2(rank + 2) for rank, gain in enumerate(ideal)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """The candidates of many questions in one table, by question and document, so that trying weights takes milliseconds."""

    evidence: _Floats
    first_of_document: npt.NDArray[np.int64]
    question: npt.NDArray[np.int64]
    gain: _Floats
    ideal: _Floats

    def ndcg(self, weights: _Floats) -> float:
        best = np.maximum.reduceat(self.evidence @ weights, self.first_of_document)
        order = np.lexsort((-best, self.question))
        begin = np.searchsorted(self.question, np.arange(len(self.ideal)))
        rank = np.arange(len(order)) - begin[self.question]
        seen = rank < CUT
        gained = self.gain[order][seen] / np.log2(rank[seen] + 2)
        return float((np.bincount(self.question[seen], gained, minlength=len(self.ideal)) / self.ideal).mean())


def _fold(name: str) -> _Fold:
    pipeline = pipeline_of(name)
    retriever = pipeline.retriever
    rows: list[_Floats] = []
    firsts, questions, gains, ideals, start = [], [], [], [], 0
    for one in (asked for asked in asked_of(name) if asked.answerable and asked.half == 0):
        text = one.question.question
        query = retriever.keywords.look_up(terms(text, retriever.languages))
        found = retriever.candidates(query, pipeline.embedder.embed_query(text), None, pool=POOL, keep=2 * POOL)
        documents = [str(chunk.document_id) for chunk in retriever.chunks.chunks(found.positions.tolist())]
        order = sorted(range(len(documents)), key=documents.__getitem__)
        parts = [_alone(found.evidence, field.name, retriever.unrelated) for field in fields(Weights)]
        rows.append(np.column_stack(parts)[order])
        for place, number in enumerate(order):
            if place == 0 or documents[number] != documents[order[place - 1]]:
                firsts.append(start + place)
                questions.append(len(ideals))
                gains.append(float(one.relevant.get(documents[number], 0)))
        start += len(order)
        ideals.append(sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(one.relevant.values(), reverse=True)[:CUT])))
    return _Fold(np.vstack(rows), np.array(firsts), np.array(questions), np.array(gains), np.array(ideals))


def _alone(evidence: Evidence, name: str, unrelated: float) -> Scalars:
    only = Weights(*(float(field.name == name) for field in fields(Weights)))
    return relevance(evidence, only, unrelated=unrelated)


def fit() -> None:
    """Coordinate ascent (Metzler and Croft 2007, doi 10.1007/s10791-006-9019-z) on the mean nDCG@10 of the first halves."""
    folds = [_fold(name) for name in names()]

    def value(weights: _Floats) -> float:
        return float(np.mean([fold.ndcg(weights) for fold in folds]))

    weights = np.array(astuple(HYBRID))
    best, step = value(weights), 0.5
    print(f"{len(folds)} sets, from {best:.4f}")
    for _ in range(_ROUNDS):
        for place in range(len(weights)):
            for tried in (
                weights[place] * (1 + step),
                weights[place] / (1 + step),
                weights[place] + 0.1 * step,
                weights[place] - 0.1 * step,
            ):
                other = weights.copy()
                other[place] = max(tried, 0.0)
                if (found := value(other)) > best + 1e-6:
                    weights, best = other, found
        step *= 0.65
    weights = np.round(weights / weights.sum(), 3)
    print(
        f"to {value(weights):.4f}: "
        + ", ".join(f"{field.name}={weight:.3f}" for field, weight in zip(fields(Weights), weights, strict=True))
    )
