"""The verb: two candidates + policy → decision. Pure: the same runs and the same policy give the same verdict, on every machine.

    INVALID        they cannot be compared, or too much failed; the field is named, and no number is given
    REJECT         the candidate breaks a rule of the policy
    INCONCLUSIVE   so few questions cannot say; how many could is said
    PROMOTE        the primary metric is met, every guardrail holds, and no more is newly wrong than was allowed

Every guardrail must hold, each at alpha: where all must pass, no correction is needed (an intersection-union test, Berger 1982,
doi 10.1080/00401706.1982.10487790). The primary metric is corrected for the other candidates of the run: any might have been taken.
"""

from collections.abc import Iterator, Mapping, Sequence

from eval.comparable import Side, decided_part, differing, limited_value, unfit, unmeasured
from eval.counting import counted
from eval.decision import EXIT_CODES, Decision, Party, Rule, Verdict
from eval.policy import Policy
from eval.question_values import CORRECT, Pairs, paired
from eval.results import Run
from eval.rules import Case, behaviours_rule, guardrail_rule, limit_rule, new_failures_rule, p_value, primary_rule
from eval.statistics.grouped import FEWEST_CLUSTERS


def decide(run: Run, base: str, candidate: str, policy: Policy, *, behaviours: Sequence[Case] | None = None, looks: int = 0) -> Decision:
    """Two candidates of one run. `looks` counts the pairs that were decided on with this test part, this one included.

    Raises `NotFound` for a name that the run does not have.
    """
    return decide_between(run, base, run, candidate, policy, behaviours=behaviours, looks=looks)


def decide_between(
    base_run: Run,
    base: str,
    run: Run,
    candidate: str,
    policy: Policy,
    *,
    behaviours: Sequence[Case] | None = None,
    looks: int = 0,
) -> Decision:
    """The same, where the two may be of different runs."""
    one, other = Side.of(base_run, base, policy.primary.part), Side.of(run, candidate, policy.primary.part)
    invalid = _obstacles(one, other, policy, looks)
    if policy.behaviours is not None and not behaviours:
        invalid.append("behaviours: the policy asks for the behaviour suite, and it was not tried on the candidate")
    if invalid:
        return _decision(one, other, policy, "INVALID", invalid, looks=looks)
    pairs = _pairs(one, other, policy)
    broken, mended = changed(pairs[CORRECT])
    rules = [
        primary_rule(pairs[policy.primary.metric], policy, beside=list(_beside(one, other, policy))),
        *(guardrail_rule(pairs[metric], margin, policy) for metric, margin in policy.margins.items()),
        *_limits(one, other, policy),
        new_failures_rule(pairs[CORRECT], broken, mended, policy),
        *([behaviours_rule(behaviours)] if behaviours is not None else []),
    ]
    verdict, reasons = _verdict(rules)
    return _decision(one, other, policy, verdict, reasons, rules=rules, broken=broken, mended=mended, looks=looks)


def obstacles(base_run: Run, base: str, run: Run, candidate: str, policy: Policy, *, looks: int = 0) -> list[str]:
    """Why nothing can be decided, however the candidate behaves: what makes a decision INVALID. Raises `NotFound` as `decide` does."""
    return _obstacles(Side.of(base_run, base, policy.primary.part), Side.of(run, candidate, policy.primary.part), policy, looks)


def changed(correct: Pairs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the questions that were right and are wrong now, and of those that were wrong and are right now."""
    both = list(zip(correct.ids, correct.base, correct.candidate, strict=True))
    broken = tuple(identifier for identifier, before, now in both if before >= 1 > now)
    mended = tuple(identifier for identifier, before, now in both if now >= 1 > before)
    return broken, mended


def _verdict(rules: Sequence[Rule]) -> tuple[Verdict, list[str]]:
    failed = [rule.said for rule in rules if rule.state == "failed"]
    if failed:
        return "REJECT", failed
    unclear = [rule.said for rule in rules if rule.state == "unclear"]
    if unclear:
        return "INCONCLUSIVE", unclear
    return "PROMOTE", [rule.said for rule in rules]


def _obstacles(base: Side, candidate: Side, policy: Policy, looks: int) -> list[str]:
    """What differs between the two first: with it, nothing else can be looked at."""
    first = [*differing(base, candidate, policy), *_part_unsaid(candidate.run, policy), *_looked_too_often(candidate.run, looks, policy)]
    return first or [*_unusable(base, candidate, policy)]


def _part_unsaid(run: Run, policy: Policy) -> Iterator[str]:
    """A test part is sealed, so nothing is decided without it by accident."""
    if policy.primary.part == "all" and run.parameters.part == "dev":
        yield (
            "part: the run asked the dev part alone, which candidates are chosen by; run it with --part test, or say "
            "`primary: {part: dev}` in the policy if that is meant"
        )


def _looked_too_often(run: Run, looks: int, policy: Policy) -> Iterator[str]:
    if decided_part(run, policy) == "test" and looks > policy.max_looks:
        yield (
            f"looks: this is the {_ordinal(looks)} pair that is decided on with this test part, and {policy.max_looks:,} may be; "
            "choose on dev, and take new questions for the test"
        )


def _unusable(base: Side, candidate: Side, policy: Policy) -> Iterator[str]:
    yield from unfit(base, policy)
    yield from unfit(candidate, policy)
    for found in _pairs(base, candidate, policy).values():
        yield from unmeasured(found, policy)
        if decided_part(candidate.run, policy) == "test" and found.ids and (clusters := len(set(found.clusters))) < FEWEST_CLUSTERS:
            yield (
                f"{found.metric}: the test part has {counted(clusters, 'cluster')} of such questions; with fewer than {FEWEST_CLUSTERS} "
                "nothing is ever promoted, and the look would be wasted"
            )
    for metric in policy.limits:
        yield from dict.fromkeys(value for side in (base, candidate) if isinstance(value := limited_value(side, metric), str))


def _pairs(base: Side, candidate: Side, policy: Policy) -> Mapping[str, Pairs]:
    """Metric → pairs, of all that are compared question by question."""
    return {metric: paired(base.rows, candidate.rows, metric) for metric in (policy.primary.metric, CORRECT, *policy.margins)}


def _limits(base: Side, candidate: Side, policy: Policy) -> Iterator[Rule]:
    for metric, limit in policy.limits.items():
        one, other = limited_value(base, metric), limited_value(candidate, metric)
        if isinstance(one, float) and isinstance(other, float):
            yield limit_rule(metric, limit, base=one, candidate=other)


def _beside(base: Side, candidate: Side, policy: Policy) -> Iterator[float]:
    """p-values of the primary metric for the candidates that are neither of the two, each release once."""
    seen = {base.measured.release.digest, candidate.measured.release.digest}
    for measured in candidate.run.candidates:
        if measured.release.digest not in seen:
            seen.add(measured.release.digest)
            third = Side.of(candidate.run, measured.name, policy.primary.part)
            pairs = paired(base.rows, third.rows, policy.primary.metric)
            if pairs.ids:
                yield p_value(pairs, policy)


def _decision(
    base: Side,
    candidate: Side,
    policy: Policy,
    verdict: Verdict,
    reasons: Sequence[str],
    *,
    looks: int,
    rules: Sequence[Rule] = (),
    broken: tuple[str, ...] = (),
    mended: tuple[str, ...] = (),
) -> Decision:
    run = candidate.run
    return Decision(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        reasons=tuple(reasons),
        notes=tuple(_notes(base, candidate, policy)) if rules else (),
        base=_party(base),
        candidate=_party(candidate),
        questions=run.questions.name,
        questions_digest=run.questions.digest,
        part=decided_part(run, policy),
        n_questions=len(candidate.rows),
        looks=looks,
        policy=policy,
        policy_digest=policy.digest,
        rules=tuple(rules),
        broken=broken,
        mended=mended,
    )


def _party(side: Side) -> Party:
    measured = side.measured
    return Party(
        run=side.run.id,
        name=measured.name,
        release=measured.release.id,
        release_digest=measured.release.digest,
        index=measured.index.name,
        index_version=measured.index.version,
        numeric_class=measured.deployment.numeric_class,
    )


def _notes(base: Side, candidate: Side, policy: Policy) -> Iterator[str]:
    classes = base.measured.deployment.numeric_class, candidate.measured.deployment.numeric_class
    if classes[0] != classes[1]:
        yield f"measured on machines of different arithmetic ({classes[0]}, {classes[1]}): scores may differ a little for that alone"
    others = {one.release.digest for one in candidate.run.candidates}
    others -= {base.measured.release.digest, candidate.measured.release.digest}
    if others and decided_part(candidate.run, policy) != "test":
        yield (
            f"{len(others):,} other candidates stand in the run. The p-value is corrected for them; the size of the difference may still "
            "flatter whoever was chosen, and a sealed test part tells"
        )


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
