"""What an evaluation gives: who was asked, what came of every question, and the scores. As data, and as JSON.

Two evaluations of one release over one question set differ in `created_at`, `duration_s`, ids of answers and traces, and times alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from eval.metrics.scores import Outcome, Score
from eval.questions import Form
from rag_service.deployment import Deployment
from rag_service.errors import InvalidInput
from rag_service.record import IndexIdentity
from rag_service.release import Release
from rag_service.types import AbstainReason

SCHEMA: Literal["rag.eval/v1"] = "rag.eval/v1"

LISTED_DOCUMENTS = 10
"""Best documents that a row names."""

Status = Literal["answered", "abstained", "error", "not_asked"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A `RagError` while a question was asked or searched for. `stage` is that of the answer in which it happened, if one is known."""

    during: Literal["ask", "search"]
    code: str
    message: str
    stage: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question. `scores` holds the metrics that apply to it; `answer` is without citation markers."""

    id: str
    question: str
    tags: tuple[str, ...]
    answerable: bool | None
    answers: tuple[str, ...]
    """References."""
    status: Status
    abstain_reason: AbstainReason | None
    answer: str | None
    answer_id: str | None
    trace_id: str | None
    relevant: Mapping[str, int]
    """Document id → grade."""
    missing_gold: int
    """Gold paragraphs that are no document of the index. Where there are any, retrieval is not scored."""
    retrieved: tuple[str, ...]
    """The best documents, best first."""
    scores: Mapping[str, Outcome]
    total_ms: float | None
    """Of the answer; of the search where nothing was asked."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIdentity:
    id: str
    digest: str
    content: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsIdentity:
    name: str
    form: Form
    split: str | None
    digest: str
    """Over the whole set as read, also where only a part of it was asked."""
    n_questions: int
    n_asked: int
    n_left_out: int
    """Queries without a judgement."""


@dataclass(frozen=True, slots=True)
class Parameters:
    depth: int
    """Chunks that were retrieved for the retrieval metrics."""
    answers: bool
    """Whether answers were asked for, or retrieval was measured alone."""
    limit: int | None
    timeout_s: float | None
    """Time for one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Questions asked, and how many of them are or became what."""

    questions: int
    answerable: int
    unanswerable: int
    with_gold: int
    gold_not_in_index: int
    answered: int
    abstained: int
    not_asked: int
    errors: int
    """Questions at which asking or searching failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    schema_: Annotated[Literal["rag.eval/v1"], Field(alias="schema")] = SCHEMA
    created_at: str
    """UTC, ISO 8601, seconds."""
    duration_s: float
    release: ReleaseIdentity
    index: IndexIdentity
    deployment: Deployment
    questions: QuestionsIdentity
    parameters: Parameters
    counts: Counts
    abstain_reasons: Mapping[str, int]
    error_codes: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, Score]]
    """Group → metric → score. A group that was not measured is not there."""
    warnings: tuple[str, ...]
    rows: tuple[Row, ...]


_ADAPTER = TypeAdapter(Report)


def to_json(report: Report) -> str:
    """Schema `rag.eval/v1`. A value is a number, `{"undefined": why}` or, of one question, `{"failed": code}`; never NaN."""
    return json.dumps(_ADAPTER.dump_python(report, mode="json", by_alias=True), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def from_json(text: str) -> Report:
    """Raises `InvalidInput` where `text` is not a report of this schema."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise InvalidInput(
            f"this is not a report of the schema {SCHEMA}: {place}: {problem['msg']}", hint="give a file that `run --json` wrote"
        ) from error
