"""Follow-ups: turned into a question of their own by rule, or by the language model where there is one."""

import time

import pytest

from rag_service.ask import Pipeline
from rag_service.errors import DeadlineExceeded, GeneratorFailed, GeneratorPaused
from rag_service.question import Question
from rag_service.record import Record
from rag_service.types import Completion, Turn, Usage
from tests.doubles import HOLIDAYS, Writes, completion, with_generator

BEFORE = (Turn("user", HOLIDAYS), Turn("assistant", "28 days [1]."))
FOLLOW_UP = "When do they expire?"
REWRITTEN = "When do unused days of paid holiday expire?"
ANSWERED = completion("On 31 March [1].", usage=Usage(7, 3))


def asked(pipeline: Pipeline, generator: Writes, text: str = FOLLOW_UP, **options: object) -> Record:
    return with_generator(pipeline, generator).ask(Question(text, history=BEFORE, **options))  # type: ignore[arg-type]


def follows(*given: Completion | Exception, **options: object) -> Writes:
    return Writes(*given, follows_instructions=True, **options)  # type: ignore[arg-type]


def test_without_a_language_model_a_follow_up_is_searched_for_after_what_it_leans_on(pipeline: Pipeline) -> None:
    record = pipeline.ask(Question(FOLLOW_UP, history=BEFORE))
    assert record.query == f"{HOLIDAYS} {FOLLOW_UP}"
    assert record.question == FOLLOW_UP
    assert record.history == BEFORE
    assert record.hits[0].chunk.heading_path[-1] == "Holidays"
    assert [stage.name for stage in record.stages] == ["condense", "embed", "retrieve", "prompt", "generate", "cite"]
    assert record.notices == ()


def test_a_question_that_stands_alone_stays_as_it_is(pipeline: Pipeline) -> None:
    alone = "How many characters does a password have at least?"
    record = pipeline.ask(Question(alone, history=BEFORE))
    assert record.query == record.question == alone
    assert [hit.chunk.id for hit in record.hits] == [hit.chunk.id for hit in pipeline.ask(Question(alone)).hits]


@pytest.mark.parametrize("history", [(), (Turn("assistant", "Welcome! What do you want to know?"),)])
def test_without_an_earlier_question_there_is_nothing_to_condense(pipeline: Pipeline, history: tuple[Turn, ...]) -> None:
    generator = follows(ANSWERED)
    record = with_generator(pipeline, generator).ask(Question(FOLLOW_UP, history=history, min_confidence=0))
    assert record.query == FOLLOW_UP
    assert len(generator.prompts) == 1
    assert "condense" not in record.timings_ms


def test_a_language_model_rewrites_a_follow_up_and_answers_what_it_wrote(pipeline: Pipeline) -> None:
    generator = follows(completion(REWRITTEN), ANSWERED)
    record = asked(pipeline, generator)
    assert (record.query, record.question) == (REWRITTEN, FOLLOW_UP)
    rewriting, answering = generator.prompts
    assert rewriting.passages == ()
    assert HOLIDAYS in rewriting.user
    assert FOLLOW_UP in rewriting.user
    assert answering.question == REWRITTEN
    assert record.hits[0].chunk.source == "leave.md"
    assert record.stages[0].name == "condense"
    assert record.notices == ()


def test_what_a_rewrite_took_is_part_of_the_usage(pipeline: Pipeline) -> None:
    record = asked(pipeline, follows(completion(REWRITTEN, usage=Usage(100, 10)), ANSWERED))
    assert record.usage == Usage(107, 13)


@pytest.mark.parametrize(
    ("first", "second", "total"),
    [
        (Usage(None, None), Usage(7, 3), Usage(7, 3)),
        (Usage(5, None), Usage(None, 3), Usage(5, 3)),
        (Usage(None, None), Usage(None, None), Usage(None, None)),
        (Usage(0, 0), Usage(7, 3), Usage(7, 3)),
    ],
)
def test_what_is_not_counted_adds_nothing(pipeline: Pipeline, first: Usage, second: Usage, total: Usage) -> None:
    record = asked(pipeline, follows(completion(REWRITTEN, usage=first), completion("On 31 March [1].", usage=second)))
    assert record.usage == total


def test_an_abstention_after_a_rewrite_tells_what_the_rewrite_took(pipeline: Pipeline) -> None:
    record = asked(pipeline, follows(completion(REWRITTEN, usage=Usage(100, 10))), min_confidence=1.0)
    assert (record.status, record.usage) == ("abstained", Usage(100, 10))


@pytest.mark.parametrize("error", [GeneratorFailed("the provider is gone"), GeneratorPaused("left alone for a while")])
def test_a_model_that_fails_is_replaced_by_the_rule_and_reported(pipeline: Pipeline, error: GeneratorFailed) -> None:
    record = asked(pipeline, follows(error, ANSWERED))
    assert record.query == f"{HOLIDAYS} {FOLLOW_UP}"
    [notice] = record.notices
    assert notice.code == "follow_up_not_rewritten"
    assert error.code in notice.detail
    assert record.status == "answered"
    assert record.usage == Usage(7, 3)


@pytest.mark.parametrize("text", ["", "NO_ANSWER", "I'm sorry, I cannot do that.", "First line\nsecond line", "long " * 1000])
def test_what_a_model_wrote_and_cannot_be_searched_for_is_replaced_by_the_rule_and_reported(pipeline: Pipeline, text: str) -> None:
    record = asked(pipeline, follows(completion(text, usage=Usage(50, 5)), ANSWERED))
    assert record.query == f"{HOLIDAYS} {FOLLOW_UP}"
    assert [notice.code for notice in record.notices] == ["follow_up_not_rewritten"]
    assert record.usage == Usage(57, 8)


def test_a_deadline_that_passes_while_it_is_rewritten_is_no_reason_to_go_on(pipeline: Pipeline) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        asked(pipeline, follows(DeadlineExceeded("over", stage="generate")))
    assert caught.value.stage == "condense"


def test_a_rewrite_gets_the_deadline_and_few_tokens(pipeline: Pipeline) -> None:
    deadline_s = time.monotonic() + 60
    for own, most in ((4000, 128), (50, 50), (None, None)):
        parameters = {} if own is None else {"max_tokens": own}
        generator = follows(completion(REWRITTEN), ANSWERED, parameters=parameters)
        asked(pipeline, generator, deadline_s=deadline_s)
        assert generator.deadlines == [deadline_s] * 2
        assert generator.samplings[0].max_tokens == most
        assert generator.samplings[1].max_tokens is None


def test_the_digest_of_the_stage_tells_two_queries_apart(pipeline: Pipeline) -> None:
    one, same, other = (
        asked(pipeline, follows(completion(text), ANSWERED)).stages[0].digest for text in (REWRITTEN, REWRITTEN, "When does leave end?")
    )
    assert one == same != other


def test_what_is_searched_for_alone_is_condensed_too(pipeline: Pipeline) -> None:
    found = with_generator(pipeline, follows(completion(REWRITTEN))).search(Question(FOLLOW_UP, history=BEFORE))
    assert (found.query, found.question) == (REWRITTEN, FOLLOW_UP)
    assert [stage.name for stage in found.attempt.stages] == ["condense", "embed", "retrieve"]
