"""What a comparison looks like at the terminal."""

import dataclasses

import pytest

from rag_service.ask import Pipeline
from rag_service.cli.compare import print_comparison, print_prompt, print_set
from rag_service.compare import compare, compare_sets, text_diff
from rag_service.digests import digest_text
from rag_service.kept import Kept
from rag_service.question import Question
from rag_service.record import Receipt
from rag_service.types import Turn
from tests.doubles import HOLIDAYS, Writes, completion, with_generator, with_top_k


def test_the_line_that_says_it_comes_first_and_then_what_differs(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pipeline.ask(Question(HOLIDAYS)), with_top_k(pipeline, 2).ask(Question(HOLIDAYS))
    print_comparison(compare(first, second))
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == compare(first, second).headline
    assert f"{first.answer_id} → {second.answer_id}" in shown
    assert "  retrieval.top_k 5 → 2" in shown
    assert "embed     same" in shown
    assert "retrieve  differs" in shown
    assert " 3   →  –    left" in shown
    assert "\n- [3]" in shown


def test_an_answer_and_an_abstention_are_shown_without_what_is_not_there(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    refused = pipeline.ask(Question(HOLIDAYS, min_confidence=1.0))
    print_comparison(compare(pipeline.ask(Question(HOLIDAYS)), refused))
    shown = capsys.readouterr().out
    assert "generate  only the first" in shown
    assert "no longer cites" in shown
    print_comparison(compare(refused, dataclasses.replace(refused, history=(Turn("user", "Hello"),))))
    shown = capsys.readouterr().out
    assert "the conversation before differs" in shown
    assert "answers not compared: both abstained" in shown


def test_brackets_in_an_answer_are_text_and_changed_words_are_marked_without_colour(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (
        with_generator(pipeline, Writes(completion(f"It is [bold]{days}[/bold] days [1]."))).ask(Question(HOLIDAYS))
        for days in ("28", "thirty")
    )
    print_comparison(compare(one, other))
    assert "It is [bold][-28-]{+thirty+}[/bold] days [1]." in capsys.readouterr().out


def test_what_is_not_stored_is_said_and_a_vector_that_differs_is_measured(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    stored = Kept(record, "digest", frozenset(), None, digest_text(record.question), Receipt(1, "sha256:" + "0" * 64))
    print_comparison(compare(stored, stored))
    shown = capsys.readouterr().out
    assert "not known: whether the filters differ" in shown
    assert "answers not compared: the texts are not stored" in shown
    print_comparison(compare(record, dataclasses.replace(record, query_vector=-record.query_vector)))
    assert "query vectors: cosine -1.0000000, at most" in capsys.readouterr().out


def test_of_long_stretches_without_a_change_only_the_lines_around_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"line {number}\n" for number in range(9)]
    print_prompt(text_diff("".join(lines), "".join([*lines[:4], "new\n", *lines[5:]])))
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  …", "  line 2", "  line 3", "- line 4", "+ new", "  line 5", "  line 6", "  …",
    ]  # fmt: skip


def test_a_set_is_a_table_and_a_list(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pipeline.ask(Question(HOLIDAYS)), with_top_k(pipeline, 2).ask(Question(HOLIDAYS))
    other = pipeline.ask(Question("Which class do I book on a train?"))
    print_set(compare_sets([(first, second), (first, other)]))
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "1 of 1 came out otherwise"
    assert "left out: 1 of 2 pairs have two questions" in shown
    assert "same passages  0 of 1 (0%)" in shown
    assert "overlap        mean 0.400, 0.400 to 0.400 over 1" in shown
    assert "parts at       retrieve 1" in shown
    assert "1. " in shown
    print_set(compare_sets([(first, first)] + [(first, second)] * 21))
    assert "and 1 more" in capsys.readouterr().out
    print_set(compare_sets([]))
    assert "release not compared" in capsys.readouterr().out
