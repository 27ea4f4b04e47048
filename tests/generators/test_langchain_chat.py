import contextvars
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed, InvalidSettings, MissingDependency
from rag_service.generators.bounded_http import bounded_client
from rag_service.generators.langchain import LangChainGenerator
from rag_service.generators.refused import PromptRefused
from rag_service.types import Prompt, Sampling, Usage

KEY = "sk-proj-Zx81AbCdEfGh29IjKlMnOp37QrStUvWx"
PROMPT = Prompt(system="Answer from the passages.", user="[1] Paris is in France.", question="Where is Paris?", passages=())


class ScriptedChatModel(BaseChatModel):
    """Answers with what `reply` makes of the messages."""

    reply: Callable[[list[BaseMessage]], AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - the signature is LangChain's
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.reply(messages))])


class StreamingChatModel(ScriptedChatModel):
    """Streams what `chunks` yields; whole, it answers as its base does."""

    chunks: Callable[[], Iterator[AIMessageChunk]]

    def _stream(
        self,
        messages: list[BaseMessage],  # noqa: ARG002 - the signature is LangChain's
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **_: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks():
            yield ChatGenerationChunk(message=chunk)


class ProviderError(Exception):
    """As the clients of providers raise it: with the status of the HTTP reply."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class ReadTimeout(Exception):
    """As httpx calls it; it does not derive from `TimeoutError`."""


def answering(message: AIMessage) -> LangChainGenerator:
    return LangChainGenerator(ScriptedChatModel(reply=lambda _: message), name="scripted:one")


def streaming(chunks: Callable[[], Iterator[AIMessageChunk]], **settings: Any) -> LangChainGenerator:
    model = StreamingChatModel(reply=lambda _: AIMessage("whole"), chunks=chunks)
    return LangChainGenerator(model, name="scripted:stream", **settings)


def failing(error: Exception) -> LangChainGenerator:
    def reply(_: list[BaseMessage]) -> AIMessage:
        raise error

    return LangChainGenerator(ScriptedChatModel(reply=reply), name="scripted:broken")


def test_the_model_is_given_a_system_and_a_user_message() -> None:
    seen: list[list[BaseMessage]] = []

    def reply(messages: list[BaseMessage]) -> AIMessage:
        seen.append(messages)
        return AIMessage("In France [1].")

    generator = LangChainGenerator(ScriptedChatModel(reply=reply), name="scripted:one")
    assert generator.generate(PROMPT).text == "In France [1]."
    assert seen == [[SystemMessage(PROMPT.system), HumanMessage(PROMPT.user)]]


def test_a_prompt_without_a_system_part_is_one_message() -> None:
    seen: list[int] = []

    def reply(messages: list[BaseMessage]) -> AIMessage:
        seen.append(len(messages))
        return AIMessage("Yes.")

    generator = LangChainGenerator(ScriptedChatModel(reply=reply), name="scripted:one")
    generator.generate(Prompt(system=" ", user="Is it?", question="Is it?", passages=()))
    assert seen == [1]


def test_usage_and_model_name_are_what_the_provider_reports() -> None:
    message = AIMessage(
        "In France [1].",
        usage_metadata=UsageMetadata(input_tokens=21, output_tokens=5, total_tokens=26),
        response_metadata={"model_name": "one-2025-07-18", "finish_reason": "stop"},
    )
    completion = answering(message).generate(PROMPT)
    assert completion.usage == Usage(prompt_tokens=21, completion_tokens=5)
    assert completion.model == "one-2025-07-18"
    assert completion.finish_reason == "stop"


def test_what_the_provider_does_not_report_is_unknown() -> None:
    completion = LangChainGenerator(GenericFakeChatModel(messages=iter(["Fine."])), name="fake:generic").generate(PROMPT)
    assert completion.usage == Usage(prompt_tokens=None, completion_tokens=None)
    assert completion.model == "fake:generic"


@pytest.mark.parametrize(
    "metadata",
    [{"finish_reason": "length"}, {"stop_reason": "max_tokens"}, {"finish_reason": "MAX_TOKENS"}, {"done_reason": "length"}],
    ids=["openai", "anthropic", "google", "ollama"],
)
def test_every_providers_way_to_say_that_the_limit_cut_the_answer_is_known(metadata: dict[str, str]) -> None:
    assert answering(AIMessage("In Fra", response_metadata=metadata)).generate(PROMPT).finish_reason == "length"


@pytest.mark.parametrize("metadata", [{"finish_reason": "content_filter"}, {"stop_reason": "refusal"}, {"finish_reason": "SAFETY"}])
def test_an_answer_that_the_provider_withheld_is_a_failure_and_not_an_abstention(metadata: dict[str, str]) -> None:
    with pytest.raises(GeneratorFailed, match="withheld"):
        answering(AIMessage("", response_metadata=metadata)).generate(PROMPT)


def test_content_in_blocks_is_joined_without_the_reasoning() -> None:
    blocks: list[str | dict[str, Any]] = [
        {"type": "reasoning", "reasoning": "The passage says so."},
        {"type": "text", "text": "In France "},
        {"type": "text", "text": "[1]."},
    ]
    assert answering(AIMessage(content=blocks)).generate(PROMPT).text == "In France [1]."


@pytest.mark.parametrize("text", ["NO_ANSWER", "NO_ANSWER.", "  "])
def test_a_model_that_finds_no_answer_declines(text: str) -> None:
    completion = answering(AIMessage(text)).generate(PROMPT)
    assert completion.declined
    assert completion.text == ""


def test_a_call_that_hangs_is_given_up_at_the_deadline() -> None:
    leave = threading.Event()

    def reply(_: list[BaseMessage]) -> AIMessage:
        leave.wait(10)
        return AIMessage("too late")

    generator = LangChainGenerator(ScriptedChatModel(reply=reply), name="scripted:slow")
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not answer in time") as caught:
        generator.generate(PROMPT, deadline_s=began + 0.1)
    leave.set()
    assert time.monotonic() - began < 5
    assert caught.value.stage == "generate"


def test_calls_that_were_given_up_count_towards_those_that_run() -> None:
    leave = threading.Event()

    def reply(_: list[BaseMessage]) -> AIMessage:
        leave.wait(10)
        return AIMessage("In France [1].")

    generator = LangChainGenerator(ScriptedChatModel(reply=reply), name="scripted:slow", max_running=1)
    with pytest.raises(DeadlineExceeded, match="did not answer"):
        generator.generate(PROMPT, deadline_s=time.monotonic() + 0.05)
    with pytest.raises(DeadlineExceeded, match="too many calls"):
        generator.generate(PROMPT, deadline_s=time.monotonic() + 0.05)
    leave.set()
    assert generator.generate(PROMPT, deadline_s=time.monotonic() + 10).text == "In France [1]."


@pytest.mark.parametrize("error", [TimeoutError("read"), ReadTimeout("read")])
def test_a_timeout_of_the_providers_client_is_a_deadline_exceeded(error: Exception) -> None:
    with pytest.raises(DeadlineExceeded, match=type(error).__name__):
        failing(error).generate(PROMPT)


@pytest.mark.parametrize(("status", "hint"), [(401, "key"), (404, "name"), (429, "later"), (500, "")])
def test_a_failure_of_the_provider_tells_class_status_and_what_to_do(status: int, hint: str) -> None:
    with pytest.raises(GeneratorFailed, match=f"ProviderError, HTTP {status}.*it went wrong") as caught:
        failing(ProviderError("it went wrong", status)).generate(PROMPT)
    assert hint in caught.value.hint
    assert caught.value.stage == "generate"


@pytest.mark.parametrize(
    "message",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Incorrect API key provided: {KEY[:12]}********{KEY[-4:]}",
        f"headers={{'Authorization': 'Bearer {KEY}'}}",
        f"{{'x-api-key': '{KEY}'}}",
        f"api_key={KEY}&model=x",
        f"GET https://user:{KEY}@host/v1 failed",
        f"GET https://host/v1?key={KEY} failed",
        KEY.removeprefix("sk-proj-"),
        f"first line\nsecond line with {KEY}",
    ],
)
def test_no_key_gets_into_an_error_nor_into_its_traceback(message: str) -> None:
    with pytest.raises(GeneratorFailed) as caught:
        failing(ProviderError(message, 400)).generate(PROMPT)
    told = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    for part in (KEY, KEY[8:], KEY[:12], KEY[-4:]):
        assert part not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("status", "refused"), [(400, True), (413, True), (422, True), (401, False), (429, False), (500, False)])
def test_a_request_that_the_provider_calls_wrong_says_nothing_against_the_provider(status: int, refused: bool) -> None:
    with pytest.raises(GeneratorFailed) as caught:
        failing(ProviderError("no", status)).generate(PROMPT)
    assert isinstance(caught.value, PromptRefused) is refused


def test_pieces_are_written_in_the_thread_that_asked_while_the_model_still_talks() -> None:
    heard = threading.Event()

    def chunks() -> Iterator[AIMessageChunk]:
        yield AIMessageChunk("In ")
        assert heard.wait(10)
        yield AIMessageChunk("France [1].", response_metadata={"finish_reason": "stop", "model_name": "one-2025"})

    told: list[tuple[str, threading.Thread]] = []

    def write(piece: str) -> None:
        told.append((piece, threading.current_thread()))
        heard.set()

    completion = streaming(chunks).generate(PROMPT, write=write)
    assert told == [("In ", threading.current_thread()), ("France [1].", threading.current_thread())]
    assert (completion.text, completion.model) == ("In France [1].", "one-2025")


def test_what_a_stream_tells_twice_about_its_end_is_not_joined_and_its_usage_is_added_up() -> None:
    def chunks() -> Iterator[AIMessageChunk]:
        yield AIMessageChunk("In Fra", usage_metadata=UsageMetadata(input_tokens=21, output_tokens=1, total_tokens=22))
        yield AIMessageChunk("", response_metadata={"finish_reason": "length"})
        yield AIMessageChunk(
            "",
            response_metadata={"finish_reason": "length"},
            usage_metadata=UsageMetadata(input_tokens=0, output_tokens=4, total_tokens=4),
        )

    completion = streaming(chunks).generate(PROMPT, write=lambda _: None)
    assert completion.finish_reason == "length"
    assert completion.usage == Usage(prompt_tokens=21, completion_tokens=5)


def test_a_provider_that_cannot_stream_tells_its_answer_in_one_piece() -> None:
    pieces: list[str] = []
    completion = answering(AIMessage(" In France [1].")).generate(PROMPT, write=pieces.append)
    assert pieces == [" In France [1]."]
    assert completion.text == "In France [1]."


def test_a_stream_without_a_single_piece_is_a_failure() -> None:
    with pytest.raises(GeneratorFailed):
        streaming(lambda: iter([])).generate(PROMPT, write=lambda _: None)


def test_reasoning_is_not_told() -> None:
    def chunks() -> Iterator[AIMessageChunk]:
        yield AIMessageChunk(content=[{"type": "reasoning", "reasoning": "The passage says so."}])
        yield AIMessageChunk(content=[{"type": "text", "text": "In France [1]."}])

    pieces: list[str] = []
    assert streaming(chunks).generate(PROMPT, write=pieces.append).text == "In France [1]."
    assert pieces == ["In France [1]."]


def endless(ended: threading.Event) -> Callable[[], Iterator[AIMessageChunk]]:
    """A stream that says `la ` until somebody closes it."""

    def chunks() -> Iterator[AIMessageChunk]:
        try:
            while not ended.wait(0.01):
                yield AIMessageChunk("la ")
        finally:
            ended.set()

    return chunks


def test_a_stream_beyond_the_deadline_is_given_up_and_closed_at_its_next_piece() -> None:
    ended = threading.Event()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not answer in time"):
        streaming(endless(ended)).generate(PROMPT, deadline_s=began + 0.1, write=lambda _: None)
    assert time.monotonic() - began < 5
    assert ended.wait(10)


def test_a_cancelled_stream_is_given_up_and_closed_at_its_next_piece() -> None:
    ended = threading.Event()
    cancellation = Cancellation()
    with pytest.raises(Cancelled):
        streaming(endless(ended)).generate(PROMPT, cancellation=cancellation, write=lambda _: cancellation.cancel())
    assert ended.wait(10)


def test_a_call_that_hangs_is_left_as_soon_as_it_is_cancelled() -> None:
    entered, leave = threading.Event(), threading.Event()
    cancellation = Cancellation()

    def reply(_: list[BaseMessage]) -> AIMessage:
        entered.set()
        leave.wait(30)
        return AIMessage("too late")

    generator = LangChainGenerator(ScriptedChatModel(reply=reply), name="scripted:slow", max_running=1)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(generator.generate, PROMPT, cancellation=cancellation)
        assert entered.wait(10)
        waiting = pool.submit(generator.generate, PROMPT, cancellation=cancellation)
        began = time.monotonic()
        cancellation.cancel()
        for call in (running, waiting):
            with pytest.raises(Cancelled):
                call.result(20)
        assert time.monotonic() - began < 5
        leave.set()


@pytest.mark.parametrize("error", [TimeoutError("pipe"), ReadTimeout("pipe"), GeneratorFailed("of the reader"), OSError("gone")])
def test_what_the_reader_raises_is_not_taken_for_the_providers_failure(error: Exception) -> None:
    ended = threading.Event()

    def refuse(_: str) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        streaming(endless(ended)).generate(PROMPT, write=refuse)
    assert caught.value is error
    assert ended.wait(10)


def test_a_seed_is_a_parameter_only_where_the_model_takes_one() -> None:
    class Seeded(ScriptedChatModel):
        seed: int | None = None

    plain, seeded = (LangChainGenerator(kind(reply=lambda _: AIMessage("Fine.")), name="x:y") for kind in (ScriptedChatModel, Seeded))
    assert "seed" not in plain.parameters
    assert seeded.parameters["seed"] is None
    assert plain.follows_instructions


def test_sampling_fills_the_fields_of_the_model_for_one_call_under_the_providers_names() -> None:
    seen: list[tuple[int | None, float | None, int | None]] = []

    class Ollama(ScriptedChatModel):
        num_predict: int | None = 16
        temperature: float | None = 0.0
        seed: int | None = 1

        def _generate(self, *arguments: Any, **named: Any) -> ChatResult:
            seen.append((self.num_predict, self.temperature, self.seed))
            return super()._generate(*arguments, **named)

    generator = LangChainGenerator(Ollama(reply=lambda _: AIMessage("Fine.")), name="ollama:x", max_tokens=16, temperature=0.0, seed=1)
    generator.generate(PROMPT, sampling=Sampling(max_tokens=3, temperature=0.5, seed=9))
    generator.generate(PROMPT, sampling=Sampling(max_tokens=4))
    generator.generate(PROMPT)
    assert seen == [(3, 0.5, 9), (4, 0.0, 1), (16, 0.0, 1)]


def test_the_model_sees_the_context_variables_of_the_caller() -> None:
    request_id = contextvars.ContextVar("request_id", default="none")
    request_id.set("req-7")
    generator = LangChainGenerator(ScriptedChatModel(reply=lambda _: AIMessage(request_id.get())), name="scripted:echo")
    assert generator.generate(PROMPT, deadline_s=time.monotonic() + 10).text == "req-7"


def test_threads_do_not_get_each_others_answers() -> None:
    generator = LangChainGenerator(ScriptedChatModel(reply=lambda messages: AIMessage(messages[-1].text)), name="scripted:echo")
    prompts = [Prompt(system="", user=f"question {number}", question="", passages=()) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(generator.generate, prompts))
    assert [answer.text for answer in answers] == [one.user for one in prompts]


def test_the_room_for_the_prompt_leaves_the_answer_and_the_framing_out() -> None:
    generator = LangChainGenerator(GenericFakeChatModel(messages=iter([])), name="fake:x", max_tokens=100, context_tokens=1000)
    assert generator.context_tokens == 1000 - 100 - 16


def test_tokens_are_estimated_as_a_third_of_the_bytes_rounded_up() -> None:
    generator = LangChainGenerator(GenericFakeChatModel(messages=iter([])), name="fake:x")
    assert [generator.count_tokens(text) for text in ["", "a", "abcd", "東京"]] == [0, 1, 2, 2]


@pytest.mark.parametrize("spec", ["", "gpt-4o-mini", ":gpt", "openai:", "nobody:model"])
def test_a_name_without_a_known_provider_is_refused(spec: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        LangChainGenerator.open(spec)
    assert caught.value.hint


@pytest.mark.parametrize("url", ["https://user:secret@host/v1", "https://host/v1?key=secret", "ftp://host", "host:8000", "http://"])
def test_an_address_that_could_hold_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        LangChainGenerator.open("openai:gpt-4o-mini", base_url=url)
    assert caught.value.param == "base_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"max_tokens": 0}, {"max_tokens": 100, "context_tokens": 100}, {"temperature": -1.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        LangChainGenerator.open("openai:gpt-4o-mini", **settings)


@pytest.mark.parametrize(("spec", "package"), [("mistralai:x", "langchain-mistralai"), ("google_genai:x", "langchain-google-genai")])
def test_a_provider_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, spec: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)  # whether or not it is installed
    with pytest.raises(MissingDependency, match=package) as caught:
        LangChainGenerator.open(spec)
    assert caught.value.hint == f"pip install {package}"


class TestWithAProvider:
    """`init_chat_model` is replaced by one that remembers what it was given: most providers' packages are not installed here."""

    @pytest.fixture(autouse=True)
    def _provider(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: dict[str, Any] = {}
        self.error: Exception | None = None

        def init_chat_model(spec: str, **sent: Any) -> BaseChatModel:
            if self.error is not None:
                raise self.error
            self.sent = {"spec": spec, **sent}
            return GenericFakeChatModel(messages=iter(["Fine."]))

        monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)

    def test_settings_reach_the_provider_and_what_is_none_is_left_out(self) -> None:
        generator = LangChainGenerator.open("openai:gpt-5", temperature=None, max_tokens=9, base_url="http://host:1/v1", timeout_s=7)
        assert self.sent == {
            "spec": "openai:gpt-5",
            "max_tokens": 9,
            "base_url": "http://host:1/v1",
            "timeout": 7,
            "max_retries": 0,
            "http_client": bounded_client(),
        }
        assert generator.name == "openai:gpt-5"
        assert generator.parameters["temperature"] is None
        assert generator.generate(PROMPT).text == "Fine."

    def test_ollama_is_told_its_own_names(self) -> None:
        LangChainGenerator.open("ollama:llama3", max_tokens=9, timeout_s=7)
        assert self.sent == {"spec": "ollama:llama3", "temperature": 0.0, "num_predict": 9, "client_kwargs": {"timeout": 7}}

    def test_a_seed_is_refused_where_the_provider_takes_none(self) -> None:
        with pytest.raises(InvalidSettings, match="takes no seed"):
            LangChainGenerator.open("anthropic:claude", seed=1)

    def test_a_provider_that_refuses_its_key_is_a_setting_to_mend(self) -> None:
        self.error = ProviderError(f"The api_key {KEY} is not valid", 401)
        with pytest.raises(InvalidSettings, match="ProviderError") as caught:
            LangChainGenerator.open("openai:gpt-5")
        assert "OPENAI_API_KEY" in caught.value.hint
        assert KEY[8:] not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None

    def test_the_digest_does_not_depend_on_how_long_one_waits(self) -> None:
        digests = {LangChainGenerator.open("openai:gpt-5", timeout_s=seconds).digest for seconds in (1.0, 2.0)}
        assert len(digests) == 1
        assert LangChainGenerator.open("openai:gpt-5-mini").digest not in digests
        assert LangChainGenerator.open("openai:gpt-5", base_url="http://host").digest not in digests
