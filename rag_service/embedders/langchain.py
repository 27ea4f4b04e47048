"""An embedder over any LangChain `Embeddings`: `openai:text-embedding-3-small`, `ollama:…`, or one of your own."""

import importlib.metadata
import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Self, TypeVar

import numpy as np
from langchain_core.embeddings import Embeddings

from rag_service.digests import digest_json
from rag_service.errors import EmbedderFailed, InvalidSettings, Mismatch, MissingDependency, PassageTooLong
from rag_service.ports import Tokenizer
from rag_service.types import Matrix, Vector

BATCH_TEXTS = 32
"""Texts per call of `embed_documents`: few enough for every provider's limit, enough that a build is not all waiting."""
QUERIES_AT_ONCE = 8
"""Calls of `embed_query` that one `embed_queries` has under way: a provider's time is spent waiting for the network."""
_Text = TypeVar("_Text")
_Reply = TypeVar("_Reply")
_PROBE = "What is the dimension of this vector?"
_BYTES_PER_TOKEN = 3
_SPECIAL_TOKENS = 2


class EstimatingTokenizer:
    """Counts tokens without a tokenizer, on the high side: one for three bytes of UTF-8, and two special ones. English has four
    bytes or more to a token and most other scripts about three; texts of nothing but digits or symbols can have more tokens.
    """

    def __init__(self, *, window_tokens: int) -> None:
        self.window_tokens = window_tokens

    def count(self, text: str) -> int:
        return math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN) + _SPECIAL_TOKENS


class LangChainEmbedder:
    """Port `Embedder`. Made by `open` or `from_spec`; there is nothing to close. As safe for threads as the `Embeddings` inside.

    A provider's weights cannot be pinned: `digest` covers what can be known from here. That a vector does not depend on what
    else is in its batch is the provider's promise, not ours.
    """

    def __init__(self, embeddings: Embeddings, *, name: str, dimension: int, tokenizer: Tokenizer, identity: str | None = None) -> None:
        self._embeddings = embeddings
        self._name = name
        self._identity = identity or name
        self._dimension = dimension
        self._tokenizer = tokenizer

    @classmethod
    def open(
        cls,
        embeddings: Embeddings,
        *,
        name: str,
        identity: str | None = None,
        window_tokens: int = 256,
        tokenizer: Tokenizer | None = None,
    ) -> Self:
        """Embeds one short text to find the dimension.

        `name` is for people. `identity` tells models apart in the digest, where the name does not: a revision, a hash of weights,
        a provider's setting. `window_tokens` is the longest text the model reads; `tokenizer` brings its own window and wins.
        Without one, tokens are estimated (`EstimatingTokenizer`). Raises `Mismatch` when the model gives no usable vector and
        `EmbedderFailed` (stage `embed`) when it fails.
        """
        found = tokenizer or EstimatingTokenizer(window_tokens=window_tokens)
        probe = _called(name, embeddings.embed_query, _PROBE)
        dimension = np.size(probe)
        _unit_rows([probe], count=1, dimension=dimension, name=name)
        return cls(embeddings, name=name, identity=identity, dimension=dimension, tokenizer=found)

    @classmethod
    def from_spec(cls, spec: str, *, identity: str | None = None, window_tokens: int = 256, tokenizer: Tokenizer | None = None) -> Self:
        """The model `provider:name`, such as `openai:text-embedding-3-small`; its key comes from the provider's own environment
        variable. Raises `MissingDependency`, `InvalidSettings`, and what `open` raises.
        """
        return cls.open(_embeddings(spec), name=spec, identity=identity, window_tokens=window_tokens, tokenizer=tokenizer)

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        """Over the class, the name and identity given, the dimension, the window, how tokens are counted, and the versions of
        the packages in between.
        """
        return digest_json(
            {
                "class": _qualified(self._embeddings),
                "name": self._name,
                "identity": self._identity,
                "dimension": self._dimension,
                "window_tokens": self._tokenizer.window_tokens,
                "tokenizer": _qualified(self._tokenizer),
                "packages": {package: _version(package) for package in {"langchain-core", self._package}},
            }
        )

    @property
    def revision(self) -> None:
        """None: a provider's weights are not ours to name."""

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def runtime(self) -> str:
        version = _version(self._package)
        return f"{self._package} {version} float32" if version else f"{_qualified(self._embeddings)} float32"

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def embed_query(self, text: str) -> Vector:
        """Shape (dimension,), unit length. Cut to the longest beginning that fits the window. Raises `Mismatch`, or `EmbedderFailed`
        when the provider fails.
        """
        row = _called(self._name, self._embeddings.embed_query, self._beginning(text))
        unit: Vector = _unit_rows([row], count=1, dimension=self._dimension, name=self._name)[0]
        return unit

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        """Shape (len(texts), dimension): one call for each text, since some providers embed a query otherwise than a passage. Calls
        run in up to `QUERIES_AT_ONCE` threads. Raises what `embed_query` raises; texts that still wait are then not sent.
        """
        if len(texts) < 2:
            rows = [self.embed_query(text) for text in texts]
        else:
            contexts = [copy_context() for _ in texts]  # a client's own spans and callbacks stay with the caller's
            with ThreadPoolExecutor(min(QUERIES_AT_ONCE, len(texts)), "embed") as pool:
                rows = list(pool.map(lambda context, text: context.run(self.embed_query, text), contexts, texts))
        return np.stack(rows) if rows else np.empty((0, self._dimension), np.float32)

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        """Shape (len(texts), dimension), rows of unit length, in order. No text is sent before all are known to fit. Raises
        `PassageTooLong`, `Mismatch`, or `EmbedderFailed` when the provider fails.
        """
        window = self._tokenizer.window_tokens
        for text in texts:
            if (tokens := self._tokenizer.count(text)) > window:
                raise PassageTooLong(f"a passage has about {tokens} tokens; {self._name} reads {window}", hint="lower RAG_CHUNK_TOKENS")
        matrix = np.empty((len(texts), self._dimension), np.float32)
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = list(texts[start : start + BATCH_TEXTS])
            rows = _called(self._name, self._embeddings.embed_documents, batch)
            matrix[start : start + len(batch)] = _unit_rows(rows, count=len(batch), dimension=self._dimension, name=self._name)
        return matrix

    @property
    def _package(self) -> str:
        """The distribution that brings the class, if it is called after its module."""
        return type(self._embeddings).__module__.partition(".")[0].replace("_", "-")

    def _beginning(self, text: str) -> str:
        window = self._tokenizer.window_tokens
        if self._tokenizer.count(text) <= window:
            return text
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self._tokenizer.count(text[:middle]) <= window:
                fits = middle
            else:
                too_long = middle
        return text[:fits]


def _embeddings(spec: str) -> Embeddings:
    from langchain.embeddings import init_embeddings  # takes most of a second

    provider = spec.partition(":")[0]
    try:
        embeddings = init_embeddings(spec)
    except ImportError as error:
        named = re.search(r"pip install (?:-U )?([\w-]+)", str(error))
        package = named[1] if named else f"langchain-{provider.replace('_', '-')}"
        raise MissingDependency(
            f"{provider} needs the package {package}: it is missing or does not fit langchain-core {_version('langchain-core')}",
            hint=f"pip install {package}",
        ) from error
    except Exception as error:  # noqa: BLE001 - each provider has its own error for a missing key
        refusal = type(error).__name__
    else:
        if isinstance(embeddings, Embeddings):
            return embeddings
        refusal = f"it makes a {type(embeddings).__name__}"
    raise InvalidSettings(  # out here, so that it does not carry the provider's error along, which may hold a key
        f"{spec!r} cannot be used: {refusal}",
        hint=(
            "write provider:model, such as openai:text-embedding-3-small, and give the provider's key in its environment "
            f"variable, such as {provider.upper() or 'OPENAI'}_API_KEY"
        ),
    )


def _called(name: str, call: Callable[[_Text], _Reply], text: _Text) -> _Reply:
    try:
        return call(text)
    except Exception as error:  # noqa: BLE001 - a provider's client may raise anything
        status = getattr(error, "status_code", None)
        where = f"{type(error).__name__}, HTTP {status}" if isinstance(status, int) else type(error).__name__
    raise EmbedderFailed(  # out here, and by class alone: the provider's error may hold a key
        f"{name} could not embed ({where})", hint="check the provider's key, limits and address", stage="embed"
    )


def _unit_rows(rows: Sequence[Sequence[float]], *, count: int, dimension: int, name: str) -> Matrix:
    """Raises `Mismatch` unless `rows` are `count` finite vectors of that dimension, none of them zero."""
    try:
        matrix = np.asarray(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise Mismatch(f"{name} gave something else than vectors of one dimension", stage="embed") from error
    if matrix.shape != (count, dimension) or dimension == 0:
        raise Mismatch(f"{name} gave vectors of shape {matrix.shape}, expected {(count, dimension)}", stage="embed")
    if not np.isfinite(matrix).all():
        raise Mismatch(f"{name} gave a vector with a value that is not finite", stage="embed")
    peaks = np.abs(matrix).max(axis=1, keepdims=True)
    if not (peaks > 0).all():
        raise Mismatch(f"{name} gave a vector of zero length, which has no direction", stage="embed")
    matrix /= peaks  # first, so that squares neither overflow nor vanish
    unit: Matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _qualified(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
