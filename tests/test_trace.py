"""The trace block: what could be searched, what the request replaced, and what a key that sees a part is not told."""

from pathlib import Path
from typing import Any

import pytest

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import NotFound
from rag_service.filters import Filter, parse_filter
from rag_service.prompt import Template
from rag_service.question import Question
from rag_service.record import Attempt
from rag_service.settings import Settings, load_settings
from rag_service.trace import Trace, identity_of, trace_of
from rag_service.wiring.releases import make_release, open_release
from tests.doubles import HOLIDAYS, Writes, completion, with_generator


def only(**conditions: Any) -> Filter:
    found = parse_filter(conditions)
    assert found is not None
    return found


def traced(pipeline: Pipeline, **options: Any) -> Trace:
    return trace_of(pipeline.ask(Question(HOLIDAYS, **options)).attempt)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, build: Any) -> Pipeline:
    """120 documents about holidays, six of which are in German and about the weather."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "encoders").symlink_to(encoder_folder.parent)
    english = [
        f'{{"id": "en{n}", "lang": "en", "year": {1900 + n}, "text": "Department {n} has {n} days of paid holiday."}}' for n in range(114)
    ]
    german = [
        f'{{"id": "de{n}", "lang": "de", "year": {2000 + n}, "text": "Wetterbericht {n}: es regnet am Nachmittag."}}' for n in range(6)
    ]
    source = folder / "documents.jsonl"
    source.write_text("\n".join([*english, *german]))
    settings, catalog = load_settings({}, indexes=folder, name="labelled"), Catalog(folder)
    version = build(folder, source, name="labelled").manifest.version
    return open_release(settings, catalog, "labelled", make_release(settings, catalog, "labelled", version)).pipeline


def test_without_a_filter_the_whole_index_could_be_searched(labelled: Pipeline) -> None:
    scope = traced(labelled).scope
    assert scope is not None
    assert (scope.documents, scope.chunks, scope.filters, scope.access) == (120, 120, None, None)


def test_a_filter_that_lets_little_through_still_gives_as_many_passages_as_asked(labelled: Pipeline) -> None:
    record = labelled.ask(Question(HOLIDAYS, filters=only(lang="de"), min_confidence=0))
    assert len(record.hits) == 5
    assert {hit.chunk.metadata["lang"] for hit in record.hits} == {"de"}
    scope = trace_of(record.attempt).scope
    assert scope is not None
    assert (scope.documents, scope.chunks) == (6, 6)
    assert scope.filters == {"lang": {"eq": "de"}}


def test_filtered_hits_are_the_best_of_those_allowed(labelled: Pipeline) -> None:
    everything = labelled.search(Question(HOLIDAYS, top_k=50)).hits
    allowed = [hit for hit in everything if int(hit.chunk.metadata["year"]) < 1957]
    found = labelled.search(Question(HOLIDAYS, top_k=len(allowed), filters=only(year={"lt": 1957}))).hits
    assert found[: len(allowed)] == tuple(allowed)


def test_filter_and_access_must_both_hold(labelled: Pipeline) -> None:
    record = labelled.ask(Question(HOLIDAYS, filters=only(year={"gte": 2003}), access=only(lang="de"), min_confidence=0))
    assert {hit.chunk.document_id for hit in record.hits} == {"de3", "de4", "de5"}
    scope = trace_of(record.attempt).scope
    assert scope is not None
    assert (scope.documents, scope.filters) == (3, {"year": {"gte": 2003}})


def test_a_filter_that_lets_nothing_through_abstains_with_no_hits(labelled: Pipeline) -> None:
    record = labelled.ask(Question(HOLIDAYS, filters=only(lang="fr")))
    assert (record.status, record.abstain_reason, record.hits) == ("abstained", "no_hits", ())
    scope = trace_of(record.attempt).scope
    assert scope is not None
    assert (scope.documents, scope.chunks) == (0, 0)


def test_a_key_that_sees_a_part_is_not_told_how_large_the_whole_is(labelled: Pipeline) -> None:
    access = only(lang="de")
    trace = traced(labelled, access=access)
    assert (trace.index.documents, trace.index.chunks) == (None, None)
    assert set(trace.unknown) >= {"index.documents", "index.chunks"}
    assert all(trace.unknown.values())
    assert trace.scope is not None
    assert trace.scope.access == access.digest
    assert trace.index.version == labelled.lineage.index.version
    everything = traced(labelled)
    assert (everything.index.documents, everything.index.chunks) == (120, 120)
    assert not {"index.documents", "index.chunks"} & set(everything.unknown)


def test_the_identity_of_an_index_can_be_given_without_its_size(labelled: Pipeline) -> None:
    whole, part = identity_of(labelled.lineage), identity_of(labelled.lineage, whole=False)
    assert (whole["index"].documents, part["index"].documents, part["index"].chunks) == (120, None, None)
    assert part["release"] == whole["release"]


def test_before_the_search_the_scope_is_unknown_and_says_why(pipeline: Pipeline) -> None:
    with pytest.raises(NotFound) as caught:
        pipeline.ask(Question(HOLIDAYS, prompt="answer/99"))
    assert isinstance(caught.value.attempt, Attempt)
    trace = trace_of(caught.value.attempt)
    assert trace.scope is None
    assert trace.unknown["scope"]
    assert trace.stages == []


@pytest.mark.parametrize(
    ("options", "overrides"),
    [
        ({}, []),
        ({name: Settings.model_fields[name].default for name in ("top_k", "min_confidence", "prompt")}, []),
        ({"top_k": 2}, ["top_k"]),
        ({"min_confidence": 0.0}, ["min_confidence"]),
        ({"top_k": 1, "min_confidence": 0.1}, ["top_k", "min_confidence"]),
        ({"filters": only(source="leave.md")}, []),
    ],
)
def test_what_a_request_replaced_is_named_and_what_it_repeated_is_not(
    pipeline: Pipeline, options: dict[str, Any], overrides: list[str]
) -> None:
    trace = traced(pipeline, **options)
    assert trace.overrides == overrides
    assert trace.release.id == pipeline.lineage.release.id


def test_another_prompt_is_used_and_named(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    terse = Template("terse", "1", "sha256:" + "7" * 64, "Be terse.", "{{passages}} {{question}}")
    monkeypatch.setattr("rag_service.ask.load_template", {"terse/1": terse}.__getitem__)
    generator = Writes(completion("28 days [1]."))
    record = with_generator(pipeline, generator).ask(Question(HOLIDAYS, prompt="terse/1"))
    assert generator.prompts[0].system == "Be terse."
    trace = trace_of(record.attempt)
    assert trace.prompt_template.model_dump() == {"name": "terse", "version": "1", "digest": terse.digest}
    assert trace.overrides == ["prompt"]
    assert traced(pipeline).prompt_template.name == "answer"


@pytest.mark.parametrize("prompt", ["answer/99", "condense/1", "../answer/1", "", "answer"])
def test_a_prompt_that_asks_for_no_answer_or_is_not_there_is_not_found(pipeline: Pipeline, prompt: str) -> None:
    for verb in (pipeline.ask, pipeline.search):
        with pytest.raises(NotFound) as caught:
            verb(Question(HOLIDAYS, prompt=prompt))
        assert caught.value.param == "prompt"
        assert "answer/1" in caught.value.hint
        assert "condense" not in caught.value.hint


def test_a_search_has_the_trace_of_an_answer_until_then(pipeline: Pipeline) -> None:
    found = pipeline.search(Question(HOLIDAYS, top_k=2, filters=only(source={"prefix": "leave"}), request_id="mine"))
    trace = trace_of(found.attempt)
    assert [stage.name for stage in trace.stages] == ["embed", "retrieve"]
    assert (trace.overrides, found.request_id) == (["top_k"], "mine")
    assert {hit.chunk.source for hit in found.hits} == {"leave.md"}


def test_a_trace_reads_back_from_its_own_json(labelled: Pipeline) -> None:
    trace = traced(labelled, filters=only(lang="de", year={"gte": 2001}), access=only(lang="de"), top_k=2)
    assert Trace.model_validate_json(trace.model_dump_json(by_alias=True)) == trace
