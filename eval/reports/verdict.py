"""What a decision looks like, and what is said first where there is none."""

from dataclasses import dataclass
from typing import Literal

from eval.counting import counted
from eval.decision import Decision, Rule, Verdict
from eval.reports.comparison_table import headline
from eval.reports.figures import figure
from eval.reports.legible import one_line
from eval.reports.outcomes import estimated
from eval.reports.view import View

Tone = Literal["good", "bad", "weak", "none"]


@dataclass(frozen=True, slots=True)
class Seen:
    tone: Tone
    sign: str
    """Path in a square of 32: a verdict is not told by its colour alone."""


_SEEN: dict[Verdict, Seen] = {
    "PROMOTE": Seen("good", "M9.5 16.5l4.5 4.5 9-10"),
    "REJECT": Seen("bad", "M11 11l10 10M21 11l-10 10"),
    "INCONCLUSIVE": Seen("weak", "M12 12.5a4 4 0 1 1 5.5 3.7c-1 .5-1.5 1-1.5 2.3M16 23v.2"),
    "INVALID": Seen("none", "M16 9v9M16 22.8v.2"),
}

RULE_TONES = {"passed": "better", "failed": "worse", "unclear": "open"}
RULE_SIGNS = {"passed": "✓", "failed": "✕", "unclear": "?"}

HEADROOM = {
    "retrieval": "answers that would be right if the search found the gold and nothing else",
    "threshold": "answers that would be right from what was found, and are kept back for too little confidence",
    "reader": "answers that stay wrong with the gold alone in the prompt",
    "index": "documents that an exact search finds among its first 10 and the index loses",
    "parametric": "questions that the model answers rightly without any document; no gain, but a warning",
}
"""What each bound says is lost."""


def seen(decision: Decision) -> Seen:
    return _SEEN[decision.verdict]


def rule_name(rule: Rule) -> str:
    """What a rule is about, for people."""
    return "newly wrong" if rule.kind == "new_failures" else f"behaviours: {rule.metric}" if rule.kind == "behaviours" else rule.metric


def rule_figure(rule: Rule, value: float | None) -> str:
    """Base or candidate; questions and cases are counted in whole numbers."""
    if value is None:
        return ""
    return f"{value:,.0f}" if rule.kind in ("new_failures", "behaviours") else figure(rule.metric, value, decimals=3)


def rule_says(rule: Rule) -> str:
    """How its interval is drawn: a guardrail that holds is no gain."""
    return "worse" if rule.state == "failed" else "better" if rule.state == "passed" and rule.kind == "primary" else "nothing"


def margin_of(rule: Rule, decision: Decision | None) -> float | None:
    """Where the line of a rule stands on an axis of differences: what must be reached, or may not be passed."""
    if rule.threshold is None or rule.difference is None:
        return None
    reached = rule.kind == "primary" and decision is not None and decision.policy.primary.mode == "superiority"
    return rule.threshold if reached == rule.higher_is_better else -rule.threshold


def lead(view: View) -> str:
    """The first sentence of a report."""
    if view.comparison is not None:
        return headline(view.comparison)
    candidate, counts = view.candidate, view.candidate.counts
    name = one_line(candidate.name)
    if not view.run.parameters.answers:
        return f"{name} was searched with {counted(counts.questions, 'question')}; no answers were asked for."
    did = f"{name} answered {counts.answered:,} of {counted(counts.questions, 'question')} and abstained on {counts.abstained:,}"
    found = estimated(candidate.rows, view.primary) if view.primary else None
    if found is None or view.primary is None:
        return f"{did}."
    low, high = (figure(view.primary, bound, decimals=3) for bound in (found.low, found.high))
    return f"{did}; {view.primary} is {figure(view.primary, found.mean, decimals=3)}, with a 95 % interval from {low} to {high}."
