"""The list of answers, and one answer with all that made it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from shlex import quote

from rag_service.kept import Feedback, Kept, Page, RecordQuery
from rag_service.record import Record
from rag_service.replay import Replay
from rag_service.types import AbstainReason, Chunk
from rag_service.web import links
from rag_service.web.differing import shortened
from rag_service.web.lineage import parts_of
from rag_service.web.marking import AnswerPiece, Segment, answer_pieces, filled_parts, segments
from rag_service.web.pages import ANYBODY, Viewer, at, render

MOST_ROWS = 200
_BAR_UNITS = 1000
"""Width of a bar's drawing; a page gives it whatever room there is."""

WHY_ABSTAINED: dict[AbstainReason, str] = {
    "no_hits": "nothing was found that could be searched",
    "low_confidence": "it is not sure enough that the documents answer the question",
    "generator_declined": "the generator said that the passages do not hold the answer",
    "unsupported": "the passages do not support what the generator wrote",
    "empty_index": "the index is empty",
}


def traces_page(page: Page, query: RecordQuery, *, viewer: Viewer = ANYBODY, active_release: str | None = None) -> str:
    """`page` is what `query` found."""
    rows = page.rows[:MOST_ROWS]
    next_url = links.traces(replace(query, before_seq=page.next_before)) if page.next_before is not None else None
    return render(
        "traces.html",
        viewer=viewer,
        section="traces",
        rows=[(listed, at(listed.row.created_at_ms)) for listed in rows],
        query=query,
        since=links.minute(query.since_ms) or "",
        until=links.minute(query.until_ms) or "",
        more=(query.since_ms, query.until_ms, query.score_below, query.release, query.index_version, query.trace_id, query.key_id)
        != (None,) * 7,
        filtered=replace(query, before_seq=None, limit=RecordQuery().limit) != RecordQuery(),
        first_url=links.traces(replace(query, before_seq=None)) if query.before_seq is not None else None,
        next_url=next_url,
        active_release=active_release,
        why=WHY_ABSTAINED,
    )


def trace_page(kept: Kept, *, replay: Replay | None = None, active_release: str | None = None, viewer: Viewer = ANYBODY) -> str:
    """`replay` is shown where it was just made. `active_release` is what answers now."""
    record = kept.record
    return render(
        "trace.html",
        viewer=viewer,
        section="traces",
        kept=kept,
        record=record,
        stored=kept.content == "full",
        redacted=sorted(kept.redacted),
        parts=parts_of(record.attempt),
        stages=_bars(record),
        total_ms=_total_ms(record),
        candidates=candidates_of(record),
        answer=answer_of(record),
        passages=_passages(record),
        prompt_user=_prompt_parts(kept),
        version=record.lineage.index.version,
        active_release=active_release,
        replay=replay,
        feedback=[(given, at(given.at_ms)) for given in sorted(kept.feedback, key=_when, reverse=True)],
        why=WHY_ABSTAINED,
        same_question=links.traces(RecordQuery(text=record.question)) if record.question else None,
        shortened=shortened,
        quoted_ask=_asked_again(record),
    )


def _asked_again(record: Record) -> str:
    """The request as an argument of a shell: everything but letters of ASCII is escaped, and then quoted."""
    return quote(json.dumps({"question": record.question, "release": record.lineage.release.id, "cache": False}))


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage in the waterfall: offset and width in thousandths of the whole."""

    name: str
    digest: str
    began_ms: float
    duration_ms: float
    x: float
    width: float


def _total_ms(record: Record) -> float:
    ends = [stage.began_ms + stage.duration_ms for stage in record.stages]
    return max([record.timings_ms.get("total", 0.0), *ends])


def _bars(record: Record) -> list[Bar]:
    """At least visibly wide, and never beyond the end."""
    total_ms = _total_ms(record) or 1.0
    bars = []
    for stage in record.stages:
        width = min(max(stage.duration_ms / total_ms * _BAR_UNITS, 3.0), _BAR_UNITS)
        x = min(stage.began_ms / total_ms * _BAR_UNITS, _BAR_UNITS - width)
        bars.append(Bar(stage.name, stage.digest, stage.began_ms, stage.duration_ms, round(x, 1), round(width, 1)))
    return bars


@dataclass(frozen=True, slots=True)
class Candidate:
    rank: int
    chunk: Chunk
    place: str
    score: float
    cosine: float
    keywords: float
    width: float
    """Of its bar, in thousandths."""
    href: str
    kept: bool
    why: str
    cited: int
    """How often."""


def candidates_of(record: Record) -> list[Candidate]:
    """Every passage that was found, best first, with what became of it."""
    cited = [citation.chunk.id for citation in record.citations]
    return [
        Candidate(
            rank=rank,
            chunk=hit.chunk,
            place=place_of(hit.chunk),
            score=hit.score,
            cosine=hit.cosine,
            keywords=hit.keywords,
            width=round(min(max(hit.score, 0.0), 1.0) * _BAR_UNITS, 1),
            href=links.chunk(hit.chunk.id, record.lineage.index.version),
            kept=rank <= record.shown,
            why=_why(record, rank),
            cited=cited.count(hit.chunk.id),
        )
        for rank, hit in enumerate(record.hits, start=1)
    ]


def _why(record: Record, rank: int) -> str:
    if rank <= record.shown:
        return "in the prompt"
    if record.abstain_reason == "low_confidence":
        return f"not shown to the generator: confidence {record.confidence:.3f} is below {record.attempt.parameters.min_confidence:g}"
    if record.shown:
        return "left out: did not fit into the token budget"
    return "not shown to the generator"


@dataclass(frozen=True, slots=True)
class Shown:
    """A passage of the prompt, with the places that the answer quotes apart."""

    marker: int
    chunk: Chunk
    place: str
    href: str
    quoted: bool
    segments: list[Segment]


def _passages(record: Record) -> Iterator[Shown]:
    version = record.lineage.index.version
    for marker, hit in enumerate(record.hits[: record.shown], start=1):
        spans = [(citation.quote_span, citation.marker) for citation in record.citations if citation.chunk.id == hit.chunk.id]
        href = links.chunk(hit.chunk.id, version, spans[0][0] if spans else None)
        yield Shown(marker, hit.chunk, place_of(hit.chunk), href, bool(spans), segments(hit.chunk.text, spans))


def place_of(chunk: Chunk) -> str:
    """Headings above it, without the title, and the page."""
    headings = [heading for heading in chunk.heading_path if heading != chunk.title]
    return " › ".join([*headings, *([f"page {chunk.page}"] if chunk.page else [])])


def _prompt_parts(kept: Kept) -> list[Segment]:
    prompt = kept.record.prompt
    return filled_parts(prompt, kept.record.query) if prompt is not None else []


def answer_of(record: Record) -> list[AnswerPiece]:
    return answer_pieces(record.answer, record.citations) if record.answer is not None else []


def _when(given: Feedback) -> int:
    return given.at_ms
