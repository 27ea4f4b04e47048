"""What leaves the service about one answer or one search. A view of a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, TypedDict

from pydantic import Field

from rag_service.record import Record, Search
from rag_service.trace import Outgoing, Trace, trace_of, trace_of_record
from rag_service.types import AbstainReason, Chunk, Citation, Hit, MetadataValue, Notice, SentenceSupport, SupportLevel, WarningCode

Span = Annotated[tuple[int, int], Field(description="Character offsets, end exclusive.")]


class CitationReply(Outgoing):
    marker: int
    chunk_id: str
    document_id: str
    title: str
    heading_path: list[str]
    source: str
    url: str = Field(description="Of the chunk's text; goes on working after the index has been built again.")
    page: int | None
    score: float
    quote: str
    quote_span: Span = Field(description="Into the chunk's text.")
    document_span: Span = Field(description="Into the document's normalised text.")
    answer_span: Span = Field(description="Of the marker, into `answer`.")
    verbatim: bool = Field(description="The cited sentence of the answer stands in the chunk word for word.")


class SupportReply(Outgoing):
    span: Span = Field(description="Of the sentence, list item, row or code block, into `answer`.")
    level: SupportLevel
    score: float = Field(description="In [0, 1]; higher is better.")
    passages: list[int] = Field(description="Numbers of the passages that it was compared with.")
    cited: bool = Field(description="It cites these; otherwise they are all that were shown.")
    claims: bool = Field(description="False for what needs no support, such as a question.")
    reasons: list[str]


class HitReply(Outgoing):
    rank: int
    chunk_id: str
    document_id: str
    score: float = Field(description="What hits are ranked by, about 0 to 1; higher is better.")
    cosine: float = Field(description="Of the question's vector and the passage's, in [-1, 1].")
    keywords: float = Field(description="Share of the question's words that the passage holds, by how rare they are, in [0, 1].")
    used: bool = Field(description="Stood in the prompt.")
    title: str
    heading_path: list[str]
    source: str
    url: str
    metadata: dict[str, MetadataValue]
    text: str | None = Field(description='Only with `include: ["chunks"]`.')


class WarningReply(Outgoing):
    code: WarningCode
    detail: str


class UsageReply(Outgoing):
    prompt_tokens: int | None
    completion_tokens: int | None


class AskReply(Outgoing):
    answer_id: str
    trace_id: str
    request_id: str | None
    created_at: str
    status: Literal["answered", "abstained"]
    abstain_reason: AbstainReason | None
    confidence: float = Field(description="That the documents hold an answer, in [0, 1], judged by what was retrieved.")
    query: str = Field(description="What was searched for: the question, or what a follow-up was turned into.")
    answer: str | None = Field(description="With `[n]` markers; null when the service abstained.")
    citations: list[CitationReply]
    support: list[SupportReply] = Field(
        description="How well the passages support each sentence of the answer. No proof: it says where to look."
    )
    hits: list[HitReply]
    warnings: list[WarningReply]
    usage: UsageReply
    timings_ms: dict[str, float]
    repeats: str | None = Field(description="Id of the earlier answer that this one repeats from the cache.")
    trace: Trace


class SearchReply(Outgoing):
    trace_id: str
    request_id: str | None
    created_at: str
    confidence: float = Field(description="That the documents hold an answer, in [0, 1].")
    query: str
    hits: list[HitReply]
    warnings: list[WarningReply]
    timings_ms: dict[str, float]
    trace: Trace


def reply_to(record: Record, *, include_chunks: bool = False, base_url: str = "") -> AskReply:
    """`base_url` is what links begin with, without a slash at its end."""
    link = Link(base_url, record.lineage.index.version)
    return AskReply(
        answer_id=record.answer_id,
        trace_id=record.trace_id,
        request_id=record.request_id,
        created_at=utc(record.created_at),
        status=record.status,
        abstain_reason=record.abstain_reason,
        confidence=record.confidence,
        query=record.query,
        answer=record.answer,
        citations=[citation_reply(citation, link) for citation in record.citations],
        support=support_replies(record.support) if record.answer is not None else [],
        hits=hit_replies(record.hits, link, shown=record.shown, include_text=include_chunks),
        warnings=_warnings(record.notices),
        usage=UsageReply(prompt_tokens=record.usage.prompt_tokens, completion_tokens=record.usage.completion_tokens),
        timings_ms=dict(record.timings_ms),
        repeats=record.repeats,
        trace=trace_of_record(record),
    )


def search_reply_to(search: Search, *, include_chunks: bool = False, base_url: str = "") -> SearchReply:
    link = Link(base_url, search.attempt.lineage.index.version)
    return SearchReply(
        trace_id=search.attempt.trace_id,
        request_id=search.request_id,
        created_at=utc(search.created_at),
        confidence=search.confidence,
        query=search.query,
        hits=hit_replies(search.hits, link, shown=0, include_text=include_chunks),
        warnings=_warnings(search.notices),
        timings_ms=dict(search.timings_ms),
        trace=trace_of(search.attempt),
    )


@dataclass(frozen=True, slots=True)
class Link:
    """Where the chunks of one index version can be read."""

    base_url: str
    index_version: str

    def to(self, chunk: Chunk) -> str:
        return f"{self.base_url}/chunks/{chunk.id}?index_version={self.index_version}"


def citation_reply(citation: Citation, link: Link) -> CitationReply:
    return CitationReply(
        marker=citation.marker,
        **_place(citation.chunk, link),
        page=citation.chunk.page,
        score=citation.score,
        quote=citation.quote,
        quote_span=citation.quote_span,
        document_span=citation.document_span,
        answer_span=citation.answer_span,
        verbatim=citation.verbatim,
    )


def support_replies(support: Sequence[SentenceSupport]) -> list[SupportReply]:
    return [
        SupportReply(
            span=sentence.span,
            level=sentence.level,
            score=sentence.score,
            passages=list(sentence.passages),
            cited=sentence.cited,
            claims=sentence.claims,
            reasons=list(sentence.reasons),
        )
        for sentence in support
    ]


def hit_replies(hits: Sequence[Hit], link: Link, *, shown: int, include_text: bool) -> list[HitReply]:
    """The first `shown` of `hits` stood in the prompt."""
    return [
        HitReply(
            rank=rank,
            **_place(hit.chunk, link),
            score=hit.score,
            cosine=hit.cosine,
            keywords=hit.keywords,
            used=rank <= shown,
            metadata=dict(hit.chunk.metadata),
            text=hit.chunk.text if include_text else None,
        )
        for rank, hit in enumerate(hits, start=1)
    ]


def _warnings(notices: Sequence[Notice]) -> list[WarningReply]:
    return [WarningReply(code=notice.code, detail=notice.detail) for notice in notices]


def utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Place(TypedDict):
    chunk_id: str
    document_id: str
    title: str
    heading_path: list[str]
    source: str
    url: str


def _place(chunk: Chunk, link: Link) -> _Place:
    return _Place(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        title=chunk.title,
        heading_path=list(chunk.heading_path),
        source=chunk.source,
        url=link.to(chunk),
    )
