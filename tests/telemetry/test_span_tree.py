"""What spans say of an answer, by its record alone."""

import dataclasses
import json
from typing import Any

import pytest

from rag_service.record import Attempt, Record, Search, Stage
from rag_service.telemetry.span_content import MOST_CONTENT_CHARS, Content
from rag_service.telemetry.span_tree import (
    MOST_DOCUMENTS,
    Replay,
    Spun,
    spans_of_failure,
    spans_of_record,
    spans_of_search,
)
from rag_service.types import Notice, Prompt, Usage
from tests.telemetry.conftest import ANSWER, DIGEST, PARENT_ID, TRACE_ID, MakeRecord

NOTHING = Content()
QUESTION = "How many days of paid holiday does an employee have?"
PROMPT = Prompt("Answer from the passages.", f"[1] 28 days\n\n{QUESTION}", QUESTION, ())
BEGAN_NS = 1_767_312_000_000_000_000
"""2026-01-02T00:00:00Z, by `date +%s`."""


def shouting() -> Content:
    return Content(True, str.upper)


def by_name(spans: list[Spun]) -> dict[str, Spun]:
    return {span.name: span for span in spans}


def texts(spans: list[Spun]) -> str:
    return repr([(span.name, span.attributes, span.error) for span in spans])


def renamed(record: Record, **changes: Any) -> Record:
    """With another generator in its release."""
    release = record.lineage.release
    generator = release.generator.model_copy(update=changes)
    lineage = dataclasses.replace(record.lineage, release=release.model_copy(update={"generator": generator}))
    return dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, lineage=lineage))


def with_parameters(record: Record, **changes: Any) -> Record:
    parameters = dataclasses.replace(record.attempt.parameters, **changes)
    return dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, parameters=parameters))


def test_an_answer_is_a_workflow_with_its_stages_below_it(make_record: MakeRecord) -> None:
    root, *stages = spans_of_record(make_record(), NOTHING)
    assert root.name == "invoke_workflow ask"
    assert [span.name for span in stages] == [
        "embeddings all-MiniLM-L6-v2",
        "retrieval handbook",
        "rag.prompt.render",
        "chat extractive",
        "rag.postprocess",
    ]
    assert {span.place.parent_id for span in stages} == {root.place.span_id}
    assert {span.place.trace_id for span in (root, *stages)} == {int(TRACE_ID, 16)}
    assert (root.place.parent_id, root.place.span_id) == (int(PARENT_ID, 16), int("a" * 16, 16))


def test_times_are_offsets_from_the_beginning_of_the_answer(make_record: MakeRecord) -> None:
    root, embed, retrieve, *_ = spans_of_record(make_record(), NOTHING)
    assert root.start_ns == BEGAN_NS
    assert root.end_ns - root.start_ns == pytest.approx(126_200_000, abs=1)
    assert (embed.start_ns, embed.end_ns) == (BEGAN_NS + 500_000, BEGAN_NS + 4_500_000)
    assert (retrieve.start_ns, retrieve.end_ns) == (BEGAN_NS + 4_500_000, BEGAN_NS + 5_200_000)


def test_kinds_are_those_that_phoenix_shows(make_record: MakeRecord) -> None:
    kinds = [span.attributes["openinference.span.kind"] for span in spans_of_record(make_record(), NOTHING)]
    assert kinds == ["CHAIN", "EMBEDDING", "RETRIEVER", "PROMPT", "LLM", "CHAIN"]


def test_the_workflow_says_what_made_the_answer(make_record: MakeRecord) -> None:
    record = make_record()
    root = spans_of_record(record, NOTHING)[0]
    assert root.attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "ask",
        "openinference.span.kind": "CHAIN",
        "rag.answer.id": record.answer_id,
        "rag.answer.status": "answered",
        "rag.release.id": record.lineage.release.id,
        "deployment.environment.name": "dev",
        "container.image.repo_digests": (f"registry/rag@{DIGEST}",),
        "vcs.ref.head.revision": "c0ffee",
    }


def test_the_stages_say_with_what_they_worked(make_record: MakeRecord) -> None:
    spans = by_name(spans_of_record(make_record(), NOTHING))
    embed, retrieve = spans["embeddings all-MiniLM-L6-v2"].attributes, spans["retrieval handbook"].attributes
    assert embed["gen_ai.embeddings.dimension.count"] == 384
    assert embed["gen_ai.request.model"] == embed["embedding.model_name"] == "all-MiniLM-L6-v2"
    assert (retrieve["gen_ai.data_source.id"], retrieve["gen_ai.retrieval.top_k"]) == ("handbook", 5)
    assert (retrieve["rag.index.version"], retrieve["rag.corpus.digest"]) == ("0123456789ab", DIGEST)
    assert (retrieve["retrieval.documents.1.document.id"], retrieve["retrieval.documents.1.document.score"]) == ("c1", 0.52)
    render, chat = spans["rag.prompt.render"].attributes, spans["chat extractive"].attributes
    assert (render["gen_ai.prompt.name"], render["gen_ai.prompt.version"], render["rag.prompt.passages"]) == ("answer", "1", 2)
    assert (chat["gen_ai.operation.name"], chat["gen_ai.provider.name"]) == ("chat", "local")
    assert (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"], chat["llm.token_count.total"]) == (310, 42, 352)
    assert spans["rag.postprocess"].attributes["rag.answer.citations"] == 1
    assert all(span.attributes["rag.stage.digest"] == DIGEST for name, span in spans.items() if name != "invoke_workflow ask")


def test_a_providers_model_is_named_as_the_convention_does_and_is_called_by_a_client(make_record: MakeRecord) -> None:
    record = with_parameters(
        renamed(make_record(), name="mistralai:large"), generator={"model": "large", "temperature": 0.0, "max_tokens": 256, "seed": None}
    )
    chat = by_name(spans_of_record(record, NOTHING))["chat large"]
    assert (chat.kind, chat.attributes["gen_ai.provider.name"]) == ("client", "mistral_ai")
    assert (chat.attributes["gen_ai.request.temperature"], chat.attributes["gen_ai.request.max_tokens"]) == (0.0, 256)
    assert "gen_ai.request.seed" not in chat.attributes


def test_a_model_file_runs_here_whatever_its_name(make_record: MakeRecord) -> None:
    chat = by_name(spans_of_record(renamed(make_record(), name="llamacpp:smol:135m"), NOTHING))["chat smol:135m"]
    assert (chat.kind, chat.attributes["gen_ai.provider.name"]) == ("internal", "local")


def test_an_answer_that_was_cut_finished_by_its_length(make_record: MakeRecord) -> None:
    spans = spans_of_record(make_record(notices=(Notice("answer_truncated", "…"),)), NOTHING)
    assert by_name(spans)["chat extractive"].attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert spans[0].attributes["rag.answer.warnings"] == ("answer_truncated",)


def test_tokens_of_two_calls_together_stand_at_the_workflow(make_record: MakeRecord) -> None:
    record = make_record()
    stages = (Stage("condense", DIGEST, 0.4, 0.0), *record.stages)
    record = dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, stages=stages))
    spans = spans_of_record(record, NOTHING)
    assert spans[1].name == "rag.query.condense"
    assert spans[0].attributes["gen_ai.usage.input_tokens"] == 310
    assert "gen_ai.usage.input_tokens" not in by_name(spans)["chat extractive"].attributes


def test_tokens_that_nobody_counted_are_left_out(make_record: MakeRecord) -> None:
    assert "token" not in texts(spans_of_record(make_record(usage=Usage(None, None)), NOTHING))


def test_an_abstention_says_why(make_record: MakeRecord) -> None:
    record = make_record(status="abstained", abstain_reason="low_confidence", answer=None, raw_answer=None, citations=())
    assert spans_of_record(record, NOTHING)[0].attributes["rag.answer.abstain_reason"] == "low_confidence"


def test_a_repeated_answer_is_one_span_that_names_the_first(make_record: MakeRecord) -> None:
    [root] = spans_of_record(make_record(repeats="ans_first"), NOTHING)
    assert root.attributes["rag.answer.repeats"] == "ans_first"


def test_a_record_that_was_read_back_has_no_spans(make_record: MakeRecord) -> None:
    record = make_record()
    assert spans_of_record(dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, span=None)), NOTHING) == []


def test_a_replay_links_to_the_span_of_the_original(make_record: MakeRecord) -> None:
    root, *stages = spans_of_record(make_record(), NOTHING, Replay("ans_018c00000000bbbbbbbbbbbbbbbbbbbb", "c" * 32, "exact"))
    assert root.links == ((int("c" * 32, 16), int("b" * 16, 16)),)
    assert root.attributes["rag.replay.of"] == "ans_018c00000000bbbbbbbbbbbbbbbbbbbb"
    assert root.attributes["rag.replay.verdict"] == "exact"
    assert not any(span.links for span in stages)


def test_without_capture_no_text_of_anybody_is_exported(make_record: MakeRecord) -> None:
    spans = spans_of_record(make_record(prompt=PROMPT), NOTHING)
    assert not [word for word in ("holiday", "employee", "28 days", "passages.", "Leave", "leave.md") if word in texts(spans)]


def test_captured_texts_go_through_redaction(make_record: MakeRecord) -> None:
    spans = by_name(spans_of_record(make_record(prompt=PROMPT), shouting()))
    root, chat = spans["invoke_workflow ask"].attributes, spans["chat extractive"].attributes
    assert (root["input.value"], root["output.value"]) == (QUESTION.upper(), ANSWER.upper())
    assert json.loads(str(chat["gen_ai.input.messages"])) == [{"role": "user", "parts": [{"type": "text", "content": PROMPT.user.upper()}]}]
    assert json.loads(str(chat["gen_ai.output.messages"]))[0]["parts"][0]["content"] == ANSWER.upper()
    assert json.loads(str(chat["gen_ai.system_instructions"])) == [{"type": "text", "content": PROMPT.system.upper()}]
    retrieve = spans["retrieval handbook"].attributes
    assert retrieve["gen_ai.retrieval.query.text"] == QUESTION.upper()
    assert str(retrieve["retrieval.documents.0.document.content"]).startswith("EVERY EMPLOYEE")
    assert spans["embeddings all-MiniLM-L6-v2"].attributes["embedding.embeddings.0.embedding.text"] == QUESTION.upper()
    assert QUESTION not in texts(list(spans.values()))


def test_captured_texts_are_bounded_after_redaction_and_stay_json(make_record: MakeRecord) -> None:
    long = dataclasses.replace(PROMPT, user='"\n' * MOST_CONTENT_CHARS)
    seen: list[int] = []

    def redact(text: str) -> str:
        seen.append(len(text))
        return text

    chat = by_name(spans_of_record(make_record(prompt=long), Content(True, redact)))["chat extractive"].attributes
    assert len(str(chat["input.value"])) == MOST_CONTENT_CHARS
    assert len(json.loads(str(chat["gen_ai.input.messages"]))[0]["parts"][0]["content"]) == MOST_CONTENT_CHARS
    assert max(seen) == 2 * MOST_CONTENT_CHARS


def test_captured_texts_can_be_written_as_utf_8(make_record: MakeRecord) -> None:
    root = spans_of_record(make_record(question="half a \ud83d pair"), Content(True))[0]
    assert root.attributes["input.value"] == "half a ? pair"


def test_documents_are_bounded(make_record: MakeRecord) -> None:
    record = make_record(scores=tuple(0.9 - number / 1000 for number in range(MOST_DOCUMENTS + 10)))
    found = by_name(spans_of_record(record, NOTHING))["retrieval handbook"].attributes
    assert len([name for name in found if name.endswith(".document.id")]) == MOST_DOCUMENTS


def test_a_search_is_a_workflow_of_its_own(make_record: MakeRecord) -> None:
    record = make_record()
    attempt = dataclasses.replace(record.attempt, stages=record.stages[:2])
    search = Search(attempt, None, record.created_at, record.question, record.query, record.hits, (), {})
    assert [span.name for span in spans_of_search(search, NOTHING)] == [
        "invoke_workflow search",
        "embeddings all-MiniLM-L6-v2",
        "retrieval handbook",
    ]


def failed(record: Record, stages: int, under_way_ms: float | None) -> Attempt:
    attempt = record.attempt
    assert attempt.span is not None
    span = dataclasses.replace(attempt.span, ended_ms=50.0, under_way_ms=under_way_ms)
    return dataclasses.replace(attempt, stages=attempt.stages[:stages], span=span)


def test_the_stage_that_failed_has_a_span_with_its_code_and_so_has_the_workflow(make_record: MakeRecord) -> None:
    root, *stages = spans_of_failure(failed(make_record(), 3, 6.0), "ask", "generator_error", "generate")
    assert [span.error for span in (root, *stages)] == ["generator_error", None, None, None, "generator_error"]
    assert stages[-1].name == "chat extractive"
    assert (stages[-1].start_ns, stages[-1].end_ns) == (BEGAN_NS + 6_000_000, BEGAN_NS + 50_000_000)
    assert stages[-1].attributes["error.type"] == root.attributes["error.type"] == "generator_error"
    assert "rag.stage.digest" not in stages[-1].attributes


def test_a_stage_that_could_not_begin_fails_where_the_one_before_it_ended(make_record: MakeRecord) -> None:
    span = spans_of_failure(failed(make_record(), 2, None), "ask", "deadline_exceeded", "prompt")[-1]
    assert (span.name, span.start_ns) == ("rag.prompt.render", BEGAN_NS + 5_200_000)


@pytest.mark.parametrize("stage", [None, "queue"])
def test_an_error_outside_of_all_stages_is_one_of_the_workflow(make_record: MakeRecord, stage: str | None) -> None:
    [root] = spans_of_failure(failed(make_record(), 0, None), "search", "not_found", stage)
    assert (root.name, root.error) == ("invoke_workflow search", "not_found")
