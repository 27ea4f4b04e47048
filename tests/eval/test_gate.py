"""The gate: a verdict that can be defended, or the field for which there is none."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.choosing import choose
from eval.decision import Decision, decision_json, decision_of, read_decision, write_decision
from eval.gate import decide, decide_between
from eval.policy import Behaviours, Limit, Policy, Primary
from eval.questions import EvalQuestion
from eval.results import Measured, Parameters, Row, Run
from eval.sample import Failure, Sample
from eval.scores import Failed, Outcome, Score, Undefined
from rag_service.deployment import Deployment
from rag_service.errors import InvalidInput, NotFound
from rag_service.record import IndexIdentity
from tests.eval.built import NOTHING, a_candidate, a_release, a_row, a_run

POLICY = Policy(draws=1000)
MARGINS = {"coverage": 0.05, "false_answer_rate": 0.05}


@dataclass(frozen=True)
class Asked:
    """Questions of a made-up set: the first `answerable` of them can be answered. `size` of them hang together."""

    answerable: int = 200
    unanswerable: int = 60
    size: int = 1

    @property
    def n(self) -> int:
        return self.answerable + self.unanswerable

    def rows(
        self, right: Sequence[bool], *, abstains: Iterable[int] = (), scores: Mapping[str, Sequence[Outcome]] | None = None
    ) -> list[Row]:
        """`right[i]` says whether question i came out right. What is unanswerable and wrong was answered; what is answerable and wrong was
        answered wrongly, unless it is in `abstains`.
        """
        quiet = set(abstains)
        rows = []
        for i in range(self.n):
            answerable = i < self.answerable
            abstained = i in quiet or (not answerable and right[i])
            question = EvalQuestion(id=f"q{i}", question=f"Question {i}?", answers=("yes",) if answerable else (), answerable=answerable)
            sample = Sample(status="abstained" if abstained else "answered", answer=None if abstained else "yes")
            more = {name: values[i] for name, values in (scores or {}).items()}
            rows.append(a_row(question, sample, {"correct": float(right[i]), **more}, cluster=f"c{i // self.size}"))
        return rows


def of(name: str, rows: Sequence[Row], **more: Any) -> Measured:
    """Each name is a release of its own."""
    return a_candidate(name, rows, release=a_release(top_k=1 + sum(map(ord, name)) % 40), **more)


def share(n: int, rate: float) -> list[bool]:
    """(n,): True at about this rate, spread evenly."""
    return [int((i + 1) * rate) > int(i * rate) for i in range(n)]


def flipped(right: Sequence[bool], at: Iterable[int]) -> list[bool]:
    changed = set(at)
    return [one != (i in changed) for i, one in enumerate(right)]


def two(base: Sequence[Row], candidate: Sequence[Row], **more: Any) -> Run:
    return a_run(of("base", base), of("cand", candidate), **more)


ASKED = Asked()
BASE = share(ASKED.n, 0.6)
WRONG = [i for i in range(ASKED.n) if not BASE[i]]
RIGHT = [i for i in range(ASKED.n) if BASE[i]]


def rule(decision: Decision, metric: str) -> Any:
    return next(each for each in decision.rules if each.metric == metric)


# What a gate is for


def test_a_candidate_that_is_truly_better_is_promoted() -> None:
    better = flipped(BASE, [*WRONG[:40], *RIGHT[:4]])
    decision = decide(two(ASKED.rows(BASE), ASKED.rows(better)), "base", "cand", POLICY)
    assert (decision.verdict, decision.exit_code) == ("PROMOTE", 0)
    primary = decision.primary
    assert primary is not None
    assert primary.difference is not None
    assert primary.difference.difference == pytest.approx(36 / 260)
    assert (primary.difference.wins, primary.difference.losses) == (40, 4)
    assert primary.difference.low > 0
    assert (len(decision.broken), len(decision.mended)) == (4, 40)
    assert decision.broken == tuple(f"q{i}" for i in RIGHT[:4])
    assert "correct: 0.600 → 0.738, by 0.138 [" in decision.reasons[0]


def test_an_equal_candidate_is_promoted_in_fewer_than_5_of_100_repeats() -> None:
    """Base and candidate are right at the same questions as often, each by its own dice."""
    random = np.random.default_rng(11)
    promoted = 0
    for _ in range(100):
        hard = random.random(ASKED.n)
        draws = [(random.random(ASKED.n) < 0.2 + 0.6 * hard).tolist() for _ in range(2)]
        promoted += decide(two(*(ASKED.rows(each) for each in draws)), "base", "cand", loose(max_new_failures=200)).verdict == "PROMOTE"
    assert promoted < 5


def test_of_ten_equal_candidates_the_best_is_promoted_in_fewer_than_5_of_40_repeats() -> None:
    """Whoever takes the best of ten has looked ten times. Without correction about four in ten of these would be promoted."""
    random = np.random.default_rng(12)
    asked, promoted = Asked(answerable=150, unanswerable=50), 0
    for _ in range(40):
        rows = [asked.rows((random.random(asked.n) < 0.6).tolist()) for _ in range(11)]
        run = a_run(*(a_candidate(f"c{k}", each, release=a_release(top_k=k + 1)) for k, each in enumerate(rows)))
        best = max(run.candidates[1:], key=lambda measured: sum(bool(row.scores["correct"]) for row in measured.rows))
        promoted += decide(run, "c0", best.name, loose(max_new_failures=200)).verdict == "PROMOTE"
    assert promoted < 5


def loose(**more: Any) -> Policy:
    """Guardrails that hold whatever comes, so that the primary metric alone decides."""
    return Policy(draws=1000, guardrails={"coverage": 1.0, "false_answer_rate": 1.0}, **more)


def test_a_broken_candidate_is_rejected() -> None:
    decision = decide(two(ASKED.rows(BASE), ASKED.rows([False] * ASKED.n)), "base", "cand", POLICY)
    assert (decision.verdict, decision.exit_code) == ("REJECT", 1)
    assert rule(decision, "correct").state == "failed"
    assert rule(decision, "false_answer_rate").state == "failed"


def test_a_candidate_that_always_abstains_is_rejected_by_coverage() -> None:
    """Of unanswerable questions it is always right, and with enough of them it is right more often than the base."""
    asked = Asked(answerable=60, unanswerable=200)
    base = [i < 40 or i >= 240 for i in range(asked.n)]
    quiet = [i >= 60 for i in range(asked.n)]
    decision = decide(two(asked.rows(base), asked.rows(quiet, abstains=range(asked.n))), "base", "cand", POLICY)
    assert decision.verdict == "REJECT"
    assert decision.primary is not None
    assert decision.primary.state == "passed"
    coverage = rule(decision, "coverage")
    assert (coverage.state, coverage.base, coverage.candidate) == ("failed", 1.0, 0.0)
    assert coverage.over == "questions not known to be unanswerable"


def test_abstaining_where_nothing_can_be_answered_costs_no_coverage() -> None:
    base = [i < ASKED.answerable and BASE[i] for i in range(ASKED.n)]
    better = [i >= ASKED.answerable or BASE[i] for i in range(ASKED.n)]
    decision = decide(two(ASKED.rows(base), ASKED.rows(better)), "base", "cand", POLICY)
    assert decision.verdict == "PROMOTE"
    assert rule(decision, "coverage").difference.difference == 0.0
    assert rule(decision, "false_answer_rate").difference.difference == -1.0


def test_answering_what_nothing_answers_is_rejected_whatever_else_it_brings() -> None:
    better = [True] * ASKED.answerable + [False] * ASKED.unanswerable
    base = [i % 3 == 0 or i >= ASKED.answerable for i in range(ASKED.n)]
    decision = decide(two(ASKED.rows(base), ASKED.rows(better)), "base", "cand", POLICY)
    assert decision.verdict == "REJECT"
    assert rule(decision, "correct").state == "passed"
    false_answers = rule(decision, "false_answer_rate")
    assert (false_answers.base, false_answers.candidate, false_answers.higher_is_better) == (0.0, 1.0, False)
    assert (false_answers.difference.wins, false_answers.difference.losses) == (0, 60)
    assert false_answers.difference.worst == pytest.approx(1.0)


def test_more_newly_wrong_questions_than_allowed_are_rejected_though_the_mean_is_better() -> None:
    better = flipped(BASE, [*WRONG[:60], *RIGHT[:20]])
    run = two(ASKED.rows(BASE), ASKED.rows(better))
    decision = decide(run, "base", "cand", POLICY)  # 5 % of 260 questions: 13
    assert decision.verdict == "REJECT"
    assert decision.primary is not None
    assert decision.primary.state == "passed"
    failures = next(each for each in decision.rules if each.kind == "new_failures")
    assert (failures.state, failures.threshold, failures.candidate) == ("failed", 13, 20)
    assert "20 of 260 questions were right and are wrong now, 60 the other way round; asked: at most 13: q" in failures.said
    assert decide(run, "base", "cand", POLICY.model_copy(update={"max_new_failures": 20})).verdict == "PROMOTE"


def test_a_difference_that_comes_from_one_document_is_not_promoted() -> None:
    """The same numbers, once with every question about a document of its own, once with the better ones all about one."""
    better = flipped(BASE, WRONG[:40])
    alone = decide(two(ASKED.rows(BASE), ASKED.rows(better)), "base", "cand", POLICY)
    gained = set(WRONG[:40])
    together = [
        [replace(row, cluster="one" if int(row.id[1:]) in gained else row.cluster) for row in ASKED.rows(each)] for each in (BASE, better)
    ]
    one_document = decide(two(*together), "base", "cand", POLICY)
    assert alone.verdict == "PROMOTE"
    assert one_document.verdict == "INCONCLUSIVE"
    assert one_document.primary is not None
    assert one_document.primary.difference is not None
    assert one_document.primary.difference.difference == pytest.approx(40 / 260)
    assert one_document.primary.difference.low <= 0


def test_with_fewer_than_ten_clusters_nothing_is_promoted() -> None:
    asked = Asked(answerable=200, unanswerable=60, size=30)
    decision = decide(two(asked.rows(share(260, 0.1)), asked.rows(share(260, 0.9))), "base", "cand", loose(max_new_failures=200))
    assert decision.verdict == "INCONCLUSIVE"
    assert "They hang together in 9 clusters; with fewer than 10 nothing is promoted" in decision.reasons[0]


# Too few questions


def test_what_so_few_questions_cannot_say_is_inconclusive_and_how_many_could_is_said() -> None:
    asked = Asked(answerable=40, unanswerable=20)
    base = share(asked.n, 0.5)
    wrong = [i for i, one in enumerate(base) if not one]
    right = [i for i, one in enumerate(base) if one]
    better = flipped(base, [*wrong[:6], *right[:3]])
    decision = decide(two(asked.rows(base), asked.rows(better)), "base", "cand", loose(max_new_failures=3))
    assert (decision.verdict, decision.exit_code) == ("INCONCLUSIVE", 3)
    primary = decision.primary
    assert primary is not None
    assert primary.difference is not None
    # d = 3/60, sd² = (9 − 9/60) / 59; (1.95996 + 0.84162)² · sd² / d² = 7.84886 · 0.15 / 0.0025 = 470.9
    assert primary.difference.sd == pytest.approx((8.85 / 59) ** 0.5)
    assert primary.needed == 471
    assert decision.needed == 471
    assert "About 471 such questions would tell" in decision.reasons[0]


def test_an_effect_that_is_excluded_is_rejected_and_not_called_inconclusive() -> None:
    asked = Asked(answerable=900, unanswerable=100)
    base = share(asked.n, 0.5)
    wrong, right = ([i for i, one in enumerate(base) if one is value] for value in (False, True))
    same = flipped(base, [*wrong[:5], *right[:5]])
    decision = decide(two(asked.rows(base), asked.rows(same)), "base", "cand", loose())
    assert decision.verdict == "REJECT"
    assert decision.primary is not None
    assert decision.primary.difference is not None
    assert decision.primary.difference.high < 0.02


def test_a_candidate_that_differs_in_nothing_is_rejected() -> None:
    decision = decide(two(ASKED.rows(BASE), ASKED.rows(BASE)), "base", "cand", POLICY)
    assert decision.verdict == "REJECT"
    assert decision.reasons == (rule(decision, "correct").said,)


# No worse


def test_a_candidate_that_is_no_worse_is_promoted_by_non_inferiority() -> None:
    policy = Policy(draws=1000, primary=Primary(mode="non_inferiority", margin=0.05))
    same = flipped(BASE, [*WRONG[:5], *RIGHT[:5]])
    worse = flipped(BASE, RIGHT[:30])
    unclear = flipped(BASE, [*WRONG[:20], *RIGHT[:26]])
    verdicts = {
        name: decide(two(ASKED.rows(BASE), ASKED.rows(each)), "base", "cand", policy.model_copy(update={"max_new_failures": 50})).verdict
        for name, each in {"same": same, "worse": worse, "unclear": unclear}.items()
    }
    assert verdicts == {"same": "PROMOTE", "worse": "REJECT", "unclear": "INCONCLUSIVE"}


def test_a_guardrail_that_so_few_questions_cannot_hold_is_inconclusive() -> None:
    """3 of 60 unanswerable questions answered and 1 no more: −2/60 is seen, and more than the margin of 0.05 cannot be ruled out."""
    better = flipped(BASE, [i for i in WRONG if i < ASKED.answerable][:60])
    unanswerable = [i for i in range(ASKED.answerable, ASKED.n) if better[i]]
    decision = decide(two(ASKED.rows(BASE), ASKED.rows(flipped(better, unanswerable[:2]))), "base", "cand", POLICY)
    assert decision.verdict == "INCONCLUSIVE"
    unclear = rule(decision, "false_answer_rate")
    assert unclear.state == "unclear"
    assert unclear.needed is not None
    assert unclear.needed > 60
    assert "unanswerable questions" in unclear.said


# Limits


def with_times(measured: Measured, p95_ms: float) -> Measured:
    return replace(measured, metrics={"operations": {"p95_ms": Score(p95_ms, 100, 100)}})


def test_limits_bound_the_value_itself_and_its_ratio() -> None:
    policy = Policy(draws=1000, guardrails={**MARGINS, "p95_ms": Limit(max_ratio=1.2, max=200.0)})
    better = ASKED.rows(flipped(BASE, WRONG[:40]))
    timed = Parameters(depth=100, answers=True, limit=None, timeout_s=30.0, timing=100)

    def verdict(base_ms: float, candidate_ms: float) -> Decision:
        run = a_run(with_times(of("base", ASKED.rows(BASE)), base_ms), with_times(of("cand", better), candidate_ms), parameters=timed)
        return decide(run, "base", "cand", policy)

    assert verdict(100.0, 119.0).verdict == "PROMOTE"
    slower = verdict(100.0, 121.0)
    assert slower.verdict == "REJECT"
    assert slower.reasons == ("p95_ms: 100.0 → 121.0; asked: at most 200 and at most 1.2 × the base's",)
    assert verdict(199.0, 201.0).verdict == "REJECT"


def test_a_metric_of_every_question_can_be_limited_too() -> None:
    policy = Policy(draws=1000, guardrails={**MARGINS, "f1": Limit(min=0.5)})
    better = flipped(BASE, WRONG[:40])
    runs = [two(ASKED.rows(BASE, scores={"f1": [0.4] * 260}), ASKED.rows(better, scores={"f1": [value] * 260})) for value in (0.5, 0.49)]
    assert [decide(run, "base", "cand", policy).verdict for run in runs] == ["PROMOTE", "REJECT"]


# What cannot be compared


def invalid(run: Run, policy: Policy = POLICY, **more: Any) -> tuple[str, ...]:
    decision = decide(run, "base", "cand", policy, **more)
    assert (decision.verdict, decision.exit_code, decision.rules) == ("INVALID", 4, ())
    return decision.reasons


def test_the_base_is_no_candidate_against_itself() -> None:
    rows = ASKED.rows(BASE)
    run = a_run(a_candidate("base", rows), a_candidate("cand", rows))
    assert invalid(run)[0].startswith("release: the candidate is the base, both are release ")


def test_other_documents_are_named() -> None:
    other = IndexIdentity("little", "1" * 12, NOTHING, "sha256:" + "ab" * 32, "2025-01-01T00:00:00Z", 4, 5)
    run = a_run(of("base", ASKED.rows(BASE)), of("cand", ASKED.rows(BASE), index=other))
    assert invalid(run) == ("index.corpus_digest: they were built from different documents (e3b0c44298fc and abababababab)",)


def test_two_runs_over_other_questions_are_named() -> None:
    base, candidate = a_run(of("base", ASKED.rows(BASE))), a_run(of("cand", ASKED.rows(BASE)), questions="others.jsonl")
    decision = decide_between(base, "base", candidate, "cand", POLICY)
    assert decision.verdict == "INVALID"
    assert decision.reasons[0].startswith("questions.digest: they were asked different questions (questions.jsonl ")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"depth": 50}, "parameters.depth: 100 in the run"),
        ({"limit": 7}, "parameters.limit: None in the run"),
        ({"part": "dev"}, "parameters.part: all in the run"),
        ({"timeout_s": 1.0}, "parameters.timeout_s: 30.0 in the run"),
        ({"answers": False}, "parameters.answers: True in the run"),
    ],
)
def test_two_runs_with_other_parameters_are_named(changed: Mapping[str, Any], says: str) -> None:
    base, candidate = a_run(of("base", ASKED.rows(BASE))), a_run(of("cand", ASKED.rows(BASE)))
    candidate = replace(candidate, parameters=replace(candidate.parameters, **changed))
    decision = decide_between(base, "base", candidate, "cand", POLICY)
    assert decision.verdict == "INVALID"
    assert decision.reasons[0].startswith(says)


def test_two_runs_that_were_scored_by_other_versions_of_a_metric_are_named() -> None:
    runs = [a_run(of(name, ASKED.rows(BASE))) for name in ("base", "cand")]
    base, candidate = (replace(run, metric_versions={"correct": 1, "f1": version}) for run, version in zip(runs, (1, 2), strict=True))
    decision = decide_between(base, "base", candidate, "cand", POLICY)
    assert decision.verdict == "INVALID"
    assert decision.reasons == (f"metric_versions.f1: 1 in the run {base.id}, 2 in the run {candidate.id}",)


def test_two_runs_that_can_be_compared_are() -> None:
    better = flipped(BASE, WRONG[:40])
    base, candidate = a_run(of("base", ASKED.rows(BASE))), a_run(of("cand", ASKED.rows(better)))
    between = decide_between(base, "base", candidate, "cand", POLICY)
    assert between.verdict == "PROMOTE"
    assert between.base.run != between.candidate.run
    assert between.rules == decide(two(ASKED.rows(BASE), ASKED.rows(better)), "base", "cand", POLICY).rules


def test_questions_that_one_of_them_was_not_asked_are_named() -> None:
    run = two(ASKED.rows(BASE), ASKED.rows(BASE)[:-3])
    assert invalid(run) == ("rows: 3 questions were asked of one of the two alone, 'q257' first",)


def test_too_many_failures_are_named_with_their_codes() -> None:
    failed = Sample(status="error", failures=(Failure("ask", "generator_error", "it broke", "generate"),))
    rows = ASKED.rows(flipped(BASE, WRONG[:40]))
    broken = [replace(row, sample=failed, scores={"correct": Failed("generator_error")}) if i < 3 else row for i, row in enumerate(rows)]
    assert invalid(two(ASKED.rows(BASE), broken)) == (
        "error rate: 'cand' failed at 3 of 260 questions (generator_error), at most 1.0% may",
    )


def test_few_failures_count_as_wrong() -> None:
    failed = Sample(status="error", failures=(Failure("ask", "generator_error", "it broke", "generate"),))
    rows = ASKED.rows(BASE)
    broken = [
        replace(row, sample=failed, scores={"correct": Failed("generator_error")}) if i in RIGHT[:2] else row for i, row in enumerate(rows)
    ]
    decision = decide(two(rows, broken), "base", "cand", POLICY)
    assert decision.broken == tuple(f"q{i}" for i in RIGHT[:2])
    assert rule(decision, "coverage").candidate == pytest.approx(198 / 200)


def test_a_metric_without_values_is_named() -> None:
    scores: dict[str, Sequence[Outcome]] = {"f1": [Undefined("no reference")] * 10 + [0.5] * 250}
    run = two(ASKED.rows(BASE, scores=scores), ASKED.rows(BASE, scores=scores))
    policy = Policy(draws=1000, guardrails={**MARGINS, "f1": 0.1})
    assert invalid(run, policy) == ("f1: undefined at 10 of 260 questions (no reference), at most 1.0% may be",)
    policy = Policy(draws=1000, guardrails={**MARGINS, "recall@5": 0.1})
    assert invalid(run, policy) == (
        "recall@5: no question can be compared (questions that have it): it applies to no question that was asked",
    )


def test_without_an_unanswerable_question_the_guardrail_on_false_answers_cannot_be_held() -> None:
    asked = Asked(answerable=100, unanswerable=0)
    reasons = invalid(two(asked.rows(share(100, 0.4)), asked.rows(share(100, 0.9))))
    assert reasons == ("false_answer_rate: no question can be compared (unanswerable questions): it applies to no question that was asked",)


def test_what_abstaining_leaves_without_a_value_is_left_out_and_not_held_against_it() -> None:
    """Support is of answers; a base that abstains on 30 questions has none there."""
    supported: list[Outcome] = [1.0] * 260
    quiet = [i for i in WRONG if i < 200][:30]
    few: list[Outcome] = [Undefined("there is no answer") if i in quiet else 1.0 for i in range(260)]
    policy = Policy(draws=1000, guardrails={**MARGINS, "supported": 0.05})
    run = two(
        ASKED.rows(BASE, abstains=quiet, scores={"supported": few}), ASKED.rows(flipped(BASE, quiet), scores={"supported": supported})
    )
    decision = decide(run, "base", "cand", policy)
    assert decision.verdict == "PROMOTE"
    assert (rule(decision, "supported").difference.n, rule(decision, "supported").difference.left_out) == (230, 30)


def test_times_that_nobody_took_are_named() -> None:
    policy = Policy(draws=1000, guardrails={**MARGINS, "p95_ms": Limit(max_ratio=1.2)})
    run = two(ASKED.rows(BASE), ASKED.rows(BASE))
    assert invalid(run, policy) == (f"p95_ms: the run {run.id} took no times without caches; run it again with --timing",)
    timed = replace(run, parameters=replace(run.parameters, timing=20))
    assert invalid(timed, policy) == ("p95_ms: it was not measured for 'base'", "p95_ms: it was not measured for 'cand'")
    few = {"operations": {"p95_ms": Score(Undefined("20 were timed"), 20, 0, n_undefined=20)}}
    timed = replace(timed, candidates=tuple(replace(each, metrics=few) for each in timed.candidates))
    assert invalid(timed, policy)[0] == "p95_ms: undefined for 'base': 20 were timed"


def test_a_policy_with_behaviours_decides_nothing_before_they_were_tried() -> None:
    policy = Policy(draws=1000, behaviours=Behaviours())
    assert invalid(two(ASKED.rows(BASE), ASKED.rows(BASE)), policy)[0].startswith("behaviours: the policy asks for the behaviour suite")


@dataclass(frozen=True)
class Tried:
    name: str
    must: bool
    passed: bool


def test_a_behaviour_that_must_pass_and_fails_rejects() -> None:
    run = two(ASKED.rows(BASE), ASKED.rows(flipped(BASE, WRONG[:40])))
    policy = Policy(draws=1000, behaviours=Behaviours())
    cases = [Tried("a", True, True), Tried("b", False, False)]
    assert decide(run, "base", "cand", policy, behaviours=cases).verdict == "PROMOTE"
    decision = decide(run, "base", "cand", policy, behaviours=[*cases, Tried("injection/c", True, False)])
    assert decision.verdict == "REJECT"
    assert decision.reasons == ("1 of 2 cases that must pass do; these fail: injection/c",)


# Parts and looks


def test_the_policy_decides_on_the_part_that_it_names() -> None:
    parts = ["test" if i % 2 else "dev" for i in range(ASKED.n)]
    better = flipped(BASE, [i for i in WRONG if parts[i] == "dev"])

    def split(right: Sequence[bool]) -> list[Row]:
        rows = ASKED.rows(right)
        return [replace(row, question=replace(row.question, split=part)) for row, part in zip(rows, parts, strict=True)]  # type: ignore[arg-type]

    run = two(split(BASE), split(better))
    on = {part: decide(run, "base", "cand", Policy(draws=1000, primary=Primary(part=part)), looks=1) for part in ("dev", "test")}  # type: ignore[arg-type]
    assert (on["dev"].verdict, on["dev"].n_questions, on["dev"].part) == ("PROMOTE", 130, "dev")
    assert (on["test"].verdict, on["test"].n_questions) == ("REJECT", 130)


def test_a_part_that_was_not_asked_is_named() -> None:
    run = two(ASKED.rows(BASE), ASKED.rows(BASE))
    policy = Policy(draws=1000, primary=Primary(part="test"))
    assert invalid(run, policy) == ("rows: no question of the run is of the part test; run it with --part test",)
    dev = replace(run, parameters=replace(run.parameters, part="dev"))
    assert invalid(dev, policy) == ("parameters.part: the policy decides on the part test, and the run asked dev",)


def test_the_second_pair_that_looks_at_a_test_part_gets_no_verdict() -> None:
    run = two(ASKED.rows(BASE), ASKED.rows(flipped(BASE, WRONG[:40])))
    run = replace(run, parameters=replace(run.parameters, part="test"))
    assert decide(run, "base", "cand", POLICY, looks=1).verdict == "PROMOTE"
    assert invalid(run, looks=2)[0].startswith("looks: this is the 2nd pair that is decided on with this test part, and 1 may be")
    assert decide(run, "base", "cand", POLICY.model_copy(update={"max_looks": 2}), looks=2).verdict == "PROMOTE"


# Candidates beside


def test_other_candidates_of_the_run_make_the_test_harder() -> None:
    """p of about 0.01 alone; with ten candidates beside, that is nothing."""
    better = flipped(BASE, [*WRONG[:22], *RIGHT[:7]])
    alone = two(ASKED.rows(BASE), ASKED.rows(better))
    others = [
        a_candidate(f"other{k}", ASKED.rows(flipped(BASE, [WRONG[-k], RIGHT[-k]])), release=a_release(top_k=60 + k)) for k in range(1, 11)
    ]
    beside = replace(alone, candidates=(*alone.candidates, *others))
    assert decide(alone, "base", "cand", POLICY).verdict == "PROMOTE"
    decision = decide(beside, "base", "cand", POLICY)
    assert decision.verdict == "INCONCLUSIVE"
    assert decision.primary is not None
    assert decision.primary.difference is not None
    assert decision.primary.difference.p_holm == pytest.approx(11 * decision.primary.difference.p_value)
    assert "among all candidates of the run" in decision.reasons[0]
    assert decision.notes[0].startswith("10 other candidates stand in the run")


def test_a_name_that_is_not_there_is_answered_with_one_that_is() -> None:
    with pytest.raises(NotFound, match="there is no candidate 'cnd'") as caught:
        decide(two(ASKED.rows(BASE), ASKED.rows(BASE)), "base", "cnd", POLICY)
    assert caught.value.hint == "did you mean 'cand'?"


def test_machines_of_other_arithmetic_are_a_note_and_no_more() -> None:
    elsewhere = Deployment("test", NOTHING, "another", None, None, None, {"code.commit": "a test"})
    run = a_run(of("base", ASKED.rows(BASE)), of("cand", ASKED.rows(flipped(BASE, WRONG[:40])), deployment=elsewhere))
    decision = decide(run, "base", "cand", POLICY)
    assert decision.verdict == "PROMOTE"
    assert decision.notes == ("measured on machines of different arithmetic (test, another): scores may differ a little for that alone",)


# Choosing


def chooseable(*rights: Sequence[bool], tokens: Sequence[int]) -> Run:
    measured = [of("base", ASKED.rows(BASE))]
    for number, (right, count) in enumerate(zip(rights, tokens, strict=True)):
        rows = [replace(row, sample=replace(row.sample, prompt_tokens=count)) for row in ASKED.rows(right)]
        measured.append(a_candidate(f"c{number}", rows, release=a_release(top_k=number + 60)))
    return a_run(*measured)


def test_the_cheapest_of_those_as_good_as_the_best_is_chosen() -> None:
    run = chooseable(flipped(BASE, WRONG[:60]), flipped(BASE, WRONG[:58]), flipped(BASE, WRONG[:25]), tokens=[900, 300, 100])
    choice = choose(run, "base", POLICY)
    assert choice.chosen == "c1"
    assert choice.cost == "prompt tokens"
    assert [contender.name for contender in choice.contenders] == ["c0", "c1", "c2"]
    assert all(contender.on_front for contender in choice.contenders)
    assert "is within one standard error (0.0" in choice.why


def test_who_is_neither_better_nor_cheaper_is_not_on_the_front() -> None:
    run = chooseable(flipped(BASE, WRONG[:60]), flipped(BASE, WRONG[:40]), tokens=[300, 900])
    assert [(contender.name, contender.on_front) for contender in choose(run, "base", POLICY).contenders] == [("c0", True), ("c1", False)]


def test_without_a_candidate_that_beats_the_base_none_is_chosen() -> None:
    choice = choose(chooseable(BASE, flipped(BASE, RIGHT[:50]), tokens=[1, 1]), "base", POLICY)
    assert choice.chosen is None
    assert choice.why.startswith("no candidate has beaten the base")
    assert all(contender.problem for contender in choice.contenders)


def test_who_breaks_a_guardrail_is_not_chosen_and_who_cannot_be_compared_is_left_out() -> None:
    answers_all = [True] * ASKED.answerable + [False] * ASKED.unanswerable
    run = chooseable(answers_all, flipped(BASE, WRONG[:50]), tokens=[1, 500])
    other = of("elsewhere", ASKED.rows(BASE)[:9])
    choice = choose(replace(run, candidates=(*run.candidates, other)), "base", POLICY)
    assert choice.chosen == "c1"
    assert choice.left_out == ("elsewhere: rows: 251 questions were asked of one of the two alone, 'q10' first",)


def test_nothing_is_chosen_on_a_test_part() -> None:
    run = chooseable(BASE, tokens=[1])
    with pytest.raises(InvalidInput, match="asked the test part, on which nothing is chosen"):
        choose(replace(run, parameters=replace(run.parameters, part="test")), "base", POLICY)


# The noun


@pytest.mark.parametrize(
    "make", [lambda: POLICY, lambda: Policy(draws=1000, guardrails={**MARGINS, "f1": Limit(min=0.1)}, behaviours=Behaviours())]
)
def test_a_decision_is_written_and_read_back(tmp_path: Any, make: Callable[[], Policy]) -> None:
    scores: dict[str, Sequence[Outcome]] = {"f1": [0.5] * 260}
    run = two(ASKED.rows(BASE, scores=scores), ASKED.rows(flipped(BASE, WRONG[:40]), scores=scores))
    decision = replace(decide(run, "base", "cand", make(), behaviours=[Tried("a", True, True)]), decided_at="2026-01-01T00:00:00Z")
    assert decision_of(decision_json(decision)) == decision
    write_decision(tmp_path, decision)
    assert read_decision(tmp_path) == decision
    assert '"schema": "rag.eval.decision/v1"' in (tmp_path / "decision.json").read_text()


def test_what_is_no_decision_is_refused(tmp_path: Any) -> None:
    with pytest.raises(NotFound, match="nothing was decided on the run"):
        read_decision(tmp_path)
    with pytest.raises(InvalidInput, match="this is not a decision of the schema"):
        decision_of('{"schema": "rag.eval.decision/v2"}')


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=12, max_size=40), st.integers(0, 3))
def test_whatever_came_out_there_is_one_verdict_and_it_says_why(outcomes: list[tuple[bool, bool]], quiet: int) -> None:
    asked = Asked(answerable=len(outcomes) - 4, unanswerable=4)
    rows = asked.rows([one for one, _ in outcomes]), asked.rows([other for _, other in outcomes], abstains=range(quiet))
    decision = decide(two(*rows), "base", "cand", POLICY)
    states = {each.state for each in decision.rules}
    expected = "REJECT" if "failed" in states else "INCONCLUSIVE" if "unclear" in states else "PROMOTE"
    assert decision.verdict == expected
    assert decision.reasons
    assert decision.verdict != "PROMOTE"  # four unanswerable questions hold no guardrail
    assert decision_of(decision_json(decision)) == decision
