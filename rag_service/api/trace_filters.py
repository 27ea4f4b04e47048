"""Which records a request names, and which it looks for."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rag_service.kept import RecordQuery

MAX_LIMIT = 200
_MAX_NAMED = 1000
_IDENTIFIER = r"^(ans_[0-9a-f]{32}|[0-9a-f]{32})$"

Identifier = Annotated[str, Path(pattern=_IDENTIFIER, description="An answer id, or a trace id that has one answer.")]
Named = Annotated[str, Query(pattern=_IDENTIFIER)]
ShortId = Annotated[str | None, Field(pattern=r"^[0-9a-f]{12}$")]


class _Filter(BaseModel):
    """A misspelt name is refused: a filter that is ignored would show other records than those meant."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    since: Annotated[datetime | None, Field(description="ISO 8601; without a zone, UTC.")] = None
    until: Annotated[datetime | None, Field(description="Up to, and not including.")] = None
    status: Literal["answered", "abstained"] | None = None
    release: ShortId = None
    index_version: ShortId = None
    score_below: Annotated[float | None, Field(ge=-1, le=1, description="Score of the best passage.")] = None
    text: Annotated[str | None, Field(max_length=200, description="In the question or the answer; the case of A–Z does not count.")] = None
    rating: Literal["up", "down", "any"] | None = None
    trace_id: Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$")] = None
    key_id: Annotated[str | None, Field(max_length=64, description="Id of the key that asked.")] = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_was_left_empty(cls, given: Any) -> Any:
        """The form of a page sends every field."""
        return {name: value for name, value in given.items() if value != ""} if isinstance(given, dict) else given

    def query(self) -> RecordQuery:
        return RecordQuery(
            since_ms=_milliseconds(self.since),
            until_ms=_milliseconds(self.until),
            status=self.status,
            release=self.release,
            index_version=self.index_version,
            score_below=self.score_below,
            text=self.text,
            rating=self.rating,
            trace_id=self.trace_id,
            key_id=self.key_id,
        )


class TraceFilter(_Filter):
    before: Annotated[int | None, Field(ge=1, le=2**62, description="`next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50

    def query(self) -> RecordQuery:
        return replace(super().query(), before_seq=self.before, limit=self.limit)


class ExportFilter(_Filter):
    form: Annotated[Literal["records", "questions"], Field(alias="as", description="`questions` is what `python -m eval` reads.")] = (
        "records"
    )
    id: Annotated[
        list[Annotated[str, Field(pattern=_IDENTIFIER)]],
        Field(max_length=_MAX_NAMED, description="These; without any, all that the filters let through."),
    ] = []


def _milliseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
