"""Whether the service knew when not to answer. Positives are unanswerable questions; abstaining is calling one positive.

These are rates over a set, so each says how many questions stand in its denominator. Where the pipeline failed it neither answered nor
abstained: such a question is no success (it stays in the denominator of recall) and is left out of the two rates of false decisions,
which it would otherwise improve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.metrics.scores import Score, Undefined, Value

NONE_UNANSWERABLE = Undefined("no question of the set is known to be unanswerable")


@dataclass(frozen=True, slots=True)
class Decision:
    """What was done with a question of which it is known whether the documents answer it."""

    answerable: bool
    made: Literal["answered", "abstained", "error"]


def precision(decisions: Sequence[Decision]) -> Score:
    """Unanswerable questions among those abstained on / questions abstained on."""
    abstained = [decision for decision in decisions if decision.made == "abstained"]
    if all(decision.answerable for decision in decisions):
        return Score(NONE_UNANSWERABLE, len(abstained), 0, n_undefined=len(abstained))
    if not abstained:
        return Score(Undefined("the service abstained on no question"), 0, 0)
    return Score(_share(abstained, lambda decision: not decision.answerable), len(abstained), len(abstained))


def recall(decisions: Sequence[Decision]) -> Score:
    """Unanswerable questions abstained on / unanswerable questions."""
    return _rate(decisions, answerable=False, made="abstained", errors_stay=True)


def f1(decisions: Sequence[Decision]) -> Score:
    """2TP / (2TP + FP + FN): the harmonic mean of precision and recall, and 0 where nothing was abstained on."""
    n_error = sum(decision.made == "error" for decision in decisions)
    unanswerable = sum(not decision.answerable for decision in decisions)
    abstained = sum(decision.made == "abstained" for decision in decisions)
    right = sum(decision.made == "abstained" and not decision.answerable for decision in decisions)
    if not unanswerable:
        return Score(NONE_UNANSWERABLE, len(decisions), 0, n_undefined=len(decisions) - n_error, n_error=n_error)
    return Score(2 * right / (abstained + unanswerable), len(decisions), len(decisions) - n_error, n_error=n_error)


def false_abstain_rate(decisions: Sequence[Decision]) -> Score:
    """Answerable questions abstained on / answerable questions. Lower is better."""
    return _rate(decisions, answerable=True, made="abstained", errors_stay=False)


def false_answer_rate(decisions: Sequence[Decision]) -> Score:
    """Unanswerable questions answered / unanswerable questions. Lower is better."""
    return _rate(decisions, answerable=False, made="answered", errors_stay=False)


def _rate(decisions: Sequence[Decision], *, answerable: bool, made: str, errors_stay: bool) -> Score:
    asked = [decision for decision in decisions if decision.answerable == answerable]
    decided = [decision for decision in asked if decision.made != "error"]
    n_error = len(asked) - len(decided)
    counted = asked if errors_stay else decided
    value: Value
    if counted:
        value = _share(counted, lambda decision: decision.made == made)
    elif asked:
        value = Undefined("the pipeline failed at every such question")
    else:
        value = Undefined("no question of the set is known to be answerable") if answerable else NONE_UNANSWERABLE
    return Score(value, len(asked), len(decided), n_error=n_error)


def _share(decisions: Sequence[Decision], test: Callable[[Decision], bool]) -> float:
    return sum(test(decision) for decision in decisions) / len(decisions)


ABSTENTION: Mapping[str, Callable[[Sequence[Decision]], Score]] = {
    "abstain_precision": precision,
    "abstain_recall": recall,
    "abstain_f1": f1,
    "false_abstain_rate": false_abstain_rate,
    "false_answer_rate": false_answer_rate,
}
