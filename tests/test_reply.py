"""What leaves the service about an answer, key by key."""

import dataclasses
import re
from collections.abc import Callable

import pytest

from rag_service.ask import Pipeline
from rag_service.deployment import describe_deployment
from rag_service.question import Question
from rag_service.reply import AskReply, reply_to, search_reply_to

HOLIDAYS = "How many days of paid holiday does an employee have?"
DIGEST = "sha256:<64 hex>"
ID = "<12 hex>"

# The trace block of the design: key → type, a literal value, or one of the two forms above.
TRACE = {
    "schema": "rag.trace/v1",
    "trace_id": "<32 hex>",
    "release": {"id": ID, "digest": DIGEST},
    "index": {
        "name": "handbook",
        "version": ID,
        "digest": DIGEST,
        "corpus_digest": DIGEST,
        "built_at": str,
        "documents": int,
        "chunks": int,
    },
    "preprocessing": {"chunker": str, "digest": DIGEST},
    "embedding_model": {"name": "all-MiniLM-L6-v2", "digest": DIGEST, "dimension": 384, "runtime": str},
    "retrieval": {"mode": str, "top_k": 5, "digest": DIGEST},
    "reranker": None,
    "prompt_template": {"name": "answer", "version": "2", "digest": DIGEST},
    "generator": {"name": "extractive", "digest": DIGEST, "parameters": dict},
    "container_image": None,
    "code": {"version": str, "commit": object, "dirty": object},
    "environment": {"name": str, "fingerprint": DIGEST, "numeric_class": str},
    "scope": {"filters": None, "access": None, "documents": int, "chunks": int},
    "overrides": list,
    "stages": list,
    "unknown": dict,
}
NOTHING_TO_KNOW = {"reranker", "scope.filters", "scope.access"}
"""Where null says that there is none."""
REPLY = {
    "answer_id", "trace_id", "request_id", "created_at", "status", "abstain_reason", "confidence", "query", "answer", "citations",
    "support", "hits", "warnings", "usage", "timings_ms", "repeats", "trace",
}  # fmt: skip


def differences(expected: object, found: object, path: str) -> list[str]:
    """Places where `found` lacks a key of `expected` or holds something else. Further keys are no difference."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return [f"{path} is {found!r}"]
        missing = [f"{path}.{key} is missing" for key in expected if key not in found]
        return missing + [line for key in expected if key in found for line in differences(expected[key], found[key], f"{path}.{key}")]
    if isinstance(expected, str) and "hex>" in expected:
        pattern = re.sub(r"<(\d+) hex>", r"[0-9a-f]{\1}", expected)
        return [] if re.fullmatch(pattern, str(found)) else [f"{path} is {found!r}"]
    good = isinstance(found, expected) if isinstance(expected, type) else found == expected
    return [] if good else [f"{path} is {found!r}"]


def nulls(value: object, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {found for key, item in value.items() for found in nulls(item, f"{path}.{key}" if path else key)}
    return {path} if value is None else set()


@pytest.fixture(scope="module")
def asked(pipeline: Pipeline) -> Callable[..., AskReply]:
    return lambda text=HOLIDAYS, **options: reply_to(pipeline.ask(Question(text, **options)))


@pytest.mark.parametrize("options", [{}, {"min_confidence": 1.0}], ids=["answered", "abstained"])
def test_every_key_of_the_trace_block_is_there_with_its_type(asked: Callable[..., AskReply], options: dict[str, float]) -> None:
    body = asked(**options).model_dump(mode="json", by_alias=True)
    assert set(body) == REPLY
    assert differences(TRACE, body["trace"], "trace") == []
    assert body["trace"]["trace_id"] == body["trace_id"]
    for stage in body["trace"]["stages"]:
        assert differences({"name": str, "digest": DIGEST, "duration_ms": float}, stage, "stage") == []


def test_whatever_is_null_in_a_trace_is_explained(pipeline: Pipeline) -> None:
    undeclared = describe_deployment(environment="test", declared_image=None, declared_commit=None)
    tagged = describe_deployment(environment="test", declared_image="registry/rag:1.0", declared_commit="abc123")
    for deployment in (undeclared, tagged):
        lineage = dataclasses.replace(pipeline.lineage, deployment=deployment)
        body = reply_to(dataclasses.replace(pipeline, lineage=lineage).ask(Question(HOLIDAYS))).trace.model_dump(mode="json")
        found = {path for path in nulls(body) if not path.startswith("generator.parameters")} - NOTHING_TO_KNOW
        assert found == set(body["unknown"])
        assert all(body["unknown"].values())


def test_an_image_that_is_declared_by_digest_appears_in_the_trace(pipeline: Pipeline) -> None:
    ref = "registry.example/rag@sha256:" + "ab" * 32
    deployment = describe_deployment(environment="production", declared_image=ref, declared_commit=None)
    lineage = dataclasses.replace(pipeline.lineage, deployment=deployment)
    trace = reply_to(dataclasses.replace(pipeline, lineage=lineage).ask(Question(HOLIDAYS))).trace
    assert trace.container_image is not None
    assert trace.container_image.model_dump() == {"ref": ref, "digest": "sha256:" + "ab" * 32, "source": "declared"}
    assert trace.environment.name == "production"
    assert not any(key.startswith("container_image") for key in trace.unknown)


def test_the_trace_gives_the_top_k_and_the_minimum_that_were_used_beside_the_releases_digest(asked: Callable[..., AskReply]) -> None:
    default, asked_for = asked().trace.retrieval, asked(top_k=2, min_confidence=0.1).trace.retrieval
    assert (asked_for.top_k, asked_for.min_confidence) == (2, 0.1)
    assert asked_for.digest == default.digest


def test_citations_resolve_from_the_reply_alone(pipeline: Pipeline) -> None:
    reply = reply_to(pipeline.ask(Question(HOLIDAYS)), include_chunks=True)
    texts = {hit.chunk_id: hit.text for hit in reply.hits}
    assert reply.answer is not None
    assert reply.citations
    for citation in reply.citations:
        text = texts[citation.chunk_id]
        assert text is not None
        assert text[slice(*citation.quote_span)] == citation.quote
        assert reply.answer[slice(*citation.answer_span)] == f"[{citation.marker}]"
        assert citation.source == "leave.md"
        assert citation.heading_path == ["Leave", "Holidays"]
        assert citation.verbatim


def test_hits_carry_their_rank_and_their_text_only_on_demand(asked: Callable[..., AskReply]) -> None:
    hits = asked().hits
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert all(hit.used for hit in hits)
    assert all(hit.text is None for hit in hits)


def test_an_abstention_has_hits_none_of_which_was_used(asked: Callable[..., AskReply]) -> None:
    reply = asked(min_confidence=1.0)
    assert (reply.status, reply.abstain_reason, reply.answer, reply.citations) == ("abstained", "low_confidence", None, [])
    assert reply.hits
    assert not any(hit.used for hit in reply.hits)
    assert [stage.name for stage in reply.trace.stages] == ["embed", "retrieve"]


def test_a_warning_tells_of_a_truncated_question(asked: Callable[..., AskReply]) -> None:
    assert [warning.code for warning in asked(HOLIDAYS + " I would like to know." * 100).warnings] == ["question_truncated"]


def test_a_reply_reads_back_from_its_own_json(asked: Callable[..., AskReply]) -> None:
    reply = asked(request_id="mine-1")
    assert AskReply.model_validate_json(reply.model_dump_json(by_alias=True)) == reply
    assert reply.request_id == "mine-1"
    assert re.fullmatch(r"ans_[0-9a-f]{32}", reply.answer_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reply.created_at)


def test_links_name_the_index_version_so_that_they_go_on_working(pipeline: Pipeline) -> None:
    reply = reply_to(pipeline.ask(Question(HOLIDAYS)), base_url="https://rag.example")
    version = pipeline.lineage.index.version
    for shown in (*reply.hits, *reply.citations):
        assert shown.url == f"https://rag.example/chunks/{shown.chunk_id}?index_version={version}"
    assert reply_to(pipeline.ask(Question(HOLIDAYS))).hits[0].url.startswith("/chunks/")


def test_a_repeated_answer_names_the_first_one(pipeline: Pipeline) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    assert reply_to(record).repeats is None
    assert reply_to(dataclasses.replace(record, repeats="ans_1")).repeats == "ans_1"


def test_the_reply_to_a_search_has_the_hits_and_the_trace_of_an_answer_and_nothing_of_a_generator(pipeline: Pipeline) -> None:
    found = search_reply_to(pipeline.search(Question(HOLIDAYS, top_k=2, request_id="mine-2")), include_chunks=True)
    answered = reply_to(pipeline.ask(Question(HOLIDAYS, top_k=2)), include_chunks=True)
    assert [hit.model_copy(update={"used": True}) for hit in found.hits] == answered.hits
    assert not any(hit.used for hit in found.hits)
    assert (found.request_id, found.query, found.trace_id) == ("mine-2", HOLIDAYS, found.trace.trace_id)
    assert [stage.name for stage in found.trace.stages] == ["embed", "retrieve"]
    assert set(found.timings_ms) == {"embed", "retrieve", "total"}
    assert not {"answer", "answer_id", "citations", "usage", "status"} & set(type(found).model_fields)
