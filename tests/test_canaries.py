"""Questions that a release must answer before it is served."""

from pathlib import Path

import pytest

from rag_service.ask import Pipeline
from rag_service.canaries import MOST, Canary, check_canaries, read_canaries
from rag_service.errors import Damaged, GeneratorFailed, Mismatch
from tests.doubles import HOLIDAYS, Writes, with_generator

WEATHER = "What will the weather be in Reykjavik tomorrow?"


@pytest.mark.parametrize(
    "canary",
    [
        Canary(question=HOLIDAYS),
        Canary(question=HOLIDAYS, documents=["leave.md"], contains="28 DAYS"),
        Canary(question=HOLIDAYS, documents=["nowhere.md", "leave.md"]),
        Canary(question=WEATHER, abstains=True),
    ],
)
def test_a_question_that_comes_out_as_it_should_passes(pipeline: Pipeline, canary: Canary) -> None:
    check_canaries(pipeline, [canary])


@pytest.mark.parametrize(
    ("canary", "problem"),
    [
        (Canary(question=HOLIDAYS, documents=["nowhere.md"]), r"found none of nowhere\.md, but .*leave\.md"),
        (Canary(question=HOLIDAYS, contains="29 days"), "does not say '29 days', but '.*28 days"),
        (Canary(question=HOLIDAYS, abstains=True), "was answered: '.*28 days"),
        (Canary(question=WEATHER), "was not answered: "),
        (Canary(question=" "), "failed: "),
    ],
)
def test_a_question_that_comes_out_otherwise_is_named_with_what_came_out(pipeline: Pipeline, canary: Canary, problem: str) -> None:
    with pytest.raises(Mismatch, match=f"1 of 2 canary questions failed: {canary.question!r} {problem}".replace("?", r"\?")) as caught:
        check_canaries(pipeline, [Canary(question=HOLIDAYS), canary])
    assert "canaries.jsonl" in caught.value.hint


def test_a_generator_that_fails_is_a_failed_question(pipeline: Pipeline) -> None:
    broken = with_generator(pipeline, Writes(GeneratorFailed("the provider is gone")))
    with pytest.raises(Mismatch, match="failed: the provider is gone"):
        check_canaries(broken, [Canary(question=HOLIDAYS)])


def test_every_question_is_asked_and_the_first_five_failures_are_named(pipeline: Pipeline) -> None:
    wrong = [Canary(question=HOLIDAYS, contains=f"{number} days of snow") for number in range(7)]
    with pytest.raises(Mismatch, match=r"7 of 7 canary questions failed") as caught:
        check_canaries(pipeline, wrong)
    assert "4 days of snow" in caught.value.message
    assert "5 days of snow" not in caught.value.message


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert read_canaries(tmp_path / "canaries.jsonl") == ()


def test_a_file_is_read_in_order_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "canaries.jsonl"
    path.write_text('{"question": "Wie viele Tage?", "documents": ["ä.md"]}\n\n  \n{"question": "x", "abstains": true}\n')
    assert read_canaries(path) == (Canary(question="Wie viele Tage?", documents=["ä.md"]), Canary(question="x", abstains=True))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"not json", "line 2"),
        (b'{"documents": ["a.md"]}', "line 2 of canaries.jsonl is no canary question: question: "),
        (b'{"question": "x", "contians": "y"}', "contians"),
        (b'{"question": 7}', "question"),
        (b'["x"]', "line 2"),
        (b'{"question": "\xff"}', "line 2"),
    ],
)
def test_a_line_that_is_none_is_named_and_never_left_out(tmp_path: Path, line: bytes, named: str) -> None:
    path = tmp_path / "canaries.jsonl"
    path.write_bytes(b'{"question": "x"}\n' + line + b"\n")
    with pytest.raises(Damaged) as caught:
        read_canaries(path)
    assert named in caught.value.message
    assert caught.value.hint


def test_more_questions_than_are_asked_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "canaries.jsonl"
    path.write_text('{"question": "x"}\n' * MOST)
    assert len(read_canaries(path)) == MOST
    path.write_text('{"question": "x"}\n' * (MOST + 1))
    with pytest.raises(Damaged, match=f"holds {MOST + 1} questions"):
        read_canaries(path)
