"""promptfoo (https://www.promptfoo.dev/docs/configuration/): the tests of a configuration in YAML, or a CSV of tests.

A test's question is one of its variables. Of its assertions, `equals` gives an answer, `contains` and `icontains` a fact, their `-any` the
wordings of one fact, and their `-all` a fact each; case makes no difference to ours. All else is counted by its kind and left out: other
kinds, negations (`not-…`), and values that come from files, code or templates other than a plain `{{variable}}`.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.questions.cells import rows
from eval.questions.question import EvalQuestion
from eval.questions.table import made_id
from eval.yaml_file import YamlFile, read_yaml
from rag_service.errors import InvalidInput

_QUESTIONS = ("question", "query", "input", "user_input", "prompt", "message")
_CARRIED = re.compile(r"equals|i?contains(?:-any|-all)?")
_VARIABLE = re.compile(r"\{\{-?\s*(\w+)\s*-?\}\}")
_COLUMN = re.compile(r"__expected\d*")
_IN_CELL = re.compile(r"(?P<kind>[a-z][a-z0-9-]*)(?:\([\d.]+\))?(?::(?P<value>.*))?", re.DOTALL)
_OTHER = re.compile(
    r"answer-relevance|bleu|classifier|contains-html|contains-json|contains-sql|contains-xml|context-faithfulness"
    r"|context-recall|context-relevance|conversation-relevance|cost|eval|factuality|file|finish-reason|fn|g-eval|gleu|grade"
    r"|guardrails|human|is-html|is-json|is-refusal|is-sql|is-valid-function-call|is-valid-openai-function-call"
    r"|is-valid-openai-tools-call|is-xml|javascript|latency|levenshtein|llm-rubric|max-score|meteor|model-graded-closedqa"
    r"|model-graded-factuality|moderation|perplexity|perplexity-score|pi|python|regex|rouge-n|ruby|search-rubric|select-best"
    r"|similar|starts-with|tool-call-f1|webhook|word-count"
)
"""That a cell may begin with. Any other text is the answer itself."""
_MOST_COMBINATIONS = 1_000


@dataclass(frozen=True, slots=True)
class _Assertion:
    kind: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Test:
    place: str
    variables: Mapping[str, object]
    asserted: tuple[_Assertion, ...]


def read_promptfoo(path: Path, variable: str | None, lost: Counter[str]) -> Iterator[tuple[str, EvalQuestion]]:
    """`variable` holds the question; by default one that is called so, or the only one. `lost` counts what was left out.

    Raises `NotFound`, or `InvalidInput` naming the place.
    """
    ids: set[str] = set()
    tests = _tests_of_table(path) if path.suffix.lower() in (".csv", ".tsv") else _tests_of_file(path, lost)
    for test in tests:
        name = _question_variable(test, variable)
        for variables in _combinations(test):
            asked = _filled(variables[name], variables)
            if asked is None:
                lost["questions from files or templates"] += 1
                continue
            lost.update(f"variable {other!r}" for other in variables if other != name)
            made = _question(test, made_id(asked, ids), asked, variables, lost)
            ids.add(made.id)
            yield test.place, made


def _question(test: _Test, name: str, asked: str, variables: Mapping[str, str], lost: Counter[str]) -> EvalQuestion:
    answers: list[str] = []
    facts: list[tuple[str, ...]] = []
    for assertion in test.asserted:
        if not _CARRIED.fullmatch(assertion.kind):
            lost[f"assertion {assertion.kind}"] += 1
            continue
        values = tuple(value for given in assertion.values if (value := _filled(given, variables)))
        if len(values) < len(assertion.values):
            lost[f"assertion {assertion.kind} without plain text"] += 1
        elif assertion.kind == "equals":
            answers.append(values[0])
        else:
            facts += [values] if assertion.kind.endswith("-any") else [(value,) for value in values]
    return EvalQuestion(
        id=name,
        question=asked,
        answers=tuple(dict.fromkeys(answers)),
        answerable=True if answers or facts else None,
        facts=tuple(dict.fromkeys(facts)),
    )


def _question_variable(test: _Test, told: str | None) -> str:
    names = list(test.variables)
    found = told or next((name for name in _QUESTIONS if name in names), names[0] if len(names) == 1 else None)
    if found not in names:
        what = "no variable is known to hold the question" if found is None else f"there is no variable {found!r}"
        raise InvalidInput(f"{test.place}: {what}", hint=f"--map VARIABLE=question; there are: {', '.join(names) or 'none'}", param="map")
    return found


def _combinations(test: _Test) -> Iterator[Mapping[str, str]]:
    """A variable that is a list makes one test of each of its values."""
    several = [value if isinstance(value, list) else [value] for value in test.variables.values()]
    for number, values in enumerate(itertools.product(*several)):
        if number == _MOST_COMBINATIONS:
            raise InvalidInput(f"{test.place}: its lists of values make more than {_MOST_COMBINATIONS:,} tests", hint="write fewer of them")
        yield {name: str(value) for name, value in zip(test.variables, values, strict=True)}


def _filled(text: str, variables: Mapping[str, str]) -> str | None:
    """With the variables in it; None where that takes more than reading it, and where nothing is left."""
    filled = _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text).strip()
    return None if filled.startswith("file://") or "{{" in filled or "{%" in filled else filled or None


def _tests_of_table(path: Path) -> Iterator[_Test]:
    for place, cells in rows(path):
        variables = {name: value for name, value in cells.items() if name and not name.startswith("__")}
        asserted = [_from_cell(str(value).strip()) for name, value in cells.items() if _COLUMN.fullmatch(name) and value]
        yield _Test(place, variables, tuple(asserted))


def _from_cell(text: str) -> _Assertion:
    found = _IN_CELL.fullmatch(text)
    plain = found["kind"].removeprefix("not-") if found else ""
    if found is None or not (_CARRIED.fullmatch(plain) or _OTHER.fullmatch(plain)) or found["value"] is None:
        return _Assertion("equals", (text,))
    return _Assertion(found["kind"], _values(found["kind"], found["value"].strip()))


def _tests_of_file(path: Path, lost: Counter[str]) -> Iterator[_Test]:
    file = read_yaml(path)
    value = file.value if isinstance(file.value, dict) else {"tests": file.value}
    default = value.get("defaultTest")
    default = default if isinstance(default, dict) else {}
    if value.get("scenarios"):
        lost["scenarios"] += len(value["scenarios"])
    keys: tuple[str, ...] = ("tests",) if isinstance(file.value, dict) else ()
    tests = value.get("tests")
    for number, test in enumerate(tests if isinstance(tests, list) else [tests]):
        if isinstance(test, str):
            yield from _tests_beside(path, test, lost)
        elif isinstance(test, dict):
            yield _test(file, (*keys, number), default, test)
        else:
            raise InvalidInput(f"{file.place(*keys)}: tests are expected", hint="write tests: a list of vars and assert, or a file")


def _tests_beside(path: Path, named: str, lost: Counter[str]) -> Iterator[_Test]:
    other = path.parent / named.removeprefix("file://")
    match other.suffix.lower():
        case ".csv" | ".tsv":
            yield from _tests_of_table(other)
        case ".yaml" | ".yml":
            yield from _tests_of_file(other, lost)
        case _:
            lost[f"tests from {named}"] += 1


def _test(file: YamlFile, at: Sequence[str | int], default: Mapping[str, object], test: Mapping[str, object]) -> _Test:
    variables: dict[str, object] = {}
    asserted: list[_Assertion] = []
    for part in (default, test):
        given = part.get("vars")
        variables |= given if isinstance(given, dict) else {}
        asserted += _assertions(part.get("assert"))
    return _Test(file.place(*at), variables, tuple(asserted))


def _assertions(given: object) -> Iterator[_Assertion]:
    for one in given if isinstance(given, list) else []:
        kind = str(one.get("type")) if isinstance(one, dict) and one.get("type") else "of another form"
        if kind == "assert-set" and "threshold" not in one:
            yield from _assertions(one.get("assert"))
        else:
            yield _Assertion(kind, _values(kind, one.get("value") if isinstance(one, dict) else None))


def _values(kind: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) and kind.endswith(("-any", "-all")):
        value = [part.strip() for part in value.split(",")]
    several = value if isinstance(value, list) else [value]
    return tuple("" if one is None or isinstance(one, dict | list) else str(one) for one in several)
