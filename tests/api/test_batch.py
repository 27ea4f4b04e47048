"""`POST /ask/batch`: several questions, one release, one time limit, and a place in the reply for each."""

import dataclasses
import time
from typing import Any

import pytest

from rag_service.api.schemas import BatchReply
from rag_service.ask import Pipeline
from rag_service.errors import GeneratorFailed
from rag_service.ports import Generator
from rag_service.types import Completion, Prompt
from tests.api.replies import HOLIDAYS, error_in, refused
from tests.doubles import Writes, completion, with_generator

TRAINS = "When is first class allowed?"
PASSWORDS = "How many characters does a password have?"


class Slow:
    """The extractive generator of a machine that takes 0.2 s for everything."""

    def __init__(self, inner: Generator) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        time.sleep(0.2)
        return self._inner.generate(prompt, **options)


def slowly(pipeline: Pipeline) -> Pipeline:
    return dataclasses.replace(pipeline, generator=Slow(pipeline.generator))


def test_answers_come_in_the_order_of_the_questions_in_the_documented_shape(client: Any) -> None:
    reply = client.batch({"questions": [{"question": question} for question in (TRAINS, HOLIDAYS, PASSWORDS)]})
    assert reply.status == 200
    assert BatchReply.model_validate_json(reply.body).model_dump(mode="json", by_alias=True) == reply.json
    results = reply.json["results"]
    assert [result["query"] for result in results] == [TRAINS, HOLIDAYS, PASSWORDS]
    assert [result["citations"][0]["source"] for result in results] == ["travel.md", "leave.md", "security/passwords.md"]
    assert len({result["answer_id"] for result in results}) == 3
    assert reply.headers["x-trace-id"] == reply.json["trace_id"]
    assert {result["trace_id"] for result in results} == {reply.json["trace_id"]}


def test_an_answer_in_a_batch_is_the_answer_to_the_question_alone(client: Any) -> None:
    questions = [{"question": HOLIDAYS, "top_k": 2}, {"question": TRAINS, "filters": {"source": "travel.md"}}]
    results = client.batch({"questions": questions, "include": ["chunks"], "cache": False}).json["results"]
    for question, result in zip(questions, results, strict=True):
        alone = client.ask({**question, "include": ["chunks"], "cache": False}).json
        for name in ("status", "answer", "citations", "hits", "warnings", "query"):
            assert result[name] == alone[name]
        assert [stage["digest"] for stage in result["trace"]["stages"]] == [stage["digest"] for stage in alone["trace"]["stages"]]


def test_a_question_that_cannot_be_answered_has_an_error_in_its_place_and_the_others_have_answers(client: Any) -> None:
    questions = [{"question": HOLIDAYS}, {"question": " "}, {"question": TRAINS, "prompt": "answer/99"}, {"question": TRAINS}]
    reply = client.batch({"questions": [{**question, "request_id": f"item-{n}"} for n, question in enumerate(questions)]})
    assert reply.status == 200
    first, blank, unknown, last = reply.json["results"]
    assert (first["status"], last["status"]) == ("answered", "answered")
    assert (error_in(blank)["code"], error_in(unknown)["code"]) == ("invalid_question", "not_found")
    assert (blank["request_id"], unknown["request_id"]) == ("item-1", "item-2")
    assert blank["trace"]["release"] == first["trace"]["release"]


def test_an_error_in_a_batch_says_nothing_that_an_error_alone_would_not(serve: Any, pipeline: Pipeline) -> None:
    failing = with_generator(pipeline, Writes(GeneratorFailed("the provider said no"), completion("It is 28 [1].")))
    failed, answered = serve(failing).batch({"questions": [{"question": HOLIDAYS}, {"question": TRAINS}]}).json["results"]
    assert (error_in(failed)["code"], failed["error"]["stage"]) == ("generator_error", "generate")
    assert answered["status"] == "answered"


def test_each_question_has_the_request_id_that_it_gave_and_the_batch_that_of_the_header(client: Any) -> None:
    reply = client.batch({"questions": [{"question": HOLIDAYS, "request_id": "one"}, {"question": TRAINS}]}, x_request_id="all")
    assert [result["request_id"] for result in reply.json["results"]] == ["one", None]
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "all"


def test_more_questions_than_the_limit_are_refused_with_it(serve: Any, pipeline: Pipeline) -> None:
    client = serve(pipeline, max_batch=3)
    assert client.batch({"questions": [{"question": HOLIDAYS}] * 3}).status == 200
    error = refused(client.batch({"questions": [{"question": HOLIDAYS}] * 4}), 422, "invalid_request")
    assert error["param"] == "questions"
    assert "at most 3" in error["message"]


@pytest.mark.parametrize("questions", [[], None, "x", [None], [[]], ["x"]])
def test_what_is_no_list_of_questions_is_refused(client: Any, questions: object) -> None:
    error = refused(client.batch({"questions": questions}), 422, "invalid_request")
    assert error["param"].startswith("questions")


def test_a_limit_that_one_question_breaks_is_said_with_its_place(client: Any) -> None:
    error = refused(client.batch({"questions": [{"question": HOLIDAYS}, {"question": HOLIDAYS, "top_k": 51}]}), 422, "invalid_request")
    assert error["param"] == "questions.1.top_k"
    assert "at most 50" in error["message"]


def test_one_time_limit_holds_for_all_and_what_was_ready_by_then_is_delivered(serve: Any, pipeline: Pipeline) -> None:
    questions = [{"question": f"{HOLIDAYS} ({number})"} for number in range(8)]
    began_s = time.monotonic()
    reply = serve(slowly(pipeline)).batch({"questions": questions, "timeout_ms": 700})
    assert time.monotonic() - began_s < 1.5  # 1.6 s if each had a time of its own
    assert reply.status == 200
    results = reply.json["results"]
    assert results[0]["status"] == "answered"
    late = [error_in(result) for result in results if "error" in result]
    assert late
    assert {error["code"] for error in late} == {"deadline_exceeded"}
    assert [("error" in result) for result in results] == sorted("error" in result for result in results)


def test_repeated_questions_are_answered_from_the_cache_unless_that_is_not_wanted(serve: Any, own_indexes: Any) -> None:
    client = serve(own_indexes)
    alone = client.ask({"question": HOLIDAYS}).json
    repeated, new = client.batch({"questions": [{"question": HOLIDAYS}, {"question": TRAINS}]}).json["results"]
    assert (repeated["repeats"], new["repeats"]) == (alone["answer_id"], None)
    assert client.ask({"question": TRAINS}).json["repeats"] == new["answer_id"]
    [anew] = client.batch({"questions": [{"question": HOLIDAYS}], "cache": False}).json["results"]
    assert anew["repeats"] is None
