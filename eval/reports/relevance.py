"""How a passage stands to what is known to be relevant, and to what the answer cites."""

from dataclasses import dataclass
from typing import Literal

from eval.metrics.passages import covers
from eval.results import GoldSpan, Row
from eval.sample import Cited, Ranked

Mark = Literal["gold", "document", ""]


@dataclass(frozen=True, slots=True)
class Marked:
    """One passage of a sample."""

    ranked: Ranked
    rank: int
    """From 1, after any reranker; 0 where it was not ranked so high."""
    pool_rank: int
    """From 1, before any reranker; 0 where it is not in the pool."""
    mark: Mark
    """`gold` where it holds a place of the answer, or is of a relevant document where no places are known; `document` where it is of
    such a document and holds no place of it.
    """
    in_prompt: bool
    cited: bool


def mark_of(passage: Ranked, row: Row) -> Mark:
    if any(covers(passage, place) for group in row.gold.groups for place in group):
        return "gold"
    if row.gold.relevant.get(passage.document_id, 0) > 0:
        return "document" if row.gold.groups else "gold"
    return ""


def marked(row: Row, *, most: int) -> list[Marked]:
    """The best `most` passages as the answer saw them, all of the prompt among them, and behind them what is relevant in the rest of the
    pool, up to as many again.
    """
    sample = row.sample
    pool_ranks = {passage.chunk_id: rank for rank, passage in enumerate(sample.pool, start=1)}
    ranked = sample.hits or sample.pool
    cited = {one.chunk_id for one in sample.cited}
    first = [
        Marked(passage, rank, pool_ranks.get(passage.chunk_id, 0), mark_of(passage, row), rank <= sample.shown, passage.chunk_id in cited)
        for rank, passage in enumerate(ranked[: max(most, sample.shown)], start=1)
    ]
    known = {one.ranked.chunk_id for one in first}
    later = {passage.chunk_id: rank for rank, passage in enumerate(sample.hits, start=1)}
    missed = [
        Marked(passage, later.get(passage.chunk_id, 0), pool_ranks[passage.chunk_id], mark, False, False)
        for passage in sample.pool
        if passage.chunk_id not in known and (mark := mark_of(passage, row))
    ]
    return [*first, *missed[:most]]


def places_in(passage: Ranked, row: Row) -> list[tuple[int, int]]:
    """Where places of the answer stand in its text: start and end in characters of the passage, cut at its ends."""
    places = [place for group in row.gold.groups for place in group]
    return _inside(passage, places)


def quotes_in(passage: Ranked, row: Row) -> list[tuple[int, int]]:
    """Where the answer cites it."""
    return _inside(passage, row.sample.cited)


def _inside(passage: Ranked, places: list[GoldSpan] | tuple[Cited, ...]) -> list[tuple[int, int]]:
    found = [
        (max(place.start, passage.start) - passage.start, min(place.end, passage.end) - passage.start)
        for place in places
        if (place.document if isinstance(place, GoldSpan) else place.document_id) == passage.document_id
    ]
    return sorted({(start, end) for start, end in found if start < end})
