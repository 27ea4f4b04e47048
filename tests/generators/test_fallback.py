"""Where a release says so, quoting takes the place of a language model that fails; nobody is told a half of each."""

import pytest

from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed, GeneratorPaused, RagError
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.generators.fallback import FallingBack
from rag_service.generators.refused import PromptRefused
from rag_service.question import Question
from rag_service.record import Delta, Event
from rag_service.settings import load_settings
from rag_service.types import Chunk, ChunkId, Completion, DocumentId, Passage, Prompt, Turn
from rag_service.wiring.generators import generator_options, open_generator
from tests.doubles import HOLIDAYS, Around, Writes, completion, with_generator
from tests.generators.chat_server import Scene, providing

BROKEN = GeneratorFailed("it broke", stage="generate")


def falling_back(pipeline: Pipeline, *given: Completion | Exception, follows: bool = True) -> tuple[Pipeline, Writes]:
    inner = Writes(*given, follows_instructions=follows, parameters={"max_tokens": 64})
    return with_generator(pipeline, FallingBack(inner, ExtractiveGenerator(pipeline.embedder))), inner


@pytest.mark.parametrize(
    "error",
    [BROKEN, GeneratorPaused("left alone"), DeadlineExceeded("took too long"), PromptRefused("too long")],
    ids=lambda error: type(error).__name__,
)
def test_a_question_whose_model_fails_is_answered_by_quotes_and_says_so(pipeline: Pipeline, error: RagError) -> None:
    asked, _ = falling_back(pipeline, error)
    record, quoted = asked.ask(Question(HOLIDAYS)), pipeline.ask(Question(HOLIDAYS))
    assert (record.answer, record.citations) == (quoted.answer, quoted.citations)
    [notice] = record.notices
    assert notice.code == "generator_fell_back"
    assert notice.detail == f"writes failed ({error.code}) and extractive answered instead"


def test_a_model_that_works_is_not_touched(pipeline: Pipeline) -> None:
    asked, _ = falling_back(pipeline, completion("28 days [1]."))
    record = asked.ask(Question(HOLIDAYS))
    assert (record.answer, record.notices) == ("28 days [1].", ())


def test_what_was_cancelled_is_not_answered_by_anybody(pipeline: Pipeline) -> None:
    asked, _ = falling_back(pipeline, Cancelled("nobody waits"))
    with pytest.raises(Cancelled):
        asked.ask(Question(HOLIDAYS))


def test_a_stream_of_a_model_that_fails_before_its_first_word_tells_the_quotes(pipeline: Pipeline) -> None:
    events: list[Event] = []
    asked, _ = falling_back(pipeline, BROKEN)
    record = asked.ask(Question(HOLIDAYS), events.append)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == record.answer


def test_a_stream_that_fails_after_its_first_word_is_an_error(pipeline: Pipeline) -> None:
    def break_off() -> None:
        raise BROKEN

    breaks_off = Around(Writes(completion("Half an answer [1]."), pieces=4), "generate", break_off)
    generator = FallingBack(breaks_off, ExtractiveGenerator(pipeline.embedder))  # type: ignore[arg-type]  # hands everything else on
    with pytest.raises(GeneratorFailed, match="it broke"):
        with_generator(pipeline, generator).ask(Question(HOLIDAYS), lambda _: None)


def test_a_follow_up_is_never_rewritten_by_quoting(pipeline: Pipeline) -> None:
    asked, inner = falling_back(pipeline, BROKEN)
    history = (Turn("user", HOLIDAYS), Turn("assistant", "28 days."))
    record = asked.ask(Question("And when do they expire?", history=history))
    assert [notice.code for notice in record.notices] == ["follow_up_not_rewritten", "generator_fell_back"]
    assert [bool(prompt.passages) for prompt in inner.prompts] == [False, True]


def test_some_of_the_time_is_kept_back_for_the_one_that_may_have_to_answer() -> None:
    inner = Writes(completion("Fine [1]."))
    generator = FallingBack(inner, Writes(completion("Other.")), now=lambda: 100.0)
    for deadline_s in (130.0, 102.0, 99.0, None):
        generator.generate(_with_a_passage(), deadline_s=deadline_s, cancellation=Cancellation())
    assert inner.deadlines == [129.0, pytest.approx(101.6), 99.0, None]


def test_the_fallback_is_among_the_parameters_and_in_the_digest() -> None:
    inner, one, two = Writes(completion("a")), Writes(completion("b")), Writes(completion("c"))
    two.digest = "sha256:" + "1" * 64
    assert FallingBack(inner, one).parameters == {"fallback": "writes"}
    assert len({inner.digest, FallingBack(inner, one).digest, FallingBack(inner, two).digest}) == 3


def test_a_release_with_a_fallback_and_retries_opens_as_its_options_say(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-needed-here")
    monkeypatch.setattr("rag_service.generators.retrying._FIRST_WAIT_S", 0.001)
    scene = Scene(status=500)
    with providing(scene) as base_url:
        settings = load_settings(
            {}, generator="openai:tiny", generator_base_url=base_url, generator_retries=1, generator_fallback="extractive"
        )
        with open_generator(settings.generator, generator_options(settings), pipeline.embedder) as generator:
            assert (generator.parameters["retries"], generator.parameters["fallback"]) == (1, "extractive")
            record = with_generator(pipeline, generator).ask(Question(HOLIDAYS))
    assert len(scene.asked) == 2
    assert [notice.code for notice in record.notices] == ["generator_fell_back"]
    assert record.answer is not None
    assert "28 days" in record.answer


def _with_a_passage() -> Prompt:
    text = "Bread is baked from flour."
    chunk = Chunk(
        id=ChunkId("c"),
        document_id=DocumentId("d"),
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        title="",
        heading_path=(),
        source="d.txt",
        page=None,
        embedded_text=text,
        tokens=5,
    )
    return Prompt(system="", user=text, question="What is bread made of?", passages=(Passage(1, chunk),))
