"""Two answers, and two releases over a set of questions: what differs is named, and nothing else is."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rag_service.ask import Pipeline
from rag_service.compare import Comparison, NotCompared, compare, compare_sets
from rag_service.deployment import Image
from rag_service.difference import (
    FieldDifference,
    HitDifference,
    first_difference,
    hit_differences,
    overlap,
    release_differences,
    stage_differences,
    vector_difference,
)
from rag_service.filters import parse_filter
from rag_service.kept import Content, Kept, Text
from rag_service.question import Question
from rag_service.record import Receipt, Record, Stage
from rag_service.release import GeneratorRef, NamedDigest, PromptRef, Release
from rag_service.stored_record import entry_of, kept_from
from rag_service.types import Chunk, ChunkId, DocumentId, Hit, Sampling, Turn
from tests.doubles import HOLIDAYS, Writes, completion, with_generator, with_top_k

OTHER = "sha256:" + "1" * 64
RECEIPT = Receipt(1, OTHER)
IMAGE = {"image.ref", "image.digest", "image.source"}


def kept(record: Record, *, content: Content = "full", redacted: frozenset[Text] = frozenset()) -> Kept:
    """As a ledger gives it back."""
    entry = entry_of(record, content=content, key_id=None)
    return dataclasses.replace(kept_from(entry.body, entry.vector, entry.lineage, RECEIPT), redacted=redacted)


def with_release(record: Record, change: Callable[[Release], dict[str, object]]) -> Record:
    """The record, said to be made by a changed release."""
    lineage = record.lineage
    release = lineage.release.model_copy(update=change(lineage.release))
    return with_attempt(record, lineage=dataclasses.replace(lineage, release=release))


def with_deployment(record: Record, **changes: object) -> Record:
    lineage = record.lineage
    deployment = dataclasses.replace(lineage.deployment, **changes)  # type: ignore[arg-type]
    return with_attempt(record, lineage=dataclasses.replace(lineage, deployment=deployment))


def with_parameters(record: Record, **changes: object) -> Record:
    return with_attempt(record, parameters=dataclasses.replace(record.attempt.parameters, **changes))  # type: ignore[arg-type]


def with_attempt(record: Record, **changes: object) -> Record:
    return dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, **changes))  # type: ignore[arg-type]


def shown_differences(found: Comparison) -> dict[str, object]:
    """By name, what a comparison has to say of how two answers were made and where they part."""
    return {
        "release": found.release,
        "parameters": found.parameters,
        "deployment": found.deployment,
        "first_difference": found.first_difference,
        "citations": (found.citations_come, found.citations_gone),
        "history": found.same_history,
        "question": found.same_question,
    }


NOTHING: dict[str, object] = {
    "release": (),
    "parameters": (),
    "deployment": (),
    "first_difference": None,
    "citations": ((), ()),
    "history": True,
    "question": True,
}


@pytest.fixture(scope="module")
def record(pipeline: Pipeline) -> Record:
    return pipeline.ask(Question(HOLIDAYS))


def test_an_answer_does_not_differ_from_itself(record: Record) -> None:
    found = compare(kept(record), kept(record))
    assert shown_differences(found) == NOTHING
    assert all(stage.same for stage in found.stages)
    assert {hit.movement for hit in found.hits} == {"stayed"}
    assert {hit.delta for hit in found.hits} == {0.0}
    assert (found.overlap, found.top_score_delta, found.total_delta_ms, found.same_answer) == (1.0, 0.0, 0.0, True)
    assert not isinstance(found.vector, NotCompared)
    assert (found.vector.max_abs, pytest.approx(found.vector.cosine)) == (0.0, 1.0)
    for pieces in (found.prompt_diff, found.answer_diff):
        assert not isinstance(pieces, NotCompared)
        assert [piece.op for piece in pieces] == ["same"]
    assert not found.changed
    assert found.headline == "the same answer, made the same way"


def test_a_question_asked_twice_gives_the_same_answer_made_the_same_way(pipeline: Pipeline, record: Record) -> None:
    again = pipeline.ask(Question(HOLIDAYS))
    found = compare(record, again)
    assert shown_differences(found) == NOTHING
    assert found.total_delta_ms == round(again.timings_ms["total"] - record.timings_ms["total"], 3)
    assert [stage.delta_ms for stage in found.stages] == [
        round(later.duration_ms - earlier.duration_ms, 3) for earlier, later in zip(record.stages, again.stages, strict=True)
    ]


def test_a_release_with_another_top_k_parts_at_retrieve_and_nothing_else_is_named(pipeline: Pipeline, record: Record) -> None:
    found = compare(record, with_top_k(pipeline, 2).ask(Question(HOLIDAYS)))
    [part] = found.release
    assert (part.part, part.fields) == ("retrieval", (FieldDifference("retrieval.top_k", 5, 2),))
    assert (found.parameters, found.deployment, found.first_difference) == ((), (), "retrieve")
    assert [hit.movement for hit in found.hits] == ["stayed", "stayed", "left", "left", "left"]
    assert found.overlap == pytest.approx(2 / 5)
    assert "retrieval.top_k (5 → 2) differs" in found.headline
    assert "they part at retrieve" in found.headline


def test_a_top_k_of_the_request_is_a_parameter_and_not_the_release(pipeline: Pipeline, record: Record) -> None:
    found = compare(record, pipeline.ask(Question(HOLIDAYS, top_k=2)))
    assert (found.release, found.parameters) == ((), (FieldDifference("top_k", 5, 2),))
    assert "top_k of the request (5 → 2) differs" in found.headline


def test_the_same_top_k_by_release_and_by_request_is_no_difference_of_parameters(pipeline: Pipeline) -> None:
    asked, released = pipeline.ask(Question(HOLIDAYS, top_k=2)), with_top_k(pipeline, 2).ask(Question(HOLIDAYS))
    found = compare(asked, released)
    assert ([part.part for part in found.release], found.parameters, found.first_difference) == (["retrieval"], (), None)
    assert found.headline == "the same answer; retrieval.top_k (5 → 2) differs"


def test_another_generator_gives_the_same_passages_and_other_text(pipeline: Pipeline, record: Record) -> None:
    writes = Writes(completion("Twenty-eight days [1]."), parameters={"temperature": 0.7})
    found = compare(record, with_generator(pipeline, writes).ask(Question(HOLIDAYS)))
    assert ([part.part for part in found.release], found.first_difference) == (["generator"], "generate")
    fields = {field.name: field for field in found.release[0].fields}
    assert (fields["generator.name"].a, fields["generator.name"].b) == ("extractive", "writes")
    assert fields["generator.parameters.temperature"] == FieldDifference("generator.parameters.temperature", None, 0.7, only_in="b")
    assert found.headline == "same passages, other text; they part at generate; the generator differs"
    assert not isinstance(found.answer_diff, NotCompared)
    assert "".join(piece.text for piece in found.answer_diff if piece.op != "removed") == "Twenty-eight days [1]."
    assert not isinstance(found.prompt_diff, NotCompared)
    assert [piece.op for piece in found.prompt_diff] == ["same"]


def test_one_parameter_of_a_generator_is_named_with_both_values(pipeline: Pipeline) -> None:
    cold, warm = (
        with_generator(pipeline, Writes(completion(f"{text} [1]."), parameters={"temperature": temperature, "seed": 1}))
        for text, temperature in (("28 days", 0.0), ("28", 0.7))
    )
    found = compare(cold.ask(Question(HOLIDAYS)), warm.ask(Question(HOLIDAYS)))
    assert found.headline.endswith("they part at generate; generator.parameters.temperature (0.0 → 0.7) differs")


def test_sampling_of_the_request_is_a_parameter(pipeline: Pipeline) -> None:
    writing = with_generator(pipeline, Writes(completion("28 days [1]."), parameters={"temperature": 0.0, "seed": 1}))
    found = compare(writing.ask(Question(HOLIDAYS)), writing.ask(Question(HOLIDAYS, sampling=Sampling(temperature=0.5))))
    assert (found.release, found.parameters) == ((), (FieldDifference("generator.temperature", 0.0, 0.5),))
    assert found.headline == "the same answer; generator.temperature of the request (0.0 → 0.5) differs"


def test_when_nothing_recorded_differs_but_the_text_that_is_what_the_line_says(pipeline: Pipeline) -> None:
    first, second = (with_generator(pipeline, Writes(completion(text))).ask(Question(HOLIDAYS)) for text in ("28 [1].", "Some [1]."))
    assert compare(first, second).headline == (
        "same passages, other text; they part at generate; nothing recorded differs in how they were made"
    )


def test_an_answer_and_an_abstention_are_told_apart_either_way(pipeline: Pipeline, record: Record) -> None:
    refused = pipeline.ask(Question(HOLIDAYS, min_confidence=1.0))
    found = compare(record, refused)
    assert (found.flipped, found.same_answer, found.first_difference) == (True, False, "prompt")
    assert (found.b.abstain_reason, found.hits[0].movement) == ("low_confidence", "stayed")
    assert found.headline.startswith("only the first was answered; they part at prompt; min_confidence of the request (")
    assert compare(refused, record).headline.startswith("only the second was answered")
    [last] = [stage for stage in found.stages if stage.name == "cite"]
    assert (last.b, last.b_ms, last.delta_ms, last.same) == (None, None, None, False)
    assert {(citation.chunk_id, citation.quote) for citation in found.citations_gone} == {
        (citation.chunk.id, citation.quote) for citation in record.citations
    }


def test_two_abstentions_have_no_texts_to_compare(pipeline: Pipeline) -> None:
    refused = pipeline.ask(Question(HOLIDAYS, min_confidence=1.0))
    found = compare(refused, refused)
    assert found.answer_diff == NotCompared("both abstained")
    assert found.prompt_diff == NotCompared("both abstained before a prompt was made")
    assert (found.same_answer, found.headline) == (True, "no answer on either side, made the same way")
    for_another = dataclasses.replace(refused, abstain_reason="no_hits")
    assert compare(refused, for_another).headline.startswith("no answer on either side, for another reason")


def test_another_question_is_all_that_the_line_says(pipeline: Pipeline, record: Record) -> None:
    found = compare(record, pipeline.ask(Question("Which class do I book on a train?")))
    assert (found.same_question, found.headline) == (False, "another question was asked")
    assert found.first_difference == "embed"


def test_another_conversation_before_the_same_question_is_named(pipeline: Pipeline) -> None:
    after = [Turn("user", "Who signs the book at reception?"), Turn("assistant", "Visitors [1].")]
    alone, led = pipeline.ask(Question("And the badge?")), pipeline.ask(Question("And the badge?", history=tuple(after)))
    found = compare(alone, led)
    assert (found.same_question, found.same_history, found.first_difference) == (True, False, "condense")
    assert found.headline.endswith("the conversation before differs")
    assert compare(kept(led, content="digest"), kept(led, content="digest")).same_history is None
    assert "the conversation before the question" in compare(kept(led, content="digest"), led).not_known


# One change in what a record says of how it was made, and how it must be named.
PLANTED: dict[str, tuple[Callable[[Record], Record], str, set[str], str]] = {
    "index": (
        lambda one: with_release(one, lambda was: {"index": was.index.model_copy(update={"version": "1" * 12, "digest": OTHER})}),
        "release",
        {"index.version", "index.digest"},
        "index.version (",
    ),
    "encoder": (
        lambda one: with_release(one, lambda was: {"encoder": NamedDigest(name=was.encoder.name, digest=OTHER)}),
        "release",
        {"encoder.digest"},
        "the encoder differs",
    ),
    "chunker": (
        lambda one: with_release(one, lambda was: {"chunker": NamedDigest(name="other", digest=was.chunker.digest)}),
        "release",
        {"chunker.name"},
        "chunker.name (structure → other) differs",
    ),
    "prompt": (
        lambda one: with_release(one, lambda was: {"prompt": PromptRef(name="answer", version="9", digest=was.prompt.digest)}),
        "release",
        {"prompt.version"},
        "→ 9) differs",
    ),
    "code": (
        lambda one: with_release(one, lambda was: {"code": was.code.model_copy(update={"digest": OTHER})}),
        "release",
        {"code.digest"},
        "the code differs",
    ),
    "image": (
        lambda one: with_deployment(one, image=Image("rag@" + OTHER, OTHER)),
        "deployment",
        IMAGE,
        "the image differs",
    ),
    "commit": (lambda one: with_deployment(one, commit="f" * 40), "deployment", {"commit"}, "the commit differs"),
    "environment": (lambda one: with_deployment(one, environment="x"), "deployment", {"environment"}, "the environment differs"),
    "fingerprint": (lambda one: with_deployment(one, fingerprint=OTHER), "deployment", {"fingerprint"}, "installed packages differs"),
    "numeric_class": (lambda one: with_deployment(one, numeric_class="x"), "deployment", {"numeric_class"}, "the numeric class differs"),
    "filters": (
        lambda one: with_parameters(one, filters=parse_filter({"lang": "en"})),
        "parameters",
        {"filters"},
        'filters of the request (none → {"lang":{"eq":"en"}}) differs',
    ),
    "access": (lambda one: with_parameters(one, access=parse_filter({"team": "hr"})), "parameters", {"access"}, "access of the request"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_single_planted_change_is_named_and_nothing_else(record: Record, name: str) -> None:
    change, where, fields, said = PLANTED[name]
    found = compare(kept(record), kept(change(record)))
    shown = shown_differences(found)
    differing = shown.pop(where)
    assert shown == {key: value for key, value in NOTHING.items() if key != where}
    leaves = [field for part in found.release for field in part.fields] + list(found.parameters) + list(found.deployment)
    assert differing
    assert {field.name for field in leaves} == fields
    assert found.headline.startswith("the same answer; ")
    assert said in found.headline


def test_all_parts_of_a_release_are_compared(record: Record) -> None:
    release = record.lineage.release
    other = release.model_copy(
        update={
            "index": release.index.model_copy(update={"digest": OTHER}),
            "encoder": NamedDigest(name="e", digest=OTHER),
            "chunker": NamedDigest(name="c", digest=OTHER),
            "retrieval": release.retrieval.model_copy(update={"min_confidence": 0.9}),
            "prompt": PromptRef(name="p", version="1", digest=OTHER),
            "generator": GeneratorRef(spec="s", options={"threads": 2}, name="g", digest=OTHER, parameters={}),
            "code": release.code.model_copy(update={"version": "9"}),
        }
    )
    assert [part.part for part in release_differences(release, other)] == [
        "index", "encoder", "chunker", "retrieval", "prompt", "generator", "code",
    ]  # fmt: skip
    threads = [field for part in release_differences(release, other) for field in part.fields if "threads" in field.name]
    assert threads == [FieldDifference("generator.options.threads", None, 2, only_in="b")]
    assert release_differences(release, release.model_copy()) == ()


def test_true_is_not_one_and_one_is_one_point_nought(record: Record) -> None:
    def having(value: object) -> Release:
        generator = record.lineage.release.generator.model_copy(update={"parameters": {"seed": value}})
        return record.lineage.release.model_copy(update={"generator": generator})

    [part] = release_differences(having(1), having(True))
    assert part.fields == (FieldDifference("generator.parameters.seed", 1, True),)
    assert release_differences(having(1), having(1.0)) == ()


def test_in_digest_content_the_stages_still_tell_where_two_answers_part(pipeline: Pipeline, record: Record) -> None:
    other = with_generator(pipeline, Writes(completion("Twenty-eight [1]."))).ask(Question(HOLIDAYS))
    found = compare(kept(record, content="digest"), kept(other, content="digest"))
    assert (found.same_question, found.first_difference, found.same_answer) == (True, "generate", None)
    assert found.prompt_diff == found.answer_diff == NotCompared("the texts are not stored")
    assert found.vector == NotCompared("a query vector is not stored")
    assert {hit.movement for hit in found.hits} == {"stayed"}
    assert found.not_known == ("the filters",)
    assert found.headline == ("same passages, and whether the text is the same is not known; they part at generate; the generator differs")


def test_in_digest_content_equal_digests_are_equal_answers(record: Record) -> None:
    found = compare(kept(record, content="digest"), record)
    assert (found.same_answer, found.first_difference) == (True, None)
    assert found.headline == "the same answer, made the same way"


def test_texts_that_were_masked_are_not_laid_beside_one_that_was_not(record: Record) -> None:
    masked = dataclasses.replace(record, answer="It is █████ [1].")
    found = compare(kept(masked, redacted=frozenset({"answer"})), record)
    assert found.answer_diff == NotCompared("in one answer something was masked before it was stored")
    assert found.same_answer is True  # by the digest of the last stage
    changed = with_attempt(record, stages=(*record.stages[:-1], dataclasses.replace(record.stages[-1], digest=OTHER)))
    assert compare(kept(masked, redacted=frozenset({"answer"})), changed).same_answer is None
    assert compare(kept(masked, redacted=frozenset({"answer"})), kept(changed)).same_answer is False
    twice = [kept(dataclasses.replace(one, answer=masked.answer), redacted=frozenset({"answer"})) for one in (record, changed)]
    assert compare(*twice).same_answer is None
    assert not isinstance(found.prompt_diff, NotCompared)


def test_vectors_of_two_encoders_and_scores_on_two_scales_are_not_compared(record: Record) -> None:
    other = with_release(record, lambda was: {"encoder": NamedDigest(name=was.encoder.name, digest=OTHER)})
    found = compare(record, other)
    assert found.vector == NotCompared("vectors of two encoders have nothing in common")
    assert (found.same_scale, found.top_score_delta) == (False, None)
    shorter = dataclasses.replace(record, query_vector=record.query_vector[:8])
    assert compare(record, shorter).vector == NotCompared("the vectors have 384 and 8 dimensions")


def test_vectors_are_compared_as_worked_by_hand() -> None:
    found = vector_difference(np.array([1, 0], np.float32), np.array([0.6, 0.8], np.float32))
    assert (found.max_abs, found.cosine) == (pytest.approx(0.8), pytest.approx(0.6))
    assert vector_difference(np.zeros(2, np.float32), np.array([1, 0], np.float32)).cosine == 0.0
    for other in (np.ones(3, np.float32), np.empty(0, np.float32)):
        with pytest.raises(ValueError, match="cannot be compared"):
            vector_difference(other, np.empty(0, np.float32))


def test_a_comparison_is_json_with_its_derived_parts(record: Record) -> None:
    shown = TypeAdapter(Comparison).dump_python(compare(record, record), mode="json")
    assert shown["headline"] == "the same answer, made the same way"
    assert (shown["hits"][0]["movement"], shown["stages"][0]["same"], shown["answer_diff"][0][0]) == ("stayed", True, "same")


def chunk(name: str) -> Chunk:
    return Chunk(ChunkId(name), DocumentId("d"), 0, 0, 1, name, "", (), "d.md", None, name, 1)


def hits(*names: str) -> tuple[Hit, ...]:
    return tuple(Hit(chunk(name), round(0.9 - rank / 10, 5)) for rank, name in enumerate(names))


def test_hits_enter_leave_move_and_stay_as_worked_by_hand() -> None:
    found = hit_differences(hits("a", "b", "c"), hits("a", "c", "d"), 1, 2)
    shown = [(one.chunk.id, one.movement, one.delta, one.a and one.a.in_prompt, one.b and one.b.in_prompt) for one in found]
    assert shown == [
        ("a", "stayed", 0.0, True, True),
        ("c", "moved", 0.1, False, True),
        ("d", "entered", None, None, False),
        ("b", "left", None, False, None),
    ]
    assert overlap(hits("a", "b", "c"), hits("a", "c", "d")) == 2 / 4
    assert (overlap((), ()), overlap(hits("a"), ())) == (1.0, 0.0)


ranked = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6).map(lambda names: hits(*names))


@given(a=ranked, b=ranked, shown_a=st.integers(0, 6), shown_b=st.integers(0, 6))
def test_what_entered_stayed_and_moved_is_what_b_has_in_its_order(
    a: tuple[Hit, ...], b: tuple[Hit, ...], shown_a: int, shown_b: int
) -> None:
    found = hit_differences(a, b, shown_a, shown_b)
    assert [one.chunk.id for one in found if one.movement != "left"] == [hit.chunk.id for hit in b]
    assert {one.chunk.id for one in found if one.movement != "entered"} == {hit.chunk.id for hit in a}
    assert sum(one.b is not None and one.b.in_prompt for one in found) == min(shown_b, len(b))


@pytest.fixture(scope="module")
def variants(pipeline: Pipeline, record: Record) -> tuple[Record, ...]:
    """Answers to one question that differ in all kinds of ways, and one to another question."""
    writing = with_generator(pipeline, Writes(completion("Twenty-eight days [1]. No [2].")))
    return (
        record,
        pipeline.ask(Question(HOLIDAYS, top_k=2)),
        pipeline.ask(Question(HOLIDAYS, min_confidence=1.0)),
        with_top_k(pipeline, 3).ask(Question(HOLIDAYS)),
        writing.ask(Question(HOLIDAYS)),
        pipeline.ask(Question("Which class do I book on a train?")),
        *(change(record) for change, _, _, _ in PLANTED.values()),
    )


@given(data=st.data())
def test_the_other_way_round_a_comparison_is_its_mirror_image(variants: tuple[Record, ...], data: st.DataObject) -> None:
    one, other = (kept(data.draw(st.sampled_from(variants)), content=data.draw(st.sampled_from(["full", "digest"]))) for _ in "ab")
    there, back = compare(one, other), compare(other, one)
    assert (there.a, there.b, there.first_difference, there.changed) == (back.b, back.a, back.first_difference, back.changed)
    assert (there.citations_come, there.same_answer, there.overlap) == (back.citations_gone, back.same_answer, back.overlap)
    assert {(part.part, part.a, part.b) for part in there.release} == {(part.part, part.b, part.a) for part in back.release}
    assert {(f.name, f.a, f.b) for f in (*there.parameters, *there.deployment)} == {
        (f.name, f.b, f.a) for f in (*back.parameters, *back.deployment)
    }
    assert [(stage.a, stage.b, stage.delta_ms) for stage in there.stages] == [
        (stage.b, stage.a, None if stage.delta_ms is None else -stage.delta_ms) for stage in back.stages
    ]
    mirrored = {"entered": "left", "left": "entered", "moved": "moved", "stayed": "stayed"}
    assert {(hit.a, hit.b, hit.movement) for hit in map(_hashable, there.hits)} == {
        (hit.b, hit.a, mirrored[hit.movement]) for hit in map(_hashable, back.hits)
    }
    assert there.vector == back.vector


@dataclasses.dataclass(frozen=True)
class Hashable:
    a: tuple[int, float, bool] | None
    b: tuple[int, float, bool] | None
    movement: str


def _hashable(hit: HitDifference) -> Hashable:
    a, b = ((place.rank, place.score, place.in_prompt) if place else None for place in (hit.a, hit.b))
    return Hashable(a, b, hit.movement)


def test_stages_that_ran_on_one_side_only_differ(record: Record) -> None:
    shorter = with_attempt(record, stages=record.stages[:2])
    found = stage_differences(record, shorter)
    assert first_difference(found) == "prompt"
    assert [stage.same for stage in found] == [True, True, False, False, False]
    condensed = with_attempt(record, stages=(Stage("condense", OTHER, 1.0, 0.0), *record.stages))
    assert first_difference(stage_differences(record, condensed)) == "condense"
    assert first_difference(()) is None


def test_a_set_counts_where_the_pairs_part_and_lists_the_largest_change_first(pipeline: Pipeline) -> None:
    questions = (HOLIDAYS, "Which class do I book on a train?", "Who signs the book at reception?")
    before = [pipeline.ask(Question(question)) for question in questions]
    other = with_top_k(pipeline, 2)
    after = [
        other.ask(Question(HOLIDAYS, top_k=5)),
        other.ask(Question(questions[1])),
        other.ask(Question(questions[2], min_confidence=1.0)),
    ]
    found = compare_sets([*zip(before, map(kept, after), strict=True), (before[0], before[1])])
    assert (found.pairs, found.other_questions) == (4, 1)
    assert (found.releases_a, found.releases_b) == ((pipeline.lineage.release.id,), (other.lineage.release.id,))
    assert not isinstance(found.release, NotCompared)
    assert [part.part for part in found.release] == ["retrieval"]
    assert [(count.stage, count.pairs) for count in found.first_differences] == [("retrieve", 2), (None, 1)]
    assert (found.same_hits.count, found.same_hits.of, found.same_hits.value) == (1, 3, pytest.approx(1 / 3))
    assert found.overlap is not None
    assert (found.overlap.mean, found.overlap.low, found.overlap.high) == (0.6, 0.4, 1.0)  # (1 + 2/5 + 2/5) / 3
    assert (found.answered_to_abstained, found.abstained_to_answered) == (1, 0)
    assert found.top_score_delta is not None
    assert (found.top_score_delta.count, found.top_score_delta.mean) == (3, 0.0)
    assert [changed.number for changed in found.changed] == [2, 1]
    assert found.changed[0].headline.startswith("only the first was answered")
    assert found.headline == "2 of 3 came out otherwise, 1 of them answered on one side only"


def test_a_set_in_which_nothing_changed_and_one_without_pairs_say_so(record: Record) -> None:
    same = compare_sets([(record, record)])
    assert (same.headline, same.changed, same.same_answers.value) == ("all 1 came out the same", (), 1.0)
    nothing = compare_sets([])
    assert (nothing.overlap, nothing.top_score_delta, nothing.same_answers.value) == (None, None, None)
    assert (nothing.headline, nothing.release) == ("no two answers to one question", NotCompared("no two answers to one question"))


def test_answers_of_several_releases_on_one_side_have_no_common_difference(pipeline: Pipeline, record: Record) -> None:
    mixed = compare_sets([(record, record), (record, with_top_k(pipeline, 2).ask(Question(HOLIDAYS)))])
    assert mixed.release == NotCompared("the answers of a side are of several releases")


def test_scores_of_two_encoders_stay_out_of_the_mean(record: Record) -> None:
    other = with_release(record, lambda was: {"encoder": NamedDigest(name=was.encoder.name, digest=OTHER)})
    assert compare_sets([(record, other)]).top_score_delta is None
