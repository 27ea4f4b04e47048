"""What a comparison finds: of two answers, and of two releases over a set of questions. Nouns, and how they say it in one line.

A line names what differs beside what came of it. That the one is the cause of the other is more than a comparison knows.
"""

from dataclasses import dataclass

from rag_service.difference import FieldDifference, HitDifference, NotCompared, PartDifference, StageDifference, VectorDifference
from rag_service.record import StageName
from rag_service.stored import Scalar
from rag_service.text_diff import Piece
from rag_service.types import AbstainReason

_PLACES = {
    "environment": "the environment",
    "fingerprint": "the set of installed packages",
    "numeric_class": "the numeric class",
    "commit": "the commit",
    "dirty": "whether files were changed",
}
_MOST_VALUE_CHARS = 60
"""Of two values in a headline."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One side of a comparison, in brief."""

    answer_id: str
    release: str
    """Id."""
    status: str
    abstain_reason: AbstainReason | None
    top_score: float | None
    """None without hits."""
    total_ms: float


@dataclass(frozen=True, slots=True)
class CitationDifference:
    """A place that only one side cites: b's have come, a's have gone."""

    chunk_id: str
    quote_span: tuple[int, int]
    quote: str
    """Empty where texts are not stored."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` comes before `b`. An answer differs in nothing from itself."""

    a: Answered
    b: Answered
    same_question: bool
    same_history: bool | None
    """None where the conversations have as many turns and their texts are not stored."""
    release: tuple[PartDifference, ...]
    parameters: tuple[FieldDifference, ...]
    """Settings that a request replaced, filters, and what the key of the caller allows."""
    deployment: tuple[FieldDifference, ...]
    stages: tuple[StageDifference, ...]
    first_difference: StageName | None
    hits: tuple[HitDifference, ...]
    same_hits: bool
    """The same chunks in the same order."""
    same_passages: bool
    """The same chunks in the same order in the prompts."""
    overlap: float
    """Of the hits, as `difference.overlap`."""
    same_scale: bool
    """Whether one encoder made both: only then do differences between scores mean anything."""
    vector: VectorDifference | NotCompared
    same_answer: bool | None
    """Whether the texts are equal, or both have none. None where that is not known."""
    prompt_diff: tuple[Piece, ...] | NotCompared
    """By lines, of the system message and then the user's, each under its name."""
    answer_diff: tuple[Piece, ...] | NotCompared
    """By words."""
    citations_come: tuple[CitationDifference, ...]
    citations_gone: tuple[CitationDifference, ...]
    not_known: tuple[str, ...]
    """What may differ besides, because it is not stored."""
    headline: str = ""
    """What `headline` says of it."""

    @property
    def total_delta_ms(self) -> float:
        return round(self.b.total_ms - self.a.total_ms, 3)

    @property
    def top_score_delta(self) -> float | None:
        """None where a side has no hits, or another encoder."""
        if self.a.top_score is None or self.b.top_score is None or not self.same_scale:
            return None
        return round(self.b.top_score - self.a.top_score, 5)

    @property
    def flipped(self) -> bool:
        """Whether only one side was answered."""
        return self.a.status != self.b.status

    @property
    def changed(self) -> bool:
        """Whether something came out otherwise. How it was made may differ all the same."""
        return self.first_difference is not None or self.flipped or self.a.abstain_reason != self.b.abstain_reason


@dataclass(frozen=True, slots=True)
class Share:
    count: int
    of: int

    @property
    def value(self) -> float | None:
        """None of nothing."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` values, of which there is at least one."""

    count: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StageCount:
    stage: StageName | None
    """None: no stage differs."""
    pairs: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A pair that came out otherwise."""

    number: int
    """0-based, among the pairs that were given."""
    a: Answered
    b: Answered
    first_difference: StageName | None
    same_answer: bool | None
    overlap: float
    top_score_delta: float | None
    headline: str


@dataclass(frozen=True, slots=True)
class SetComparison:
    """Two releases over a set of questions. Pairs whose questions differ are counted, and stand nowhere else."""

    pairs: int
    other_questions: int
    releases_a: tuple[str, ...]
    """Ids of the releases that answered, in order of first appearance: one, unless answers of several were put together."""
    releases_b: tuple[str, ...]
    release: tuple[PartDifference, ...] | NotCompared
    first_differences: tuple[StageCount, ...]
    """In the order of stages, pairs without a difference last; only what there is."""
    same_answers: Share
    """Of the pairs in which it is known."""
    same_hits: Share
    """The same chunks in the same order."""
    overlap: Spread | None
    """Jaccard index of each pair's hits, as `difference.overlap`: at the k that each was asked with."""
    answered_to_abstained: int
    abstained_to_answered: int
    top_score_delta: Spread | None
    """Over the pairs in which both sides have hits by one encoder; None where there is no such pair."""
    changed: tuple[Changed, ...]
    """Largest first: answered on one side only, then by how few hits are shared, then other text before the same, then by how far the
    top scores are apart, then in the order given.
    """

    @property
    def headline(self) -> str:
        compared = self.pairs - self.other_questions
        if not compared:
            return "no two answers to one question"
        if not self.changed:
            return f"all {compared} came out the same"
        flips = self.answered_to_abstained + self.abstained_to_answered
        flipped = f", {flips} of them answered on one side only" if flips else ""
        return f"{len(self.changed)} of {compared} came out otherwise{flipped}"


def headline(found: Comparison) -> str:
    """What came of it, where they part, and what is known to differ in how they were made."""
    if not found.same_question:
        return "another question was asked"
    outcome, made = _outcome(found), _made(found)
    if not found.changed and not made:
        return f"{outcome}, made the same way"
    where = f"they part at {found.first_difference}" if found.first_difference else ""
    return "; ".join(clause for clause in (outcome, where, made or "nothing recorded differs in how they were made") if clause)


def _outcome(found: Comparison) -> str:
    if found.flipped:
        return f"only the {'first' if found.a.status == 'answered' else 'second'} was answered"
    if found.a.status == "abstained":
        return "no answer on either side" + ("" if found.a.abstain_reason == found.b.abstain_reason else ", for another reason")
    passages = "same" if found.same_passages else "other"
    if found.same_answer is None:
        return f"{passages} passages, and whether the text is the same is not known"
    if not found.same_answer:
        return f"{passages} passages, other text"
    if not found.same_passages:
        return "the same answer from other passages"
    return "the same answer with other citations" if found.citations_come or found.citations_gone else "the same answer"


def _made(found: Comparison) -> str:
    """Empty where nothing is known to differ."""
    names = [_part(part) for part in found.release] + [_setting(field) for field in found.parameters]
    if found.same_history is False:
        names.append("the conversation before")
    if found.deployment:
        names += ["where they ran"] if names else list(dict.fromkeys(map(_place, found.deployment)))
    if not names:
        return ""
    return f"{', '.join(names[:-1])} and {names[-1]} differ" if len(names) > 1 else f"{names[0]} differs"


def _part(difference: PartDifference) -> str:
    """The one value that differs, where it is one; digests say nothing to people."""
    values = [field for field in difference.fields if not field.name.endswith("digest")]
    return _with_values(values[0].name, values[0]) if len(values) == 1 else f"the {difference.part}"


def _setting(field: FieldDifference) -> str:
    return _with_values(f"{field.name} of the request", field)


def _with_values(name: str, field: FieldDifference) -> str:
    values = f"{_shown(field.a)} → {_shown(field.b)}"
    return f"{name} ({values})" if len(values) <= _MOST_VALUE_CHARS else name


def _shown(value: Scalar) -> str:
    return "none" if value is None else str(value)


def _place(field: FieldDifference) -> str:
    return "the image" if field.name.startswith("image") else _PLACES.get(field.name, field.name)
