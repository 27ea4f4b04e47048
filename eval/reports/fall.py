"""Where answers are lost: labels counted, and the way from the right answers of the base to those of the candidate."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from eval.attribution import RIGHT
from eval.reports.charts import Axis, from_zero
from eval.reports.comparison import Comparison
from eval.results import Label, Measured
from eval.waterfall import waterfall

LABEL_WORDS: Mapping[Label, str] = {
    "infra_error": "the pipeline failed",
    "corpus_gap": "the gold is in no document of the index",
    "chunk_split": "no chunk covers enough of the gold",
    "retrieval_miss": "the search did not find the gold",
    "rerank_drop": "it was found, and not taken",
    "context_truncated": "it was taken, and did not fit into the prompt",
    "false_abstain": "it was in the prompt, and the service abstained",
    "distracted": "it was in the prompt; with the gold alone the answer is right",
    "reader_miss": "it was in the prompt; with the gold alone the answer is wrong, too, or nobody asked",
    "hallucinated": "answered without evidence in the prompt",
    "right_abstain_on_miss": "abstained, since no evidence was in the prompt",
    "lucky": "right, without the gold in the prompt",
    "should_have_abstained": "unanswerable, and answered",
    "right_abstain": "unanswerable, and the service abstained",
    "right": "right, with the gold in the prompt",
    "right_bad_citation": "right, and the citation is not",
    "not_judged": "nothing is known of a right answer",
}


@dataclass(frozen=True, slots=True)
class LabelLine:
    name: Label
    says: str
    right: bool
    counts: tuple[int, ...]
    """One for each candidate that is shown."""


@dataclass(frozen=True, slots=True)
class FallStep:
    label: Label
    says: str
    gained: int
    lost: int
    begin: int
    """Right answers before this step, and after it."""
    end: int

    @property
    def net(self) -> int:
        return self.gained - self.lost


@dataclass(frozen=True, slots=True)
class Fall:
    base: int
    candidate: int
    steps: tuple[FallStep, ...]
    axis: Axis
    """From zero."""
    words: str
    """`+14 from retrieval, −5 from rerank drops`."""


def label_lines(sides: Sequence[Measured]) -> tuple[LabelLine, ...]:
    """In the order of the labels, without those that no question has."""
    counts = [Counter(row.label for row in side.rows) for side in sides]
    return tuple(
        LabelLine(label, LABEL_WORDS[label], label in RIGHT, tuple(count[label] for count in counts))
        for label in get_args(Label)
        if any(count[label] for count in counts)
    )


def fall_of(comparison: Comparison) -> Fall | None:
    """Over the questions that both were asked. None where no answer was judged."""
    shared = {row.id for row in comparison.base.rows} & {row.id for row in comparison.candidate.rows}
    rows, others = ([row for row in side.rows if row.id in shared] for side in (comparison.base, comparison.candidate))
    if all(row.label == "not_judged" for row in (*rows, *others)):
        return None
    found = waterfall(rows, others)
    steps: list[FallStep] = []
    level = found.base
    for step in found.steps:
        steps.append(FallStep(step.cause, LABEL_WORDS[step.cause], step.gained, step.lost, level, level + step.net))
        level += step.net
    axis = from_zero([found.base, found.candidate, *(step.end for step in steps)])
    return Fall(found.base, found.candidate, tuple(steps), axis, str(found))
