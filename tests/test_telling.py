"""An answer told while it is made: what was found first, then its text and its citations, and nothing that does not stay."""

import dataclasses

import pytest

from rag_service.ask import Pipeline
from rag_service.desk import retell
from rag_service.errors import GeneratorFailed
from rag_service.question import Question
from rag_service.record import Delta, Event, Found, Record
from rag_service.types import Citation, Completion
from tests.doubles import HOLIDAYS, Around, Writes, completion, with_generator

TEXT = "Every employee has 28 days [1]. They expire in March [99], some say [2, 77]. `a[1]` is code."


def told(pipeline: Pipeline, **options: object) -> tuple[list[Event], Record]:
    events: list[Event] = []
    record = pipeline.ask(Question(HOLIDAYS, **options), events.append)  # type: ignore[arg-type]
    return events, record


def assert_tells_the_answer(events: list[Event], record: Record) -> None:
    """What holds of every answer that was told."""
    found, *rest = events
    assert isinstance(found, Found)
    assert (found.answer_id, found.query, found.hits) == (record.answer_id, record.query, record.hits)
    written = ""
    for event in rest:
        if isinstance(event, Delta):
            assert event.text
            written += event.text
        else:
            assert isinstance(event, Citation)
            assert written[slice(*event.answer_span)] in (f"[{event.marker}]", "[1, 2]")
    assert written == (record.answer or "")
    assert tuple(event for event in rest if isinstance(event, Citation)) == record.citations


def test_the_default_generator_is_told_like_any_other(pipeline: Pipeline) -> None:
    events, record = told(pipeline)
    assert record.citations
    assert_tells_the_answer(events, record)


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000, None])
def test_however_a_model_cuts_its_text_the_pieces_joined_are_the_answer(pipeline: Pipeline, pieces: int | None) -> None:
    events, record = told(with_generator(pipeline, Writes(completion(TEXT), pieces=pieces)))
    assert record.answer == "Every employee has 28 days [1]. They expire in March, some say [2]. `a[1]` is code."
    assert_tells_the_answer(events, record)


LINKED = "See ![28 days](https://elsewhere.example/?d=28) [1] or [the rules](https://elsewhere.example) [1], www.elsewhere.example."


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000, None])
def test_a_link_that_stands_in_no_passage_is_never_told(pipeline: Pipeline, pieces: int | None) -> None:
    events, record = told(with_generator(pipeline, Writes(completion(LINKED), pieces=pieces)))
    assert record.answer == "See 28 days [1] or the rules [1], ‹link removed›."
    assert record.raw_answer == LINKED
    assert [notice.code for notice in record.notices] == ["link_removed", "sentence_unsupported"]
    assert_tells_the_answer(events, record)


def test_a_model_that_writes_is_told_before_it_has_ended(pipeline: Pipeline) -> None:
    events: list[Event] = []
    so_far: list[int] = []
    generator = Around(Writes(completion(TEXT), pieces=5), "generate", lambda: so_far.append(len(events)))
    record = dataclasses.replace(pipeline, generator=generator).ask(Question(HOLIDAYS), events.append)
    assert so_far[0] > 3
    assert_tells_the_answer(events, record)


def test_what_was_found_is_told_with_the_trace_as_far_as_it_goes_before_anything_is_generated(pipeline: Pipeline) -> None:
    generator = Writes(completion(TEXT))
    prompts_then: list[int] = []
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        prompts_then.append(len(generator.prompts))

    with_generator(pipeline, generator).ask(Question(HOLIDAYS), tell)
    assert isinstance(events[0], Found)
    assert prompts_then[0] == 0
    assert [stage.name for stage in events[0].attempt.stages] == ["embed", "retrieve"]
    assert events[0].attempt.scope is not None


def test_of_an_abstention_only_what_was_found_is_told(pipeline: Pipeline) -> None:
    events, record = told(pipeline, min_confidence=1.0)
    assert record.status == "abstained"
    assert [type(event) for event in events] == [Found]
    assert_tells_the_answer(events, record)


@pytest.mark.parametrize("pieces", [1, 4, None])
def test_a_refusal_that_a_model_writes_is_never_told(pipeline: Pipeline, pieces: int | None) -> None:
    events, record = told(with_generator(pipeline, Writes(completion("", declined=True), pieces=pieces)))
    assert record.abstain_reason == "generator_declined"
    assert [type(event) for event in events] == [Found]


def test_a_model_that_returns_another_text_than_it_wrote_is_an_error(pipeline: Pipeline) -> None:
    class Lies(Writes):
        def generate(self, *values: object, **named: object) -> Completion:
            super().generate(*values, **named)  # type: ignore[arg-type]
            return completion("Something else altogether [1].")

    with pytest.raises(GeneratorFailed, match="another text than it wrote") as caught:
        told(with_generator(pipeline, Lies(completion(TEXT), pieces=3)))
    assert caught.value.stage == "cite"


def test_what_the_listener_raises_ends_the_answer(pipeline: Pipeline) -> None:
    class GoneAwayError(Exception):
        pass

    def tell(event: Event) -> None:
        if isinstance(event, Delta):
            raise GoneAwayError

    with pytest.raises(GoneAwayError):
        with_generator(pipeline, Writes(completion(TEXT), pieces=3)).ask(Question(HOLIDAYS), tell)


def test_being_told_changes_nothing_of_the_answer(pipeline: Pipeline) -> None:
    writing = with_generator(pipeline, Writes(completion(TEXT), pieces=3))
    _, record = told(writing)
    quiet = writing.ask(Question(HOLIDAYS))
    assert (record.answer, record.citations, record.notices, record.usage) == (quiet.answer, quiet.citations, quiet.notices, quiet.usage)
    assert [(stage.name, stage.digest) for stage in record.stages] == [(stage.name, stage.digest) for stage in quiet.stages]


@pytest.mark.parametrize("options", [{}, {"min_confidence": 1.0}], ids=["answered", "abstained"])
def test_an_answer_that_is_there_already_is_told_in_the_same_order(pipeline: Pipeline, options: dict[str, float]) -> None:
    record = pipeline.ask(Question(HOLIDAYS, **options))  # type: ignore[arg-type]
    events: list[Event] = []
    retell(record, events.append)
    assert_tells_the_answer(events, record)
