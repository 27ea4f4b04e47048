import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from eval.__main__ import app, interrupted
from eval.questions import EvalQuestion, QuestionSet
from eval.report import from_json
from eval.run import evaluate
from eval.table import table
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.console import BarProgress, errors_in_words
from rag_service.errors import RagError
from rag_service.opened import Opened
from rag_service.release import Release
from rag_service.settings import Settings

QUESTIONS = (
    '{"id": "where", "question": "Where does the Eiffel Tower stand?", "answers": ["Paris"], "relevant_ids": ["tower"]}\n'
    '{"id": "nobody", "question": "zzyzx qwxv jkjk", "answerable": false}\n'
)


@pytest.fixture
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_pipeline: Callable[..., Pipeline]) -> Path:
    """A catalog with one active release; opening a release gives the small pipeline."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("RAG_"):
            monkeypatch.delenv(name)
    root = tmp_path / "indexes"
    Catalog(root).activate("little", make_pipeline().lineage.release)

    def open_release(_settings: Settings, _catalog: Catalog, _name: str, release: Release) -> Opened:
        return Opened(make_pipeline(retrieval=release.retrieval), ())

    monkeypatch.setattr("rag_service.wiring.releases.open_release", open_release)
    return root


@pytest.fixture
def questions(question_file: Callable[[str], Path]) -> str:
    return str(question_file(QUESTIONS))


@pytest.fixture
def active(indexes: Path) -> str:
    return Catalog(indexes).active_id("little")


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["run", *arguments])


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
    assert max(map(len, shown.splitlines())) <= 80
    if "run" in arguments:
        for option in (
            "--name",
            "--split",
            "--limit",
            "--depth",
            "--retrieval-only",
            "--top-k",
            "--min-confidence",
            "--json",
            "--indexes",
        ):
            assert option in shown


def test_a_run_prints_a_table_that_fits(indexes: Path, questions: str) -> None:
    result = _run(questions, "--name", "little", "--indexes", str(indexes))
    assert result.exit_code == 0
    assert "retrieval, by document" in result.stdout
    assert "1 answerable, 1 unanswerable, 1 with gold documents" in result.stdout
    assert "1 answered, 1 abstained (low_confidence 1), 0 errors" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


def test_the_report_is_written_where_asked(indexes: Path, active: str, questions: str, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    result = _run(questions, "--name", "little", "--indexes", str(indexes), "--json", str(target))
    assert result.exit_code == 0
    report = from_json(target.read_text("utf-8"))
    assert report.release.id == active
    assert report.warnings == ()


def test_an_override_is_measured_as_a_release_of_its_own_and_not_stored(indexes: Path, active: str, questions: str, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    result = _run(questions, "--name", "little", "--indexes", str(indexes), "--min-confidence", "1", "--top-k", "2", "--json", str(target))
    assert result.exit_code == 0
    report = json.loads(target.read_text("utf-8"))
    assert report["release"]["content"]["retrieval"] == {"mode": "hybrid", "top_k": 2, "per_document": 3, "min_confidence": 1.0}
    assert report["release"]["id"] != active
    assert report["warnings"] == [f"this is not the active release {active}, which has top_k 3 and min_confidence 0.2"]
    assert report["counts"]["abstained"] == 2
    assert [path.stem for path in (indexes / "little" / "releases").iterdir()] == [active]


def test_a_release_that_changed_since_its_activation_is_named(
    indexes: Path,
    active: str,
    questions: str,
    monkeypatch: pytest.MonkeyPatch,
    pipeline: Pipeline,
) -> None:
    monkeypatch.setattr("rag_service.wiring.releases.open_release", lambda *_: Opened(pipeline, ("code", "generator")))
    result = _run(questions, "--name", "little", "--indexes", str(indexes))
    assert f"code, generator changed since release {active} was activated" in " ".join(result.stdout.split())


def test_retrieval_only_asks_nothing(indexes: Path, questions: str) -> None:
    result = _run(questions, "--name", "little", "--indexes", str(indexes), "--retrieval-only")
    assert result.exit_code == 0
    assert "latency of a search" in result.stdout
    assert "abstention" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["nowhere.jsonl", "--name", "little"], 1, "there is no file nowhere.jsonl", "check the path"),
        (["{questions}", "--name", "other"], 1, "there is no index 'other'", "index build"),
        (["{questions}", "--name", "../other"], 2, "cannot name an index", "a-z"),
        (["{questions}", "--name", "little", "--split", "dev"], 1, "has no splits", "leave --split out"),
        (["{questions}", "--name", "little", "--top-k", "0"], 2, "--top-k is 0", "top_k"),
        (["{questions}", "--name", "little", "--json", "no/such/folder.json"], 1, "does not exist", "a folder that exists"),
        (["{questions}", "--name", "little", "--json", "."], 1, "is a folder", "path of a file"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    indexes: Path, questions: str, arguments: list[str], code: int, message: str, hint: str
) -> None:
    result = _run(*[argument.format(questions=questions) for argument in arguments], "--indexes", str(indexes))
    assert result.exit_code == code
    assert message in result.stderr
    assert hint in result.stderr
    assert result.stdout == ""


def test_a_wrong_option_is_a_wrong_call(questions: str) -> None:
    assert _run(questions, "--depth", "1").exit_code == 2
    assert _run(questions, "--no-such-option").exit_code == 2


def test_a_run_in_which_every_question_fails_ends_in_an_error(indexes: Path, questions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_TIMEOUT_S", "0.000001")
    result = _run(questions, "--name", "little", "--indexes", str(indexes))
    assert result.exit_code == 1
    assert "2 errors (deadline_exceeded 2)" in result.stdout
    assert "every question failed; the first: deadline_exceeded" in result.stderr


def test_an_interruption_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    progress = BarProgress()
    progress.stage("asking", 3)
    progress.advance()
    with pytest.raises(typer.Exit) as ended, errors_in_words(interrupted=lambda: interrupted(progress)):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert "interrupted after 1 of 3 questions; nothing was written" in capsys.readouterr().err


def test_markup_in_an_error_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_in_words(interrupted=lambda: interrupted(BarProgress())):
        raise RagError("no document [bold]", hint="see [/dim]")
    assert "no document [bold]" in capsys.readouterr().err


def test_the_table_fits_whatever_the_names_are(pipeline: Pipeline, progress: Any) -> None:
    long = QuestionSet("q" * 200 + ".jsonl", "native", None, "sha256:" + "0" * 64, (EvalQuestion("a", "Where [is] it?"),), 12_345)
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(table(evaluate(pipeline, long, progress=progress)))
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= 80
    assert "12,345 without a judgement left out" in shown.replace("\n           ", " ")
    assert "undefined: em, f1, contains: no answerable question has a reference answer" in " ".join(shown.split())
