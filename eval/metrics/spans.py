"""Passages against places by characters: how much of what was needed was shown, and how much else.

As in Chroma's "Evaluating Chunking Strategies for Retrieval" (Smith & Troynikov 2024), by characters instead of tokens, so that no
tokenizer is part of the measure. Of a group with several places, the one counts of which the largest share was shown.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from eval.results import GoldSpan
from eval.sample import Ranked
from eval.scores import Undefined, Value

NOTHING_SHOWN = Undefined("no passage was shown")

SPANS_AT: Final = 5
"""Passages of the pool that are compared with the gold."""

_Intervals = Mapping[str, list[tuple[int, int]]]
"""Document → its intervals, ascending, without touching one another."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Sizes in characters, of gold G and of passages whose union is U."""

    gold: int
    """|G|"""
    shared: int
    """|G ∩ U|"""
    shown: int
    """Σ |passage|: what is shown twice counts twice."""
    either: int
    """|G ∪ U|"""


def overlap(passages: Sequence[Ranked], groups: Sequence[Sequence[GoldSpan]]) -> Overlap:
    shown = _union((passage.document_id, passage.start, passage.end) for passage in passages)
    chosen = [max(group, key=lambda place: _share(place, shown)) for group in groups if group]
    gold = _union((place.document, place.start, place.end) for place in chosen)
    shared = sum(_shared(interval, shown.get(document, [])) for document, intervals in gold.items() for interval in intervals)
    return Overlap(
        gold=_size(gold),
        shared=shared,
        shown=sum(passage.end - passage.start for passage in passages),
        either=_size(gold) + _size(shown) - shared,
    )


def recall(sizes: Overlap) -> Value:
    """|G ∩ U| / |G|."""
    return sizes.shared / sizes.gold if sizes.gold else Undefined("the places of the answer are empty")


def precision(sizes: Overlap) -> Value:
    """|G ∩ U| / Σ |passage|: passages that overlap cost."""
    return sizes.shared / sizes.shown if sizes.shown else NOTHING_SHOWN


def iou(sizes: Overlap) -> Value:
    """|G ∩ U| / |G ∪ U|."""
    return sizes.shared / sizes.either if sizes.either else Undefined("the places of the answer are empty")


def redundancy(passages: Sequence[Ranked]) -> Value:
    """Share of the shown characters that stand in another shown passage too. Lower is better."""
    shown = sum(passage.end - passage.start for passage in passages)
    if not shown:
        return NOTHING_SHOWN
    return sum(_repeated(passages, at) for at in range(len(passages))) / shown


def _repeated(passages: Sequence[Ranked], at: int) -> int:
    passage = passages[at]
    others = _union((other.document_id, other.start, other.end) for number, other in enumerate(passages) if number != at)
    return _shared((passage.start, passage.end), others.get(passage.document_id, []))


def _share(place: GoldSpan, shown: _Intervals) -> float:
    return _shared((place.start, place.end), shown.get(place.document, [])) / max(1, place.end - place.start)


def _union(places: Iterable[tuple[str, int, int]]) -> _Intervals:
    merged: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for document, start, end in sorted(places):
        before = merged[document]
        if before and start <= before[-1][1]:
            before[-1] = (before[-1][0], max(before[-1][1], end))
        else:
            before.append((start, end))
    return merged


def _size(intervals: _Intervals) -> int:
    return sum(end - start for of_document in intervals.values() for start, end in of_document)


def _shared(interval: tuple[int, int], others: Sequence[tuple[int, int]]) -> int:
    start, end = interval
    return sum(max(0, min(end, until) - max(start, begin)) for begin, until in others)


SpanMetric = Callable[[Overlap], Value]

SPANS: Mapping[str, SpanMetric] = {"span_recall": recall, "span_precision": precision, "span_iou": iou}
"""Every one: higher is better. With `@5` of the first passages of the pool, with `@prompt` of the evidence."""
