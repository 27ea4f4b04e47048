"""A generator over any LangChain chat model: `openai:gpt-4o-mini`, `anthropic:…`, `ollama:…`, any OpenAI-compatible URL."""

import importlib.metadata
import math
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from rag_service.cancellation import Cancellation
from rag_service.digests import digest_json
from rag_service.errors import GeneratorFailed, InvalidSettings, MissingDependency, RagError
from rag_service.generators.bounded_http import bounded_client
from rag_service.generators.declined import declined
from rag_service.generators.detached import CallerLeft, DetachedCalls, Tell
from rag_service.generators.provider_errors import redacted, translated
from rag_service.generators.refused import PromptRefused
from rag_service.generators.transcript import Transcript
from rag_service.telemetry.spans import current_traceparent
from rag_service.types import NO_SAMPLING, Completion, Prompt, Sampling, Usage

_FRAMING_TOKENS = 16
"""What providers put around a system and a user message; the larger ones need about a dozen."""
_BYTES_PER_TOKEN = 3
_OLLAMA_NAMES = {"max_tokens": "num_predict"}
"""`ChatOllama` takes unknown arguments without a word."""
_CUT = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
_FILTERED = frozenset({"content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content", "spii"})


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a provider said, and of itself: `reason` and `model` are empty where it did not tell."""

    text: str
    reason: str
    model: str
    usage: UsageMetadata | None


class LangChainGenerator:
    """Port `Generator`. Any thread may call it.

    `digest` covers what can be known from here: the model's name and parameters, and the packages in between. The weights behind
    the name are the provider's and cannot be pinned, so that two answers under one digest may differ.
    """

    follows_instructions = True

    def __init__(
        self,
        model: BaseChatModel,
        *,
        name: str,
        max_tokens: int = 512,
        context_tokens: int = 8192,
        temperature: float | None = None,
        seed: int | None = None,
        base_url: str | None = None,
        max_running: int = 64,
    ) -> None:
        """`model` must have been made with these parameters, as `open` does; they are recorded, not sent. `context_tokens` is the
        model's window, prompt and answer together. At most `max_running` calls run at once, those counted that were given up at
        their deadline and have not come back.
        """
        self._model = _telling_usage(model)
        self._name = name
        self._max_tokens = max_tokens
        self._window_tokens = context_tokens
        self._parameters: dict[str, str | int | float | None] = {
            "model": name,
            "max_tokens": max_tokens,
            "context_tokens": context_tokens,
            "temperature": temperature,
            "base_url": base_url,
        }
        if _field(model, "seed") is not None:
            self._parameters["seed"] = seed
        self._takes_headers = name.startswith("openai:") and base_url is not None
        """Whether a call says which trace it is part of: to a server of one's own, whose client takes headers with each call."""
        self._calls = DetachedCalls(max_running, name=name)

    @classmethod
    def open(
        cls,
        spec: str,
        *,
        base_url: str | None = None,
        temperature: float | None = 0.0,
        max_tokens: int = 512,
        context_tokens: int = 8192,
        seed: int | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 0,
        max_running: int = 64,
    ) -> Self:
        """The model `provider:name`. Nothing is sent yet, and there is nothing to close. Keys come from the provider's own
        environment variable (`OPENAI_API_KEY`), never through here. None as `temperature` or `seed` leaves the choice to the
        provider; some models accept no temperature. `timeout_s` bounds one call where the provider's client has such a setting.

        Raises `MissingDependency` when the provider's package is not installed and `InvalidSettings` when the provider is
        unknown or refuses the settings, a missing key among them.
        """
        _check_settings(spec, base_url=base_url, max_tokens=max_tokens, context_tokens=context_tokens, temperature=temperature)
        wanted = {"base_url": base_url, "temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        sent: dict[str, object] = {key: value for key, value in wanted.items() if value is not None}
        if spec.startswith("ollama:"):
            sent = {_OLLAMA_NAMES.get(key, key): value for key, value in sent.items()} | {"client_kwargs": {"timeout": timeout_s}}
        else:
            sent |= {"timeout": timeout_s, "max_retries": max_retries}
        if spec.startswith("openai:"):
            sent |= _bounded()
        model = _chat_model(spec, sent)
        return cls(
            model,
            name=spec,
            max_tokens=max_tokens,
            context_tokens=context_tokens,
            temperature=temperature,
            seed=seed,
            base_url=base_url,
            max_running=max_running,
        )

    @property
    def name(self) -> str:
        """`provider:model`, as it was asked for."""
        return self._name

    @property
    def digest(self) -> str:
        """Over the name, the parameters, the class and the packages' versions; not over the weights, which nobody shows us."""
        kind = type(self._model)
        package = kind.__module__.partition(".")[0].replace("_", "-")
        versions = {name: _version(name) for name in {"langchain-core", package}}
        name = f"{kind.__module__}.{kind.__qualname__}"
        return digest_json({"class": name, "parameters": self.parameters, "packages": versions, "generator": "langchain/2"})

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        """`seed` is among them only where the model takes one."""
        return dict(self._parameters)

    def count_tokens(self, text: str) -> int:
        """An upper estimate, a token for three bytes of UTF-8: English has four or more, other scripts about three. A text of
        nothing but digits or symbols can have more. LangChain's own count would download a tokenizer.
        """
        return math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)

    @property
    def context_tokens(self) -> int:
        """Room for system and user message: the window less the answer and the framing of the messages."""
        return max(0, self._window_tokens - self._max_tokens - _FRAMING_TOKENS)

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        """With `write` the reply is streamed where the provider can. LangChain has no way to cancel a call, so each runs in a thread
        of its own, which is left at the deadline or on a cancellation: a stream then ends at its next piece, anything else by
        itself, by `timeout_s` at the latest.

        Raises `DeadlineExceeded` at the deadline or when the provider's client timed out, and `GeneratorFailed` for anything
        else. Their messages hold no key and they do not carry the provider's error, which may hold one.
        """
        messages: list[BaseMessage] = [HumanMessage(prompt.user)]
        if prompt.system.strip():
            messages.insert(0, SystemMessage(prompt.system))
        ask = partial(self._ask, messages, sampling, streamed=write is not None)
        reply = self._calls.call(ask, deadline_s=deadline_s, cancellation=cancellation or Cancellation(), write=write)
        if isinstance(reply, RagError):
            raise reply
        if reply.reason in _FILTERED:
            raise PromptRefused(f"{self._name} withheld the answer ({reply.reason})", stage="generate")
        refused = declined(reply.text)
        return Completion(
            text="" if refused else reply.text.strip(),
            declined=refused,
            finish_reason="length" if reply.reason in _CUT else "stop",
            model=reply.model or self._name,
            usage=_usage(reply.usage),
        )

    def _ask(self, messages: list[BaseMessage], sampling: Sampling, tell: Tell, *, streamed: bool) -> _Reply | RagError:
        """A failure is returned rather than raised, so that it does not carry the provider's error along."""
        try:
            model, others = _sampling_as(self._model, sampling, ollama=self._name.startswith("ollama:"))
            if self._takes_headers and (traceparent := current_traceparent()) is not None:
                others["extra_headers"] = {"traceparent": traceparent}
            reply = _streamed(model, messages, others, tell) if streamed else _whole(model, messages, others)
            if streamed and self._name.startswith("openai:") and not reply.reason:
                raise GeneratorFailed(f"{self._name} broke off before the end of the answer", stage="generate")
            return reply
        except CallerLeft:
            raise
        except RagError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a provider's client may raise anything
            return translated(self._name, error)


def _whole(model: BaseChatModel, messages: list[BaseMessage], others: Mapping[str, Any]) -> _Reply:
    message = _answer(model.invoke(messages, **others))
    said = Transcript()
    said.add(str(message.text))
    text = said.end()
    _check_no_tool_instead(text, called=bool(message.tool_calls or message.invalid_tool_calls))
    return _Reply(text, _finish_reason(message), _model_name(message), message.usage_metadata)


def _streamed(model: BaseChatModel, messages: list[BaseMessage], others: Mapping[str, Any], tell: Tell) -> _Reply:
    """LangChain's own sum of chunks would repeat a finish reason that is told twice: `stopstop`."""
    said = Transcript(tell)
    reason, name, called = "", "", False
    usage: UsageMetadata | None = None
    stream = cast("Generator[AIMessageChunk]", model.stream(messages, **others))
    with closing(stream) as chunks:
        for chunk in chunks:
            tell("")
            part = _answer(chunk)
            called = called or bool(part.tool_calls or part.invalid_tool_calls)
            reason = _finish_reason(chunk) or reason
            name = _model_name(chunk) or name
            usage = add_usage(usage, chunk.usage_metadata) if chunk.usage_metadata else usage
            said.add(str(chunk.text))
    text = said.end()
    _check_no_tool_instead(text, called=called)
    return _Reply(text, reason, name, usage)


def _answer(message: object) -> AIMessage:
    """Raises `GeneratorFailed` for what is said in another role than the model's: LangChain takes whatever role the provider names."""
    if isinstance(message, AIMessage):
        return message
    role = getattr(message, "role", getattr(message, "type", "unknown"))
    raise GeneratorFailed(f"the provider answered in the role {str(role)[:20]!r}", stage="generate")


def _check_no_tool_instead(text: str, *, called: bool) -> None:
    """A call beside a text is ignored; without a text it is no answer, and no statement that there is none either."""
    if called and not text.strip():
        raise GeneratorFailed("the model called a tool instead of answering; it was offered none", stage="generate")


def _sampling_as(model: BaseChatModel, sampling: Sampling, *, ollama: bool) -> tuple[BaseChatModel, dict[str, Any]]:
    """The model with `sampling` in the fields that hold these settings, and what it has no field for, as arguments of the call.

    Fields, because they are what `open` fills and every provider reads: of the arguments of a call some providers know other
    names, and some overlook all of them.
    """
    asked = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "seed": sampling.seed}
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in asked.items():
        if value is not None:
            field = _field(model, _OLLAMA_NAMES.get(name, name) if ollama else name)
            (others if field is None else fields)[field or name] = value
    return (model.model_copy(update=fields) if fields else model), others


def _field(model: BaseChatModel, name: str) -> str | None:
    """The field that is called `name`, or is filled by that argument."""
    known = type(model).model_fields
    return name if name in known else next((field for field, info in known.items() if info.alias == name), None)


def _telling_usage(model: BaseChatModel) -> BaseChatModel:
    """OpenAI's client asks for the usage of a stream at OpenAI's own address only, unless it is told to."""
    untold = "stream_usage" in type(model).model_fields and getattr(model, "stream_usage", False) is None
    return model.model_copy(update={"stream_usage": True}) if untold else model


def _check_settings(spec: str, *, base_url: str | None, max_tokens: int, context_tokens: int, temperature: float | None) -> None:
    provider, colon, model = spec.partition(":")
    if not (provider.strip() and colon and model.strip()):
        raise InvalidSettings(f"{spec!r} names no chat model", hint="write provider:model, for example openai:gpt-4o-mini")
    if not 1 <= max_tokens < context_tokens:
        raise InvalidSettings(f"max_tokens ({max_tokens}) must be at least 1 and less than context_tokens ({context_tokens})")
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise InvalidSettings(f"temperature is {temperature} and must be at least 0", param="temperature")
    if base_url is not None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
            raise InvalidSettings(
                "base_url must be an http or https URL without user, password and query: it is shown in traces",
                hint="give keys in the provider's environment variable",
                param="base_url",
            )


def _bounded() -> dict[str, object]:
    try:
        return {"http_client": bounded_client()}
    except ImportError:
        return {}  # what is missing is said when the model is made


def _chat_model(spec: str, sent: Mapping[str, Any]) -> BaseChatModel:
    from langchain.chat_models import init_chat_model  # takes most of a second

    provider = spec.partition(":")[0]
    try:
        model: BaseChatModel = init_chat_model(spec, **sent)
    except ImportError as error:
        package = _package(error, provider)
        raise MissingDependency(
            f"{provider} needs the package {package}: it is missing or does not fit langchain-core {_version('langchain-core')}",
            hint=f"pip install {package}",
        ) from error
    except Exception as error:  # noqa: BLE001 - each provider has its own error for a missing key
        refusal = f"{type(error).__name__}: {redacted(error)}"
    else:
        if "seed" in sent and _field(model, "seed") is None:
            raise InvalidSettings(f"{provider} takes no seed", hint="leave the seed out", param="seed")
        return model
    raise InvalidSettings(  # out here, so that it does not carry the provider's error along, which may hold a key
        f"{spec} cannot be used: {refusal}",
        hint=f"check the name and that the provider's key is in its environment variable, such as {provider.upper()}_API_KEY",
    )


def _package(error: ImportError, provider: str) -> str:
    """LangChain names the package in its message; the rule of thumb is right for most providers."""
    named = re.search(r"pip install (?:-U )?([\w-]+)", str(error))
    return named[1] if named else f"langchain-{provider.replace('_', '-')}"


def _finish_reason(message: AIMessage) -> str:
    found = message.response_metadata
    return str(found.get("finish_reason") or found.get("stop_reason") or found.get("done_reason") or "").lower()


def _model_name(message: AIMessage) -> str:
    return str(message.response_metadata.get("model_name") or message.response_metadata.get("model") or "")


def _usage(found: UsageMetadata | None) -> Usage:
    if found is None:
        return Usage(prompt_tokens=None, completion_tokens=None)
    return Usage(prompt_tokens=found["input_tokens"], completion_tokens=found["output_tokens"])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
