"""When there is too little evidence to answer. Pure."""

from collections.abc import Sequence

from rag_service.types import AbstainReason, Completion, Hit


def before_generation(hits: Sequence[Hit], *, indexed_chunks: int, min_score: float) -> AbstainReason | None:
    """Why not to ask the generator at all, or None. `hits` are best first."""
    if indexed_chunks == 0:
        return "empty_index"
    if not hits:
        return "no_hits"
    if hits[0].score < min_score:
        return "below_min_score"
    return None


def after_generation(completion: Completion) -> AbstainReason | None:
    return "generator_declined" if completion.declined else None
