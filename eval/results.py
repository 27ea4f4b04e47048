"""The noun: what a run gives. Who was asked, what came of every question under every candidate, and the scores.

Two runs of the same candidates over the same questions differ in `created_at` and `duration_s` alone, and in times where those were
measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from eval.questions import EvalQuestion, Form
from eval.sample import Sample
from eval.scores import Outcome, Score
from rag_service.deployment import Deployment
from rag_service.record import IndexIdentity
from rag_service.release import Release

SCHEMA: Literal["rag.eval/v2"] = "rag.eval/v2"

Label = Literal[
    "infra_error",
    "corpus_gap",
    "chunk_split",
    "retrieval_miss",
    "rerank_drop",
    "context_truncated",
    "false_abstain",
    "distracted",
    "reader_miss",
    "hallucinated",
    "right_abstain_on_miss",
    "lucky",
    "should_have_abstained",
    "right_abstain",
    "right",
    "right_bad_citation",
    "not_judged",
]
"""What became of a question, one label each: see `attribution`."""


@dataclass(frozen=True, slots=True)
class GoldSpan:
    """A place in a document of the index: character offsets, end exclusive."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Gold:
    """What is known to be relevant, as documents of one index."""

    relevant: Mapping[str, int]
    """Document id → grade."""
    missing: int
    """Gold paragraphs, and groups of places, that are in no document of the index. Where there are any, retrieval is not scored."""
    groups: tuple[tuple[GoldSpan, ...], ...] = ()
    """Every group must be found, at any of its places. Empty where only documents are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question under one candidate."""

    question: EvalQuestion
    gold: Gold
    cluster: str
    """Questions of one cluster are not independent: statistics draw clusters, not questions."""
    sample: Sample
    scores: Mapping[str, Outcome]
    """The metrics that apply to it."""
    oracle: Sample | None = None
    """Asked with the gold passages alone, where that bound was run."""
    closed_book: Sample | None = None
    """Asked with no passages, where that bound was run and the generator can."""
    label: Label = "not_judged"
    evidence: str = ""
    """For people: what the label rests on."""

    @property
    def id(self) -> str:
        return self.question.id


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    depth: int
    """Chunks that were retrieved for the retrieval metrics."""
    answers: bool
    """Whether answers were asked for, or retrieval was measured alone."""
    limit: int | None
    timeout_s: float | None
    """Time for one answer."""
    part: Literal["all", "dev", "test"] = "all"
    """Which questions were asked; see `splits`."""
    bounds: tuple[str, ...] = ()
    """Of `oracle`, `closed_book`, `exact_index`: those that were run beside."""
    timing: int = 0
    """Questions of the serial pass without caches that gave the times; 0: there was none."""


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
class Measured:
    """One candidate over the questions of a run."""

    name: str
    origin: str
    """Where its settings stand, for people: a file, or a place in one."""
    changed: Mapping[str, str]
    """Setting → value, where it differs from the first candidate of the run."""
    release: ReleaseIdentity
    index: IndexIdentity
    deployment: Deployment
    rows: tuple[Row, ...]
    counts: Counts
    abstain_reasons: Mapping[str, int]
    error_codes: Mapping[str, int]
    labels: Mapping[str, int]
    """Label → questions."""
    metrics: Mapping[str, Mapping[str, Score]]
    """Group → metric → score. A group that was not measured is not there."""
    headroom: Mapping[str, Score]
    """What the bounds say is lost where: see `bounds`. Empty where none was run."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    schema_: Annotated[Literal["rag.eval/v2"], Field(alias="schema")] = SCHEMA
    id: str
    """12 hex digits of the digest over questions, candidates, parameters and code: the same run has the same id."""
    created_at: str
    """UTC, ISO 8601, seconds."""
    duration_s: float
    command: str
    """That makes it again."""
    questions: QuestionsIdentity
    parameters: Parameters
    candidates: tuple[Measured, ...]
    texts: Mapping[str, str]
    """Chunk id → its text, of every chunk that stood in a prompt or was cited."""
    metric_versions: Mapping[str, int] = field(default_factory=dict)
    """Metric → version of its definition: what was measured by other ones cannot be compared."""
