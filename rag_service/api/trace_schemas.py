"""What is sent and given about stored records (`/traces`)."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rag_service.api.schemas import Message
from rag_service.kept import Content, Feedback, Kept, Listed, Text
from rag_service.reply import AskReply, CitationReply, HitReply, SupportReply, UsageReply, WarningReply, reply_to, utc
from rag_service.trace import Outgoing, Trace
from rag_service.types import AbstainReason

MAX_FEEDBACK_CHARS = 10_000

Rating = Literal["up", "down"]


class TraceRow(Outgoing):
    answer_id: str
    trace_id: str
    created_at: str
    status: Literal["answered", "abstained"]
    abstain_reason: AbstainReason | None
    release: str
    index_name: str
    index_version: str
    key_id: str | None = Field(description="Id of the key that asked.")
    top_score: float | None
    total_ms: float
    repeats: str | None
    rating: Rating | None = Field(description="The latest.")
    question: str | None = Field(description="Null where texts are not stored.")
    answer: str | None = Field(description="Null also for a key that sees a part of the documents: opening the record shows it.")


class TracesReply(Outgoing):
    traces: list[TraceRow] = Field(description="Newest first.")
    next: int | None = Field(description="`before` of the next page; null at the end.")


class FeedbackReply(Outgoing):
    rating: Rating | None
    comment: str | None
    expected: str | None
    key_id: str | None
    created_at: str


class PromptReply(Outgoing):
    system: str
    user: str


class RecordReply(Outgoing):
    """The reply as it went out, and everything else that was kept of the answer."""

    answer_id: str
    trace_id: str
    request_id: str | None
    created_at: str
    content: Content = Field(description="`digest` where texts are not stored: they are null or empty here.")
    redacted: list[Text] = Field(description="Texts in which something was masked before they were stored.")
    key_id: str | None = Field(description="Id of the key that asked.")
    question: str | None
    question_digest: str
    history: list[Message]
    query: str | None
    status: Literal["answered", "abstained"]
    abstain_reason: AbstainReason | None
    confidence: float = Field(description="That the documents hold an answer, in [0, 1], judged by what was retrieved.")
    hits: list[HitReply] = Field(description="All candidates with their texts; `used` says which stood in the prompt.")
    prompt: PromptReply | None = Field(description="As it was rendered; null where none was.")
    raw_answer: str | None = Field(description="What the generator wrote, before its citations were checked.")
    answer: str | None
    citations: list[CitationReply]
    support: list[SupportReply] = Field(description="Of the answer; where that was withheld for want of support, of what it was.")
    warnings: list[WarningReply]
    usage: UsageReply
    timings_ms: dict[str, float]
    repeats: str | None
    feedback: list[FeedbackReply] = Field(description="Oldest first.")
    trace: Trace


class FeedbackRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rating: Annotated[Rating | None, Field(description="Null leaves the rating as it is.")] = None
    comment: Annotated[str | None, Field(min_length=1, max_length=MAX_FEEDBACK_CHARS)] = None
    expected: Annotated[str | None, Field(min_length=1, max_length=MAX_FEEDBACK_CHARS, description="The answer that should have come.")] = (
        None
    )

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackRequest":
        if self.rating is None and self.comment is None and self.expected is None:
            raise PydanticCustomError("no_feedback", "give a rating, a comment or an expected answer")
        return self


class ErasedReply(Outgoing):
    erased: int = Field(description="Answers whose content is gone for good.")


def row_of(listed: Listed) -> TraceRow:
    row = listed.row
    shared = {name: getattr(row, name) for name in TraceRow.model_fields if name not in ("created_at", "rating")}
    return TraceRow(**shared, created_at=utc_ms(row.created_at_ms), rating=listed.rating)


def record_reply(kept: Kept, *, base_url: str) -> RecordReply:
    record, full = kept.record, kept.content == "full"
    reply = reply_to(record, include_chunks=full, base_url=base_url)
    shared = {name: getattr(reply, name) for name in AskReply.model_fields if name != "query"}
    return RecordReply(
        **shared,
        content=kept.content,
        redacted=sorted(kept.redacted),
        key_id=kept.key_id,
        question=record.question if full else None,
        question_digest=kept.question_digest,
        history=[Message(role=turn.role, content=turn.content) for turn in record.history],
        query=record.query if full else None,
        prompt=PromptReply(system=record.prompt.system, user=record.prompt.user) if record.prompt else None,
        raw_answer=record.raw_answer,
        feedback=[feedback_reply(one) for one in kept.feedback],
    )


def feedback_reply(one: Feedback) -> FeedbackReply:
    return FeedbackReply(rating=one.rating, comment=one.comment, expected=one.expected, key_id=one.key_id, created_at=utc_ms(one.at_ms))


def utc_ms(at_ms: int) -> str:
    return utc(datetime.fromtimestamp(at_ms / 1000, UTC))
