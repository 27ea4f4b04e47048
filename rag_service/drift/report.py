"""What a comparison found, as it is stored, shown and sent. No text of a question or an answer is in it; ids of documents are."""

from typing import Literal

from pydantic import Field

from rag_service.drift.features import About, Kind
from rag_service.stored import Frozen

State = Literal["alarm", "significant", "quiet", "undefined"]
"""`significant`: surely another, and no alarm: by less than its floor, or from a reference that is no traffic."""

Source = Literal["records", "searches", "questions", "evaluation"]
"""What a reference was made of: answers of a time; what was asked in a time, searched for anew with another encoder; a file of questions
that somebody took for what is asked; the questions of an evaluation, which nobody did.
"""

SystemState = Literal["same", "released", "alarm", "undefined"]
"""`released`: other answers, by another release."""


class Bar(Frozen):
    """One class of values, or one category. Shares of each side."""

    label: str
    reference: float
    window: float


class Point(Frozen):
    """One question, seen from where questions differ most. Coordinates from −1 to 1."""

    x: float
    y: float
    window: bool


class Finding(Frozen):
    feature: str
    title: str
    about: About
    kind: Kind
    state: State
    why: str = ""
    """Why it is undefined."""
    n_reference: int = 0
    n_window: int = 0
    """Distinct questions that have a value."""
    effect: float | None = None
    effect_name: str
    floor: float
    p_value: float | None = None
    p_adjusted: float | None = None
    """Holm's, over all features that are defined."""
    reference: str = ""
    window: str = ""
    """What it was and what it is, for people."""
    more: dict[str, float] = Field(default_factory=dict)
    """Further statistics: `mmd2`, `wasserstein`, `wasserstein_sigma`, `chi2`, `psi`."""
    bars: tuple[Bar, ...] = ()
    points: tuple[Point, ...] = ()

    @property
    def unlike(self) -> bool:
        """What would be an alarm, were the reference traffic."""
        return self.state == "significant" and self.effect is not None and self.effect >= self.floor


class Side(Frozen):
    """What stood on one side."""

    since: str
    until: str
    """UTC, ISO 8601; empty where the questions are those of a file."""
    records: int
    questions: int
    """Distinct ones that were looked at."""
    conversations: int
    releases: dict[str, int]
    """Questions of each."""


class SystemFinding(Frozen):
    """The system alone: questions that never change, asked again."""

    state: SystemState
    why: str = ""
    release: str = ""
    """What answers now."""
    before: str = ""
    """What answered then."""
    asked: int = 0
    changed: tuple[str, ...] = ()
    """Of each canary whose answer is another: its number and the first stage that differs."""


class Report(Frozen):
    schema_: Literal["rag.drift-report/v1"] = Field("rag.drift-report/v1", alias="schema")
    made_at: str
    index: str
    encoder: str
    """Digest."""
    reference_id: str
    source: Source = "records"
    """Of the reference."""
    reference: Side
    window: Side
    alpha: float
    """Chance of any false alarm of a whole report."""
    draws: int
    seed: int
    least: int
    """Fewest conversations on either side."""
    findings: tuple[Finding, ...]
    system: SystemFinding
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.state == "alarm")

    @property
    def different(self) -> tuple[Finding, ...]:
        """Surely and largely."""
        return tuple(finding for finding in self.findings if finding.state == "alarm" or finding.unlike)

    @property
    def defined(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.state != "undefined")
