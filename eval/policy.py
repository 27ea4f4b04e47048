"""What a candidate must do to be promoted, said before it is measured. Written as `policy.yaml`; every key may be left out:

    primary: {metric: correct, mode: superiority, min_effect: 0.02, part: all}
    guardrails:
      coverage: 0.05                        # how much worse it may be, in units of the metric
      false_answer_rate: 0.05
      p95_ms: {max_ratio: 1.15}             # or {max: 900}, {min: …}: a bound on the value itself
    max_new_failures: 0.05                  # a share of the questions below 1; a number of them from 1 on
    behaviours: {file: behaviours.yaml, must: all}
    alpha: 0.05

The two guardrails on not answering and on answering what cannot be answered may be widened, and never left out: without them, a candidate
that abstains from everything is never wrong.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from eval.metrics.catalogue import METRICS
from eval.yaml_file import Key, YamlFile, checked, meant, read_yaml
from rag_service.digests import digest_json
from rag_service.errors import InvalidInput

MANDATORY: Mapping[str, str] = {
    "coverage": "a candidate that abstains from everything would pass",
    "false_answer_rate": "a candidate that answers what no document answers would pass",
}
"""Guardrails that every policy has, and why."""

DEFAULT_MARGIN = 0.05
DEFAULT_EFFECT = 0.02


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"a number is expected, not {'yes' if value else 'no'}")
    return value


def _margin(value: float) -> float:
    if value < 0:
        raise ValueError(f"a margin says how much worse it may be: write {-value:g}")
    return value


Number = Annotated[float, BeforeValidator(_no_truth_value)]
Margin = Annotated[Number, AfterValidator(_margin)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Primary(_Strict):
    """The one metric that decides. `superiority`: better, by at least `min_effect`. `non_inferiority`: no worse than `margin`, for what is
    cheaper or faster.
    """

    metric: str = "correct"
    mode: Literal["superiority", "non_inferiority"] = "superiority"
    min_effect: Annotated[Number, Field(gt=0)] | None = None
    margin: Annotated[Number, Field(gt=0)] | None = None
    """The one that the mode needs; not given, `DEFAULT_EFFECT`."""
    part: Literal["all", "dev", "test"] = "all"
    """Which questions decide: all that the run asked, or those of one part."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.mode == "superiority" and self.margin is not None:
            raise ValueError("margin belongs to the mode non_inferiority, and this one is superiority")
        if self.mode == "non_inferiority" and self.min_effect is not None:
            raise ValueError("min_effect belongs to the mode superiority, and this one is non_inferiority")
        return self

    @property
    def threshold(self) -> float:
        """The difference that must be seen, or that may be."""
        given = self.min_effect if self.mode == "superiority" else self.margin
        return DEFAULT_EFFECT if given is None else given


class Limit(_Strict):
    """A bound on the candidate's value itself, or on its ratio to the base's."""

    max_ratio: Annotated[Number, Field(gt=0)] | None = None
    max: Number | None = None
    min: Number | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max_ratio is None and self.max is None and self.min is None:
            raise ValueError("give max_ratio, max or min")
        return self


class Behaviours(_Strict):
    """Cases that a candidate must pass before its numbers count. `must: all` is every case that says of itself that it must pass."""

    file: Path | None = None
    """Not given: the bundled suite."""
    must: Literal["all"] = "all"


class Policy(_Strict):
    primary: Primary = Primary()
    guardrails: Mapping[str, Margin | Limit] = Field(default_factory=lambda: dict.fromkeys(MANDATORY, DEFAULT_MARGIN))
    """Metric → how much worse it may be, or a limit on it."""
    max_new_failures: Number = DEFAULT_MARGIN
    """Questions that were right and are wrong now: a share of them below 1, a number from 1 on."""
    behaviours: Behaviours | None = None
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = 0.05
    max_error_rate: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """Above it, of either of the two, nothing is decided."""
    max_undefined: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """Share of a metric's questions that may have no value."""
    max_looks: int = Field(1, ge=1)
    """Pairs of releases that may be decided on with one test part."""
    draws: int = Field(10_000, ge=1000, le=1_000_000)

    @field_validator("guardrails")
    @classmethod
    def _mandatory_ones(cls, given: Mapping[str, float | Limit]) -> Mapping[str, float | Limit]:
        for name, otherwise in MANDATORY.items():
            if not isinstance(given.get(name), float):
                raise ValueError(f"{name} needs a margin, {name}: {DEFAULT_MARGIN:g} say: without it {otherwise}")
        return given

    @field_validator("max_new_failures")
    @classmethod
    def _share_or_number(cls, given: float) -> float:
        if given < 0 or (given > 1 and given != int(given)):
            raise ValueError("give a share of the questions below 1, or a whole number of them")
        return given

    @property
    def digest(self) -> str:
        return digest_json(self.model_dump(mode="json"))

    @property
    def margins(self) -> Mapping[str, float]:
        """Metric → how much worse it may be, question by question."""
        return {name: given for name, given in self.guardrails.items() if isinstance(given, float)}

    @property
    def limits(self) -> Mapping[str, Limit]:
        return {name: given for name, given in self.guardrails.items() if isinstance(given, Limit)}

    def allowed_failures(self, questions: int) -> int:
        """How many of so many questions may be newly broken."""
        return int(self.max_new_failures if self.max_new_failures >= 1 else self.max_new_failures * questions)


def read_policy(path: Path | None, *at: Key) -> Policy:
    """The policy in a file, under the keys `at`; without a file the default one. Raises `NotFound`, or `InvalidInput` with its line."""
    return Policy() if path is None else policy_in(read_yaml(path), *at)


def policy_in(file: YamlFile, *at: Key) -> Policy:
    """Raises `InvalidInput` with file and line."""
    policy = checked(Policy, file, *at)
    _check_metric(policy.primary.metric, file, *at, "primary", "metric")
    for name, guardrail in policy.guardrails.items():
        _check_metric(name, file, *at, "guardrails", name, limited=isinstance(guardrail, Limit))
    if policy.behaviours is None or policy.behaviours.file is None:
        return policy
    found = file.path.parent / policy.behaviours.file
    if not found.is_file():
        raise InvalidInput(
            f"{file.place(*at, 'behaviours', 'file')}: there is no file {found}", hint="paths are relative to the policy's own folder"
        )
    return policy.model_copy(update={"behaviours": policy.behaviours.model_copy(update={"file": found})})


def _check_metric(name: str, file: YamlFile, *keys: Key, limited: bool = False) -> None:
    if name not in METRICS:
        raise InvalidInput(f"{file.place(*keys)}: there is no metric {name!r}", hint=meant(name, METRICS, what="metrics"))
    if not limited and not METRICS[name].per_question:
        raise InvalidInput(
            f"{file.place(*keys)}: {name} is known of a whole set and of no single question, by which candidates are compared",
            hint=f"put a limit on its value: {name}: {{max_ratio: 1.15}}, or max, or min",
        )
