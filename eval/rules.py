"""One condition of a policy → what became of it, with its numbers and a sentence that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eval.decision import Difference, Kind, Rule, State
from eval.metrics.catalogue import METRICS
from eval.policy import Limit, Policy
from eval.question_values import Pairs, higher_is_better
from eval.statistics.drawing import SEED
from eval.statistics.grouped import FEWEST_CLUSTERS, grouped
from eval.statistics.paired import Paired, compare
from eval.statistics.power import questions_needed
from eval.statistics.signs import sign_flip_p
from rag_service.drift.multiple import holm

_LISTED = 5
_ROUNDING = 1e-9
"""Sums of the same numbers in another order may differ by so much."""


class Case(Protocol):
    """A case of the behaviour suite, tried on the candidate."""

    @property
    def name(self) -> str: ...
    @property
    def must(self) -> bool: ...
    @property
    def passed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Gain:
    """A difference seen so that more is better."""

    seen: float
    least: float
    most: float
    """Two-sided interval."""
    worst: float
    """One-sided bound."""

    @classmethod
    def of(cls, found: Paired, *, higher_is_better: bool) -> "_Gain":
        if higher_is_better:
            return cls(found.difference, found.low, found.high, found.low_one_sided)
        return cls(-found.difference, -found.high, -found.low, -found.high_one_sided)


def compared(pairs: Pairs, policy: Policy) -> Paired:
    return compare(pairs.base, pairs.candidate, pairs.clusters, draws=policy.draws, level=1 - policy.alpha)


def p_value(pairs: Pairs, policy: Policy) -> float:
    """That of `compared`, without the rest."""
    differences = [now - before for before, now in zip(pairs.base, pairs.candidate, strict=True)]
    return sign_flip_p(grouped(differences, pairs.clusters).sums, draws=policy.draws, seed=SEED)


def primary_rule(pairs: Pairs, policy: Policy, *, beside: Sequence[float] = ()) -> Rule:
    """`beside`: p-values of the same metric for the other candidates of the run, for all of which the test is corrected.

    Better by enough: the interval lies above 0, and the smallest effect was seen. No worse: the one-sided bound lies above −margin. Missed
    for good where the interval excludes what is asked, or so many questions would have shown it in four of five cases.
    """
    found, threshold = compared(pairs, policy), policy.primary.threshold
    gain, p_holm = _Gain.of(found, higher_is_better=pairs.higher_is_better), holm([found.p_value, *beside])[0]
    if policy.primary.mode == "superiority":
        asked = f"better by {threshold:g} or more"
        passed = gain.least > 0 and gain.seen >= threshold - _ROUNDING and p_holm <= policy.alpha
        missed = gain.most < threshold or found.detectable <= threshold
        needed = _needed(found, max(threshold, gain.seen), alpha=policy.alpha)
    else:
        asked = f"worse by no more than {threshold:g}"
        passed = gain.worst >= -threshold - _ROUNDING
        missed = gain.most < -threshold or found.detectable <= threshold
        needed = _needed(found, _distance(threshold, gain), alpha=2 * policy.alpha)
    state: State = "passed" if passed else "failed" if missed else "unclear"
    return _paired_rule(
        "primary", pairs, found, asked=asked, state=state, threshold=threshold, needed=needed, p_holm=p_holm if beside else None
    )


def guardrail_rule(pairs: Pairs, margin: float, policy: Policy) -> Rule:
    """Broken where it is seen to be worse than the margin, and that is more than chance; held where the one-sided bound is no worse."""
    found = compared(pairs, policy)
    gain = _Gain.of(found, higher_is_better=pairs.higher_is_better)
    state: State = "passed"
    if gain.worst < -margin - _ROUNDING:
        sure = gain.most < -margin or found.p_value <= policy.alpha or found.detectable <= margin
        state = "failed" if gain.seen < -margin - _ROUNDING and sure else "unclear"
    needed = _needed(found, _distance(margin, gain), alpha=2 * policy.alpha)
    return _paired_rule("guardrail", pairs, found, asked=f"worse by no more than {margin:g}", state=state, threshold=margin, needed=needed)


def limit_rule(metric: str, limit: Limit, *, base: float, candidate: float) -> Rule:
    """By the values as they are: nothing is known of their spread."""
    asked, held = [], []
    if limit.max is not None:
        asked.append(f"at most {limit.max:g}")
        held.append(candidate <= limit.max)
    if limit.min is not None:
        asked.append(f"at least {limit.min:g}")
        held.append(candidate >= limit.min)
    if limit.max_ratio is not None:
        asked.append(f"at most {limit.max_ratio:g} × the base's")
        held.append(candidate <= limit.max_ratio * base)
    words = " and ".join(asked)
    return Rule(
        kind="limit",
        metric=metric,
        over="",
        higher_is_better=higher_is_better(metric),
        asked=words,
        state="passed" if all(held) else "failed",
        said=f"{metric}: {shown(metric, base)} → {shown(metric, candidate)}; asked: {words}",
        base=base,
        candidate=candidate,
        threshold=next(bound for bound in (limit.max, limit.min, limit.max_ratio) if bound is not None),
    )


def new_failures_rule(pairs: Pairs, broken: Sequence[str], mended: Sequence[str], policy: Policy) -> Rule:
    allowed = policy.allowed_failures(len(pairs.ids))
    named = ", ".join(broken[:_LISTED]) + (", …" if len(broken) > _LISTED else "")
    return Rule(
        kind="new_failures",
        metric=pairs.metric,
        over=pairs.over,
        higher_is_better=pairs.higher_is_better,
        asked=f"at most {allowed:,} questions newly wrong",
        state="passed" if len(broken) <= allowed else "failed",
        said=f"{len(broken):,} of {len(pairs.ids):,} questions were right and are wrong now, {len(mended):,} the other way round; "
        f"asked: at most {allowed:,}" + (f": {named}" if broken else ""),
        threshold=allowed,
        candidate=len(broken),
    )


def behaviours_rule(tried: Sequence[Case]) -> Rule:
    must = [case for case in tried if case.must]
    failed = [case.name for case in must if not case.passed]
    named = ", ".join(failed[:_LISTED]) + (", …" if len(failed) > _LISTED else "")
    return Rule(
        kind="behaviours",
        metric="behaviours",
        over="cases that must pass",
        higher_is_better=True,
        asked="all pass",
        state="failed" if failed else "passed",
        said=f"{len(must) - len(failed):,} of {len(must):,} cases that must pass do" + (f"; these fail: {named}" if failed else ""),
        candidate=len(must) - len(failed),
        threshold=len(must),
    )


def _paired_rule(
    kind: Kind, pairs: Pairs, found: Paired, *, asked: str, state: State, threshold: float, needed: int | None, p_holm: float | None = None
) -> Rule:
    few = found.clusters < FEWEST_CLUSTERS
    if few and state == "passed":
        state = "unclear"
    needed = needed if state == "unclear" and not few else None
    p = f"p {p_shown(found.p_value)}" + (f" ({p_shown(p_holm)} among all candidates of the run)" if p_holm is not None else "")
    base, candidate, low, high = (shown(pairs.metric, value) for value in (found.base, found.candidate, found.low, found.high))
    difference = shown(pairs.metric, found.difference)
    said = f"{pairs.metric}: {base} → {candidate}, by {difference} [{low}, {high}], {p}, {found.n:,} {pairs.over}; asked: {asked}"
    if few:
        said += f". They hang together in {found.clusters} clusters; with fewer than {FEWEST_CLUSTERS} nothing is promoted"
    elif needed is not None:
        said += f". About {needed:,} such questions would tell"
    return Rule(
        kind=kind,
        metric=pairs.metric,
        over=pairs.over,
        higher_is_better=pairs.higher_is_better,
        asked=asked,
        state=state,
        said=said,
        base=found.base,
        candidate=found.candidate,
        threshold=threshold,
        difference=_difference(pairs, found, p_holm),
        needed=needed,
    )


def shown(metric: str, value: float) -> str:
    """Shares with three digits, tokens and milliseconds with one."""
    return f"{value:,.3f}" if METRICS[metric].unit in {"share", "points"} else f"{value:,.1f}"


def p_shown(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _distance(margin: float, gain: _Gain) -> float:
    """From what was seen to the margin: what has to be told apart. The margin itself where that is passed."""
    return margin + gain.seen if margin + gain.seen > _ROUNDING else max(margin, _ROUNDING)


def _needed(found: Paired, effect: float, *, alpha: float) -> int | None:
    """Never fewer than there are: they did not suffice. None where no question differs, and nothing is known of the spread."""
    if found.sd == 0:
        return None
    needed = questions_needed(effect, found.sd, mean_cluster=found.mean_cluster, intracluster=found.intracluster, alpha=alpha)
    return max(needed, found.n + 1)


def _difference(pairs: Pairs, found: Paired, p_holm: float | None) -> Difference:
    wins, losses = (found.wins, found.losses) if pairs.higher_is_better else (found.losses, found.wins)
    return Difference(
        n=found.n,
        clusters=found.clusters,
        left_out=pairs.left_out,
        difference=found.difference,
        low=found.low,
        high=found.high,
        worst=found.low_one_sided if pairs.higher_is_better else found.high_one_sided,
        p_value=found.p_value,
        p_holm=p_holm,
        mcnemar=found.mcnemar,
        wins=wins,
        ties=found.ties,
        losses=losses,
        sd=found.sd,
        intracluster=found.intracluster,
        detectable=found.detectable,
    )
