"""Whether the service knew when not to answer. Positives are unanswerable questions; abstaining is calling one positive.

Where the pipeline failed it neither answered nor abstained: such a question is no success (it counts 0 where higher is better) and is
left out of the rates of false decisions, which it would otherwise improve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from eval.scores import Failed, Outcome, Score, Undefined

NONE_UNANSWERABLE = Undefined("no question of the set is known to be unanswerable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was done with a question, and what is known of it."""

    made: Literal["answered", "abstained", "error"]
    answerable: bool | None
    """None where nobody said."""
    right: bool | None = None
    """That the answer is right, or the abstention; None where it cannot be known."""
    shown: bool | None = None
    """That all gold was among the passages that it decided on; None where no gold is known. False of an unanswerable question."""
    code: str = ""
    """Of the error."""


def coverage(decision: Decision) -> Outcome | None:
    """Answered, of the questions that are not known to be unanswerable: what abstaining on everything loses."""
    return _made(decision, "answered") if decision.answerable is not False else None


def recall(decision: Decision) -> Outcome | None:
    """Abstained, of the unanswerable (`NoAns_exact` and `NoAns_f1` of the SQuAD 2.0 script)."""
    return _made(decision, "abstained") if decision.answerable is False else None


def false_abstention(decision: Decision) -> Outcome | None:
    """Abstained, of the answerable. Lower is better."""
    return _made(decision, "abstained") if decision.answerable is True else None


def false_answer(decision: Decision) -> Outcome | None:
    """Answered, of the unanswerable. Lower is better."""
    return _made(decision, "answered") if decision.answerable is False else None


def abstain_on_miss(decision: Decision) -> Outcome | None:
    """Abstained, where the gold was not among the passages: whether the reader knows what it was not shown."""
    return _made(decision, "abstained") if decision.shown is False or _unseen(decision) else None


def answer_on_hit(decision: Decision) -> Outcome | None:
    """Answered, where all gold was among the passages."""
    return _made(decision, "answered") if decision.shown is True or _unseen(decision) else None


def selective_accuracy(decision: Decision) -> Outcome | None:
    """Right, of those answered. An unanswerable question that was answered is wrong."""
    if decision.right is None:
        return None
    return Undefined("the service abstained") if decision.made == "abstained" else _valued(decision, float(decision.right))


def net_utility(decision: Decision, *, wrong_costs: float) -> Outcome | None:
    """1 if right (also an abstention), −`wrong_costs` if answered wrongly, 0 if abstained without need."""
    if decision.right is None:
        return None
    return _valued(decision, 1.0 if decision.right else -wrong_costs if decision.made == "answered" else 0.0)


def precision(decisions: Sequence[Decision]) -> Score:
    """Unanswerable questions among those abstained on / questions abstained on."""
    known = [decision for decision in decisions if decision.answerable is not None]
    abstained = [decision for decision in known if decision.made == "abstained"]
    if all(decision.answerable for decision in known):
        return Score(NONE_UNANSWERABLE, len(abstained), 0, n_undefined=len(abstained))
    if not abstained:
        return Score(Undefined("the service abstained on no question"), 0, 0)
    return Score(sum(not decision.answerable for decision in abstained) / len(abstained), len(abstained), len(abstained))


def f1(decisions: Sequence[Decision]) -> Score:
    """2TP / (2TP + FP + FN): the harmonic mean of precision and recall, and 0 where nothing was abstained on."""
    known = [decision for decision in decisions if decision.answerable is not None]
    n_error = sum(decision.made == "error" for decision in known)
    unanswerable = sum(not decision.answerable for decision in known)
    abstained = sum(decision.made == "abstained" for decision in known)
    right = sum(decision.made == "abstained" and not decision.answerable for decision in known)
    if not unanswerable:
        return Score(NONE_UNANSWERABLE, len(known), 0, n_undefined=len(known) - n_error, n_error=n_error)
    return Score(2 * right / (abstained + unanswerable), len(known), len(known) - n_error, n_error=n_error)


def _unseen(decision: Decision) -> bool:
    """Nobody knows what a question that failed would have been shown, if gold is known: it counts as a failure of either kind."""
    return decision.made == "error" and decision.shown is not None and decision.answerable is not False


def _made(decision: Decision, made: str) -> Outcome:
    return _valued(decision, float(decision.made == made))


def _valued(decision: Decision, value: float) -> Outcome:
    return Failed(decision.code) if decision.made == "error" else value


DECISIONS: Mapping[str, Callable[[Decision], Outcome | None]] = {
    "coverage": coverage,
    "abstain_recall": recall,
    "false_abstain_rate": false_abstention,
    "false_answer_rate": false_answer,
    "abstain_on_miss": abstain_on_miss,
    "answer_on_hit": answer_on_hit,
    "selective_accuracy": selective_accuracy,
    "net_utility": partial(net_utility, wrong_costs=1.0),
    "net_utility_3": partial(net_utility, wrong_costs=3.0),
}
"""Of one question; None where it does not apply to it."""

ABSTENTION: Mapping[str, Callable[[Sequence[Decision]], Score]] = {"abstain_precision": precision, "abstain_f1": f1}
"""Of a set: those that are no mean over its questions."""
