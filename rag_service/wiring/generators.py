"""Which generator, by its spec."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_service.digests import file_digest
from rag_service.errors import InvalidSettings
from rag_service.ports import Embedder, Generator
from rag_service.settings import Settings
from rag_service.stored import Scalar

_RETRIES, _FALLBACK = "generator_retries", "generator_fallback"
_AROUND = frozenset({_RETRIES, _FALLBACK})
"""Options that are not the generator's own, but say what is put around it. They are left out where they change nothing, so that a release
without them is the one that it was before there were any."""


@contextmanager
def open_generator(spec: str, options: dict[str, Scalar], embedder: Embedder) -> Iterator[Generator]:
    """Raises `InvalidSettings`, `NotFound`, `Damaged` or `MissingDependency`."""
    own = {name: value for name, value in options.items() if name not in _AROUND}
    with _opened(spec, own, embedder) as generator:
        retries, fallback = options.get(_RETRIES), options.get(_FALLBACK)
        if isinstance(retries, int):
            from rag_service.generators.retrying import Retrying

            generator = Retrying(generator, retries=retries)
        if fallback is not None:
            from rag_service.generators.fallback import FallingBack

            with _opened(str(fallback), {}, embedder) as other:
                yield FallingBack(generator, other)
        else:
            yield generator


@contextmanager
def _opened(spec: str, options: dict[str, Scalar], embedder: Embedder) -> Iterator[Generator]:
    provider, _, model = spec.partition(":")
    if spec == "extractive":
        from rag_service.generators.extractive import ExtractiveGenerator

        yield ExtractiveGenerator(embedder)
    elif provider == "llamacpp" and model:
        from rag_service.generators.llamacpp import LlamaCppGenerator

        with LlamaCppGenerator.open(Path(model), **options) as generator:  # type: ignore[arg-type]  # the options that settings gave
            yield generator
    elif model:
        from rag_service.generators.breaker import Breaker
        from rag_service.generators.langchain import LangChainGenerator

        # A provider is another machine, which can be down for a while. What runs in this process works or is broken.
        yield Breaker(LangChainGenerator.open(spec, **options))  # type: ignore[arg-type]  # the options that settings gave
    else:
        raise InvalidSettings(
            f"there is no generator {spec!r}",
            hint="use extractive, llamacpp:<path to a GGUF>, or <provider>:<model> as in openai:gpt-4o-mini",
            param="generator",
        )


def generator_spec(settings: Settings) -> str:
    """As a release keeps it: the path of a model file is absolute, since a server may run in another folder."""
    provider, _, model = settings.generator.partition(":")
    return f"{provider}:{Path(model).absolute()}" if provider == "llamacpp" and model else settings.generator


def generator_options(settings: Settings) -> dict[str, Scalar]:
    """As a release keeps them. Those of a model file hold its SHA-256: other bytes at the same path are another release, or refused."""
    if settings.generator == "extractive":
        return {}
    around: dict[str, Scalar] = {} if settings.generator_fallback == "none" else {_FALLBACK: settings.generator_fallback}
    common: dict[str, Scalar] = {"max_tokens": settings.max_tokens, "temperature": settings.temperature, "seed": settings.seed}
    if settings.generator.startswith("llamacpp:"):
        given = {name: value for name, value in common.items() if value is not None}
        path = Path(settings.generator.removeprefix("llamacpp:"))
        pinned = {"expected_sha256": file_digest(path).sha256} if path.is_file() else {}  # if it is not there, opening it says so
        return {**given, **pinned, "threads": settings.generator_threads, **around}
    if settings.generator_retries:
        around[_RETRIES] = settings.generator_retries
    return {**common, "base_url": settings.generator_base_url, "timeout_s": settings.timeout_s, **around}
