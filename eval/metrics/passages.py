"""Passages against places in documents: what holds for any chunking, since gold does not know how documents were cut.

A passage finds a group of gold when it covers at least `TAU` of one of the group's places; every group must be found, at any one of its
places (as in KILT). Where only documents are known, they are one group: any passage of any of them finds it.

What a ranking found is one number a group, its *found rank*: the 1-based rank of the first passage that finds it, or None. All metrics
are functions of these. `k` is a cut-off, or None for everything. All values lie in [0, 1], and nothing is defined without a group.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from eval.results import Gold, GoldSpan
from eval.sample import Ranked, Sample
from eval.scores import Undefined, Value

TAU: Final = 0.5
"""Share of a place that a passage must cover. Half: of two chunks that a place was cut into, at least one may count."""

NO_PLACES = Undefined("no place of an answer is known")

FoundRanks = Sequence[int | None]


def evidence(sample: Sample) -> tuple[Ranked, ...]:
    """The passages that the service decided on: those of the prompt; or all hits where it abstained before there was one."""
    return sample.hits if sample.status == "abstained" and not sample.shown else sample.in_prompt


def covers(passage: Ranked, place: GoldSpan, *, tau: float = TAU) -> bool:
    """Whether at least `tau` of the place's characters stand in the passage."""
    if passage.document_id != place.document:
        return False
    length, shared = place.end - place.start, min(passage.end, place.end) - max(passage.start, place.start)
    return shared >= 0 if length == 0 else shared > 0 and shared >= tau * length


def found_ranks(passages: Sequence[Ranked], gold: Gold) -> tuple[int | None, ...]:
    """One a group, in their order. Empty where nothing is known to be relevant."""
    if not gold.groups:
        relevant = {document for document, grade in gold.relevant.items() if grade > 0}
        return (_first(passages, lambda passage: passage.document_id in relevant),) if relevant else ()

    def finds(group: Sequence[GoldSpan], passage: Ranked) -> bool:
        return any(covers(passage, place) for place in group)

    return tuple(_first(passages, partial(finds, group)) for group in gold.groups)


def all_found(passages: Sequence[Ranked], gold: Gold) -> bool | None:
    """Whether every group is found by one of the passages; None where nothing is known to be relevant. Gold that is no part of the
    index is never found.
    """
    if gold.missing:
        return False
    ranks = found_ranks(passages, gold)
    return None not in ranks if ranks else None


def success(ranks: FoundRanks, *, k: int | None = None) -> Value:
    """1 if a group is found among the first k, else 0."""
    return float(bool(_within(ranks, k))) if ranks else NO_PLACES


def recall(ranks: FoundRanks, *, k: int | None = None) -> Value:
    """Groups found among the first k / groups."""
    return len(_within(ranks, k)) / len(ranks) if ranks else NO_PLACES


def everything(ranks: FoundRanks, *, k: int | None = None) -> Value:
    """1 if every group is found among the first k, else 0."""
    return float(len(_within(ranks, k)) == len(ranks)) if ranks else NO_PLACES


def reciprocal_rank(ranks: FoundRanks, *, k: int | None = None) -> Value:
    """1 / rank of the first passage among the first k that finds a group, else 0."""
    return max((1 / rank for rank in _within(ranks, k)), default=0.0) if ranks else NO_PLACES


def ndcg(ranks: FoundRanks, *, k: int | None = None) -> Value:
    """Σ 1 / log2(rank + 1) over the groups found among the first k, divided by the same sum for groups found at ranks 1, 2, 3, …

    A passage gains for each group that none before it found, so that repeating itself gains nothing (the subtopic gain of Clarke et al.
    2008 with α = 1). Passages that find several groups at once could exceed 1; that is cut off.
    """
    if not ranks:
        return NO_PLACES
    gained = math.fsum(1 / math.log2(rank + 1) for rank in _within(ranks, k))
    return min(1.0, gained / math.fsum(1 / math.log2(rank + 1) for rank in range(1, len(ranks[:k]) + 1)))


def _within(ranks: FoundRanks, k: int | None) -> list[int]:
    return [rank for rank in ranks if rank is not None and (k is None or rank <= k)]


def _first(passages: Sequence[Ranked], finds: Callable[[Ranked], bool]) -> int | None:
    return next((rank for rank, passage in enumerate(passages, start=1) if finds(passage)), None)


PassageMetric = Callable[[FoundRanks], Value]

IN_POOL: Mapping[str, PassageMetric] = {
    "passage_success@1": partial(success, k=1),
    "passage_success@5": partial(success, k=5),
    "passage_success@10": partial(success, k=10),
    "passage_recall@5": partial(recall, k=5),
    "passage_recall@10": partial(recall, k=10),
    "passage_recall@pool": partial(recall, k=None),
    "passage_rr@10": partial(reciprocal_rank, k=10),
    "passage_ndcg@10": partial(ndcg, k=10),
}
"""Of what the index gives, before any reranker. Every one: higher is better."""

IN_HITS: Mapping[str, PassageMetric] = {"hits_recall": recall}
"""Of what the release ranked for its answer, after its reranker."""

IN_PROMPT: Mapping[str, PassageMetric] = {"prompt_recall": recall, "prompt_success": success, "prompt_all": everything}
"""Of the `evidence`."""
