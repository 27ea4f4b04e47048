"""The verb: two records, or two releases over a set of questions → where they part, and what differs. Pure; nothing is asked again.

Stage digests say where two answers part, whatever was stored of their texts. The release, the request's own settings and the deployment
say what differs; a comparison names it as differing, and does not say that it is the cause: for that, change one thing and replay.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from rag_service.comparison import Answered, Changed, CitationDifference, Comparison, SetComparison, Share, Spread, StageCount, headline
from rag_service.difference import (
    FieldDifference,
    HitDifference,
    NotCompared,
    PartDifference,
    StageDifference,
    VectorDifference,
    deployment_differences,
    filter_differences,
    first_difference,
    hit_differences,
    lineage_differences,
    overlap,
    parameter_differences,
    release_differences,
    stage_differences,
    vector_difference,
)
from rag_service.digests import digest_text
from rag_service.kept import Kept, Text
from rag_service.record import Record, StageName
from rag_service.text_diff import Piece, text_diff
from rag_service.types import ChunkId, Hit, Prompt

__all__ = [
    "Comparison",
    "FieldDifference",
    "HitDifference",
    "NotCompared",
    "PartDifference",
    "Piece",
    "SetComparison",
    "StageDifference",
    "VectorDifference",
    "compare",
    "compare_sets",
    "first_difference",
    "hit_differences",
    "release_differences",
    "stage_differences",
    "text_diff",
    "vector_difference",
]


def compare(a: Kept | Record, b: Kept | Record, *, texts: bool = True) -> Comparison:
    """What differs between two answers, the earlier first: as they were kept, or as they were just made.

    Without `texts` their texts are not laid side by side, which is most of the work.
    """
    seen_a, seen_b = _seen(a), _seen(b)
    one, other = seen_a.record, seen_b.record
    stages = stage_differences(one, other)
    hits = hit_differences(one.hits, other.hits, one.shown, other.shown)
    come, gone = _citations(one, other)
    found = Comparison(
        a=_answered(one),
        b=_answered(other),
        same_question=seen_a.question_digest == seen_b.question_digest,
        same_history=_same_history(seen_a, seen_b),
        release=lineage_differences(one.lineage, other.lineage),
        parameters=_parameters(seen_a, seen_b),
        deployment=deployment_differences(one.lineage.deployment, other.lineage.deployment),
        stages=stages,
        first_difference=first_difference(stages),
        hits=hits,
        same_hits=all(hit.movement == "stayed" for hit in hits),
        same_passages=_chunks(one.hits[: one.shown]) == _chunks(other.hits[: other.shown]),
        overlap=overlap(one.hits, other.hits),
        same_scale=_same_encoder(one, other),
        vector=_vector(seen_a, seen_b),
        same_answer=_same_answer(seen_a, seen_b, stages),
        prompt_diff=_prompt_diff(seen_a, seen_b) if texts else _NOT_ASKED_FOR,
        answer_diff=_answer_diff(seen_a, seen_b) if texts else _NOT_ASKED_FOR,
        citations_come=come,
        citations_gone=gone,
        not_known=_not_known(seen_a, seen_b),
    )
    return replace(found, headline=headline(found))


def compare_sets(pairs: Sequence[tuple[Kept | Record, Kept | Record]]) -> SetComparison:
    """Two releases over a set of questions: each pair is one question, answered by the one and by the other."""
    compared = [(number, compare(a, b, texts=False)) for number, (a, b) in enumerate(pairs)]
    same = [(number, one) for number, one in compared if one.same_question]
    found = [comparison for _, comparison in same]
    known = [one.same_answer for one in found if one.same_answer is not None]
    stages = Counter(one.first_difference for one in found)
    return SetComparison(
        pairs=len(pairs),
        other_questions=len(pairs) - len(found),
        releases_a=tuple(dict.fromkeys(one.a.release for one in found)),
        releases_b=tuple(dict.fromkeys(one.b.release for one in found)),
        release=_common_release(found),
        first_differences=tuple(StageCount(name, stages[name]) for name in (*get_args(StageName), None) if stages[name]),
        same_answers=Share(known.count(True), len(known)),
        same_hits=Share(sum(one.same_hits for one in found), len(found)),
        overlap=_spread([one.overlap for one in found]),
        answered_to_abstained=sum(one.flipped and one.b.status == "abstained" for one in found),
        abstained_to_answered=sum(one.flipped and one.b.status == "answered" for one in found),
        top_score_delta=_spread([one.top_score_delta for one in found if one.top_score_delta is not None]),
        changed=tuple(sorted((_changed(number, one) for number, one in same if one.changed), key=_size)),
    )


_NOT_ASKED_FOR = NotCompared("not asked for")
_NOT_STORED = NotCompared("the texts are not stored")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A record, and how much of its texts can be seen."""

    record: Record
    question_digest: str
    stored: bool
    """Whether texts are there at all."""
    masked: frozenset[Text]
    fresh: bool
    """Just made: nothing in it was looked at for secrets."""


def _seen(given: Kept | Record) -> _Seen:
    if isinstance(given, Record):
        return _Seen(given, digest_text(given.question), True, frozenset(), fresh=True)
    return _Seen(given.record, given.question_digest, given.content == "full", given.redacted, fresh=False)


def _cannot_see(a: _Seen, b: _Seen, part: Text) -> NotCompared | None:
    if not (a.stored and b.stored):
        return _NOT_STORED
    if (a.fresh and part in b.masked) or (b.fresh and part in a.masked):
        return NotCompared(f"in one {part} something was masked before it was stored")
    return None


def _answered(record: Record) -> Answered:
    return Answered(
        answer_id=record.answer_id,
        release=record.lineage.release.id,
        status=record.status,
        abstain_reason=record.abstain_reason,
        top_score=record.hits[0].score if record.hits else None,
        total_ms=record.timings_ms["total"],
    )


def _same_history(a: _Seen, b: _Seen) -> bool | None:
    if [turn.role for turn in a.record.history] != [turn.role for turn in b.record.history]:
        return False
    if not a.record.history:
        return True
    return None if _uncertain(a, b, "history") else a.record.history == b.record.history


def _uncertain(a: _Seen, b: _Seen, part: Text) -> bool:
    """Whether texts of this kind may differ where what is there is equal, or be equal where what is there differs."""
    return not (a.stored and b.stored) or part in a.masked | b.masked


def _parameters(a: _Seen, b: _Seen) -> tuple[FieldDifference, ...]:
    used_a, used_b = a.record.attempt.parameters, b.record.attempt.parameters
    filters = () if _uncertain(a, b, "filters") else filter_differences("filters", used_a.filters, used_b.filters)
    return (*parameter_differences(used_a, used_b), *filters, *filter_differences("access", used_a.access, used_b.access))


def _not_known(a: _Seen, b: _Seen) -> tuple[str, ...]:
    """Where nothing is stored there may have been a filter; where one is masked there was."""
    found = ["the conversation before the question"] if _same_history(a, b) is None else []
    return (*found, "the filters") if _uncertain(a, b, "filters") else tuple(found)


def _chunks(hits: Sequence[Hit]) -> list[ChunkId]:
    return [hit.chunk.id for hit in hits]


def _same_encoder(a: Record, b: Record) -> bool:
    return a.lineage.release.encoder.digest == b.lineage.release.encoder.digest


def _vector(a: _Seen, b: _Seen) -> VectorDifference | NotCompared:
    one, other = a.record.query_vector, b.record.query_vector
    if not one.size or not other.size:
        return NotCompared("a query vector is not stored")
    if not _same_encoder(a.record, b.record):
        return NotCompared("vectors of two encoders have nothing in common")
    if one.shape != other.shape:
        return NotCompared(f"the vectors have {one.size} and {other.size} dimensions")
    return vector_difference(one, other)


def _same_answer(a: _Seen, b: _Seen, stages: Sequence[StageDifference]) -> bool | None:
    """By the texts where they are there as they were, otherwise by what the digest of the last stage can tell."""
    if a.record.status != b.record.status:
        return False
    if a.record.status == "abstained" or any(stage.name == "cite" and stage.same for stage in stages):
        return True
    if not (a.stored and b.stored):
        return None
    if a.record.answer != b.record.answer:
        return None if _cannot_see(a, b, "answer") else False
    return None if "answer" in a.masked | b.masked else True


def _prompt_diff(a: _Seen, b: _Seen) -> tuple[Piece, ...] | NotCompared:
    if not any(stage.name == "prompt" for stage in (*a.record.stages, *b.record.stages)):
        return NotCompared("both abstained before a prompt was made")
    return _cannot_see(a, b, "prompt") or text_diff(_messages(a.record.prompt), _messages(b.record.prompt), "lines")


def _answer_diff(a: _Seen, b: _Seen) -> tuple[Piece, ...] | NotCompared:
    if a.record.status == b.record.status == "abstained":
        return NotCompared("both abstained")
    return _cannot_see(a, b, "answer") or text_diff(a.record.answer or "", b.record.answer or "", "words")


def _messages(prompt: Prompt | None) -> str:
    """As a template's file has them."""
    return f"--- system\n{prompt.system}\n--- user\n{prompt.user}\n" if prompt else ""


def _citations(a: Record, b: Record) -> tuple[tuple[CitationDifference, ...], tuple[CitationDifference, ...]]:
    """What came and what went, in the order of the answers. A place that is cited twice counts once."""
    places_a, places_b = (
        {
            (citation.chunk.id, citation.quote_span): CitationDifference(citation.chunk.id, citation.quote_span, citation.quote)
            for citation in record.citations
        }
        for record in (a, b)
    )
    come = tuple(found for place, found in places_b.items() if place not in places_a)
    return come, tuple(found for place, found in places_a.items() if place not in places_b)


def _common_release(found: Sequence[Comparison]) -> tuple[PartDifference, ...] | NotCompared:
    if not found:
        return NotCompared("no two answers to one question")
    if len({(one.a.release, one.b.release) for one in found}) > 1:
        return NotCompared("the answers of a side are of several releases")
    return found[0].release


def _changed(number: int, one: Comparison) -> Changed:
    return Changed(
        number=number,
        a=one.a,
        b=one.b,
        first_difference=one.first_difference,
        same_answer=one.same_answer,
        overlap=one.overlap,
        top_score_delta=one.top_score_delta,
        headline=one.headline,
    )


def _size(changed: Changed) -> tuple[bool, float, bool, float, int]:
    """Smallest for the largest change."""
    flipped = changed.a.status != changed.b.status
    return not flipped, changed.overlap, changed.same_answer is True, -abs(changed.top_score_delta or 0.0), changed.number


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(len(values), round(sum(values) / len(values), 5), round(min(values), 5), round(max(values), 5)) if values else None
