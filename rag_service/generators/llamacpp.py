"""A generator over any GGUF model, run in this process by llama.cpp."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from rag_service.cancellation import Cancellation
from rag_service.digests import digest_json, file_digest
from rag_service.errors import Damaged, DeadlineExceeded, InvalidSettings, Mismatch, NotFound
from rag_service.generators.declined import declined
from rag_service.generators.llama_server import LlamaServer, engine_version, open_server
from rag_service.generators.refused import PromptRefused
from rag_service.types import NO_SAMPLING, Completion, Prompt, Sampling, Usage

_MAX_SEED = 2**32 - 2
"""One more means "random" to llama.cpp."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The text between the parts of a chat, and the token that ends a turn: the model must know it as one token."""

    before_system: str
    before_user: str
    before_answer: str
    end_of_turn: str


CHAT_FORMATS = {
    "chatml": ChatFormat(
        before_system="<|im_start|>system\n",
        before_user="<|im_end|>\n<|im_start|>user\n",
        before_answer="<|im_end|>\n<|im_start|>assistant\n",
        end_of_turn="<|im_end|>",
    )
}
"""Written out here, because the template inside a GGUF is a program by whoever made the file."""


@dataclass(frozen=True, slots=True)
class LlamaCppParameters:
    """What shapes an answer besides the model. The number of threads belongs to it: sums are split by thread, and greedy answers
    of the same model have differed between 2 and 3 threads. Raises `InvalidSettings`.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    threads: int = 2
    """Bounded on purpose: each step waits for the slowest thread, so that more threads than free cores stand still."""
    context_tokens: int = 2048
    """The model's window: prompt and answer together."""
    chat_template: str = "chatml"

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InvalidSettings(f"max_tokens is {self.max_tokens} and must be at least 1", param="max_tokens")
        if self.context_tokens <= self.max_tokens:
            raise InvalidSettings(
                f"context_tokens ({self.context_tokens}) must be more than max_tokens ({self.max_tokens})", param="context_tokens"
            )
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InvalidSettings(f"temperature is {self.temperature} and must be at least 0", param="temperature")
        if not 0 <= self.seed <= _MAX_SEED:
            raise InvalidSettings(f"seed is {self.seed} and must be between 0 and {_MAX_SEED}", param="seed")
        if self.threads < 1:
            raise InvalidSettings(f"threads is {self.threads} and must be at least 1", param="threads")
        if self.chat_template not in CHAT_FORMATS:
            known = ", ".join(CHAT_FORMATS)
            raise InvalidSettings(f"unknown chat template {self.chat_template!r}", hint=f"known: {known}", param="chat_template")


@dataclass(frozen=True, slots=True)
class ChatTokens:
    """A `ChatFormat` in the tokens of one model."""

    before_system: tuple[int, ...]
    before_user: tuple[int, ...]
    before_answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.before_system) + len(self.before_user) + len(self.before_answer)


class LlamaCppGenerator:
    """Port `Generator`. Greedy at temperature 0; every run starts from an empty cache and runs alone, so that the same prompt
    gives the same text whatever ran before it. Made by `open`.
    """

    follows_instructions = True

    def __init__(self, server: LlamaServer, chat: ChatTokens, parameters: LlamaCppParameters, *, model: str, digest: str) -> None:
        self._server = server
        self._chat = chat
        self._parameters = parameters
        self._model = model
        self._digest = digest

    @classmethod
    @contextmanager
    def open(
        cls,
        path: Path,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        threads: int = 2,
        context_tokens: int = 2048,
        chat_template: str = "chatml",
        expected_sha256: str | None = None,
    ) -> Iterator[Self]:
        """Load the model and free it at the end.

        `expected_sha256` (64 hex digits) is compared before llama.cpp reads the file, whose parser is not made for hostile
        input. Raises `NotFound`, `Damaged`, `InvalidSettings`, `Mismatch` when the model does not speak `chat_template`,
        `StorageFailed` and `MissingDependency`.
        """
        parameters = LlamaCppParameters(
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            threads=threads,
            context_tokens=context_tokens,
            chat_template=chat_template,
        )
        sha256 = _verified_sha256(path, expected_sha256)
        digest = digest_json(
            {"model_sha256": sha256, "xllamacpp": engine_version(), "parameters": asdict(parameters), "generator": "llamacpp/2"}
        )
        with open_server(path, context_tokens=context_tokens, threads=threads) as server:
            chat = _chat_tokens(server, chat_template, path.name)
            yield cls(server, chat, parameters, model=path.stem, digest=digest)

    @property
    def name(self) -> str:
        """`llamacpp:` and the file's name without its ending, for people: `digest` tells models apart."""
        return f"llamacpp:{self._model}"

    @property
    def digest(self) -> str:
        """Over the SHA-256 of the file, the version of `xllamacpp` and `parameters`."""
        return self._digest

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return asdict(self._parameters)

    def count_tokens(self, text: str) -> int:
        """By the model's tokenizer. Raises `GeneratorFailed` when the model has been closed."""
        return len(self._server.tokenize(text, special=False))

    @property
    def context_tokens(self) -> int:
        """Tokens that system and user message may have together: the window less the answer and the chat format around them."""
        return max(0, self._parameters.context_tokens - self._parameters.max_tokens - len(self._chat))

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        """Raises `DeadlineExceeded` at the deadline and `Cancelled` when it is, whether it waits for another run, reads the prompt or
        writes the answer; the engine itself notices about a second later. Raises `GeneratorFailed` when the prompt is longer than
        `context_tokens`.
        """
        cancellation = cancellation or Cancellation()
        cancellation.check()
        if deadline_s is not None and deadline_s <= time.monotonic():
            raise DeadlineExceeded("the time for this request was over before the model ran", stage="generate")
        own = self._parameters
        run = self._server.complete(
            self._tokens(prompt),
            max_tokens=own.max_tokens if sampling.max_tokens is None else sampling.max_tokens,
            temperature=own.temperature if sampling.temperature is None else sampling.temperature,
            seed=own.seed if sampling.seed is None else sampling.seed,
            deadline_s=deadline_s,
            cancellation=cancellation,
            write=write,
        )
        refused = declined(run.text)
        return Completion(
            text="" if refused else run.text.strip(),
            declined=refused,
            finish_reason=run.finish_reason,
            model=self._model,
            usage=Usage(prompt_tokens=run.prompt_tokens, completion_tokens=run.completion_tokens),
        )

    def _tokens(self, prompt: Prompt) -> list[int]:
        """The whole chat. Raises `GeneratorFailed` when there is no room for it."""
        system = self._server.tokenize(prompt.system, special=False)
        user = self._server.tokenize(prompt.user, special=False)
        if len(system) + len(user) > self.context_tokens:
            raise PromptRefused(
                f"the prompt has {len(system) + len(user)} tokens and there is room for {self.context_tokens}",
                hint="give the generator fewer passages or a larger context_tokens",
                stage="generate",
            )
        return [*self._chat.before_system, *system, *self._chat.before_user, *user, *self._chat.before_answer]


def _verified_sha256(path: Path, expected: str | None) -> str:
    if not path.is_file():
        raise NotFound(f"there is no model file {path}", hint="give the path of a .gguf file")
    found = file_digest(path).sha256
    if expected is not None and found != expected.lower():
        raise Damaged(f"{path.name} has SHA-256 {found}, expected {expected}", hint="download the model again")
    return found


def _chat_tokens(server: LlamaServer, chat_template: str, file_name: str) -> ChatTokens:
    chat = CHAT_FORMATS[chat_template]
    if len(server.tokenize(chat.end_of_turn, special=True)) != 1:
        raise Mismatch(
            f"{file_name} has no token {chat.end_of_turn}: it does not speak {chat_template}",
            hint="choose the chat_template that the model was trained with",
        )
    return ChatTokens(
        before_system=tuple(server.tokenize(chat.before_system, special=True)),
        before_user=tuple(server.tokenize(chat.before_user, special=True)),
        before_answer=tuple(server.tokenize(chat.before_answer, special=True)),
    )
