"""`POST /search`: what an answer would be made from."""

from typing import Any

import pytest

from rag_service.reply import SearchReply
from tests.api.replies import HOLIDAYS, refused


def test_a_search_has_the_documented_shape_and_no_answer(client: Any) -> None:
    reply = client.search({"question": HOLIDAYS})
    assert reply.status == 200
    assert SearchReply.model_validate_json(reply.body).model_dump(mode="json", by_alias=True) == reply.json
    assert "answer" not in reply.json
    assert reply.headers["x-trace-id"] == reply.json["trace_id"] == reply.json["trace"]["trace_id"]
    assert [stage["name"] for stage in reply.json["trace"]["stages"]] == ["embed", "retrieve"]
    assert [hit["rank"] for hit in reply.json["hits"]] == [1, 2, 3, 4, 5]
    assert reply.json["hits"][0]["source"] == "leave.md"


def test_a_search_finds_what_an_answer_is_made_from(client: Any) -> None:
    asked, searched = client.ask({"question": HOLIDAYS, "top_k": 3}).json, client.search({"question": HOLIDAYS, "top_k": 3}).json
    assert searched["hits"] == [{**hit, "used": False} for hit in asked["hits"]]
    digests = [{stage["name"]: stage["digest"] for stage in reply["trace"]["stages"]} for reply in (asked, searched)]
    assert digests[1].items() <= digests[0].items()


def test_a_search_keeps_to_the_least_score_that_is_asked_for_and_without_one_gives_all(client: Any) -> None:
    everything = client.search({"question": HOLIDAYS, "top_k": 50}).json["hits"]
    scores = [hit["score"] for hit in everything]
    assert min(scores) < 0.35  # where answers begin
    least = scores[1]
    assert client.search({"question": HOLIDAYS, "top_k": 50, "min_score": least}).json["hits"] == everything[:2]
    nothing = client.search({"question": HOLIDAYS, "min_score": 0.99})
    assert (nothing.status, nothing.json["hits"]) == (200, [])


def test_the_text_of_hits_comes_when_it_is_included(client: Any) -> None:
    assert all(hit["text"] is None for hit in client.search({"question": HOLIDAYS}).json["hits"])
    assert all(hit["text"] for hit in client.search({"question": HOLIDAYS, "include": ["chunks"]}).json["hits"])


def test_a_request_id_comes_back(client: Any) -> None:
    reply = client.search({"question": HOLIDAYS, "request_id": "body"}, x_request_id="header")
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "body"


@pytest.mark.parametrize("field", ["seed", "temperature", "max_tokens", "prompt", "stream", "cache"])
def test_what_concerns_an_answer_alone_is_no_field_of_a_search(client: Any, field: str) -> None:
    assert refused(client.search({"question": HOLIDAYS, field: 1}), 422, "invalid_request")["param"] == field


@pytest.mark.parametrize(("question", "code"), [(" ", "invalid_question"), ("q" * 4001, "invalid_question"), (7, "invalid_request")])
def test_a_question_that_cannot_be_asked_cannot_be_searched_for(client: Any, question: object, code: str) -> None:
    assert refused(client.search({"question": question}), 422, code)["param"] == "question"
