"""The verb: a run of many candidates → the one to take to the test part.

Among those that beat the base after correction for their number, and break no guardrail, the cheapest of those that are as good as the best
within one standard error of it (the one-standard-error rule, Breiman et al. 1984, Classification and Regression Trees, 3.4.3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from eval.comparable import Side, differing, limited_value, unfit, unmeasured
from eval.policy import Policy
from eval.question_values import paired
from eval.results import Run
from eval.rules import guardrail_rule, limit_rule, p_value, primary_rule
from eval.statistics.clustered import estimate
from rag_service.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    name: str
    mean: float
    """Of the primary metric."""
    gain: float
    """Over the base, so that more is better."""
    p: float
    """Of no difference to the base, corrected for the number of contenders."""
    cost: float
    on_front: bool = False
    """No other is as good and cheaper, or better and as cheap."""
    problem: str = ""
    """Why it is not taken; empty where it could be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    chosen: str | None
    """Name; None where no candidate has beaten the base."""
    why: str
    cost: str
    """What was counted as cost."""
    contenders: tuple[Contender, ...]
    """Those that could be compared, the largest gain first."""
    left_out: tuple[str, ...]
    """Those that could not, each with the reason."""


def choose(run: Run, base: str, policy: Policy) -> Choice:
    """Pure. The part that the policy names does not count: candidates are chosen on what the run asked, and never on a test part.

    Raises `NotFound` where the run has no such base, and `InvalidInput` for a run over a test part.
    """
    if run.parameters.part == "test":
        raise InvalidInput(f"the run {run.id} asked the test part, on which nothing is chosen", hint="choose on a run with --part dev")
    one = Side.of(run, base, "all")
    others, left_out = [], []
    for measured in run.candidates:
        if measured.release.digest != one.measured.release.digest:
            other = Side.of(run, measured.name, "all")
            problem = _problem(one, other, policy)
            if problem is None:
                others.append(other)
            else:
                left_out.append(f"{measured.name}: {problem}")
    cost = next(name for name in _COSTS if all(_cost(name, side) is not None for side in others))
    contenders = _with_front(_contenders(one, others, policy, cost))
    chosen, why = _chosen(contenders, others, policy, cost)
    return Choice(chosen=chosen, why=why, cost=cost, contenders=contenders, left_out=tuple(left_out))


def _problem(base: Side, other: Side, policy: Policy) -> str | None:
    """Why a candidate cannot be compared."""
    anywhere = policy.model_copy(update={"primary": policy.primary.model_copy(update={"part": "all"})})
    measured = (paired(base.rows, other.rows, metric) for metric in (policy.primary.metric, *policy.margins))
    why = chain(differing(base, other, anywhere), unfit(other, policy), (each for pairs in measured for each in unmeasured(pairs, policy)))
    return next(why, None)


def _contenders(base: Side, others: Sequence[Side], policy: Policy, cost: str) -> list[Contender]:
    pairs = [paired(base.rows, other.rows, policy.primary.metric) for other in others]
    p_values = [p_value(each, policy) for each in pairs]
    found = []
    for number, (other, each) in enumerate(zip(others, pairs, strict=True)):
        rule = primary_rule(each, policy, beside=p_values[:number] + p_values[number + 1 :])
        mean, before = math.fsum(each.candidate) / len(each.ids), math.fsum(each.base) / len(each.ids)
        broken = [] if rule.state == "passed" else [rule.said]
        found.append(
            Contender(
                name=other.measured.name,
                mean=mean,
                gain=mean - before if each.higher_is_better else before - mean,
                p=_corrected(rule.difference.p_holm if rule.difference else None, p_values[number]),
                cost=_cost(cost, other) or 0.0,
                problem=next(iter([*broken, *_broken(base, other, policy)]), ""),
            )
        )
    return sorted(found, key=lambda contender: (-contender.gain, contender.cost, contender.name))


def _corrected(p_holm: float | None, p: float) -> float:
    return p if p_holm is None else p_holm


def _broken(base: Side, other: Side, policy: Policy) -> list[str]:
    """Guardrails that a candidate breaks for sure; what is unclear may still come out well on the test part."""
    rules = [guardrail_rule(paired(base.rows, other.rows, metric), margin, policy) for metric, margin in policy.margins.items()]
    for metric, limit in policy.limits.items():
        one, two = limited_value(base, metric), limited_value(other, metric)
        if isinstance(one, float) and isinstance(two, float):
            rules.append(limit_rule(metric, limit, base=one, candidate=two))
    return [rule.said for rule in rules if rule.state == "failed"]


def _with_front(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    def beaten(one: Contender) -> bool:
        return any(
            other.gain >= one.gain and other.cost <= one.cost and (other.gain, other.cost) != (one.gain, one.cost) for other in contenders
        )

    return tuple(replace(contender, on_front=not beaten(contender)) for contender in contenders)


def _chosen(contenders: Sequence[Contender], others: Sequence[Side], policy: Policy, cost: str) -> tuple[str | None, str]:
    fit = [contender for contender in contenders if not contender.problem]
    if not fit:
        return None, "no candidate has beaten the base" + (f"; the best: {contenders[0].problem}" if contenders else "")
    best = fit[0]
    side = next(side for side in others if side.measured.name == best.name)
    pairs = paired(side.rows, side.rows, policy.primary.metric)
    se = estimate(pairs.candidate, pairs.clusters).se
    taken = min((one for one in fit if one.gain >= best.gain - se), key=lambda one: (one.cost, -one.gain, one.name))
    if taken.name == best.name:
        return best.name, f"the best, {best.gain:+.3f}, and none within one standard error ({se:.3f}) of it costs less ({cost})"
    return taken.name, (
        f"{taken.gain:+.3f} is within one standard error ({se:.3f}) of the best, {best.name} ({best.gain:+.3f}), "
        f"and costs less: {taken.cost:.4g} {cost} against {best.cost:.4g}"
    )


_COSTS = ("p95_ms", "prompt tokens", "chunks")
"""What is paid, the first that is known of all; lower is better."""


def _cost(name: str, side: Side) -> float | None:
    if name == "p95_ms":
        found = limited_value(side, name)
        return found if isinstance(found, float) else None
    if name == "chunks":
        return float(side.measured.index.chunks)
    tokens = [row.sample.prompt_tokens for row in side.rows.values() if row.sample.prompt_tokens is not None]
    return sum(tokens) / len(tokens) if tokens else None
