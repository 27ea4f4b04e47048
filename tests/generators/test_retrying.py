"""A provider that fails for a moment is asked again: as often as the release says, within the deadline, and never for nothing."""

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed, GeneratorPaused, RagError
from rag_service.generators.breaker import Breaker
from rag_service.generators.langchain import LangChainGenerator
from rag_service.generators.refused import PromptRefused, ProviderRefused
from rag_service.generators.retrying import Retrying
from rag_service.settings import load_settings
from rag_service.types import Completion, Prompt
from rag_service.wiring.generators import generator_options, open_generator
from tests.doubles import Writes, completion
from tests.generators.chat_server import Scene, event, providing

PROMPT = Prompt(system="", user="", question="", passages=())
FINE = completion("Fine [1].")
BROKEN = GeneratorFailed("it broke", stage="generate")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-needed-here")


class Waits:
    """Remembers how long it should have waited, and lets that time pass."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waited: list[float] = []

    def wait(self, seconds: float, _: Cancellation) -> None:
        self.waited.append(seconds)
        self.now_s += seconds


def retrying(*given: Completion | Exception, retries: int = 2, share: float = 1.0) -> tuple[Retrying, Writes, Waits]:
    waits, inner = Waits(), Writes(*given, pieces=3)
    return Retrying(inner, retries=retries, wait=waits.wait, now=lambda: waits.now_s, share=lambda: share), inner, waits


def test_an_answer_at_the_first_try_is_what_the_generator_gave() -> None:
    generator, _, waits = retrying(FINE)
    assert generator.generate(PROMPT) == FINE
    assert waits.waited == []


def test_an_answer_after_failures_says_how_often_it_failed() -> None:
    generator, inner, _ = retrying(BROKEN, BROKEN, FINE)
    answer = generator.generate(PROMPT)
    assert (answer.text, len(inner.prompts)) == (FINE.text, 3)
    assert [(notice.code, notice.detail) for notice in answer.notices] == [
        ("generator_retried", "the generator failed 2 times before it answered")
    ]


def test_after_the_last_try_the_failure_is_raised_as_it_is() -> None:
    generator, inner, _ = retrying(BROKEN, retries=2)
    with pytest.raises(GeneratorFailed) as caught:
        generator.generate(PROMPT)
    assert caught.value is BROKEN
    assert len(inner.prompts) == 3


def test_the_bound_of_the_wait_doubles_up_to_eight_seconds_and_the_wait_is_a_random_share_of_it() -> None:
    generator, _, waits = retrying(BROKEN, retries=5)
    with pytest.raises(GeneratorFailed):
        generator.generate(PROMPT)
    assert waits.waited == [0.5, 1.0, 2.0, 4.0, 8.0]
    generator, _, waits = retrying(BROKEN, retries=2, share=0.25)
    with pytest.raises(GeneratorFailed):
        generator.generate(PROMPT)
    assert waits.waited == [0.125, 0.25]


def test_the_wait_is_at_least_what_the_provider_asked_for() -> None:
    generator, _, waits = retrying(GeneratorFailed("too many", retry_after_s=3.0), FINE)
    generator.generate(PROMPT)
    assert waits.waited == [3.0]


@pytest.mark.parametrize(
    "error",
    [
        PromptRefused("too long"),
        ProviderRefused("no such key"),
        GeneratorPaused("left alone"),
        DeadlineExceeded("took too long"),
        Cancelled("nobody waits"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_come_again_is_not_tried_again(error: RagError) -> None:
    generator, inner, _ = retrying(error, FINE)
    with pytest.raises(type(error)):
        generator.generate(PROMPT)
    assert len(inner.prompts) == 1


@pytest.mark.parametrize(("left_s", "tries"), [(0.4, 1), (0.6, 2), (60.0, 2)])
def test_a_wait_that_would_reach_the_deadline_is_not_begun(left_s: float, tries: int) -> None:
    generator, inner, waits = retrying(BROKEN, FINE)
    if tries == 1:
        with pytest.raises(GeneratorFailed):
            generator.generate(PROMPT, deadline_s=waits.now_s + left_s)
    else:
        generator.generate(PROMPT, deadline_s=waits.now_s + left_s)
    assert len(inner.prompts) == tries


def test_a_cancelled_wait_ends_at_once() -> None:
    generator = Retrying(Writes(GeneratorFailed("busy", retry_after_s=600.0), FINE), retries=1)
    cancellation = Cancellation()
    timer = threading.Timer(0.1, cancellation.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        generator.generate(PROMPT, cancellation=cancellation)
    timer.join()


def test_the_number_of_retries_is_among_the_parameters_and_in_the_digest() -> None:
    inner = Writes(FINE)
    one, two = Retrying(inner, retries=1), Retrying(inner, retries=2)
    assert two.parameters == {**inner.parameters, "retries": 2}
    assert len({inner.digest, one.digest, two.digest}) == 3


# Over the wire.


def over_the_wire(base_url: str, waits: Waits, *, retries: int = 2) -> Retrying:
    inner = Breaker(LangChainGenerator.open("openai:tiny", base_url=base_url, timeout_s=20))
    return Retrying(inner, retries=retries, wait=waits.wait, share=random.Random(1).random)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_provider_that_fails_once_and_then_answers_is_heard(status: int, streams: bool) -> None:
    scene, waits, told = Scene(first=[(status, {})]), Waits(), list[str]()
    with providing(scene) as base_url:
        answer = over_the_wire(base_url, waits).generate(PROMPT, write=told.append if streams else None)
    assert answer.text == "In France [1]."
    assert [notice.code for notice in answer.notices] == ["generator_retried"]
    assert len(scene.asked) == 2
    assert "".join(told) == (answer.text if streams else "")


@pytest.mark.parametrize(
    ("header", "least_s"), [("7", 7.0), ("0.25", 0.0), ("-1", 0.0), ("nan", 0.0), ("soon", 0.0), ("inf", 0.0), ("1e99", 3600.0)]
)
def test_the_header_retry_after_is_kept_to_where_it_makes_sense(header: str, least_s: float) -> None:
    waits = Waits()
    with providing(Scene(first=[(429, {"Retry-After": header})])) as base_url:
        over_the_wire(base_url, waits).generate(PROMPT)
    [waited] = waits.waited
    assert waited == pytest.approx(least_s, abs=0.5)
    assert waited >= least_s


def test_a_date_in_retry_after_counts_from_now() -> None:
    waits = Waits()
    with providing(Scene(first=[(503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})])) as base_url:
        over_the_wire(base_url, waits).generate(PROMPT)
    assert waits.waited == [3600.0]


def test_an_error_says_when_the_provider_may_be_asked_again() -> None:
    with providing(Scene(status=429, reply_headers={"Retry-After": "12"})) as base_url, pytest.raises(GeneratorFailed) as caught:
        LangChainGenerator.open("openai:tiny", base_url=base_url).generate(PROMPT)
    assert caught.value.retry_after_s == 12.0


@pytest.mark.parametrize(("status", "kind"), [(400, PromptRefused), (401, ProviderRefused), (404, ProviderRefused)])
def test_a_provider_that_refuses_is_asked_once(status: int, kind: type[GeneratorFailed]) -> None:
    scene = Scene(status=status)
    with providing(scene) as base_url, pytest.raises(kind):
        over_the_wire(base_url, Waits()).generate(PROMPT)
    assert len(scene.asked) == 1


def test_a_stream_that_breaks_off_after_its_first_words_is_not_begun_again() -> None:
    def broken() -> Iterator[bytes]:
        yield event("Paris is no")
        raise ConnectionAbortedError

    scene, told = Scene(raw=broken()), list[str]()
    with providing(scene) as base_url, pytest.raises(GeneratorFailed):
        over_the_wire(base_url, Waits()).generate(PROMPT, write=told.append)
    assert told == ["Paris is no"]
    assert len(scene.asked) == 1


def test_each_try_counts_for_the_breaker_and_its_pause_ends_the_tries() -> None:
    scene = Scene(status=500)
    with providing(scene) as base_url:
        generator = over_the_wire(base_url, Waits(), retries=5)
        with pytest.raises(GeneratorPaused):
            generator.generate(PROMPT)
    assert len(scene.asked) == 5


def test_a_provider_that_is_not_there_is_asked_as_often_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with providing(Scene()) as base_url:
        pass  # nobody listens there any more
    asked: list[float] = []
    monkeypatch.setattr("rag_service.generators.retrying._FIRST_WAIT_S", 0.001)
    settings = load_settings({}, generator="openai:tiny", generator_base_url=base_url, generator_retries=2)
    real: Callable[..., Completion] = LangChainGenerator.generate

    def counted(*values: object, **named: object) -> Completion:
        asked.append(time.monotonic())
        return real(*values, **named)

    monkeypatch.setattr(LangChainGenerator, "generate", counted)
    with open_generator(settings.generator, generator_options(settings), embedder=None) as generator:  # type: ignore[arg-type]  # not read
        assert generator.parameters["retries"] == 2
        with pytest.raises(GeneratorFailed):
            generator.generate(PROMPT)
    assert len(asked) == 3


def test_a_release_that_asks_for_neither_retries_nor_a_fallback_has_the_options_that_it_had() -> None:
    settings = load_settings({}, generator="openai:tiny")
    assert set(generator_options(settings)) == {"max_tokens", "temperature", "seed", "base_url", "timeout_s"}
    assert generator_options(load_settings({}, generator_retries=5, generator_fallback="extractive")) == {}
