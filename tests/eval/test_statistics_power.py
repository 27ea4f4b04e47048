"""How small a difference a question set shows, before anything is asked: the formulas and the command."""

import json
import math
import re
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from eval.cli.power import power
from eval.statistics.power import (
    Noise,
    detectable,
    noise_sources,
    questions_needed,
    questions_with_epochs,
    sd_of_discordance,
)


@pytest.mark.parametrize(("n", "points"), [(50, 12.5), (100, 8.9), (200, 6.3), (500, 4.0), (1000, 2.8)])
def test_differences_that_are_shown_where_a_tenth_of_the_answers_changes(n: int, points: float) -> None:
    assert 100 * detectable(sd_of_discordance(0.1), n) == pytest.approx(points, abs=0.05)


def test_alike_questions_count_for_fewer() -> None:
    # 1 + (9 − 1) · 0.375 = 4: four times as many are needed.
    assert detectable(0.3, 400, mean_cluster=9, intracluster=0.375) == detectable(0.3, 100)
    assert questions_needed(0.05, 0.3, mean_cluster=9, intracluster=0.375) == pytest.approx(4 * questions_needed(0.05, 0.3), abs=4)


def test_questions_needed_worked_by_hand() -> None:
    # (1.959964 + 0.841621)² · 0.5² / 0.1² = 7.848880 · 25 = 196.2
    assert questions_needed(0.1, 0.5) == 197
    assert questions_needed(0.1, 0.0) == 1
    assert questions_needed(0.1, 0.5, power=0.9, alpha=0.1) == 215  # (1.644854 + 1.281552)² · 25 = 214.1


@given(st.floats(0.001, 1), st.floats(0.001, 2), st.floats(1, 50), st.floats(0, 1))
def test_the_questions_that_are_needed_are_the_fewest(effect: float, sd: float, size: float, alike: float) -> None:
    n = questions_needed(effect, sd, mean_cluster=size, intracluster=alike)
    assert detectable(sd, n, mean_cluster=size, intracluster=alike) <= effect * (1 + 1e-6)
    if n > 1:
        assert detectable(sd, n - 1, mean_cluster=size, intracluster=alike) > effect


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable(-0.1, 10),
        lambda: detectable(0.1, 0),
        lambda: detectable(0.1, 10, mean_cluster=0.5),
        lambda: detectable(0.1, 10, intracluster=1.5),
        lambda: detectable(0.1, 10, power=1.0),
        lambda: questions_needed(0.0, 0.1),
        lambda: sd_of_discordance(1.1),
        lambda: questions_with_epochs(0.1, Noise(questions=1, base=1, candidate=1), epochs=0),
        lambda: noise_sources([[1.0, 0.0]], [[1.0, 0.0]]),
        lambda: noise_sources([[1.0, 0.0], [1.0]], [[1.0, 0.0], [1.0, 0.0]]),
    ],
)
def test_what_cannot_be_asked_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=r"\d|asked once"):
        call()


def test_sources_of_noise_worked_by_hand() -> None:
    # Within questions ½ and 0 of the base, none of the candidate: sampling adds (½/2 + 0)/2. Mean differences −½ and 1 vary by 9/8.
    found = noise_sources([[0, 1], [0, 0]], [[0, 0], [1, 1]])
    assert (found.base, found.candidate, found.questions) == pytest.approx((1 / 4, 0, 9 / 8 - 1 / 8))


def test_epochs_help_only_against_sampling() -> None:
    noise = Noise(questions=0.01, base=0.06, candidate=0.06)
    asked = [questions_with_epochs(0.05, noise, epochs=epochs) for epochs in (1, 4, 1000)]
    assert asked == [questions_needed(0.05, math.sqrt(spread)) for spread in (0.13, 0.04, 0.01012)]
    of_questions_alone = Noise(questions=0.01, base=0, candidate=0)
    assert len({questions_with_epochs(0.05, of_questions_alone, epochs=epochs) for epochs in (1, 10)}) == 1


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """100 questions about 20 documents, five each; 20 of them unanswerable."""
    path = tmp_path / "set.jsonl"
    rows = [
        {"id": str(n), "question": f"What is {n}?", "relevant_ids": [f"page-{n % 20}#{n}"], "answerable": n % 5 > 0} for n in range(100)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _said(*arguments: str) -> list[str]:
    app = typer.Typer()
    app.command()(power)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def _cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_the_command_says_what_a_set_can_show(questions: Path) -> None:
    said = _said(str(questions), "--discordance", "0.25", "--effect", "0.05")
    assert said[0] == "100 questions of set.jsonl, in 20 clusters, the largest of 5"
    of_levels = [_cells(line) for line in said if line.startswith("0.25")]
    # 2.8016 · 0.5 / 10 = 0.140; · √(1 + 4 · 0.02) and √(1 + 4 · 0.1); at 0.5 more than a quarter would have to change: 0.243 does not.
    assert of_levels[0] == ["0.25", "0.140", "0.146", "0.166", "0.243"]
    # 7.8489 · 0.25 / 0.0025 = 784.9; times 1.08, 1.4 and 3
    assert of_levels[1] == ["0.25", "785", "848", "1,099", "2,355"]
    assert max(map(len, said)) <= 80
    assert not any("warning" in line for line in said)


def test_a_difference_that_cannot_be_is_not_said_to_be_detectable(questions: Path) -> None:
    rows = [_cells(line) for line in _said(str(questions), "--effect", "0.04") if line.startswith("0.02")]
    assert rows == [["0.02", "–", "–", "–", "–"]] * 2


def test_the_command_looks_at_those_that_the_metric_is_about(questions: Path) -> None:
    said = _said(str(questions), "--among", "unanswerable", "--sd", "0.3", "--intracluster", "0.5")
    assert said[0] == "20 unanswerable questions of set.jsonl, in 4 clusters, the largest of 5"
    assert _cells(next(line for line in said if line.startswith("sd"))) == ["sd 0.3", "0.326"]  # 2.8016 · 0.3 / √20 · √3
    assert "fewer than 10 clusters" in said[-1]


def test_single_questions_have_one_column(tmp_path: Path) -> None:
    path = tmp_path / "alone.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "question": f"What is {n}?"}) + "\n" for n in range(50)), "utf-8")
    said = _said(str(path), "--discordance", "0.1")
    assert said[0] == "50 questions of alone.jsonl, each a cluster of its own"
    assert [_cells(line) for line in said if line.startswith("0.1 ")] == [["0.1", "–"], ["0.1", "1,963"]]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--sd", "0.3", "--discordance", "0.1"], 2, "two ways to say one thing"),
        (["--effect", "0"], 2, "--effect"),
        (["--part", "test"], 1, "the test part of set.jsonl holds no question"),
    ],
)
def test_a_wrong_call_is_refused_in_words(questions: Path, arguments: list[str], code: int, words: str) -> None:
    app = typer.Typer()
    app.command()(power)
    result = CliRunner().invoke(app, [str(questions), *arguments])
    assert result.exit_code == code
    assert words in result.output
