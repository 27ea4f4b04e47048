"""What is compared: the questions as they come in, and what becomes of them.

Only the first are the traffic alone. The others change with the traffic and with what answers it: where the releases of reference and
window differ, the report says so.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, assert_never

from rag_service.drift.observation import ANSWERED, Observation

About = Literal["questions", "answers"]
Kind = Literal["vectors", "numbers", "shares", "categories", "documents"]
Value = float | bool | str

_ANSWER_CHARS = (100, 200, 400, 800, 1600)
_LONGER = f"over {_ANSWER_CHARS[-1]}"


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    """For programs: key of the report, and label of metrics."""
    title: str
    about: About
    kind: Kind
    of: Callable[[Observation], Value | None]
    """None where an observation has no such value. Of `vectors` it is never asked."""
    floor: float
    """An effect below it is no reason to get up, however sure it is."""
    scaled: bool = False
    """Whether it means something else with other settings of retrieval."""

    @property
    def effect(self) -> str:
        """What the effect is, in short."""
        match self.kind:
            case "vectors":
                return "AUC"
            case "numbers":
                return "D"
            case "shares":
                return "points"
            case "categories":
                return "JS"
            case "documents":
                return "moved"
        assert_never(self.kind)


def features(min_confidence: float) -> tuple[Feature, ...]:
    """`min_confidence` is what counts as covered: that of the release of the reference, for both sides."""
    return (
        Feature("query_embedding", "what is asked about", "questions", "vectors", lambda _: None, 0.60),
        Feature("question_chars", "length of questions", "questions", "numbers", lambda seen: seen.question_chars, 0.15),
        Feature("language", "language of questions", "questions", "categories", lambda seen: seen.language, 0.10),
        Feature("top_score", "best score", "answers", "numbers", lambda seen: seen.top_score, 0.15, scaled=True),
        Feature("score_gap", "gap to the second", "answers", "numbers", lambda seen: seen.score_gap, 0.15, scaled=True),
        Feature("coverage", "covered by documents", "answers", "shares", lambda seen: seen.confidence >= min_confidence, 0.10, scaled=True),
        Feature("abstention", "abstained", "answers", "shares", _abstained, 0.10),
        Feature("outcome", "answered, or why not", "answers", "categories", lambda seen: seen.outcome, 0.10),
        Feature("answer_chars", "length of answers", "answers", "categories", _length_of_answer, 0.10),
        Feature("first_document", "first document", "answers", "documents", lambda seen: seen.first_document, 0.10),
        Feature("passage_instructs", "passages that instruct", "answers", "shares", lambda seen: seen.instructed, 0.02),
    )


def _abstained(seen: Observation) -> bool | None:
    return None if seen.outcome is None else seen.outcome != ANSWERED


def _length_of_answer(seen: Observation) -> str | None:
    """A class of lengths, named so that the names sort as the lengths do."""
    if seen.answer_chars is None:
        return None
    place = bisect_left(_ANSWER_CHARS, seen.answer_chars)
    return _LONGER if place == len(_ANSWER_CHARS) else f"{0 if place == 0 else _ANSWER_CHARS[place - 1] + 1:>4} – {_ANSWER_CHARS[place]}"
