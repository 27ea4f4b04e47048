"""What was decided, as JUnit XML: build servers show it beside the tests.

A suite for each rule of a gate. What failed is a `failure`; what so few questions cannot say is `skipped`; what could not be compared or
asked at all is an `error`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from eval.decision import Decision, Rule
from eval.reports.legible import legible

if TYPE_CHECKING:
    from eval.behaviours.case import Verdict  # its package opens indexes, which takes seconds to import

Outcome = Literal["passed", "failure", "error", "skipped"]

_OUTCOMES: dict[str, Outcome] = {"passed": "passed", "failed": "failure", "unclear": "skipped"}


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    outcome: Outcome
    message: str = ""
    """One sentence; what passed needs none."""
    details: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    cases: tuple[Case, ...]


def decision_junit(decision: Decision) -> str:
    """XML with a declaration. Where the two cannot be compared there is one suite, `comparable`, with an error in it."""
    if decision.verdict == "INVALID":
        reasons = "\n".join(decision.reasons)
        suites = [Suite("comparable", (Case("base and candidate can be compared", "error", decision.reasons[0], reasons),))]
    else:
        suites = [_suite(rule) for rule in decision.rules]
    return junit(f"eval gate {decision.candidate.name} against {decision.base.name}: {decision.verdict}", suites)


def behaviours_junit(verdicts: Sequence["Verdict"]) -> str:
    """A suite for each kind of behaviour. A case that has to pass and does not is a failure; one that should, and is known to be hard, is
    skipped.
    """
    kinds: dict[str, list[Case]] = {}
    for verdict in verdicts:
        outcome: Outcome = "passed" if verdict.passed else "failure" if verdict.must else "skipped"
        details = f"asked: {verdict.asked}\nsaid: {verdict.said}\n{verdict.reason}"
        kinds.setdefault(verdict.kind, []).append(Case(verdict.case, outcome, "; ".join(verdict.problems), details))
    return junit("eval behaviours", [Suite(kind, tuple(cases)) for kind, cases in kinds.items()])


def junit(name: str, suites: Sequence[Suite]) -> str:
    root = ElementTree.Element("testsuites", {"name": legible(name), **_totals([case for suite in suites for case in suite.cases])})
    for suite in suites:
        below = ElementTree.SubElement(root, "testsuite", {"name": legible(suite.name), **_totals(suite.cases)})
        for case in suite.cases:
            _add(below, suite, case)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(rule: Rule) -> Suite:
    details = "" if rule.needed is None else f"{rule.needed:,} questions would settle it"
    over = f", {rule.over}" if rule.over else ""
    case = Case(f"{rule.metric}{over}: {rule.asked}", _OUTCOMES[rule.state], rule.said, details)
    return Suite(f"{rule.kind.replace('_', ' ')}: {rule.metric}", (case,))


def _totals(cases: Sequence[Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    counts = {"failures": outcomes.count("failure"), "errors": outcomes.count("error"), "skipped": outcomes.count("skipped")}
    return {"tests": str(len(cases)), **{name: str(number) for name, number in counts.items()}}


def _add(below: ElementTree.Element, suite: Suite, case: Case) -> None:
    element = ElementTree.SubElement(below, "testcase", classname=legible(f"eval.{suite.name}"), name=legible(case.name))
    if case.outcome == "passed":
        return
    said = ElementTree.SubElement(element, case.outcome, message=legible(case.message))
    if case.details:
        said.text = legible(case.details)
