"""What a policy may say, and what it may not leave out."""

from pathlib import Path

import pytest

from eval.policy import Behaviours, Limit, Policy, Primary, policy_in, read_policy
from eval.yaml_file import parse_yaml
from rag_service.errors import InvalidInput

HOLDS = "guardrails: {coverage: 0.05, false_answer_rate: 0.05}\n"


def parsed(text: str) -> Policy:
    return policy_in(parse_yaml(text, Path("policy.yaml")))


def refused(text: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parsed(text)
    assert caught.value.hint
    return caught.value


def test_the_default_policy_asks_for_more_right_answers_and_holds_both_guardrails() -> None:
    policy = read_policy(None)
    assert policy.primary == Primary(metric="correct", mode="superiority", part="all")
    assert policy.primary.threshold == 0.02
    assert policy.margins == {"coverage": 0.05, "false_answer_rate": 0.05}
    assert policy == parsed("") == parsed(HOLDS)


def test_a_whole_policy_is_read() -> None:
    policy = parsed(
        "primary: {metric: f1, mode: non_inferiority, margin: 0.01, part: test}\n"
        "guardrails:\n  coverage: 0\n  false_answer_rate: 1e-2\n  recall@5: 0.02\n  p95_ms: {max_ratio: 1.15}\n  abstain_f1: {min: 0.5}\n"
        "behaviours: {must: all}\nmax_new_failures: 3\nalpha: 0.01\nmax_looks: 2\ndraws: 2000\nmax_error_rate: 0\nmax_undefined: 0.1\n"
    )
    assert policy.primary.threshold == 0.01
    assert policy.margins == {"coverage": 0.0, "false_answer_rate": 0.01, "recall@5": 0.02}
    assert policy.limits == {"p95_ms": Limit(max_ratio=1.15), "abstain_f1": Limit(min=0.5)}
    assert policy.behaviours == Behaviours()
    assert (policy.alpha, policy.max_looks, policy.draws) == (0.01, 2, 2000)


@pytest.mark.parametrize(("given", "questions", "allowed"), [("3", 200, 3), ("0.05", 200, 10), ("0.05", 39, 1), ("0", 200, 0), ("1", 9, 1)])
def test_new_failures_are_a_share_below_one_and_a_number_from_one_on(given: str, questions: int, allowed: int) -> None:
    assert parsed(f"max_new_failures: {given}\n").allowed_failures(questions) == allowed


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("guardrails:\n  coverage: 0.05\n", "policy.yaml:1: guardrails: false_answer_rate needs a margin, false_answer_rate: 0.05 say", ""),
        ("guardrails: {false_answer_rate: 0.05}\n", "policy.yaml:1: guardrails: coverage needs a margin", ""),
        ("guardrails: {false_answer_rate: 0.1, coverage: {min: 0}}\n", "policy.yaml:1: guardrails: coverage needs a margin", ""),
        ("guardrails:\n  coverage: -0.02\n", "a margin says how much worse it may be: write 0.02", ""),
        ("primary: {metrc: f1}\n", "policy.yaml:1: there is no key 'primary.metrc'", "did you mean 'metric'?"),
        ("primary:\n  metric: corect\n", "policy.yaml:2: there is no metric 'corect'", "did you mean 'correct'?"),
        (HOLDS.replace("}", ", recal@5: 0.1}"), "policy.yaml:1: there is no metric 'recal@5'", "did you mean 'recall@5'?"),
        (HOLDS.replace("}", ", abstain_f1: 0.1}"), "abstain_f1 is known of a whole set", "put a limit on its value"),
        ("primary: {metric: p95_ms}\n", "p95_ms is known of a whole set", "put a limit"),
        (HOLDS.replace("}", ", p95_ms: {max_ration: 1}}"), "there is no key 'guardrails.p95_ms.max_ration'", "did you mean 'max_ratio'?"),
        (HOLDS.replace("}", ", p95_ms: {}}"), "give max_ratio, max or min", ""),
        ("primary: {margin: 0.1}\n", "margin belongs to the mode non_inferiority, and this one is superiority", ""),
        ("primary: {mode: non_inferiority, min_effect: 0.1}\n", "min_effect belongs to the mode superiority", ""),
        ("primary: {mode: better}\n", "policy.yaml:1: primary.mode: Input should be 'superiority' or 'non_inferiority'", ""),
        ("primary: {min_effect: 0}\n", "primary.min_effect: Input should be greater than 0", ""),
        ("primary: {min_effect: yes}\n", "a number is expected, not yes", ""),
        ("alpha: .nan\n", "policy.yaml:1: alpha: ", ""),
        ("max_new_failures: 2.5\n", "give a share of the questions below 1, or a whole number of them", ""),
        ("max_looks: 0\n", "policy.yaml:1: max_looks: Input should be greater than or equal to 1", ""),
        ("behaviours:\n  file: none.yaml\n", "policy.yaml:2: there is no file none.yaml", "relative to the policy's own folder"),
        ("on_inconclusive: fail\n", "policy.yaml:1: there is no key 'on_inconclusive'", "the keys here are"),
    ],
)  # fmt: skip
def test_what_a_policy_may_not_say_is_said_with_its_line(text: str, says: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith("policy.yaml:")
    assert says in error.message
    assert hint in error.hint


def test_a_file_of_behaviours_is_looked_for_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("cases: []\n")
    (tmp_path / "policy.yaml").write_text("behaviours: {file: mine.yaml}\n")
    policy = read_policy(tmp_path / "policy.yaml")
    assert policy.behaviours is not None
    assert policy.behaviours.file == tmp_path / "mine.yaml"


def test_policies_of_the_same_content_have_one_digest() -> None:
    assert parsed(HOLDS).digest == Policy().digest
    assert parsed("alpha: 0.1\n").digest != Policy().digest
