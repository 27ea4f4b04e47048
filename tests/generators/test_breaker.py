"""A generator that fails again and again is left alone; one that works is never touched."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed, GeneratorPaused
from rag_service.generators.breaker import Breaker
from rag_service.generators.refused import PromptRefused
from rag_service.ports import NO_SAMPLING
from rag_service.settings import load_settings
from rag_service.types import Completion, Prompt, Sampling, Usage
from rag_service.wiring.generators import generator_options, open_generator

PROMPT = Prompt(system="", user="", question="", passages=())
FINE = Completion(text="Fine.", declined=False, finish_reason="stop", model="m", usage=Usage(1, 1))
BROKEN = GeneratorFailed("it broke", stage="generate")
LATE = DeadlineExceeded("it took too long", stage="generate")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Provider:
    """Does `turn` in each call, and counts them."""

    name, digest, context_tokens, follows_instructions = "scripted:m", "sha256:" + "7" * 64, 99, True

    def __init__(self, turn: Callable[[], object] = lambda: None) -> None:
        self.turn = turn
        self.calls = 0
        self.given: list[object] = []

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return {"max_tokens": 16}

    def count_tokens(self, text: str) -> int:
        return len(text)

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        self.calls += 1
        self.given = [prompt, sampling, deadline_s, cancellation]
        if write is not None:
            write("Fine.")
        self.turn()
        return FINE


def raising(error: BaseException) -> Callable[[], object]:
    def turn() -> None:
        raise error

    return turn


def broken(clock: Clock, error: BaseException = BROKEN) -> tuple[Breaker, Provider]:
    provider = Provider(raising(error))
    return Breaker(provider, failures=3, pause_s=30.0, least_s=1.0, now=clock), provider


def fail(breaker: Breaker, times: int, *, deadline_s: float | None = None) -> None:
    for _ in range(times):
        with pytest.raises((GeneratorFailed, DeadlineExceeded)):
            breaker.generate(PROMPT, deadline_s=deadline_s)


def test_everything_but_the_pause_is_the_generators_own() -> None:
    provider = Provider()
    breaker = Breaker(provider)
    assert (breaker.name, breaker.digest, breaker.context_tokens) == (provider.name, provider.digest, 99)
    assert (breaker.parameters, breaker.count_tokens("abc"), breaker.follows_instructions) == ({"max_tokens": 16}, 3, True)
    sampling, cancellation = Sampling(max_tokens=3), Cancellation()
    pieces: list[str] = []
    assert breaker.generate(PROMPT, sampling=sampling, deadline_s=1e9, cancellation=cancellation, write=pieces.append) is FINE
    assert provider.given == [PROMPT, sampling, 1e9, cancellation]
    assert pieces == ["Fine."]


@pytest.mark.parametrize("error", [BROKEN, LATE])
def test_after_so_many_failures_in_a_row_it_is_left_alone_and_says_for_how_long(error: Exception) -> None:
    clock = Clock()
    breaker, provider = broken(clock, error)
    fail(breaker, 3, deadline_s=clock.now_s + 10)
    clock.now_s += 12.5
    with pytest.raises(GeneratorPaused, match="scripted:m failed 3 times") as caught:
        breaker.generate(PROMPT)
    assert (caught.value.stage, caught.value.retry_after_s) == ("generate", 17.5)
    assert provider.calls == 3


def test_an_answer_in_between_begins_the_count_anew() -> None:
    breaker, provider = broken(Clock())
    for _ in range(4):
        fail(breaker, 2)
        provider.turn = lambda: None
        assert breaker.generate(PROMPT) is FINE
        provider.turn = raising(BROKEN)
    assert provider.calls == 12


def test_after_the_pause_one_call_is_tried_and_when_it_succeeds_all_are_let_through() -> None:
    clock = Clock()
    breaker, provider = broken(clock)
    fail(breaker, 3)
    clock.now_s += 30
    provider.turn = lambda: None
    assert breaker.generate(PROMPT) is FINE
    provider.turn = raising(BROKEN)
    fail(breaker, 3)  # as many as from the start
    with pytest.raises(GeneratorPaused):
        breaker.generate(PROMPT)


def test_a_trial_that_fails_begins_another_pause() -> None:
    clock = Clock()
    breaker, provider = broken(clock)
    fail(breaker, 3)
    clock.now_s += 31
    fail(breaker, 1)
    with pytest.raises(GeneratorPaused) as caught:
        breaker.generate(PROMPT)
    assert caught.value.retry_after_s == 30
    assert provider.calls == 4


def test_while_the_trial_runs_the_others_are_still_refused() -> None:
    clock = Clock()
    breaker, provider = broken(clock)
    fail(breaker, 3)
    clock.now_s += 30
    entered, leave = threading.Event(), threading.Event()

    def slowly() -> None:
        entered.set()
        assert leave.wait(10)

    provider.turn = slowly
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(breaker.generate, PROMPT)
        assert entered.wait(10)
        with pytest.raises(GeneratorPaused) as caught:
            breaker.generate(PROMPT)
        leave.set()
        assert trial.result(10) is FINE
    assert caught.value.retry_after_s
    assert breaker.generate(PROMPT) is FINE
    assert provider.calls == 5


@pytest.mark.parametrize("error", [Cancelled("gone"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_what_says_nothing_of_the_generator_does_not_count_and_leaves_the_trial_to_the_next(error: BaseException) -> None:
    clock = Clock()
    breaker, provider = broken(clock)
    fail(breaker, 2)
    provider.turn = raising(error)
    for _ in range(5):
        with pytest.raises(type(error)):
            breaker.generate(PROMPT)
    provider.turn = raising(BROKEN)
    fail(breaker, 1)  # the third in a row: what came between has not begun the count anew either
    clock.now_s += 30
    provider.turn = raising(error)
    with pytest.raises(type(error)):
        breaker.generate(PROMPT)
    provider.turn = lambda: None
    assert breaker.generate(PROMPT) is FINE


def test_what_the_reader_raises_does_not_count() -> None:
    breaker, provider = broken(Clock())
    provider.turn = lambda: None
    for error in [BROKEN, LATE, OSError("gone")] * 3:
        with pytest.raises(type(error)) as caught:
            breaker.generate(PROMPT, write=raising_reader(error))
        assert caught.value is error
    assert breaker.generate(PROMPT) is FINE


def raising_reader(error: Exception) -> Callable[[str], None]:
    def write(_: str) -> None:
        raise error

    return write


def test_a_prompt_that_is_refused_says_that_the_generator_works() -> None:
    clock = Clock()
    breaker, provider = broken(clock, PromptRefused("too long"))
    fail(breaker, 10)
    provider.turn = raising(BROKEN)
    fail(breaker, 3)
    clock.now_s += 30
    provider.turn = raising(PromptRefused("too long"))
    fail(breaker, 2)  # the trial, and one more that is let through
    assert provider.calls == 15


def test_a_request_that_came_too_late_is_not_the_generators_fault() -> None:
    clock = Clock()
    breaker, provider = broken(clock, LATE)
    fail(breaker, 10, deadline_s=clock.now_s + 0.9)
    fail(breaker, 2, deadline_s=clock.now_s + 1.0)
    assert provider.calls == 12
    fail(breaker, 1)  # without any deadline it is
    with pytest.raises(GeneratorPaused):
        breaker.generate(PROMPT)


def test_the_time_that_a_slow_reader_took_is_not_the_generators() -> None:
    clock = Clock()
    breaker, _ = broken(clock, LATE)

    def read_slowly(_: str) -> None:
        clock.now_s += 9.5

    for _ in range(10):
        with pytest.raises(DeadlineExceeded):
            breaker.generate(PROMPT, deadline_s=clock.now_s + 10, write=read_slowly)


def test_calls_that_began_before_the_pause_neither_end_it_nor_make_it_longer() -> None:
    clock = Clock()
    breaker, provider = broken(clock)
    outcomes: list[Callable[[], object]] = [lambda: None, raising(BROKEN)]
    entered, leave = threading.Barrier(3), threading.Event()

    def slowly() -> None:
        outcome = outcomes.pop()
        entered.wait(10)
        assert leave.wait(10)
        outcome()

    provider.turn = slowly
    with ThreadPoolExecutor(2) as pool:
        early = [pool.submit(breaker.generate, PROMPT) for _ in range(2)]
        entered.wait(10)
        provider.turn = raising(BROKEN)
        fail(breaker, 3)
        clock.now_s += 10
        leave.set()
        assert sorted(type(call.exception(10)).__name__ for call in early) == ["GeneratorFailed", "NoneType"]
    with pytest.raises(GeneratorPaused) as caught:
        breaker.generate(PROMPT)
    assert caught.value.retry_after_s == 20


def test_a_call_that_nobody_waits_for_is_cancelled_even_during_a_pause_and_does_not_take_the_trial() -> None:
    clock = Clock()
    breaker, provider = broken(clock)
    fail(breaker, 3)
    clock.now_s += 30
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        breaker.generate(PROMPT, cancellation=cancellation)
    provider.turn = lambda: None
    assert breaker.generate(PROMPT) is FINE


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.sampled_from(["works", "fails", "unknown"]) | st.floats(0, 40), max_size=40))
def test_the_generator_is_called_exactly_when_a_plain_account_says_so(steps: list[str | float]) -> None:
    clock = Clock()
    turns = {"works": lambda: None, "fails": raising(BROKEN), "unknown": raising(Cancelled("gone"))}
    breaker, provider = broken(clock)
    failed, open_until_s = 0, None
    for step in steps:
        if isinstance(step, float):
            clock.now_s += step
            continue
        allowed = open_until_s is None or clock.now_s >= open_until_s
        before, provider.turn = provider.calls, turns[step]
        expected = {"works": None, "fails": GeneratorFailed, "unknown": Cancelled}[step] if allowed else GeneratorPaused
        if expected is None:
            assert breaker.generate(PROMPT) is FINE
        else:
            with pytest.raises(expected):
                breaker.generate(PROMPT)
        assert provider.calls - before == allowed
        if allowed and step == "works":
            failed, open_until_s = 0, None
        elif allowed and step == "fails":
            failed += 1
            open_until_s = clock.now_s + 30 if failed >= 3 else None


def test_a_providers_model_is_wrapped_and_what_runs_here_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-needed-here")
    chosen = load_settings({}, generator="openai:tiny", generator_base_url="http://127.0.0.1:9/v1")
    with open_generator(chosen.generator, generator_options(chosen), embedder=None) as remote:  # type: ignore[arg-type]  # not read
        assert isinstance(remote, Breaker)
        for _ in range(5):
            with pytest.raises(GeneratorFailed):
                remote.generate(PROMPT)
        with pytest.raises(GeneratorPaused):
            remote.generate(PROMPT)
    with open_generator("extractive", {}, embedder=None) as local:  # type: ignore[arg-type]  # not read
        assert not isinstance(local, Breaker)
