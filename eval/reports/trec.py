"""Rankings and judgements as trec_eval reads them (https://github.com/usnistgov/trec_eval), so that anybody can check our figures."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from eval.metrics.retrieval import by_best_rank, ndcg
from eval.results import Measured, Row
from eval.sample import Ranked

_ROUNDING = 1e-9
_NOT_IN_A_FIELD = re.compile(r"[\s%]")


def trec_run(candidate: Measured) -> str:
    """A line `question Q0 document rank score tag` for each document that was retrieved, best first. A document stands where its best
    chunk stands.

    trec_eval orders by score and equal scores by document id. So scores decrease strictly here, also where a tool keeps them in 32
    bits: one that does not is lowered to the next number. White space and `%` in ids are written `%20`, `%25`, ….
    """
    tag = field(candidate.name)
    return "".join(f"{line} {tag}\n" for row in candidate.rows for line in _ranked_lines(row))


def qrels(candidate: Measured) -> str:
    """A line `question 0 document grade` for each document that is known to be relevant, as documents of the candidate's index.

    Questions that are not scored by their documents are left out: unanswerable ones, and those of which a gold passage is in no
    document of the index.
    """
    return "".join(
        f"{field(row.id)} 0 {field(document)} {grade}\n"
        for row in candidate.rows
        if row.question.answerable is not False and not row.gold.missing
        for document, grade in row.gold.relevant.items()
    )


def shortened(candidate: Measured) -> int:
    """Questions of which the run keeps too few passages for its own figures to be computed from them: a run keeps the best alone."""
    return sum(
        isinstance(scored := row.scores.get("ndcg@10"), float) and abs(_recomputed(row) - scored) > _ROUNDING for row in candidate.rows
    )


def _recomputed(row: Row) -> float:
    found = ndcg(by_best_rank(hit.document_id for hit in row.sample.pool), row.gold.relevant, k=10)
    return found if isinstance(found, float) else 0.0


def field(identifier: str) -> str:
    """An id as one field of a line. Different ids stay different."""
    return _NOT_IN_A_FIELD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), identifier)


def _ranked_lines(row: Row) -> Iterator[str]:
    best = _best_scores(row.sample.pool)
    for rank, (document, score) in enumerate(zip(best, strictly_decreasing(list(best.values())), strict=True), start=1):
        yield f"{field(row.id)} Q0 {field(document)} {rank} {score:.9g}"


def _best_scores(ranked: Sequence[Ranked]) -> dict[str, float]:
    scores = {hit.document_id: hit.score for hit in reversed(ranked)}
    return {document: scores[document] for document in by_best_rank(hit.document_id for hit in ranked)}


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """The same as 32-bit numbers, each lowered as little as it must be to lie below the one before it."""
    lowered: list[float] = []
    ceiling = np.float32(np.inf)
    for score in scores:
        ceiling = min(np.float32(score), np.nextafter(ceiling, np.float32(-np.inf)))
        lowered.append(float(ceiling))
    return lowered
