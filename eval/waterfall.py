"""The verb: the labels of two candidates → what the right answers that one has more than the other are owed to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from eval.attribution import RIGHT
from eval.results import Label, Row
from rag_service.errors import Mismatch

CAUSES: Final[Mapping[Label, str]] = {
    "infra_error": "errors",
    "corpus_gap": "documents that are missing",
    "chunk_split": "cutting into chunks",
    "retrieval_miss": "retrieval",
    "rerank_drop": "rerank drops",
    "context_truncated": "prompts that are too long",
    "false_abstain": "false abstentions",
    "distracted": "distraction",
    "reader_miss": "reading",
    "hallucinated": "hallucination",
    "right_abstain_on_miss": "abstentions without evidence",
    "should_have_abstained": "false answers",
    "not_judged": "questions that were not judged",
}
"""What is to blame, in words, for every label that is not right."""


@dataclass(frozen=True, slots=True)
class Step:
    """Questions that are right under one of two candidates and under the other `cause`."""

    cause: Label
    gained: int
    """So under the base, right under the candidate."""
    lost: int
    """Right under the base, so under the candidate."""

    @property
    def net(self) -> int:
        return self.gained - self.lost


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the right answers of the base to those of the candidate: the nets of the steps sum to the difference, exactly."""

    base: int
    candidate: int
    steps: tuple[Step, ...]
    """In the order of the labels; without those at which nothing moved."""
    moves: Mapping[Label, Mapping[Label, int]]
    """Label under the base → label under the candidate → questions, of all of them."""

    def __str__(self) -> str:
        """`+14 from retrieval, −5 from rerank drops`."""
        nets = [f"{step.net:+d} from {CAUSES[step.cause]}".replace("-", "−", 1) for step in self.steps if step.net]
        return ", ".join(nets) or "no difference"


def waterfall(base: Sequence[Row], candidate: Sequence[Row]) -> Waterfall:
    """Both of the same questions, in any order. Raises `Mismatch` where they are not."""
    labels = {row.id: row.label for row in base}
    others = {row.id: row.label for row in candidate}
    if labels.keys() != others.keys():
        alone = sorted(labels.keys() ^ others.keys())
        raise Mismatch(
            f"{len(alone):,} questions were asked of one of the two candidates alone, {alone[0]!r} first", hint="run both on one set"
        )
    moved = Counter((label, others[identifier]) for identifier, label in labels.items())
    steps = [
        Step(
            cause,
            gained=sum(n for (before, after), n in moved.items() if before == cause and after in RIGHT),
            lost=sum(n for (before, after), n in moved.items() if before in RIGHT and after == cause),
        )
        for cause in CAUSES
    ]
    order: Sequence[Label] = get_args(Label)
    return Waterfall(
        base=sum(label in RIGHT for label in labels.values()),
        candidate=sum(label in RIGHT for label in others.values()),
        steps=tuple(step for step in steps if step.gained or step.lost),
        moves={
            before: {after: moved[before, after] for after in order if moved[before, after]}
            for before in order
            if any(moved[before, after] for after in order)
        },
    )
