"""A generator over any LangChain chat model: `openai:gpt-4o-mini`, `anthropic:…`, `ollama:…`, any OpenAI-compatible URL."""

import contextvars
import importlib.metadata
import math
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Self
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from rag_service.digests import digest_json
from rag_service.errors import DeadlineExceeded, GeneratorFailed, InvalidSettings, MissingDependency
from rag_service.generators.declined import declined
from rag_service.types import Completion, Prompt, Usage

_FRAMING_TOKENS = 16
"""What providers put around a system and a user message; the larger ones need about a dozen."""
_BYTES_PER_TOKEN = 3
_MESSAGE_CHARS = 200
_OLLAMA_NAMES = {"max_tokens": "num_predict"}
"""`ChatOllama` takes unknown arguments without a word."""
_CUT = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
_FILTERED = frozenset({"content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content", "spii"})
_SECRET = re.compile(
    r"(?i)\b(?:sk|pk|rk|gsk|xai|hf|key|ghp|AIza)[-_][\w*.\-]+"  # keys by their usual beginnings, masked ones too
    r"|\b(?:bearer|basic)\s+\S+"
    r"|\b[\w-]*(?:api[-_ ]?key|token|secret|password|authorization)\b['\"]?\s*[:=]\s*\S+"
    r"|://[^/\s@]+@"  # user and password in a URL
    r"|\?\S+"  # a URL's query
    r"|(?=[\w+/=*-]*\d)[\w+/=*-]{24,}"  # anything long that looks random
)


class LangChainGenerator:
    """Port `Generator`. Any thread may call it.

    `digest` covers what can be known from here: the model's name and parameters, and the packages in between. The weights behind
    the name are the provider's and cannot be pinned, so that two answers under one digest may differ.
    """

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
        self._model = model
        self._name = name
        self._max_tokens = max_tokens
        self._window_tokens = context_tokens
        self._parameters: dict[str, str | int | float | None] = {
            "model": name,
            "max_tokens": max_tokens,
            "context_tokens": context_tokens,
            "temperature": temperature,
            "seed": seed,
            "base_url": base_url,
        }
        self._running = threading.BoundedSemaphore(max_running)

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
        return digest_json({"class": f"{kind.__module__}.{kind.__qualname__}", "parameters": self.parameters, "packages": versions})

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
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

    def generate(self, prompt: Prompt, *, deadline_s: float | None = None) -> Completion:
        """At the deadline the call is given up, not cancelled: LangChain has no way to cancel, so it runs in a thread of its own
        and ends by itself, by `timeout_s` at the latest.

        Raises `DeadlineExceeded` at the deadline or when the provider's client timed out, and `GeneratorFailed` for anything
        else. Their messages hold no key and they do not carry the provider's error, which may hold one.
        """
        messages: list[BaseMessage] = [HumanMessage(prompt.user)]
        if prompt.system.strip():
            messages.insert(0, SystemMessage(prompt.system))
        message = self._reply(messages, deadline_s)
        reason = _finish_reason(message)
        if reason in _FILTERED:
            raise GeneratorFailed(f"{self._name} withheld the answer ({reason})", stage="generate")
        text = str(message.text).strip()
        refused = declined(text)
        return Completion(
            text="" if refused else text,
            declined=refused,
            finish_reason="length" if reason in _CUT else "stop",
            model=_model_name(message) or self._name,
            usage=_usage(message),
        )

    def _reply(self, messages: list[BaseMessage], deadline_s: float | None) -> AIMessage:
        remaining_s = None if deadline_s is None else deadline_s - time.monotonic()
        if remaining_s is not None and remaining_s <= 0:
            raise DeadlineExceeded("the time for this request was over before the model was asked", stage="generate")
        if not self._running.acquire(timeout=remaining_s):
            raise DeadlineExceeded(f"too many calls to {self._name} are running", stage="generate")
        future: Future[AIMessage] = Future()
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._call, messages, future), name="langchain-call", daemon=True).start()
        try:
            return future.result(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - a provider's client may raise anything
            failure = _translated(self._name, error)
        raise failure  # out here, so that it does not carry the provider's error along

    def _call(self, messages: list[BaseMessage], future: Future[AIMessage]) -> None:
        try:
            future.set_result(self._model.invoke(messages))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            future.set_exception(error)
        finally:
            self._running.release()


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
        refusal = f"{type(error).__name__}: {_redacted(error)}"
    else:
        if "seed" in sent and not hasattr(model, "seed"):
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


def _translated(name: str, error: Exception) -> DeadlineExceeded | GeneratorFailed:
    """Clients have no common class for a timeout, but all call it one."""
    if any("timeout" in kind.__name__.lower() for kind in type(error).__mro__):
        return DeadlineExceeded(f"{name} did not answer in time ({type(error).__name__})", stage="generate")
    status = getattr(error, "status_code", None)
    where = f"{type(error).__name__}, HTTP {status}" if isinstance(status, int) else type(error).__name__
    hint = {
        401: "check the provider's key",
        403: "check what the provider's key may do",
        404: "check the model's name and base_url",
        429: "the provider's limit is reached: try again later",
    }.get(status or 0, "")
    return GeneratorFailed(f"{name} failed ({where}): {_redacted(error)}", hint=hint, stage="generate")


def _redacted(error: Exception) -> str:
    """The first line of the error's text, cut, with everything that may be a secret replaced."""
    first, *_ = str(error).strip().splitlines() or [""]
    return _SECRET.sub("[redacted]", first)[:_MESSAGE_CHARS]


def _finish_reason(message: AIMessage) -> str:
    found = message.response_metadata
    return str(found.get("finish_reason") or found.get("stop_reason") or found.get("done_reason") or "").lower()


def _model_name(message: AIMessage) -> str:
    return str(message.response_metadata.get("model_name") or message.response_metadata.get("model") or "")


def _usage(message: AIMessage) -> Usage:
    found = message.usage_metadata
    if found is None:
        return Usage(prompt_tokens=None, completion_tokens=None)
    return Usage(prompt_tokens=found["input_tokens"], completion_tokens=found["output_tokens"])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
