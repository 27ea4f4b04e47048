"""Small real parts that stand in for large ones, for tests of what is around them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.deployment import describe_deployment
from rag_service.ports import Generator, VectorStore
from rag_service.records import Records
from rag_service.replay import Missing
from rag_service.stored import Scalar
from rag_service.types import NO_SAMPLING, Completion, Prompt, Sampling, Usage

HOLIDAYS = "How many days of paid holiday does an employee have?"


def completion(text: str, *, declined: bool = False, length: bool = False, usage: Usage = Usage(7, 3)) -> Completion:  # noqa: B008 - frozen
    return Completion(text, declined, "length" if length else "stop", "writes", usage)


class Writes:
    """A generator that gives what it was told to, one after the other and the last again and again, or raises it.

    It remembers what it was asked. With `pieces` it writes its text in pieces of so many characters, as a model does.
    """

    name = "writes"
    digest = "sha256:" + "0" * 64

    def __init__(
        self,
        *given: Completion | Exception,
        context_tokens: int = 1_000_000,
        follows_instructions: bool = False,
        parameters: Mapping[str, str | int | float | None] | None = None,
        pieces: int | None = None,
    ) -> None:
        self._given = given
        self._pieces = pieces
        self.follows_instructions = follows_instructions
        self.parameters = dict(parameters or {})
        self.context_tokens = context_tokens
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self.deadlines: list[float | None] = []

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        given = self._given[min(len(self.prompts), len(self._given) - 1)]
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        self.deadlines.append(deadline_s)
        if cancellation is not None:
            cancellation.check()
        if isinstance(given, Exception):
            raise given
        if write is not None and self._pieces is not None:
            text = "NO_ANSWER" if given.declined else given.text
            for start in range(0, len(text), self._pieces):
                write(text[start : start + self._pieces])
        return given


def with_generator(pipeline: Pipeline, generator: Generator) -> Pipeline:
    """The pipeline with another generator, under a release that names it."""
    lineage = pipeline.lineage
    parameters: dict[str, Scalar] = {**generator.parameters}
    named = lineage.release.generator.model_copy(update={"name": generator.name, "digest": generator.digest, "parameters": parameters})
    release = lineage.release.model_copy(update={"generator": named})
    return dataclasses.replace(pipeline, generator=generator, lineage=dataclasses.replace(lineage, release=release))


def with_store(pipeline: Pipeline, store: VectorStore) -> Pipeline:
    """The pipeline with another vector store; keywords, sentences and texts stay."""
    return dataclasses.replace(pipeline, retriever=dataclasses.replace(pipeline.retriever, store=store))


def with_top_k(pipeline: Pipeline, top_k: int) -> Pipeline:
    """The same index under another release."""
    release = pipeline.lineage.release
    other = release.model_copy(update={"retrieval": release.retrieval.model_copy(update={"top_k": top_k})})
    return dataclasses.replace(pipeline, lineage=dataclasses.replace(pipeline.lineage, release=other))


def no_records() -> Records:
    """Of a service that keeps none."""
    return Records(
        None,
        active=lambda: None,
        open_release=lambda _: Missing("release", "there are no releases"),
        missing=lambda _: None,
        deployment=describe_deployment(environment="test", declared_image=None, declared_commit=None),
    )


class Around:
    """A part of a pipeline that does `then` before it gives what `method` of the part gives."""

    def __init__(self, inner: object, method: str, then: Callable[[], object]) -> None:
        self._inner, self._method, self._then = inner, method, then

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def called(*values: object, **named: object) -> object:
            result = found(*values, **named)
            self._then()
            return result

        return called

    def __len__(self) -> int:
        return len(self._inner)  # type: ignore[arg-type]  # only of what has a length
