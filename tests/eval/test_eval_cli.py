"""`python -m eval run`, `plan`, `aa` and `cache`, as people call them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from eval.cli.app import app
from eval.cli.run import interrupted
from eval.runs import from_json, read_run, run_folder
from eval.stages.cache import FILE, StageCache
from rag_service.catalog import Catalog
from rag_service.console import BarProgress, errors_in_words
from rag_service.errors import RagError
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.types import Completion, Prompt
from tests.conftest import Outcome

QUESTIONS = (
    '{"id": "holidays", "question": "How many days of paid holiday are there a year?", "answers": ["28"], "relevant_ids": ["leave.md"]}\n'
    '{"id": "badge", "question": "Which colour has the badge of a visitor?", "answers": ["yellow"], "relevant_ids": ["visitors.txt"]}\n'
    '{"id": "password", "question": "How many characters has a password at least?", "answers": ["14"]}\n'
    '{"id": "nobody", "question": "What is the capital of Mongolia?", "answerable": false}\n'
)
GRID = "questions: questions.jsonl\ncorpus: handbook\nname: handbook\ngrid: {axes: {chunk_tokens: [64, 192], top_k: [3, 5]}}\nbounds: []\n"

Cli = Callable[..., Outcome]


@pytest.fixture
def cli(tmp_path: Path, own_indexes: Path, handbook: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("run", "questions.jsonl")` in a folder with the handbook, questions about it, and its served index; runs go to evaluations/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_INDEXES", str(own_indexes))
    (tmp_path / "questions.jsonl").write_text(QUESTIONS, "utf-8")
    (tmp_path / "handbook").symlink_to(handbook)

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


def latest() -> Any:
    return read_run(run_folder(Path("evaluations"), "latest"))


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_shows_how_to_begin(arguments: list[str]) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")}
    shown = subprocess.run(
        [sys.executable, "-m", "eval", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**plain, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
    ).stdout
    assert "python -m eval run" in shown
    assert widest(shown) <= 80
    wanted = ("--config", "--candidates", "--corpus", "--limit", "--json", "--no-cache") if "run" in arguments else ("plan", "aa", "cache")
    assert [name for name in wanted if name not in shown] == []


# run


def test_without_arguments_the_bundled_questions_are_asked_about_the_documentation(
    tmp_path: Path, indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_INDEXES", str(indexes))
    began_s = time.process_time()
    result = CliRunner().invoke(app, ["run"])
    took_s = time.process_time() - began_s
    assert result.exit_code == 0, result.stderr
    assert took_s < 120  # it takes about 15
    [measured] = latest().candidates
    assert measured.index.name == "docs-eval"
    assert len(measured.rows) > 100
    assert measured.counts.errors == 0
    assert measured.metrics["answers"]["correct"].value > 0.5
    assert widest(result.stdout) <= 80


def test_a_run_prints_a_table_that_fits_and_keeps_the_run(cli: Cli) -> None:
    result = cli("run", "questions.jsonl", "--name", "handbook")
    assert result.code == 0
    assert "3 answerable, 1 unanswerable, 2 with gold documents" in result.out
    assert "3 answered, 1 abstained (low_confidence 1), 0 errors" in result.out
    assert widest(result.out) <= 80
    assert "\x1b" not in result.out
    run = latest()
    assert f"python -m eval report {run.id}" in result.err
    assert run.command.startswith("python -m eval")
    assert widest(cli("run", "questions.jsonl", "--name", "handbook", "--all").out) <= 80


def test_a_run_is_written_where_asked(cli: Cli) -> None:
    assert cli("run", "questions.jsonl", "--name", "handbook", "--json", "run.json").code == 0
    assert from_json(Path("run.json").read_text("utf-8")) == latest()


def test_an_override_is_measured_as_a_release_of_its_own_and_not_stored(cli: Cli, own_indexes: Path) -> None:
    catalog = Catalog(own_indexes)
    active, before = catalog.active_id("handbook"), catalog.releases("handbook")
    assert cli("run", "questions.jsonl", "--name", "handbook", "--min-confidence", "1", "--top-k", "2").code == 0
    [measured] = latest().candidates
    assert (measured.release.content.retrieval.top_k, measured.release.content.retrieval.min_confidence) == (2, 1.0)
    assert measured.release.id != active
    assert measured.counts.abstained == 4
    assert (catalog.active_id("handbook"), catalog.releases("handbook")) == (active, before)


def test_settings_files_and_a_corpus_are_compared_in_the_order_given(cli: Cli) -> None:
    for name, tokens in (("now", 192), ("smaller", 64)):
        Path(f"{name}.toml").write_text(f"chunk_tokens = {tokens}\nport = 9000\n", "utf-8")
    result = cli("run", "--candidates", "now.toml", "smaller.toml", "--questions", "questions.jsonl", "--corpus", "handbook")
    assert result.code == 0, result.err
    assert [(measured.name, dict(measured.changed)) for measured in latest().candidates] == [
        ("now", {}),
        ("smaller", {"chunk_tokens": "64"}),
    ]
    assert widest(result.out) <= 80


def test_settings_files_of_one_name_are_told_apart_by_their_paths(cli: Cli) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "rag.toml").write_text("top_k = 3\n", "utf-8")
    assert cli("run", "a/rag.toml", "b/rag.toml", "-q", "questions.jsonl", "--corpus", "handbook").code == 0
    assert [measured.name for measured in latest().candidates] == ["a/rag.toml", "b/rag.toml"]


def test_a_grid_is_run_from_a_file_and_again_without_asking(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("eval.yaml").write_text(GRID, "utf-8")
    result = cli("run", "-c", "eval.yaml")
    assert result.code == 0, result.err
    assert widest(result.out) <= 80
    first = latest()
    assert len(first.candidates) == 4

    def asked(*_: Any, **__: Any) -> Completion:
        raise AssertionError("a generator was asked")

    monkeypatch.setattr(ExtractiveGenerator, "generate", asked)
    assert cli("run", "-c", "eval.yaml").code == 0
    assert latest().id == first.id
    assert cli("run", "-c", "eval.yaml", "--only", "*top_k=3").code == 0
    assert [measured.name for measured in latest().candidates] == ["chunk_tokens=64,top_k=3", "chunk_tokens=192,top_k=3"]


def test_retrieval_only_asks_nothing(cli: Cli) -> None:
    result = cli("run", "questions.jsonl", "--name", "handbook", "--retrieval-only")
    assert result.code == 0
    assert "recall@5" in result.out
    assert "abstention" not in result.out
    assert latest().candidates[0].counts.not_asked == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        ("nowhere.jsonl --name handbook", 1, "nowhere.jsonl", "check the path"),
        ("questions.jsonl --name other", 1, "there is no index 'other'", "index build"),
        ("questions.jsonl --name ../other", 2, "cannot name an index", "a-z"),
        ("questions.jsonl --name handbook --split dev", 1, "has no splits", "leave --split out"),
        ("questions.jsonl --name handbook --top-k 0", 2, "top_k in the command line is 0", "top_k"),
        ("questions.jsonl --name handbook --json no/such/folder.json", 1, "does not exist", "a folder that exists"),
        ("questions.jsonl --name handbook --json .", 1, "is a folder", "path of a file"),
        ("questions.jsonl --name handbook --part tset", 2, "--part is 'tset'", "did you mean 'test'?"),
        ("questions.jsonl --name handbook --bounds oracel", 2, "--bounds holds 'oracel'", "did you mean 'oracle'?"),
        ("questions.jsonl --name handbook --only nobody", 1, "no candidate is called 'nobody'", "there are: served"),
        ("questions.jsonl --name handbook --target ftp://here", 1, "is not the address of a service", "http://"),
        ("--name handbook", 2, "no question set is named", "python -m eval run questions.jsonl"),
        ("questions.jsonl more.jsonl", 2, "one question set can be asked at a time", "one file"),
        ("questions.jsonl good.toml", 2, "needs an index, and no corpus is named", "--corpus"),
        ("questions.jsonl good.toml good.toml --corpus handbook", 2, "good.toml is named twice", "once"),
        ("questions.jsonl good.toml --corpus handbook --top-k 3", 2, "--top-k and settings files do not go together", "into the file"),
        ("questions.jsonl wrong.toml --corpus handbook", 2, "there is no setting topk in wrong.toml", "did you mean top_k?"),
        ("questions.jsonl absent.toml --corpus handbook", 2, "absent.toml cannot be read", ""),
        ("questions.jsonl good.toml --corpus nowhere", 1, "nowhere", ""),
        ("-c eval.yaml questions.jsonl", 2, "stand in the file of --config", "the one or the other"),
        ("-c absent.yaml", 1, "absent.yaml", ""),
        ("-c wrong.yaml", 2, "wrong.yaml:3: there is no setting 'topk'", "did you mean 'top_k'?"),
        ("questions.jsonl --depth 1", 2, "depth", ""),
        ("questions.jsonl --no-such-option", 2, "No such option", ""),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do_before_anything_is_asked(
    cli: Cli, arguments: str, code: int, message: str, hint: str
) -> None:
    Path("good.toml").write_text("top_k = 3\n", "utf-8")
    Path("wrong.toml").write_text("topk = 3\n", "utf-8")
    Path("eval.yaml").write_text(GRID, "utf-8")
    Path("wrong.yaml").write_text("questions: questions.jsonl\ncandidates:\n  a: {from: served, topk: 3}\n", "utf-8")
    result = cli("run", *arguments.split())
    assert result.code == code, result.err
    said = " ".join(result.err.replace("│", " ").split())
    assert message in said
    assert hint in said
    assert result.out == ""
    assert not Path("evaluations", "runs").exists()


def test_a_run_in_which_every_question_fails_ends_in_an_error(cli: Cli) -> None:
    Path("eval.yaml").write_text(
        "questions: questions.jsonl\nname: handbook\ncandidates: {now: {from: served}}\ntimeout_s: 0.000001\n", "utf-8"
    )
    result = cli("run", "-c", "eval.yaml")
    assert result.code == 1
    assert "4 errors (deadline_exceeded 4)" in result.out
    assert "every question failed; the first: deadline_exceeded" in result.err


def test_a_candidate_whose_every_question_fails_is_named_beside_one_that_answers(cli: Cli) -> None:
    Path("eval.yaml").write_text(
        "questions: questions.jsonl\nname: handbook\ncandidates:\n  now: {from: served}\n  short: {from: served, max_question_chars: 3}\n",
        "utf-8",
    )
    result = cli("run", "-c", "eval.yaml")
    assert result.code == 1
    assert "every question of short failed; the first: " in result.err
    assert "of now failed" not in result.err


def test_a_run_that_is_interrupted_says_so_and_the_same_command_goes_on_from_there(cli: Cli, tmp_path: Path) -> None:
    slow = (
        "import time\n"
        "from rag_service.generators.extractive import ExtractiveGenerator as G\n"
        "real = G.generate\n"
        "def generate(self, *given, **more):\n"
        "    time.sleep(0.5)\n"
        "    return real(self, *given, **more)\n"
        "G.generate = generate\n"
        "from eval.__main__ import main; main()\n"
    )
    arguments = ["run", "questions.jsonl", "--name", "handbook", "--bounds", "none"]
    # as a shell starts it: a job in the background of a script ignores SIGINT, and so do its children
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until_s = time.monotonic() + 60
        while samples(tmp_path / "evaluations" / FILE) < 1:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until_s
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert out == ""
    assert " of 4; nothing that was done is lost: the same command goes on from there" in " ".join(err.split())
    assert "Traceback" not in err
    done = samples(tmp_path / "evaluations" / FILE)
    assert 1 <= done < 4
    with StageCache.open(Path("evaluations")) as cache:
        before = cache.stored()["generate"].outputs
    assert cli(*arguments).code == 0
    assert latest().candidates[0].counts.answered == 3
    assert samples(tmp_path / "evaluations" / FILE) == 4
    assert before >= done


def samples(file: Path) -> int:
    if not file.is_file():
        return 0
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM outputs WHERE stage = 'sample'").fetchone()[0])
    except sqlite3.OperationalError:  # no table yet
        return 0
    finally:
        connection.close()


def test_an_interruption_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    progress = BarProgress()
    with pytest.raises(typer.Exit) as ended, errors_in_words(interrupted=lambda: interrupted(progress)):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert "interrupted before the first question; nothing that was done is lost" in capsys.readouterr().err
    progress.stage("asking", 3)
    progress.advance()
    assert interrupted(progress).startswith("interrupted after 1 of 3; ")


def test_markup_in_an_error_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_in_words(interrupted=lambda: interrupted(BarProgress())):
        raise RagError("no document [bold]", hint="see [/dim]")
    assert "no document [bold]" in capsys.readouterr().err


# plan


def test_a_plan_says_what_is_shared_what_is_done_and_how_long_the_rest_takes(cli: Cli) -> None:
    Path("eval.yaml").write_text(GRID, "utf-8")
    first = cli("plan", "-c", "eval.yaml")
    assert first.code == 0, first.err
    rows = {line[:16].strip(): line[16:].split() for line in first.out.splitlines()[2:-1]}
    assert first.out.splitlines()[0].strip() == "4 candidates, 4 questions"
    assert rows["indexes"][:3] == ["4", "2", "0"]
    assert rows["searches"][:2] == ["16", "8"]
    assert rows["questions asked"][:3] == ["16", "16", "0"]
    assert "not known before" in first.out
    assert cli("run", "-c", "eval.yaml").code == 0
    done = cli("plan", "-c", "eval.yaml")
    assert "nothing is left to do but scoring" in done.out
    assert widest(first.out) <= 80


# aa


def test_a_candidate_that_always_answers_the_same_passes(cli: Cli) -> None:
    result = cli("aa", "questions.jsonl", "--name", "handbook")
    assert result.code == 0, result.out
    assert "the same candidate twice differs in nothing" in result.out
    assert widest(result.out) <= 80


def test_a_candidate_that_does_not_answer_the_same_twice_is_found_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real, numbers = ExtractiveGenerator.generate, count()

    def generate(self: ExtractiveGenerator, prompt: Prompt, **options: Any) -> Completion:
        made = real(self, prompt, **options)
        if "badge" in prompt.question:
            return Completion(f"{made.text} {next(numbers)}", made.declined, made.finish_reason, made.model, made.usage, made.markers)
        return made

    monkeypatch.setattr(ExtractiveGenerator, "generate", generate)
    assert cli("run", "questions.jsonl", "--name", "handbook").code == 0
    result = cli("aa", "questions.jsonl", "--name", "handbook")
    assert result.code == 1
    assert "differs: served: badge" in result.out
    assert "1 questions differ" in result.out
    assert widest(result.out) <= 80


# cache


def test_the_cache_is_listed_verified_and_dropped(cli: Cli) -> None:
    assert cli("cache", "ls").out.strip() == "nothing is remembered here"
    assert cli("run", "questions.jsonl", "--name", "handbook", "--bounds", "none").code == 0
    listed = cli("cache", "ls")
    assert {line.split()[0]: line.split()[1] for line in listed.out.splitlines()[1:]}["sample"] == "4"
    assert widest(listed.out) <= 80
    with sqlite3.connect(Path("evaluations") / FILE) as connection:
        total = connection.execute("SELECT count(*) FROM outputs").fetchone()[0]
        connection.execute("UPDATE outputs SET value = x'00' WHERE stage = 'sample'")
    verified = cli("cache", "verify")
    assert verified.out.strip() == f"{total:,} outputs read, 4 were damaged and are dropped"
    assert cli("cache", "verify").out.strip() == f"{total - 4:,} outputs read, 0 were damaged and are dropped"
    assert cli("cache", "gc").out.strip() == "0 outputs are dropped"
    with sqlite3.connect(Path("evaluations") / FILE) as connection:
        connection.execute("UPDATE outputs SET day = day - 40 WHERE stage = 'embed'")
        old = connection.execute("SELECT count(*) FROM outputs WHERE stage = 'embed'").fetchone()[0]
    assert cli("cache", "gc").out.strip() == f"{old:,} outputs are dropped"
    assert cli("run", "questions.jsonl", "--name", "handbook").code == 0


def test_a_cache_that_is_no_cache_is_moved_aside_and_said(cli: Cli) -> None:
    Path("evaluations").mkdir()
    Path("evaluations", FILE).write_bytes(b"not a database, whatever its name says" * 100)
    result = cli("run", "questions.jsonl", "--name", "handbook")
    assert result.code == 0
    assert "was damaged" in result.err
    assert len(list(Path("evaluations").glob("*.damaged-*"))) == 1


def test_without_a_cache_everything_is_made_anew(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("run", "questions.jsonl", "--name", "handbook").code == 0
    asked: list[str] = []
    real = ExtractiveGenerator.generate

    def generate(self: ExtractiveGenerator, prompt: Prompt, **options: Any) -> Completion:
        asked.append(prompt.question)
        return real(self, prompt, **options)

    monkeypatch.setattr(ExtractiveGenerator, "generate", generate)
    assert cli("run", "questions.jsonl", "--name", "handbook", "--no-cache").code == 0
    assert {json.loads(line)["question"] for line in QUESTIONS.splitlines()[:3]} <= set(asked)
