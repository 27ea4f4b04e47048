"""Everything around `/ask`: health, info, the OpenAPI document, and what a client sees when the service itself is at fault."""

import dataclasses
import json
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rag_service.api.schemas import InfoReply, LiveReply, ReadyReply
from rag_service.ask import Pipeline
from rag_service.errors import Damaged, GeneratorFailed, RagError
from rag_service.opened import CHECKS, Opened, Report
from rag_service.ports import Generator
from rag_service.serving import Service
from rag_service.types import Completion, Prompt

HOLIDAYS = "How many days of paid holiday does an employee have?"


class Raises:
    """A generator that fails in its own way."""

    def __init__(self, inner: Generator, error: Exception) -> None:
        self.name, self.digest, self.parameters, self.context_tokens = inner.name, inner.digest, inner.parameters, inner.context_tokens
        self._error = error

    def count_tokens(self, text: str) -> int:
        return len(text)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:  # noqa: ARG002 - the port's signature
        raise self._error


def failing(pipeline: Pipeline, error: Exception) -> Pipeline:
    return dataclasses.replace(pipeline, generator=Raises(pipeline.generator, error))


def test_an_unforeseen_error_is_a_500_in_the_one_shape_and_only_the_log_has_details(
    serve: Any, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(failing(pipeline, RuntimeError("secret /etc/passwd")))
    with caplog.at_level(logging.ERROR, "rag_service.api"):
        reply = client.ask({"question": HOLIDAYS}, x_request_id="mine-1")
    assert reply.status == 500
    error = reply.json["error"]
    assert (error["code"], error["type"], error["retryable"], error["details"]) == ("internal", "server_error", False, {})
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert reply.headers["x-trace-id"] == reply.json["trace_id"]
    assert reply.headers["x-request-id"] == "mine-1"
    [record] = [record for record in caplog.records if record.name == "rag_service.api"]
    assert reply.json["trace_id"] in record.getMessage()
    assert client.get("/health/live").status == 200


def test_damage_found_while_answering_is_a_500_without_its_paths(serve: Any, pipeline: Pipeline) -> None:
    reply = serve(failing(pipeline, Damaged("/srv/indexes/x/vectors.faiss is damaged"))).ask({"question": HOLIDAYS})
    assert (reply.status, reply.json["error"]["code"]) == (500, "internal")
    assert b"/srv" not in reply.body


def test_a_generator_that_fails_is_a_502_that_names_the_stage(serve: Any, pipeline: Pipeline) -> None:
    reply = serve(failing(pipeline, GeneratorFailed("the provider said no"))).ask({"question": HOLIDAYS})
    error = reply.json["error"]
    assert (reply.status, error["code"], error["stage"], error["retryable"]) == (502, "generator_error", "generate", True)


class TakesAWhile:
    """The extractive generator of a machine that is busy."""

    name, context_tokens = "slow", 1_000_000

    def __init__(self, inner: Generator, takes_s: float = 0.15) -> None:
        self.inner, self.digest, self.parameters = inner, inner.digest, inner.parameters
        self._takes_s = takes_s

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        time.sleep(self._takes_s)
        return self.inner.generate(prompt, **options)


def test_the_time_for_an_answer_includes_the_wait_for_its_turn(serve: Any, pipeline: Pipeline) -> None:
    client = serve(dataclasses.replace(pipeline, generator=TakesAWhile(pipeline.generator)), timeout_s=0.5)
    with ThreadPoolExecutor(40) as many:
        replies = list(many.map(lambda _: client.ask({"question": HOLIDAYS}), range(40)))
    late = [reply.json["error"] for reply in replies if reply.status == 504]
    assert late
    assert {error["code"] for error in late} == {"deadline_exceeded"}
    assert {reply.status for reply in replies} <= {200, 504}


def test_time_that_is_over_is_a_504_that_names_the_stage(serve: Any, pipeline: Pipeline) -> None:
    reply = serve(pipeline, timeout_s=1e-9).ask({"question": HOLIDAYS})
    error = reply.json["error"]
    assert (reply.status, error["code"], error["type"], error["stage"]) == (504, "deadline_exceeded", "timeout", "queue")


def test_time_that_is_over_while_an_answer_is_made_is_a_504_that_names_the_stage_and_what_was_at_work(
    serve: Any, pipeline: Pipeline
) -> None:
    client = serve(dataclasses.replace(pipeline, generator=TakesAWhile(pipeline.generator, takes_s=1.2)))
    reply = client.ask({"question": HOLIDAYS, "timeout_ms": 1000})
    assert (reply.status, reply.json["error"]["stage"]) == (504, "generate")
    assert [stage["name"] for stage in reply.json["trace"]["stages"]] == ["embed", "retrieve", "prompt"]


def test_a_service_that_is_still_starting_is_live_but_not_ready(serve: Any, pipeline: Pipeline) -> None:
    go = threading.Event()

    def slowly(_: str, report: Report) -> Opened:
        report("manifest", "ok")
        report("encoder", "checking")
        assert go.wait(20)
        for check in CHECKS:
            report(check, "ok")
        return Opened(pipeline, ())

    service = Service(lambda: "one", slowly)
    client = serve(service)
    before = client.get("/health/ready")
    assert (before.status, before.json["checks"]) == (503, dict.fromkeys(CHECKS, "pending"))
    service.start(ready=lambda _: None, failed=lambda _: None)
    while client.get("/health/ready").json["checks"]["encoder"] != "checking":
        time.sleep(0.01)
    during = client.get("/health/ready")
    assert during.status == 503
    assert during.headers["retry-after"] == "1"
    assert client.get("/health/live").status == 200
    for reply in (client.ask({"question": HOLIDAYS}), client.get("/info")):
        assert (reply.status, reply.json["error"]["code"], reply.headers["retry-after"]) == (503, "not_ready", "1")
        assert reply.json["error"]["retryable"] is True
        assert reply.json["error"]["retry_after_s"] == 1
    go.set()
    deadline_s = time.monotonic() + 10
    while (after := client.get("/health/ready")).status != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert after.json["checks"] == dict.fromkeys(CHECKS, "ok")
    assert after.json["release"] == pipeline.lineage.release.id
    assert client.ask({"question": HOLIDAYS}).status == 200


def test_a_service_that_could_not_open_its_release_says_by_a_code_what_is_wrong(serve: Any) -> None:
    def damaged(_: str, report: Report) -> Opened:
        report("manifest", "failed")
        raise Damaged("/srv/indexes/x/vectors.faiss is damaged", hint="on host db1")

    failures: list[RagError] = []
    service = Service(lambda: "one", damaged)
    service.start(ready=lambda _: None, failed=failures.append)
    client = serve(service)
    reply = client.get("/health/ready")
    assert (reply.status, reply.json["problem"], reply.json["checks"]["manifest"]) == (503, "damaged", "failed")
    assert b"srv" not in reply.body
    assert b"db1" not in reply.body


def test_health_bodies_are_as_documented_and_hold_neither_paths_nor_hosts(client: Any) -> None:
    live, ready = client.get("/health/live"), client.get("/health/ready")
    assert LiveReply.model_validate_json(live.body).live
    state = ReadyReply.model_validate_json(ready.body)
    assert (state.ready, state.problem) == (True, None)
    for reply in (live, ready):
        assert reply.status == 200
        assert b"/" not in reply.body
        assert b"127.0.0.1" not in reply.body


def test_info_tells_what_answers_now_and_the_limits(client: Any, pipeline: Pipeline) -> None:
    reply = client.get("/info")
    info = InfoReply.model_validate_json(reply.body)
    asked = client.ask({"question": HOLIDAYS}).json["trace"]
    for part in ("release", "index", "preprocessing", "embedding_model", "retrieval", "prompt_template", "generator"):
        assert reply.json[part] == asked[part]
    assert info.release.id == pipeline.lineage.release.id
    assert (info.limits.max_question_chars, info.limits.max_body_bytes, info.limits.max_top_k) == (4000, 2**20, 50)
    assert "higher is better" in info.score


@pytest.mark.parametrize("path", ["/nothing", "/ask/", "/health", "/%00", "/%ff%fe", "/" + "x" * 3000, "/a/../../etc/passwd"])
def test_what_is_not_there_is_a_404_with_a_trace_id(client: Any, path: str) -> None:
    reply = client.get(path)
    assert reply.status in {404, 307}  # a trailing slash is sent to where the thing is
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-trace-id"])
    if reply.status == 404:
        assert (reply.json["error"]["code"], reply.json["error"]["type"]) == ("not_found", "not_found")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/info", "/openapi.json", "/docs"])
def test_every_reply_has_a_trace_id_of_its_own(client: Any, path: str) -> None:
    first, second = client.get(path), client.get(path)
    assert first.status == 200
    assert first.headers["x-trace-id"] != second.headers["x-trace-id"]


@pytest.fixture
def document(client: Any) -> Any:
    return client.get("/openapi.json").json


def test_the_openapi_document_has_an_example_that_is_answered(client: Any, document: Any) -> None:
    [example] = document["components"]["schemas"]["AskRequest"]["examples"]
    assert client.ask(example).status == 200


@pytest.mark.parametrize("status", ["400", "413", "415", "422", "500", "502", "503", "504"])
def test_the_openapi_document_gives_the_error_shape_for_every_status_of_ask(document: Any, status: str) -> None:
    content = document["paths"]["/ask"]["post"]["responses"][status]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/ErrorReply"}


def test_the_openapi_document_describes_the_answer_and_leaves_no_reference_open(document: Any) -> None:
    schemas = document["components"]["schemas"]
    ok = document["paths"]["/ask"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert ok == {"$ref": "#/components/schemas/AskReply"}
    assert "schema" in schemas["Trace"]["properties"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in schemas
    answers = {"/ask", "/ask/batch", "/search", "/chunks/{chunk_id}", "/v1/chat/completions", "/v1/models", "/v1/models/{model}"}
    answers |= {"/documents/{document_id}"}
    actions = {"/traces/{identifier}/replay", "/traces/{identifier}/feedback"}
    records = {"/traces", "/traces/compare", "/traces/export", "/traces/{identifier}", *actions}
    switches = {"/releases/{identifier}/activate", "/releases/rollback", "/releases/history"}
    indexes = {"/drift", "/indexes", "/indexes/versions/{identifier}", "/releases/{identifier}", *switches}
    assert set(document["paths"]) == {*answers, *records, *indexes, "/info", "/metrics", "/health/live", "/health/ready"}
