"""How well a chunk fits a question, from what two indexes say of it, its sentences and its neighbours. Pure.

Rank fusion throws away how much better the first is than the second, and equal weights trust both halves alike; so this is a weighted mean
of quantities that mean the same for every question: cosines, from 0 for unrelated texts to 1, and shares of the question's words.
"""

from dataclasses import dataclass

import numpy as np

from rag_service.types import Scalars


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What speaks for each of n chunks; every array has the shape (n,)."""

    cosine: Scalars
    """Of the chunk."""
    sentence: Scalars
    """Highest cosine of a sentence of it."""
    keywords: Scalars
    """BM25, divided by that of the chunk that has most."""
    coverage: Scalars
    """Share of the question's terms, by weight, that are in it."""
    sentence_coverage: Scalars
    """Most of that share that is in one sentence."""
    cosine_around: Scalars
    """Mean cosine of the chunks before and after it, in its document."""
    keywords_around: Scalars
    """Mean BM25 of these, divided as above."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of each part of the evidence. They add up to 1."""

    cosine: float
    sentence: float
    keywords: float
    coverage: float
    sentence_coverage: float
    cosine_around: float
    keywords_around: float


HYBRID = Weights(
    cosine=0.294, sentence=0.280, keywords=0.121, coverage=0.110, sentence_coverage=0.066, cosine_around=0.030, keywords_around=0.099
)
"""Fitted by `python -m benchmarks.answers fit relevance` on one half of the questions of three sets, for the mean of their nDCG@10;
docs/quality.md has what they give on the other half."""

UNRELATED = (
    "The ferry to the island leaves twice a day in summer.",
    "She tuned the violin before the concert began.",
    "Bread rises because yeast turns sugar into gas.",
    "The court ruled that the contract was void.",
    "A function without side effects is easier to test.",
    "Glaciers carve valleys with a flat floor.",
    "The goalkeeper saved two penalties in a row.",
    "Invoices are paid within thirty days.",
    "Penguins keep their eggs warm on their feet.",
    "The treaty ended a war of seven years.",
    "Copper conducts heat better than iron.",
    "He painted the fence white last spring.",
)
"""Texts that have nothing to do with one another: what an encoder gives for them is what it means by "unrelated"."""


def unrelated_cosine(vectors: Scalars) -> float:
    """Mean cosine of the vectors of `UNRELATED`, shape (12, dim), at least 0: about 0.03 for all-MiniLM-L6-v2, 0.7 for the E5 family."""
    cosines = vectors @ vectors.T
    return round(max(float(cosines[np.triu_indices(len(vectors), 1)].mean()), 0.0), 3)


def relevance(evidence: Evidence, weights: Weights, *, unrelated: float) -> Scalars:
    """Shape (n,): the weighted mean of the evidence, cosines being counted from `unrelated`."""
    cosines = weights.cosine * evidence.cosine + weights.sentence * evidence.sentence + weights.cosine_around * evidence.cosine_around
    share = weights.cosine + weights.sentence + weights.cosine_around
    words = (
        weights.keywords * evidence.keywords
        + weights.coverage * evidence.coverage
        + weights.sentence_coverage * evidence.sentence_coverage
        + weights.keywords_around * evidence.keywords_around
    )
    return np.asarray((cosines - share * unrelated) / (1.0 - unrelated) + words, np.float32)
