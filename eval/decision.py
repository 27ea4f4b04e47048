"""The noun: what a gate decided, with every number it rests on. Stands as `decision.json` in the folder of the candidate's run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from eval.policy import Policy
from eval.runs import DECISION_FILE
from rag_service.durable import write_atomically
from rag_service.errors import InvalidInput, NotFound

SCHEMA: Literal["rag.eval.decision/v1"] = "rag.eval.decision/v1"

Verdict = Literal["PROMOTE", "REJECT", "INCONCLUSIVE", "INVALID"]

EXIT_CODES: Mapping[Verdict, int] = {"PROMOTE": 0, "REJECT": 1, "INCONCLUSIVE": 3, "INVALID": 4}
"""2 is a wrong call, as everywhere."""

Kind = Literal["primary", "guardrail", "limit", "new_failures", "behaviours"]

State = Literal["passed", "failed", "unclear"]
"""`unclear`: neither can be said with so many questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Candidate − base, question by question, in units of the metric."""

    n: int
    """Questions of which both have a value."""
    clusters: int
    left_out: int
    """Questions of which one of the two has no value."""
    difference: float
    low: float
    high: float
    """The interval of the difference, two-sided at 1 − alpha."""
    worst: float
    """How bad the difference may be: its one-sided bound at 1 − alpha, on the side that is worse."""
    p_value: float
    """Of no difference, two-sided."""
    p_holm: float | None
    """The same among all candidates of the run; None where it was not corrected."""
    mcnemar: float | None
    """Exact p-value; None where values are not 0 and 1."""
    wins: int
    ties: int
    losses: int
    """Questions at which the candidate is better, the same, worse."""
    sd: float
    intracluster: float
    detectable: float
    """The smallest difference that so many questions would show in four of five cases; 0 where none differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One condition of the policy and what became of it."""

    kind: Kind
    metric: str
    """What is looked at; the name of the suite for behaviours."""
    over: str
    """Which questions, in words."""
    higher_is_better: bool
    asked: str
    """What is asked of the candidate, in words: `better by 0.02 or more`."""
    state: State
    said: str
    """What was found, in one sentence."""
    base: float | None = None
    candidate: float | None = None
    """Means over the questions of both, values of a limited metric, or numbers of questions and cases."""
    threshold: float | None = None
    """Smallest effect, margin, limit, or number of questions."""
    difference: Difference | None = None
    """Of the primary metric and the guardrails with a margin."""
    needed: int | None = None
    """Questions that would settle it, where it is unclear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """The base, or the candidate."""

    run: str
    """Id of the run in which it was measured."""
    name: str
    release: str
    """Id."""
    release_digest: str
    index: str
    """Name of the index in which its version lies."""
    index_version: str
    numeric_class: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    schema_: Annotated[Literal["rag.eval.decision/v1"], Field(alias="schema")] = SCHEMA
    verdict: Verdict
    exit_code: int
    reasons: tuple[str, ...]
    """Why, the first sentence first; never empty."""
    notes: tuple[str, ...]
    """What to bear in mind; they decide nothing."""
    base: Party
    candidate: Party
    questions: str
    """Name of the set."""
    questions_digest: str
    part: Literal["all", "dev", "test"]
    """Whose questions decided."""
    n_questions: int
    looks: int
    """Pairs that were decided on with this test part, this one included; 0 where no test part was used."""
    policy: Policy
    policy_digest: str
    rules: tuple[Rule, ...]
    """Primary, guardrails, limits, new failures, behaviours. Empty where the two cannot be compared."""
    broken: tuple[str, ...]
    """Ids of questions that were right and are wrong now."""
    mended: tuple[str, ...]
    decided_at: str = ""
    """UTC, ISO 8601, seconds; empty until it is written."""
    command: str = ""
    """That decides it again."""

    @property
    def pair(self) -> tuple[str, str]:
        """Digests of the releases of both."""
        return self.base.release_digest, self.candidate.release_digest

    @property
    def primary(self) -> Rule | None:
        return next((rule for rule in self.rules if rule.kind == "primary"), None)

    @property
    def needed(self) -> int | None:
        """Questions that would settle what is unclear: the most that any rule needs."""
        return max((rule.needed for rule in self.rules if rule.needed is not None), default=None)


_ADAPTER = TypeAdapter(Decision)


def decision_json(decision: Decision) -> str:
    return json.dumps(_ADAPTER.dump_python(decision, mode="json", by_alias=True), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def decision_of(text: str | bytes) -> Decision:
    """Raises `InvalidInput` where `text` is not a decision of this schema."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise InvalidInput(
            f"this is not a decision of the schema {SCHEMA}: {place}: {problem['msg']}",
            hint="decide again: `python -m eval gate` writes one",
        ) from error


def write_decision(folder: Path, decision: Decision) -> bool:
    """Into the folder of a run, in place of what was decided there before. That two cannot be compared replaces no decision on two others:
    False then. Raises `StorageFailed`, or `InvalidInput` for what stands there and is no decision.
    """
    path = folder / DECISION_FILE
    if decision.verdict == "INVALID" and path.is_file() and read_decision(folder).pair != decision.pair:
        return False
    write_atomically(path, decision_json(decision).encode())
    return True


def read_decision(folder: Path) -> Decision:
    """Raises `NotFound` or `InvalidInput`."""
    path = folder / DECISION_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"nothing was decided on the run {folder.name}", hint=f"`python -m eval gate {folder.name} BASE CANDIDATE` does"
        ) from error
    return decision_of(text)
