"""Each field of a question, over a real socket: what it changes, and what is said where it cannot be used."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from tests.api.replies import HOLIDAYS, refused
from tests.doubles import Writes, completion, with_generator

NOWHERE = "0" * 12


def codes(reply: Any) -> list[str]:
    return [warning["code"] for warning in reply.json["warnings"]]


@pytest.mark.parametrize(
    ("filters", "sources"),
    [
        ({"source": "leave.md"}, {"leave.md"}),
        ({"source": {"eq": "leave.md"}}, {"leave.md"}),
        ({"source": {"in": ["leave.md", "travel.md"]}}, {"leave.md", "travel.md"}),
        ({"source": {"prefix": "security/"}}, {"security/passwords.md"}),
        ({"source": {"prefix": "t"}, "title": "Travel"}, {"travel.md"}),
        ({"source": [{"ne": "leave.md"}, {"ne": "travel.md"}], "title": {"gte": "A"}}, {"security/passwords.md", "visitors.txt"}),
        ({"document_id": "travel.md"}, {"travel.md"}),
        ({"lang": {"exists": True}}, set()),
    ],
)
def test_filters_decide_what_is_searched(client: Any, filters: object, sources: set[str]) -> None:
    for reply in (client.ask({"question": HOLIDAYS, "filters": filters}), client.search({"question": HOLIDAYS, "filters": filters})):
        assert reply.status == 200, reply.body
        assert {hit["source"].partition("#")[0] for hit in reply.json["hits"]} == sources
        assert reply.json["trace"]["scope"]["filters"]
        assert reply.json["trace"]["scope"]["chunks"] == len(reply.json["hits"])


def test_without_filters_the_whole_index_is_searched(client: Any) -> None:
    trace = client.ask({"question": HOLIDAYS, "filters": {}}).json["trace"]
    assert (trace["scope"]["filters"], trace["scope"]["chunks"]) == (None, trace["index"]["chunks"])


def test_filters_that_leave_nothing_make_the_service_abstain(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS, "filters": {"source": "nothing.md"}}).json
    assert (reply["status"], reply["hits"], reply["trace"]["scope"]["documents"]) == ("abstained", [], 0)


@pytest.mark.parametrize(
    ("filters", "param", "says"),
    [
        ({"lang": {"likes": "en"}}, "filters.lang", "operators are eq, ne"),
        ({"lang": ["en", "de"]}, "filters.lang", '{"in": [...]}'),
        ({"lang": {}}, "filters.lang", "no operator"),
        ({"lang": None}, "filters.lang", "must be a text"),
        ({"lang": {"in": []}}, "filters.lang", "1 to 64"),
        ({"lang": {"in": ["x"] * 65}}, "filters.lang", "1 to 64"),
        ({"lang": "x" * 257}, "filters.lang", "at most 256"),
        ({"x" * 257: 1}, "filters", "1 to 256"),
        ({"year": 2**53}, "filters.year", "2^53"),
        ({"year": {"exists": 1}}, "filters.year", "true or false"),
        ({"year": {"prefix": 20}}, "filters.year", "must be a text"),
        ({f"key {number}": 1 for number in range(17)}, "filters", "at most 16"),
        ({"year": [{"ne": number} for number in range(17)]}, "filters", "at most 16"),
        ([], "filters", "dict"),
    ],
)
def test_filters_that_cannot_be_used_are_named_with_what_is_wrong_also_in_a_batch(
    client: Any, filters: object, param: str, says: str
) -> None:
    asked = {"question": HOLIDAYS, "filters": filters}
    for reply, place in (
        (client.ask(asked), ""),
        (client.search(asked), ""),
        (client.batch({"questions": [{"question": HOLIDAYS}, asked]}), "questions.1."),
    ):
        error = refused(reply, 422, "invalid_request")
        assert error["param"] == place + param
        assert says in error["message"]


def test_a_release_or_version_that_answers_anyway_may_be_named(client: Any) -> None:
    trace = client.ask({"question": HOLIDAYS}).json["trace"]
    for pin in ({"release": trace["release"]["id"]}, {"index_version": trace["index"]["version"]}):
        assert client.ask({"question": HOLIDAYS, **pin}).json["trace"]["release"] == trace["release"]


@pytest.mark.parametrize("field", ["release", "index_version"])
def test_a_release_or_version_that_is_not_there_is_a_404_that_names_the_field(client: Any, field: str) -> None:
    asked = {"question": HOLIDAYS, field: NOWHERE}
    for reply in (client.ask(asked), client.search(asked), client.batch({"questions": [{"question": HOLIDAYS}], field: NOWHERE})):
        error = refused(reply, 404, "not_found")
        assert error["param"] == field
        assert NOWHERE in error["message"]


def test_a_release_whose_parts_are_gone_is_a_409_that_says_nothing_of_paths(serve: Any, own_indexes: Path) -> None:
    catalog = Catalog(own_indexes)
    active = catalog.release("handbook", catalog.active_id("handbook"))
    gone = active.model_copy(update={"index": active.index.model_copy(update={"version": NOWHERE})})
    catalog.add_release("handbook", gone)
    error = refused(serve(own_indexes).ask({"question": HOLIDAYS, "release": gone.id}), 409, "release_unavailable")
    assert (error["param"], error["type"], error["retryable"]) == ("release", "conflict", False)
    assert gone.id in error["message"]


@pytest.mark.parametrize("pin", ["../../etc/pass", "ABCDEF012345", "0" * 13, ""])
def test_what_cannot_be_the_id_of_a_release_is_refused(client: Any, pin: str) -> None:
    assert refused(client.ask({"question": HOLIDAYS, "release": pin}), 422, "invalid_request")["param"] == "release"


def test_a_release_and_a_version_that_do_not_belong_together_are_refused(client: Any) -> None:
    release = client.ask({"question": HOLIDAYS}).json["trace"]["release"]["id"]
    reply = client.ask({"question": HOLIDAYS, "release": release, "index_version": NOWHERE})
    error = refused(reply, 422, "invalid_request")
    assert error["param"] == "index_version"


def test_a_prompt_is_taken_by_its_name_and_an_unknown_one_is_a_404(client: Any) -> None:
    assert client.ask({"question": HOLIDAYS, "prompt": "answer/1"}).json["trace"]["prompt_template"]["name"] == "answer"
    for name in ("answer/99", "../../etc/passwd", "answer", ""):
        error = refused(client.ask({"question": HOLIDAYS, "prompt": name}), 404, "not_found")
        assert error["param"] == "prompt"


def test_a_time_limit_above_the_service_s_own_is_refused_with_it(client: Any) -> None:
    for reply in (
        client.ask({"question": HOLIDAYS, "timeout_ms": 30_001}),
        client.search({"question": HOLIDAYS, "timeout_ms": 30_001}),
        client.batch({"questions": [{"question": HOLIDAYS}], "timeout_ms": 30_001}),
    ):
        error = refused(reply, 422, "invalid_request")
        assert error["param"] == "timeout_ms"
        assert "30000" in error["message"]
    assert client.ask({"question": HOLIDAYS, "timeout_ms": 30_000}).status == 200


def test_what_the_extractive_generator_does_not_have_is_left_out_with_a_warning(client: Any) -> None:
    reply = client.ask({"question": HOLIDAYS, "seed": 1, "temperature": 0.5, "max_tokens": 20})
    assert codes(reply) == ["parameter_adjusted"] * 3
    assert reply.json["trace"]["overrides"] == []
    for name in ("seed", "temperature", "max_tokens"):
        assert any(name in warning["detail"] for warning in reply.json["warnings"])


def test_sampling_reaches_a_generator_that_has_it_and_the_trace_with_longer_answers_than_allowed_cut_back(
    serve: Any, pipeline: Pipeline
) -> None:
    model = Writes(completion("28 days [1]."), parameters={"max_tokens": 100, "temperature": 0.0, "seed": None})
    reply = serve(with_generator(pipeline, model)).ask({"question": HOLIDAYS, "seed": 7, "temperature": 1.5, "max_tokens": 500})
    [sampling] = model.samplings
    assert (sampling.seed, sampling.temperature, sampling.max_tokens) == (7, 1.5, None)
    assert codes(reply) == ["parameter_adjusted"]
    assert "max_tokens is 100" in reply.json["warnings"][0]["detail"]
    assert reply.json["trace"]["generator"]["parameters"] == {"max_tokens": 100, "temperature": 1.5, "seed": 7}
    assert set(reply.json["trace"]["overrides"]) == {"temperature", "seed"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("max_tokens", 0),
        ("timeout_ms", 0),
        ("prompt", "x" * 129),
    ],
)
def test_a_value_that_nobody_could_use_is_refused(client: Any, name: str, value: object) -> None:
    assert refused(client.ask({"question": HOLIDAYS, name: value}), 422, "invalid_request")["param"] == name


def test_a_follow_up_is_searched_for_as_a_question_of_its_own_which_the_reply_shows(client: Any) -> None:
    messages = [
        {"role": "user", "content": HOLIDAYS},
        {"role": "assistant", "content": "28 days."},
        {"role": "user", "content": "And when do they expire?"},
    ]
    reply = client.ask({"messages": messages})
    assert reply.status == 200
    assert "holiday" in reply.json["query"]
    assert "expire" in reply.json["query"]
    assert "condense" in [stage["name"] for stage in reply.json["trace"]["stages"]]
    apart = client.ask({"messages": messages[:2], "question": "And when do they expire?"})
    assert (apart.json["query"], apart.json["answer"]) == (reply.json["query"], reply.json["answer"])
    assert client.search({"messages": messages}).json["query"] == reply.json["query"]


def test_the_query_of_a_question_alone_is_the_question(client: Any) -> None:
    assert client.ask({"question": HOLIDAYS}).json["query"] == HOLIDAYS
    assert client.ask({"messages": [{"role": "user", "content": HOLIDAYS}]}).json["query"] == HOLIDAYS


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "question"),
        ({"messages": []}, "question"),
        ({"messages": [{"role": "assistant", "content": "28 days."}]}, "question"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": "x"}] * 51, "question": "y"}, "messages"),
    ],
)
def test_messages_that_hold_no_question_or_are_too_many_are_refused_by_name_also_in_a_batch(
    client: Any, asked: dict[str, object], param: str
) -> None:
    for reply, place in (
        (client.ask(asked), ""),
        (client.search(asked), ""),
        (client.batch({"questions": [{"question": HOLIDAYS}, asked]}), "questions.1."),
    ):
        assert refused(reply, 422, "invalid_request")["param"] == place + param


@pytest.mark.parametrize(
    ("route", "asked", "field", "meant"),
    [
        ("/ask", {"question": "x", "topk": 3}, "topk", "top_k"),
        ("/ask", {"question": "x", "filter": {}}, "filter", "filters"),
        ("/ask", {"messages": [{"role": "user", "contents": "x"}]}, "messages.0.contents", "content"),
        ("/search", {"question": "x", "min_scor": 1}, "min_scor", "min_score"),
        ("/search", {"question": "x", "stream": True}, "stream", None),
        ("/ask/batch", {"question": "x"}, "question", "questions"),
        ("/ask/batch", {"questions": [{"question": "x"}], "top_k": 3}, "top_k", None),
        ("/ask/batch", {"questions": [{"question": "x"}, {"questoin": "x"}]}, "questions.1.questoin", "question"),
        ("/ask/batch", {"questions": [{"question": "x", "chache": False}]}, "questions.0.chache", None),
        ("/v1/chat/completions", {"model": "x", "messages": [], "rag": {"topk": 1}}, "rag.topk", "top_k"),
    ],
)
def test_a_field_that_is_not_there_is_named_with_what_may_have_been_meant_in_that_very_place(
    client: Any, route: str, asked: object, field: str, meant: str | None
) -> None:
    error = client.post(route, asked).json["error"]
    assert error["param"] == field
    assert error["message"] == f"{field} is not a field of this request; " + (
        f"did you mean {meant}?" if meant else "/docs lists the fields"
    )


def test_an_answer_is_repeated_unless_it_shall_be_made_anew(serve: Any, own_indexes: Path) -> None:
    client = serve(own_indexes)
    first, second = client.ask({"question": HOLIDAYS}).json, client.ask({"question": HOLIDAYS}).json
    assert (first["repeats"], second["repeats"]) == (None, first["answer_id"])
    assert second["answer_id"] != first["answer_id"]
    assert second["trace_id"] != first["trace_id"]
    same = ("answer", "citations", "hits", "query", "status")
    assert [second[name] for name in same] == [first[name] for name in same]
    assert second["trace"]["stages"] == first["trace"]["stages"]
    assert client.ask({"question": HOLIDAYS, "cache": False}).json["repeats"] is None
    assert client.ask({"question": HOLIDAYS, "top_k": 2}).json["repeats"] is None
    assert client.ask({"question": HOLIDAYS, "filters": {"source": "leave.md"}}).json["repeats"] is None


def test_an_answer_that_shall_not_be_kept_is_not(serve: Any, own_indexes: Path) -> None:
    client = serve(own_indexes)
    client.ask({"question": HOLIDAYS, "cache": False})
    assert client.ask({"question": HOLIDAYS}).json["repeats"] is None


def test_what_a_repeated_answer_says_of_its_request_is_of_that_request(serve: Any, own_indexes: Path) -> None:
    client = serve(own_indexes)
    client.ask({"question": HOLIDAYS, "request_id": "first"})
    reply = client.ask({"question": HOLIDAYS, "request_id": "second", "include": ["chunks"]})
    assert reply.json["repeats"]
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "second"
    assert all(hit["text"] for hit in reply.json["hits"])
    assert reply.headers["x-trace-id"] == reply.json["trace_id"] == reply.json["trace"]["trace_id"]


def test_links_begin_with_the_public_address_of_the_service_where_it_has_one(serve: Any, pipeline: Pipeline) -> None:
    for public_url, begins in ((None, "/chunks/"), ("https://example.org/rag/", "https://example.org/rag/chunks/")):
        reply = serve(dataclasses.replace(pipeline), public_url=public_url).ask({"question": HOLIDAYS}).json
        assert all(place["url"].startswith(begins) for place in [*reply["citations"], *reply["hits"]])
