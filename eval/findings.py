"""The noun: something about a question set that its author should know."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

Code = Literal[
    "invalid_row",
    "gold_not_found",
    "corpus_changed",
    "quote_moved",
    "quote_ambiguous",
    "answer_not_in_gold",
    "answer_in_question",
    "in_prompt",
    "same_question",
    "near_duplicate",
    "in_both_parts",
    "few_clusters",
    "large_cluster",
    "lone_group",
    "no_unanswerable",
    "no_answerable",
    "nothing_known",
    "left_out",
    "too_small",
]
"""For programs; stable."""


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    """An error makes figures wrong; a warning makes them say less than they seem to."""
    code: Code
    place: str
    """`questions.jsonl:7`; the name of the set where it concerns all of it."""
    message: str
    hint: str
    """What to do."""
    question: str | None = None
    """Id of the question, if it concerns one."""
