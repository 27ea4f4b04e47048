"""How sure it is that the documents answer a question, and when that is too little. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from rag_service.types import AbstainReason, Completion, Hit, SentenceSupport

LOOKED_AT = 3
"""Best hits that count; whether more of them are shown makes no difference."""


@dataclass(frozen=True, slots=True)
class Signs:
    """Of an answer being there, each about 0 to 1; of the best `LOOKED_AT` hits."""

    cosine: float
    """Highest, counted from what means unrelated."""
    sentence: float
    """Highest of a sentence, counted likewise."""
    coverage: float
    """Largest share of the question's terms, by weight, that a passage holds."""
    sentence_coverage: float
    """Largest share that one sentence holds."""
    best_sentence: float
    """Highest mean of the two, in one sentence: it speaks of what is asked, and in these words."""
    unknown: float
    """Share of the question's terms that the whole index does not hold."""


COEFFICIENTS = Signs(cosine=7.20, sentence=5.53, coverage=3.43, sentence_coverage=1.77, best_sentence=4.14, unknown=-1.29)
INTERCEPT = -8.82
"""Of a logistic regression, fitted by `python -m benchmarks.answers fit confidence` on one half of the questions of three sets: those
that were asked of their own documents, against those of other sets asked of them. docs/quality.md has how well it is calibrated on the
other half."""


def signs(hits: Sequence[Hit], unknown: float, *, unrelated: float) -> Signs:
    """`hits` are best first, and at least one; `unrelated` is the cosine that means it, for the encoder."""
    best = hits[:LOOKED_AT]
    sentences = [sentence for hit in best for sentence in hit.sentences]

    def counted(cosine: float) -> float:
        return (cosine - unrelated) / (1.0 - unrelated)

    return Signs(
        cosine=counted(max(hit.cosine for hit in best)),
        sentence=counted(max((sentence.similarity for sentence in sentences), default=hits[0].cosine)),
        coverage=max(hit.keywords for hit in best),
        sentence_coverage=max((sentence.coverage for sentence in sentences), default=0.0),
        best_sentence=max(((counted(sentence.similarity) + sentence.coverage) / 2 for sentence in sentences), default=0.0),
        unknown=unknown,
    )


def confidence(hits: Sequence[Hit], unknown: float, *, unrelated: float) -> float:
    """That the documents hold an answer, in [0, 1]; 0 without hits."""
    if not hits:
        return 0.0
    found = signs(hits, unknown, unrelated=unrelated)
    logit = INTERCEPT + math.fsum(getattr(COEFFICIENTS, field.name) * getattr(found, field.name) for field in fields(Signs))
    return round(1.0 / (1.0 + math.exp(-max(min(logit, 30.0), -30.0))), 5)


def before_generation(hits: Sequence[Hit], *, indexed_chunks: int, confidence: float, min_confidence: float) -> AbstainReason | None:
    """Why not to ask the generator at all, or None."""
    if indexed_chunks == 0:
        return "empty_index"
    if not hits:
        return "no_hits"
    return "low_confidence" if confidence < min_confidence else None


def after_generation(completion: Completion) -> AbstainReason | None:
    return "generator_declined" if completion.declined else None


def after_checks(support: Sequence[SentenceSupport], *, strict: bool) -> AbstainReason | None:
    """Whether to withhold an answer. What claims nothing needs no support."""
    lacking = any(sentence.claims and sentence.level == "unsupported" for sentence in support)
    return "unsupported" if strict and lacking else None
