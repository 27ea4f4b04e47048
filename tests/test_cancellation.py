"""Nobody waits any more: how that is said, and that the way of an answer ends at its next stage."""

import dataclasses
import threading

import pytest

from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded
from rag_service.question import Question
from rag_service.record import Attempt
from rag_service.types import Turn
from tests.doubles import HOLIDAYS, Around, Writes, completion, with_generator


def test_a_cancellation_stays_cancelled_and_says_so_once() -> None:
    cancellation, told = Cancellation(), []
    cancellation.check()
    with cancellation.hanging_up(lambda: told.append(threading.current_thread())):
        cancellation.cancel()
        cancellation.cancel()
    assert told == [threading.current_thread()]
    assert cancellation.cancelled
    with pytest.raises(Cancelled):
        cancellation.check()


def test_what_begins_after_the_cancellation_is_hung_up_at_once() -> None:
    cancellation, told = Cancellation(), []
    cancellation.cancel()
    with cancellation.hanging_up(lambda: told.append("hung up")):
        assert told == ["hung up"]


def test_what_is_over_is_not_hung_up() -> None:
    cancellation, told = Cancellation(), []
    with cancellation.hanging_up(lambda: told.append("hung up")):
        pass
    cancellation.cancel()
    assert told == []


def test_of_several_that_run_all_are_hung_up() -> None:
    cancellation, told = Cancellation(), []
    with cancellation.hanging_up(lambda: told.append(1)), cancellation.hanging_up(lambda: told.append(2)):
        cancellation.cancel()
    assert sorted(told) == [1, 2]


def test_two_that_cancel_at_once_hang_up_once() -> None:
    for _ in range(50):
        cancellation, told, together = Cancellation(), [], threading.Barrier(2)

        def cancel(cancellation: Cancellation = cancellation, together: threading.Barrier = together) -> None:
            together.wait(10)
            cancellation.cancel()

        with cancellation.hanging_up(lambda told=told: told.append(1)):
            threads = [threading.Thread(target=cancel) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        assert told == [1]


def cancelling_in(pipeline: Pipeline, stage: str, cancellation: Cancellation) -> Pipeline:
    """The pipeline, in which somebody goes away while that stage is under way."""
    writing = with_generator(pipeline, Writes(completion("28 days [1]."), follows_instructions=True))
    gone = cancellation.cancel
    match stage:
        case "embed":
            return dataclasses.replace(writing, embedder=Around(writing.embedder, "embed_query", gone))
        case "retrieve":
            return dataclasses.replace(writing, retriever=Around(writing.retriever, "find", gone))
        case "prompt":
            return dataclasses.replace(writing, generator=Around(writing.generator, "count_tokens", gone))
        case _:
            return dataclasses.replace(writing, generator=Around(writing.generator, "generate", gone))


@pytest.mark.parametrize(
    ("during", "refused", "done"),
    [
        ("embed", "retrieve", ["embed"]),
        ("retrieve", "prompt", ["embed", "retrieve"]),
        ("prompt", "generate", ["embed", "retrieve", "prompt"]),
        ("generate", "cite", ["embed", "retrieve", "prompt", "generate"]),
    ],
)
def test_who_goes_away_during_a_stage_is_noticed_before_the_next(pipeline: Pipeline, during: str, refused: str, done: list[str]) -> None:
    cancellation = Cancellation()
    with pytest.raises(Cancelled) as caught:
        cancelling_in(pipeline, during, cancellation).ask(Question(HOLIDAYS, cancellation=cancellation))
    assert caught.value.stage == refused
    assert isinstance(caught.value.attempt, Attempt)
    assert [stage.name for stage in caught.value.attempt.stages] == done


def test_who_goes_away_while_a_follow_up_is_rewritten_is_noticed_before_it_is_embedded(pipeline: Pipeline) -> None:
    cancellation = Cancellation()
    asked = Question("And in the second year?", history=(Turn("user", HOLIDAYS),), cancellation=cancellation)
    with pytest.raises(Cancelled) as caught:
        cancelling_in(pipeline, "condense", cancellation).ask(asked)
    assert caught.value.stage == "embed"
    assert [stage.name for stage in caught.value.attempt.stages] == ["condense"]  # type: ignore[union-attr]


def test_a_question_that_nobody_waits_for_is_not_even_embedded(pipeline: Pipeline) -> None:
    cancellation, embedded = Cancellation(), []
    cancellation.cancel()
    counting = dataclasses.replace(pipeline, embedder=Around(pipeline.embedder, "embed_query", lambda: embedded.append(1)))
    for verb in (counting.ask, counting.search):
        with pytest.raises(Cancelled) as caught:
            verb(Question(HOLIDAYS, cancellation=cancellation))
        assert caught.value.stage == "embed"
    assert embedded == []


def test_a_generator_is_given_the_cancellation_and_what_it_raises_has_its_stage(pipeline: Pipeline) -> None:
    cancellation = Cancellation()
    generator = Writes(completion("28 days [1]."))
    going = dataclasses.replace(
        with_generator(pipeline, generator),
        generator=BeginsLate(generator, cancellation),
    )
    with pytest.raises(Cancelled) as caught:
        going.ask(Question(HOLIDAYS, cancellation=cancellation))
    assert caught.value.stage == "generate"


class BeginsLate(Around):
    """Somebody goes away after the generator was called and before it begins."""

    def __init__(self, inner: Writes, cancellation: Cancellation) -> None:
        super().__init__(inner, "", lambda: None)
        self._cancellation = cancellation

    def generate(self, *values: object, **named: object) -> object:
        self._cancellation.cancel()
        return self._inner.generate(*values, **named)  # type: ignore[attr-defined]


def test_a_batch_that_nobody_waits_for_gives_an_error_for_each_question(pipeline: Pipeline) -> None:
    cancellation, embedded = Cancellation(), []
    cancellation.cancel()
    counting = dataclasses.replace(pipeline, embedder=Around(pipeline.embedder, "embed_queries", lambda: embedded.append(1)))
    results = counting.ask_many([Question(HOLIDAYS, cancellation=cancellation)] * 2)
    assert [type(result) for result in results] == [Cancelled, Cancelled]
    assert results[0] is not results[1]
    assert embedded == []


def test_a_batch_that_is_given_up_on_its_way_keeps_what_was_answered(pipeline: Pipeline) -> None:
    cancellation = Cancellation()
    going = cancelling_in(pipeline, "generate", cancellation)
    first, second = going.ask_many([Question(HOLIDAYS), Question(HOLIDAYS, cancellation=cancellation)])
    assert getattr(first, "status", None) == "answered"
    assert isinstance(second, Cancelled)
    assert second.stage == "retrieve"


def test_a_deadline_and_a_cancellation_at_once_is_a_cancellation(pipeline: Pipeline) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        pipeline.ask(Question(HOLIDAYS, cancellation=cancellation, deadline_s=0.0))
    with pytest.raises(DeadlineExceeded):
        pipeline.ask(Question(HOLIDAYS, deadline_s=0.0))
