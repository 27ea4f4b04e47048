"""YAML with line numbers: whatever is wrong in a file is named with the line, the key, and what was meant."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from eval.yaml_file import YamlFile, checked, meant, parse_yaml, read_yaml
from rag_service.errors import InvalidInput, NotFound

PLACE = Path("somewhere/policy.yaml")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(Strict):
    max_ratio: float | None = None
    minimum: float | None = None


class Inner(Strict):
    metric: str = "correct"
    part: Literal["all", "dev", "off"] = "all"


class Outer(Strict):
    primary: Inner = Inner()
    guardrails: Mapping[str, float | Bounds] = {}
    steps: tuple[Inner, ...] = ()
    rounds: int = 1
    named: str | None = None


class Wanting(Strict):
    name: str
    size: int


def parsed(text: str) -> YamlFile:
    return parse_yaml(text, PLACE)


def refused(text: str, model: type[BaseModel] = Outer, *at: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        checked(model, parsed(text), *at)
    assert caught.value.hint
    return caught.value


def test_values_are_read_and_every_key_knows_its_line() -> None:
    file = parsed("# a policy\nprimary:\n  metric: f1\nguardrails:\n  coverage: 0.02\nsteps:\n  - metric: a\n  -\n    metric: b\n")
    assert file.value == {"primary": {"metric": "f1"}, "guardrails": {"coverage": 0.02}, "steps": [{"metric": "a"}, {"metric": "b"}]}
    assert file.place("primary") == "policy.yaml:2"
    assert file.place("primary", "metric") == "policy.yaml:3"
    assert file.place("steps", 1, "metric") == "policy.yaml:9"
    assert file.place("primary", "not there") == "policy.yaml:2"
    assert file.place() == "policy.yaml:1"
    assert file.under("steps", 1, "metric") == "b"
    assert file.under("steps", 7) is None
    assert file.under("primary", "metric", "x") is None


def test_a_file_becomes_a_model() -> None:
    read = checked(
        Outer, parsed("primary: {metric: f1, part: dev}\nguardrails:\n  coverage: 0.5\n  p95: {max_ratio: 1.5}\nsteps: [{metric: a}]\n")
    )
    assert read == Outer(
        primary=Inner(metric="f1", part="dev"), guardrails={"coverage": 0.5, "p95": Bounds(max_ratio=1.5)}, steps=(Inner(metric="a"),)
    )


def test_an_empty_file_and_an_absent_part_are_the_defaults() -> None:
    assert checked(Outer, parsed("")) == Outer()
    assert checked(Inner, parsed("rounds: 2\n"), "primary") == Inner()


def test_a_part_of_a_file_is_named_by_its_place_in_the_whole() -> None:
    error = refused("version: 1\npolicy:\n  primary:\n    metrik: f1\n", Outer, "policy")
    assert error.message == "policy.yaml:4: there is no key 'policy.primary.metrik'"
    assert error.hint == "did you mean 'metric'?"


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("primry: {}\n", "policy.yaml:1: there is no key 'primry'", "did you mean 'primary'?"),
        ("rounds: 2\nsteps:\n  - metric: a\n  - metrics: b\n", "policy.yaml:4: there is no key 'steps.1.metrics'", "mean 'metric'?"),
        ("guardrails:\n  p95:\n    max_ration: 1\n", "policy.yaml:3: there is no key 'guardrails.p95.max_ration'", "'max_ratio'?"),
        ("zzz: 1\n", "policy.yaml:1: there is no key 'zzz'", "the keys here are: guardrails, named, primary, rounds, steps"),
        ("rounds: often\n", "policy.yaml:1: rounds: Input should be a valid integer", "documentation"),
        ("primary:\n", "policy.yaml:1: primary: nothing stands after the colon, input should be", "write a value, or delete the key"),
        ("primary: f1\n", "policy.yaml:1: primary: Input should be a valid dictionary or instance of Inner, not 'f1'", "documentation"),
        ("- a\n", "policy.yaml:1: the file: Input should be a valid dictionary or instance of Outer", "documentation"),
    ],
)  # fmt: skip
def test_what_a_model_refuses_is_said_with_its_line(text: str, says: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith(says)
    assert hint in error.hint


def test_a_misspelt_key_comes_before_what_is_missing_because_of_it() -> None:
    error = refused("size: 3\nnaem: x\n", Wanting)
    assert error.message == "policy.yaml:2: there is no key 'naem' (and 1 more)"
    assert error.hint == "did you mean 'name'?"


def test_what_is_missing_is_named() -> None:
    assert refused("size: 3\n", Wanting).message == "policy.yaml:1: 'name' is missing"


@pytest.mark.parametrize(
    ("text", "says", "written", "value"),
    [
        ("rounds: 1\nprimary:\n  part: off\n", "policy.yaml:3: primary.part: ", "off", "False (bool)"),
        ("named: no\n", "policy.yaml:1: named: ", "no", "False (bool)"),
        ("named: 010\n", "policy.yaml:1: named: ", "010", "8 (int)"),
        ("named: 1.10\n", "policy.yaml:1: named: ", "1.10", "1.1 (float)"),
        ("named: 2024-02-03\n", "policy.yaml:1: named: ", "2024-02-03", "2024-02-03 (date)"),
    ],
)
def test_words_that_yaml_takes_for_something_else_are_to_be_quoted(text: str, says: str, written: str, value: str) -> None:
    error = refused(text)
    assert error.message == f"{says}text is expected, and YAML reads {written} without quotes as {value}"
    assert error.hint == f'write it in quotes: "{written}"'


def test_in_quotes_they_are_text() -> None:
    assert checked(Outer, parsed('named: "no"\nprimary: {part: "off"}\n')).named == "no"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "policy.yaml:5: the key 'c' stands in line 3 already"),
        ("a: 1\non: 2\n", "policy.yaml:2: the key on is not text (bool to YAML)"),
        ("7: 2\n", "policy.yaml:1: the key 7 is not text (int to YAML)"),
        ("? [a]\n: 1\n", "policy.yaml:1: the key […] is not text (seq to YAML)"),
        ("a: 1\nb: [1, 2\nc: 3\n", "policy.yaml:3: this is not YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", "policy.yaml:2: this is not YAML: while scanning for the next token, found character '\\t'"),
        ("a: !!python/object/apply:os.system [ls]\n", "policy.yaml:1: this is not YAML: could not determine a constructor for the tag"),
        ("a: 1\n---\nb: 2\n", "policy.yaml:2: this is not YAML: expected a single document in the stream, but found another document"),
        ("a: &x [1, *x]\n", "policy.yaml:1: what the anchor names contains itself"),
        ("a: 1\nb: \x07\n", "policy.yaml:2: this is not YAML: the character 0x7 is not allowed"),
        ("a: *gone\n", "policy.yaml:1: this is not YAML: found undefined alias 'gone'"),
        ("a: 2024-02-31\n", "policy.yaml: this cannot be read: day is out of range for month"),
        ("a: " + "[" * 5000, "policy.yaml: this cannot be read: maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_usable_yaml_is_said_with_its_line(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parsed(text)
    assert caught.value.message.startswith(says)
    assert caught.value.hint


def test_merge_keys_work_and_point_to_where_a_value_stands() -> None:
    file = parsed("base: &b\n  metric: f1\n  part: dev\nprimary:\n  <<: *b\n  part: all\n")
    assert file.value["primary"] == {"metric": "f1", "part": "all"}
    assert file.place("primary", "metric") == "policy.yaml:2"
    assert file.place("primary", "part") == "policy.yaml:6"


def test_a_thousand_million_aliases_cost_nothing() -> None:
    """Each line holds the line before nine times: 9¹² items, if they were copied."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 13)]
    file = parsed("\n".join(lines))
    assert file.place("a12", 8, 8) == "policy.yaml:11"


def test_files_are_read_as_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "eval.yaml"
    file.write_bytes("\ufeffname: Übung\n".encode())
    assert read_yaml(file).value == {"name": "Übung"}
    file.write_bytes(b"name: \xff\n")
    with pytest.raises(InvalidInput, match=r"eval\.yaml is not UTF-8"):
        read_yaml(file)
    with pytest.raises(NotFound, match="there is no file"):
        read_yaml(tmp_path / "none.yaml")


def test_the_nearest_name_is_offered_or_all_are() -> None:
    assert meant("coverge", ["coverage", "f1"]) == "did you mean 'coverage'?"
    assert meant("zzz", ["coverage", "f1"], what="metrics") == "the metrics here are: coverage, f1"


@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.booleans() | st.text("xyz "), min_size=1))
def test_what_json_can_say_is_read_as_json_says_it(value: dict[str, Any]) -> None:
    """YAML holds JSON; every key stands in its own line here."""
    file = parsed(json.dumps(value, indent=1))
    assert file.value == value
    for line, key in enumerate(value, start=2):
        assert file.place(key) == f"policy.yaml:{line}"
