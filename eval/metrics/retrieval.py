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

from eval.scores import Undefined, Value

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


def average_precision(ranked: Sequence[str], grades: Mapping[str, int]) -> Value:
    """Mean over *all* relevant documents of the precision at the rank of each, 0 for one that was not retrieved (trec_eval `map`).

    What some call context precision divides by the relevant documents that were retrieved, so that finding fewer may raise it.
    """
    relevant = _relevant(grades)
    if not relevant:
        return NO_GOLD
    ranks = [rank for rank, document in enumerate(ranked, start=1) if document in relevant]
    return math.fsum(found / rank for found, rank in enumerate(ranks, start=1)) / len(relevant)


def r_precision(ranked: Sequence[str], grades: Mapping[str, int]) -> Value:
    """Precision at R, the number of relevant documents (trec_eval `Rprec`)."""
    relevant = _relevant(grades)
    return recall(ranked, grades, k=len(relevant))


def precision(ranked: Sequence[str], grades: Mapping[str, int], *, k: int) -> Value:
    """Relevant documents among the first k / k, also where fewer than k were retrieved (trec_eval `P`)."""
    relevant = _relevant(grades)
    if not relevant:
        return NO_GOLD
    return sum(document in relevant for document in ranked[:k]) / k


def all_recall(ranked: Sequence[str], grades: Mapping[str, int], *, k: int | None) -> Value:
    """1 if every relevant document is among the first k, else 0: what a question needs that combines several (as in KILT)."""
    share = recall(ranked, grades, k=k)
    return share if isinstance(share, Undefined) else float(share == 1.0)


def judged(ranked: Sequence[str], grades: Mapping[str, int], *, k: int) -> Value:
    """Share of the first k, or of all where fewer were retrieved, that somebody judged (ir_measures `Judged`). What was never judged
    counts as irrelevant, so the lower this is, the less the other figures say.
    """
    if not _relevant(grades):
        return NO_GOLD
    first = ranked[:k]
    return sum(document in grades for document in first) / len(first) if first else 0.0


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
    "ap": average_precision,
    "rprec": r_precision,
    "p@5": partial(precision, k=5),
    "p@10": partial(precision, k=10),
    "allrecall@5": partial(all_recall, k=5),
    "allrecall@10": partial(all_recall, k=10),
    "allrecall@pool": partial(all_recall, k=None),
    "judged@10": partial(judged, k=10),
}
"""Every one: higher is better. `pool` is all that was retrieved, the ceiling of whatever reranks it."""
