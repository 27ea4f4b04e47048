"""Ranked documents against graded relevance, as trec_eval defines it (https://github.com/usnistgov/trec_eval).

`ranked` holds distinct document ids, best first: collapse chunks with `by_best_rank` before. `grades` maps document ids to relevance; what
is not in it, or has no positive grade, is not relevant. `k` is a cut-off, or None for everything that was retrieved. All values lie in
[0, 1]. Without a relevant document nothing is defined.

trec_eval orders a run by score and equal scores by document id; here the order is given, so the two agree on runs with strictly
decreasing scores.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from eval.metrics.scores import Undefined, Value

NO_GOLD = Undefined("no relevant document is known")


def by_best_rank(ids: Iterable[str]) -> tuple[str, ...]:
    """Every document once, at the rank of its best chunk."""
    return tuple(dict.fromkeys(ids))


def recall(ranked: Sequence[str], grades: Mapping[str, int], *, k: int | None) -> Value:
    """Relevant documents among the first k / relevant documents (trec_eval `recall`)."""
    relevant = _relevant(grades)
    if not relevant:
        return NO_GOLD
    return sum(document in relevant for document in ranked[:k]) / len(relevant)


def success(ranked: Sequence[str], grades: Mapping[str, int], *, k: int | None) -> Value:
    """1 if a relevant document is among the first k, else 0 (trec_eval `success`; also called hit rate)."""
    relevant = _relevant(grades)
    if not relevant:
        return NO_GOLD
    return float(any(document in relevant for document in ranked[:k]))


def reciprocal_rank(ranked: Sequence[str], grades: Mapping[str, int], *, k: int | None) -> Value:
    """1 / rank of the first relevant document among the first k, else 0 (trec_eval `recip_rank`, over a run cut at k)."""
    relevant = _relevant(grades)
    if not relevant:
        return NO_GOLD
    return next((1 / rank for rank, document in enumerate(ranked[:k], start=1) if document in relevant), 0.0)


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], *, k: int | None) -> Value:
    """Σ gain / log2(rank + 1) over the first k, divided by the same sum for the best possible order of *all* relevant documents, cut
    at k. The gain is the grade itself (trec_eval `ndcg_cut`; Järvelin & Kekäläinen 2002).
    """
    relevant = _relevant(grades)
    if not relevant:
        return NO_GOLD
    gained = _discounted([relevant.get(document, 0) for document in ranked[:k]])
    return gained / _discounted(sorted(relevant.values(), reverse=True)[:k])


def _relevant(grades: Mapping[str, int]) -> dict[str, int]:
    return {document: grade for document, grade in grades.items() if grade > 0}


def _discounted(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


RetrievalMetric = Callable[[Sequence[str], Mapping[str, int]], Value]

DEEPEST_CUT = 10
"""The largest k below: how many documents a ranking should hold."""

POOL_SUCCESS = "success@pool"

RETRIEVAL: Mapping[str, RetrievalMetric] = {
    "success@1": partial(success, k=1),
    "success@5": partial(success, k=5),
    "success@10": partial(success, k=10),
    POOL_SUCCESS: partial(success, k=None),
    "recall@5": partial(recall, k=5),
    "recall@10": partial(recall, k=10),
    "recall@pool": partial(recall, k=None),
    "ndcg@10": partial(ndcg, k=10),
    "rr@10": partial(reciprocal_rank, k=10),
}
"""Every one: higher is better. `pool` is all that was retrieved, the ceiling of whatever reranks it."""
