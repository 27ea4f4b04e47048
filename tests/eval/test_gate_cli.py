"""`python -m eval gate` and `choose`: exit codes that a build server can act on, and a table that a person can read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from eval.cli import gate as command
from eval.cli.gate import choose, gate
from eval.decision import read_decision
from eval.looks import LOOKS_FILE, look, looks, looks_with
from eval.results import Run
from eval.runs import run_folder, write_run
from rag_service.errors import Damaged
from tests.eval.built import a_candidate, a_release, a_run
from tests.eval.test_gate import ASKED, BASE, RIGHT, WRONG, flipped, of


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("gate", "base", "better")`: runs are kept in `evaluations` of a folder of its own."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(gate)
    app.command()(choose)

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


def many() -> Run:
    """A base and what became of it: better, worse, hardly different, and the same."""
    rights = {
        "base": BASE,
        "better": flipped(BASE, [*WRONG[:60], *RIGHT[:3]]),
        "worse": flipped(BASE, RIGHT[:60]),
        "little": flipped(BASE, [*WRONG[:12], *RIGHT[:6]]),
        "x@home": flipped(BASE, WRONG[:50]),
    }
    return a_run(*(a_candidate(name, ASKED.rows(right), release=a_release(top_k=k)) for k, (name, right) in enumerate(rights.items(), 1)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_run(tmp_path / "evaluations", many())
    return tmp_path / "evaluations"


@pytest.mark.parametrize(
    ("candidate", "code", "verdict"),
    [("better", 0, "PROMOTE"), ("worse", 1, "REJECT"), ("little", 3, "INCONCLUSIVE"), ("base", 4, "INVALID")],
)
def test_the_exit_code_says_the_verdict(cli: Cli, home: Path, candidate: str, code: int, verdict: str) -> None:
    outcome = cli("gate", "base", candidate)
    assert outcome.code == code
    assert f"verdict    {verdict}" in outcome.out
    decision = read_decision(run_folder(home, "latest"))
    assert (decision.verdict, decision.exit_code, decision.candidate.name) == (verdict, code, candidate)
    assert decision.command.startswith("python -m eval")
    assert decision.decided_at.endswith("Z")
    assert ("serve it: python -m eval promote" in outcome.err) is (code == 0)


@pytest.mark.usefixtures("home")
def test_the_table_fits_80_columns_and_has_every_rule(cli: Cli) -> None:
    outcome = cli("gate", "base", "little")
    assert max(map(len, outcome.out.splitlines())) <= 80
    for part in ("correct", "coverage", "false_answer_rate", "newly wrong", "unclear", "such questions would tell", "≥ +0.020", "≤ 13"):
        assert part in outcome.out, part
    assert f"newly wrong  {', '.join(f'q{i}' for i in RIGHT[:5])}, … 1 more" in outcome.out


@pytest.mark.usefixtures("home")
def test_what_cannot_be_compared_is_named_without_a_number(cli: Cli) -> None:
    out = cli("gate", "base", "base").out
    assert "release: the candidate is the base" in out
    assert "coverage" not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("base",), "1 name given"),
        (("a", "b", "c", "d"), "4 names given"),
        (("base", "bettr"), "there is no candidate 'bettr'"),
        (("ffff", "base", "better"), "there is no run 'ffff'"),
        (("base", "better", "--policy", "none.yaml"), "there is no file none.yaml"),
        (("base", "better", "--json", "no/such/folder.json"), "lies in a folder that does not exist"),
    ],
)
def test_a_wrong_call_ends_with_2_and_not_as_a_rejection(cli: Cli, home: Path, arguments: Sequence[str], says: str) -> None:
    outcome = cli("gate", *arguments)
    assert outcome.code == 2
    assert says in outcome.err
    assert not (run_folder(home, "latest") / "decision.json").exists()


@pytest.mark.usefixtures("home")
def test_a_policy_is_named_with_file_and_line_where_it_is_wrong(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("primary:\n  metric: corect\n")
    outcome = cli("gate", "base", "better", "--policy", "policy.yaml")
    assert outcome.code == 2
    assert "policy.yaml:2: there is no metric 'corect'" in outcome.err
    assert "did you mean 'correct'?" in outcome.err


def test_runs_are_named_by_the_beginning_of_their_ids_and_candidates_of_others_with_them(cli: Cli, home: Path) -> None:
    run = many()
    other = replace(run, id="fedcba987654", candidates=run.candidates[1:])
    write_run(home, other)
    assert cli("gate", run.id[:6], "base", "better").code == 0
    assert cli("gate", "fedc", f"base@{run.id[:6]}", "worse").code == 1
    assert read_decision(run_folder(home, "fedc")).base.run == run.id
    assert cli("gate", f"base@{run.id[:6]}", "better@fedc").code == 0
    assert cli("gate", f"base@{run.id[:6]}", "x@home").code == 0, "a name may hold an @ itself"


@pytest.mark.usefixtures("home")
def test_a_decision_is_written_for_programs_and_build_servers(cli: Cli, tmp_path: Path) -> None:
    assert cli("gate", "base", "better", "--json", "d.json", "--md", "d.md", "--junit", "d.xml").code == 0
    assert json.loads((tmp_path / "d.json").read_text())["verdict"] == "PROMOTE"
    assert "PROMOTE" in (tmp_path / "d.md").read_text()
    assert (tmp_path / "d.xml").read_text().startswith("<?xml")


# Looks


def test_the_second_pair_on_a_test_part_is_refused_and_the_first_may_look_again(cli: Cli, home: Path) -> None:
    run = many()
    write_run(home, replace(run, parameters=replace(run.parameters, part="test")))
    assert cli("gate", "base", "better").code == 0
    assert cli("gate", "base", "better").code == 0
    assert len(looks(home)) == 1
    second = cli("gate", "base", "worse")
    assert second.code == 4
    assert "looks: this is the 2nd pair that is decided on with this test part" in " ".join(second.out.split())
    assert len(looks(home)) == 1, "who saw no number has not looked"
    assert cli("gate", "base", "better").code == 0
    assert "look 1 of 1" in cli("gate", "base", "better").out


def test_what_cannot_be_compared_is_no_look(cli: Cli, home: Path) -> None:
    run = many()
    write_run(home, replace(run, parameters=replace(run.parameters, part="test")))
    assert cli("gate", "base", "base").code == 4
    assert looks(home) == ()


def test_a_pair_is_one_look_whoever_of_the_two_is_the_base(tmp_path: Path) -> None:
    assert look(tmp_path, "questions", "a", "b") == 1
    assert look(tmp_path, "questions", "b", "a") == 1
    assert looks_with(tmp_path, "questions", "a", "c") == 2
    assert look(tmp_path, "questions", "a", "c") == 2
    assert look(tmp_path, "other questions", "a", "c") == 1
    assert looks_with(tmp_path, "questions", "a", "b") == 2
    assert len((tmp_path / LOOKS_FILE).read_text().splitlines()) == 3


def test_a_look_that_cannot_be_read_is_not_forgotten(tmp_path: Path) -> None:
    look(tmp_path, "questions", "a", "b")
    (tmp_path / LOOKS_FILE).write_text((tmp_path / LOOKS_FILE).read_text() + "{}\n")
    with pytest.raises(Damaged, match=r"looks\.jsonl:2 is no look"):
        look(tmp_path, "questions", "a", "b")


# Behaviours


@pytest.mark.usefixtures("home")
def test_the_suite_is_tried_on_the_candidate_where_the_policy_asks_for_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Tried:
        name: str
        must: bool
        passed: bool

    tried: list[str] = []

    def fake(candidate: Any, *_: Any) -> Sequence[Tried]:
        tried.append(candidate.name)
        return [Tried("injection/poem", True, candidate.name == "x@home")]

    monkeypatch.setattr(command, "_tried", fake)
    (tmp_path / "policy.yaml").write_text("behaviours: {must: all}\n")
    assert cli("gate", "base", "x@home", "--policy", "policy.yaml").code == 0
    rejected = cli("gate", "base", "better", "--policy", "policy.yaml")
    assert rejected.code == 1
    assert "these fail: injection/poem" in " ".join(rejected.out.split())
    assert cli("gate", "base", "base", "--policy", "policy.yaml").code == 4
    assert tried == ["x@home", "better"], "nothing is tried where nothing can be compared"


# Choosing


@pytest.mark.usefixtures("home")
def test_choosing_names_one_candidate(cli: Cli) -> None:
    outcome = cli("choose", "base")
    assert outcome.code == 0
    assert "better" in outcome.out
    assert "chosen" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_choosing_none_ends_with_1_and_a_wrong_call_with_2(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "evaluations", a_run(of("base", ASKED.rows(BASE)), of("cand", ASKED.rows(flipped(BASE, RIGHT[:9])))))
    outcome = cli("choose", "base")
    assert outcome.code == 1
    assert "no candidate has beaten the base" in outcome.out
    assert cli("choose", "nobody").code == 2


def test_that_two_cannot_be_compared_replaces_no_decision_on_two_others(cli: Cli, home: Path) -> None:
    folder = run_folder(home, "latest")
    assert cli("gate", "base", "better").code == 0
    again = cli("gate", "base", "base")
    assert again.code == 4
    assert "what was decided before stands" in again.err
    assert read_decision(folder).candidate.name == "better"


def test_the_development_part_decides_only_where_the_policy_says_so(cli: Cli, home: Path, tmp_path: Path) -> None:
    run = many()
    write_run(home, replace(run, parameters=replace(run.parameters, part="dev")))
    outcome = cli("gate", "base", "better")
    assert outcome.code == 4
    assert "part: the run asked the dev part alone" in " ".join(outcome.out.split())
    (tmp_path / "policy.yaml").write_text("primary: {part: dev}\n")
    assert cli("gate", "base", "better", "--policy", "policy.yaml").code == 0


def test_a_test_part_that_can_promote_nobody_is_not_looked_at(cli: Cli, home: Path) -> None:
    run = many()
    few = [
        replace(one, rows=tuple(replace(row, cluster=f"c{number % 6}") for number, row in enumerate(one.rows))) for one in run.candidates
    ]
    write_run(home, replace(run, candidates=tuple(few), parameters=replace(run.parameters, part="test")))
    outcome = cli("gate", "base", "better")
    assert outcome.code == 4
    assert "the test part has 6 clusters of such questions" in " ".join(outcome.out.split())
    assert looks(home) == ()
