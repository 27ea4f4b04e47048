"""The real client of OpenAI against a real server on the loopback interface: what goes over the wire, and what comes of it."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed
from rag_service.generators.langchain import LangChainGenerator
from rag_service.telemetry.spans import current_traceparent, new_trace, stage_span, within
from rag_service.types import Prompt, Sampling, Usage
from tests.generators.chat_server import Scene, providing, until

PROMPT = Prompt(system="Answer from the passages.", user="[1] Paris is in France.", question="Where is Paris?", passages=())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-needed-here")


def test_a_streamed_and_a_whole_answer_are_the_same_usage_and_all() -> None:
    scene = Scene()
    pieces: list[str] = []
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url)
        streamed = generator.generate(PROMPT, write=pieces.append)
        assert generator.generate(PROMPT) == streamed
    assert pieces == ["In France ", "[1]."]
    assert streamed.text == "In France [1]."
    assert streamed.usage == Usage(prompt_tokens=21, completion_tokens=5)
    assert streamed.model == "tiny-2026"
    assert [request.get("stream_options") for request in scene.asked] == [{"include_usage": True}, None]


@pytest.mark.parametrize("streams", [False, True])
def test_sampling_replaces_what_the_model_was_opened_with_for_one_call(streams: bool) -> None:
    scene = Scene(finish_reason="length")
    write = (lambda _: None) if streams else None
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url, max_tokens=64, seed=1)
        assert generator.generate(PROMPT, sampling=Sampling(max_tokens=1, temperature=0.7, seed=9), write=write).finish_reason == "length"
        generator.generate(PROMPT, sampling=Sampling(seed=0), write=write)
        generator.generate(PROMPT, write=write)
    sent = [(request["max_completion_tokens"], request["temperature"], request["seed"]) for request in scene.asked]
    assert sent == [(1, 0.7, 9), (64, 0.0, 0), (64, 0.0, 1)]
    assert not any("max_tokens" in request for request in scene.asked)


@pytest.mark.parametrize("streams", [False, True])
def test_the_server_is_told_which_trace_its_call_is_part_of(streams: bool) -> None:
    scene = Scene()
    write = (lambda _: None) if streams else None
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url)
        with within(new_trace()), stage_span("generate"):
            expected = current_traceparent()
            generator.generate(PROMPT, write=write)
        generator.generate(PROMPT, write=write)
    assert expected is not None
    assert [headers.get("traceparent") for headers in scene.headers] == [expected, None]


def test_without_a_seed_none_is_sent_but_one_may_be_asked_for() -> None:
    scene = Scene()
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url)
        assert generator.parameters["seed"] is None
        generator.generate(PROMPT)
        generator.generate(PROMPT, sampling=Sampling(seed=7))
    assert [request.get("seed") for request in scene.asked] == [None, 7]


@pytest.mark.parametrize("how", ["cancelled", "late", "refused"])
def test_the_provider_is_hung_up_on_when_a_stream_is_given_up(how: str) -> None:
    scene = Scene(pieces=itertools.repeat("la ", 100_000), before_piece=lambda _: time.sleep(0.005))
    cancellation = Cancellation()

    def write(_: str) -> None:
        if how == "cancelled":
            cancellation.cancel()
        if how == "refused":
            raise ValueError("no more")

    expected = {"cancelled": Cancelled, "late": DeadlineExceeded, "refused": ValueError}[how]
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url)
        deadline_s = time.monotonic() + (0.3 if how == "late" else 60)
        with pytest.raises(expected):
            generator.generate(PROMPT, deadline_s=deadline_s, cancellation=cancellation, write=write)
        assert until(scene.hung_up.is_set)
        scene.pieces = ("Fine.",)
        assert generator.generate(PROMPT, write=lambda _: None).text == "Fine."


def test_a_cancelled_call_returns_while_the_provider_still_thinks() -> None:
    thinks, leave = threading.Event(), threading.Event()
    cancellation = Cancellation()

    def think(_: int) -> None:
        thinks.set()
        leave.wait(30)

    with providing(Scene(before_piece=think)) as base_url, ThreadPoolExecutor(1) as pool:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url)
        call = pool.submit(generator.generate, PROMPT, cancellation=cancellation, write=lambda _: None)
        assert thinks.wait(10)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            call.result(5)
        leave.set()


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_a_provider_that_refuses_is_a_failure_with_its_status(status: int, streams: bool) -> None:
    with providing(Scene(status=status)) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url)
        with pytest.raises(GeneratorFailed, match=f"HTTP {status}.*it went wrong"):
            generator.generate(PROMPT, write=(lambda _: None) if streams else None)


def test_an_answer_withheld_in_the_middle_of_a_stream_is_a_failure() -> None:
    pieces: list[str] = []
    with providing(Scene(finish_reason="content_filter")) as base_url, pytest.raises(GeneratorFailed, match="withheld"):
        LangChainGenerator.open("openai:tiny", base_url=base_url).generate(PROMPT, write=pieces.append)
    assert pieces == ["In France ", "[1]."]
