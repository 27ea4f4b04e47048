"""The description of the API: a change of it shows in review, and it says everything that a client must know."""

import difflib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.description import SNAPSHOT, as_text, description

DOCUMENT = description()
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]
PROBES = {"/health/live", "/health/ready"}
ANSWERING = {"/ask", "/ask/batch", "/search", "/v1/chat/completions"}


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def test_the_description_is_the_one_that_was_reviewed() -> None:
    known, now = SNAPSHOT.read_text("utf-8").splitlines(), as_text(DOCUMENT).splitlines()
    changed = "\n".join(difflib.unified_diff(known, now, "reviewed", "now", lineterm="", n=6))
    assert not changed, f"the API has changed; if that is meant, run `make openapi` and have the change reviewed:\n{changed[:6000]}"


def test_a_running_service_gives_it_too(client: Any) -> None:
    assert as_text(client.get("/openapi.json").json) == as_text(DOCUMENT)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_says_what_it_is_for(method: str, path: str) -> None:
    described = operation(method, path)
    assert described.get("description"), "its function needs a docstring"
    assert described["tags"]


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[1] not in PROBES])
def test_every_operation_declares_its_errors_in_the_one_shape(method: str, path: str) -> None:
    responses = operation(method, path)["responses"]
    expected = {"400", "401", "403", "408", "429", "500", "503"}
    if path in ANSWERING:
        expected |= {"404", "409", "413", "415", "422", "502", "504"}
    if "{" in path:
        expected |= {"404", "422"}
    assert expected <= set(responses)
    for status, response in responses.items():
        assert response["description"]
        if status >= "400":
            assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorReply"}


@pytest.mark.parametrize("path", ["/ask", "/v1/chat/completions"])
def test_where_an_answer_can_be_streamed_both_forms_are_declared(path: str) -> None:
    assert set(operation("post", path)["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize(
    ("path", "others"),
    [("/chunks/{chunk_id}", {"application/json", "text/html"}), ("/metrics", {"text/plain", "application/openmetrics-text"})],
)
def test_every_form_of_a_reply_is_declared(path: str, others: set[str]) -> None:
    assert set(operation("get", path)["responses"]["200"]["content"]) == others


def fields() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in ("AskRequest", "SearchRequest", "BatchRequest"):
        for field, schema in DOCUMENT["components"]["schemas"][name]["properties"].items():
            yield name, field, schema


def test_every_field_of_a_question_says_what_it_does() -> None:
    assert [f"{name}.{field}" for name, field, schema in fields() if not schema.get("description")] == []


def test_fields_that_are_not_described_are_refused_by_the_description_too() -> None:
    for name in ("AskRequest", "SearchRequest", "BatchRequest", "Generated", "Message", "RagOptions"):
        assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False
