"""`rag-service trace`: what somebody at a terminal gets to know about the answers that were given."""

import json
import re
from pathlib import Path

import pytest

from rag_service.catalog import Catalog
from tests.conftest import Cli, Outcome
from tests.doubles import HOLIDAYS

BADGE = "Who wears a yellow badge?"


@pytest.fixture
def asked(own_indexes: Path, cli: Cli) -> list[str]:
    """Ids of three answers to the handbook, the last an abstention; the ledger holds nothing else."""
    made = [
        cli("ask", question, "--name", "handbook", "--indexes", own_indexes, "--json")
        for question in (HOLIDAYS, BADGE, "What is the capital of Mongolia?")
    ]
    return [json.loads(outcome.out)["answer_id"] for outcome in made]


def trace(cli: Cli, indexes: Path, *arguments: object) -> Outcome:
    return cli("trace", *arguments, "--indexes", indexes)


def test_an_answer_at_the_terminal_is_recorded_and_says_so(own_indexes: Path, cli: Cli) -> None:
    shown = cli("ask", HOLIDAYS, "--name", "handbook", "--indexes", own_indexes)
    entry = re.search(r"recorded +entry (\d+)", shown.out)
    assert entry
    assert f"head {entry[1]}:sha256:" in trace(cli, own_indexes, "verify").out


def test_the_list_shows_the_newest_first_and_its_conditions_hold(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    listed = trace(cli, own_indexes, "list")
    assert [match for match in re.findall(r"ans_[0-9a-f]{32}", listed.out)] == asked[::-1]
    assert BADGE in listed.out
    only = trace(cli, own_indexes, "list", "--status", "abstained", "--json")
    assert [row["answer_id"] for row in json.loads(only.out)] == [asked[2]]
    nothing = trace(cli, own_indexes, "list", "--until", "2020-01-01")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no answers are recorded that fit" in nothing.err


def test_a_record_is_shown_with_all_that_made_it(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    shown = trace(cli, own_indexes, "show", asked[0])
    assert shown.code == 0
    for part in (
        "release",
        "encoder",
        "prompt",
        "generator",
        "image",
        "entry",
        "stages",
        "candidates",
        "retrieve",
        "in the prompt",
        HOLIDAYS,
    ):
        assert part in shown.out
    assert shown.out.index("release") < shown.out.index("question")
    newest = json.loads(trace(cli, own_indexes, "show", "--json").out)
    assert newest["answer_id"] == asked[2]
    assert newest["trace"]["release"]["digest"].startswith("sha256:")


def test_replays_tell_the_verdict_in_words_and_in_the_exit_code(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    one = trace(cli, own_indexes, "replay", asked[0])
    assert one.code == 0
    assert one.out.startswith("exact ")
    every = trace(cli, own_indexes, "replay", "--all")
    assert (every.code, every.out.strip()) == (0, "exact: 3")
    version = next((own_indexes / "handbook" / "versions").iterdir())
    version.rename(own_indexes / "elsewhere")
    gone = trace(cli, own_indexes, "replay", asked[0])
    assert gone.code == 3
    assert gone.out.startswith("not_replayable:index ")
    report = trace(cli, own_indexes, "replayable")
    assert "0 of 3 records can be made again" in report.out
    assert "index" in report.out


def test_two_answers_are_compared(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    same = trace(cli, own_indexes, "compare", asked[0], asked[0])
    assert same.code == 0
    other = trace(cli, own_indexes, "compare", asked[0], asked[1])
    assert "question" in other.out.splitlines()[0]


def test_two_releases_are_compared_over_questions(own_indexes: Path, cli: Cli, tmp_path: Path) -> None:
    first = Catalog(own_indexes).active_id("handbook")
    assert cli("index", "activate", "--name", "handbook", "--indexes", own_indexes, RAG_TOP_K="2").code == 0
    second = Catalog(own_indexes).active_id("handbook")
    questions = tmp_path / "questions.txt"
    questions.write_text(f'{HOLIDAYS}\n\n{{"question": "{BADGE}"}}\n')
    compared = trace(cli, own_indexes, "compare", first, second, "--questions", questions, "--name", "handbook")
    assert compared.code == 0, compared.err
    assert "top_k" in compared.out
    assert "retrieve 2" in compared.out
    without = trace(cli, own_indexes, "compare", first, second)
    assert without.code == 1
    assert "--questions" in without.err


@pytest.mark.parametrize("content", ["", "{not json}\n", '{"text": "no question"}\n'])
def test_a_file_that_holds_no_questions_is_refused(own_indexes: Path, cli: Cli, tmp_path: Path, content: str) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text(content)
    refused = trace(cli, own_indexes, "compare", "0" * 12, "1" * 12, "--questions", questions)
    assert refused.code == 1
    assert "question" in refused.err


def test_feedback_becomes_questions_of_an_evaluation(own_indexes: Path, cli: Cli, asked: list[str], tmp_path: Path) -> None:
    assert trace(cli, own_indexes, "rate", asked[0], "up").code == 0
    assert trace(cli, own_indexes, "rate", asked[1], "--expected", "Visitors.").code == 0
    assert trace(cli, own_indexes, "rate", asked[1]).code == 1
    to = tmp_path / "rated.jsonl"
    written = trace(cli, own_indexes, "export", "--as", "questions", "--id", asked[0], "--id", asked[1], "--to", to)
    assert "2 questions" in written.err
    rows = [json.loads(line) for line in to.read_text().splitlines()]
    assert rows[1]["answers"] == ["Visitors."]


def test_a_receipt_is_found_again_or_missed(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    receipt = json.loads(trace(cli, own_indexes, "show", asked[1], "--json").out)["trace"]["receipt"]
    good = f"{receipt['seq']}:{receipt['digest']}"
    assert trace(cli, own_indexes, "verify", "--expect", good).code == 0
    missed = trace(cli, own_indexes, "verify", "--expect", f"99:{receipt['digest']}")
    assert missed.code == 3
    assert "entry 99" in missed.err
    assert trace(cli, own_indexes, "verify", "--expect", "nonsense").code == 1


def test_erased_answers_are_gone_and_the_ledger_stays_intact(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    assert "erased 1 answers" in trace(cli, own_indexes, "erase", asked[0]).out
    assert trace(cli, own_indexes, "show", asked[0]).code == 1
    verified = trace(cli, own_indexes, "verify")
    assert verified.code == 0
    assert "1 erased" in verified.out
    assert trace(cli, own_indexes, "erase", asked[0]).code == 1
    assert trace(cli, own_indexes, "erase").code == 1


def test_old_entries_are_dropped_on_request(own_indexes: Path, cli: Cli, asked: list[str]) -> None:
    assert asked
    assert "dropped 3 entries" in trace(cli, own_indexes, "prune", "--days", "0").out
    assert "no answers are recorded yet" in trace(cli, own_indexes, "list").err
    verified = trace(cli, own_indexes, "verify")
    assert verified.code == 0
    assert "entries up to 3 dropped" in verified.out


@pytest.mark.parametrize("command", ["show", "replay", "verify", "replayable", "export", "list", "prune", "migrate"])
def test_without_a_ledger_each_command_says_what_to_do(tmp_path: Path, cli: Cli, command: str) -> None:
    outcome = cli("trace", command, "--indexes", tmp_path, "--ledger", tmp_path / "none.sqlite")
    assert outcome.code in (0, 1)
    assert re.search("no answers are recorded yet|there is no ledger|written 0", outcome.err), outcome


def test_a_file_that_is_no_ledger_is_refused_in_words(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "notes.txt").write_text("not a database at all\n" * 100)
    refused = cli("trace", "list", "--ledger", tmp_path / "notes.txt")
    assert refused.code == 1
    assert "notes.txt" in refused.err


def test_help_names_every_command(cli: Cli) -> None:
    shown = cli("trace", "--help").out
    for command in ("list", "show", "replay", "compare", "rate", "export", "verify", "replayable", "erase", "prune", "migrate"):
        assert command in shown
