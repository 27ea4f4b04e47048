"""Several questions at once: embedded in one call, answered in order, each with a fate of its own."""

import dataclasses
import time
from collections.abc import Sequence

import pytest

from rag_service.ask import Pipeline
from rag_service.errors import DeadlineExceeded, EmbedderFailed, GeneratorFailed, InvalidQuestion, NotFound, RagError
from rag_service.question import Question
from rag_service.record import Attempt, Record
from rag_service.types import Turn
from tests.doubles import HOLIDAYS, Around, Writes, completion, with_generator

BADGES = "What do visitors wear?"
PASSWORDS = "How many characters does a password have at least?"


def records(results: Sequence[Record | RagError]) -> list[Record]:
    assert all(isinstance(result, Record) for result in results), results
    return [result for result in results if isinstance(result, Record)]


def attempt_of(error: Record | RagError) -> Attempt:
    assert isinstance(error, RagError)
    assert isinstance(error.attempt, Attempt)
    return error.attempt


def test_answers_come_in_the_order_asked_and_are_what_each_question_alone_gets(pipeline: Pipeline) -> None:
    questions = [Question(text) for text in (BADGES, HOLIDAYS, PASSWORDS)]
    for together, question in zip(records(pipeline.ask_many(questions)), questions, strict=True):
        alone = pipeline.ask(question)
        assert (together.question, together.answer, together.citations) == (alone.question, alone.answer, alone.citations)
        assert [(stage.name, stage.digest) for stage in together.stages] == [(stage.name, stage.digest) for stage in alone.stages]
        assert set(together.timings_ms) == set(alone.timings_ms)


def test_each_answer_has_an_id_of_its_own_and_all_share_the_trace_of_the_request(pipeline: Pipeline) -> None:
    found = records(pipeline.ask_many([Question(HOLIDAYS, request_id=str(number)) for number in range(3)]))
    assert len({record.answer_id for record in found}) == 3
    assert len({record.trace_id for record in found}) == 1
    assert [record.request_id for record in found] == ["0", "1", "2"]


def test_all_questions_are_embedded_in_one_call(pipeline: Pipeline) -> None:
    together, alone = [], []
    counting = Around(Around(pipeline.embedder, "embed_queries", lambda: together.append(1)), "embed_query", lambda: alone.append(1))
    dataclasses.replace(pipeline, embedder=counting).ask_many([Question(HOLIDAYS), Question(BADGES), Question("")])
    assert (together, alone) == ([1], [])


@pytest.mark.parametrize("questions", [[], [Question("")]], ids=["no question", "no good one"])
def test_with_nothing_to_embed_the_encoder_is_not_called(pipeline: Pipeline, questions: list[Question]) -> None:
    called: list[int] = []
    counting = dataclasses.replace(pipeline, embedder=Around(pipeline.embedder, "embed_queries", lambda: called.append(1)))
    assert [type(result) for result in counting.ask_many(questions)] == [InvalidQuestion] * len(questions)
    assert called == []


def test_a_question_that_cannot_be_asked_is_an_error_in_its_place_and_the_others_are_answered(pipeline: Pipeline) -> None:
    questions = [Question(HOLIDAYS), Question(" "), Question(BADGES, prompt="answer/99"), Question(BADGES, top_k=2)]
    first, blank, unknown, last = pipeline.ask_many(questions)
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert "28 days" in str(first.answer)
    assert "yellow badge" in str(last.answer)
    assert isinstance(blank, InvalidQuestion)
    assert isinstance(unknown, NotFound)
    assert attempt_of(blank).stages == attempt_of(unknown).stages == ()
    assert attempt_of(blank).trace_id == first.trace_id


def test_a_generator_that_fails_at_one_question_fails_that_one_alone(pipeline: Pipeline) -> None:
    generator = Writes(completion("28 days [1]."), GeneratorFailed("gone"), completion("A badge [1]."))
    first, second, third = with_generator(pipeline, generator).ask_many([Question(HOLIDAYS), Question(HOLIDAYS, top_k=3), Question(BADGES)])
    assert (getattr(first, "answer", None), getattr(third, "answer", None)) == ("28 days [1].", "A badge [1].")
    assert isinstance(second, GeneratorFailed)
    assert second.stage == "generate"
    assert [stage.name for stage in attempt_of(second).stages] == ["embed", "retrieve", "prompt"]
    assert attempt_of(second).parameters.top_k == 3


def test_an_encoder_that_fails_fails_all_and_each_says_how_far_it_had_come(pipeline: Pipeline) -> None:
    def fails() -> None:
        raise EmbedderFailed("the provider is gone", retry_after_s=7)

    broken = dataclasses.replace(pipeline, embedder=Around(pipeline.embedder, "embed_queries", fails))
    follow_up = Question("When do they expire?", history=(Turn("user", HOLIDAYS),))
    first, blank, second = broken.ask_many([Question(HOLIDAYS, top_k=2), Question(""), follow_up])
    assert isinstance(blank, InvalidQuestion)
    for error in (first, second):
        assert isinstance(error, EmbedderFailed)
        assert (error.message, error.stage, error.retry_after_s) == ("the provider is gone", "embed", 7)
    assert first is not second
    assert (attempt_of(first).parameters.top_k, attempt_of(first).stages) == (2, ())
    assert [stage.name for stage in attempt_of(second).stages] == ["condense"]


def test_a_deadline_that_passes_on_the_way_fails_what_is_left(pipeline: Pipeline) -> None:
    deadline_s = time.monotonic() + 0.3

    def wait() -> None:
        while time.monotonic() < deadline_s:
            pass

    slow = with_generator(pipeline, Around(Writes(completion("28 days [1].")), "generate", wait))  # type: ignore[arg-type]
    first, second, third = slow.ask_many(
        [Question(HOLIDAYS, deadline_s=time.monotonic() + 60), *[Question(HOLIDAYS, deadline_s=deadline_s)] * 2]
    )
    assert isinstance(first, Record)
    for error in (second, third):
        assert isinstance(error, DeadlineExceeded)
        assert error.stage == "retrieve"
        assert [stage.name for stage in attempt_of(error).stages] == ["embed"]
    assert second is not third


def test_questions_whose_time_is_over_are_not_embedded(pipeline: Pipeline) -> None:
    called: list[int] = []
    counting = dataclasses.replace(pipeline, embedder=Around(pipeline.embedder, "embed_queries", lambda: called.append(1)))
    results = counting.ask_many([Question(HOLIDAYS, deadline_s=time.monotonic() - 1)] * 2)
    assert [(type(result), getattr(result, "stage", None)) for result in results] == [(DeadlineExceeded, "embed")] * 2
    assert called == []


def test_follow_ups_are_condensed_each_by_its_own_conversation(pipeline: Pipeline) -> None:
    history = (Turn("user", HOLIDAYS),)
    first, second = records(pipeline.ask_many([Question("When do they expire?", history=history), Question(BADGES)]))
    assert (first.query, second.query) == (f"{HOLIDAYS} When do they expire?", BADGES)
