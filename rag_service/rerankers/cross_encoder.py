"""Any sentence-transformers `CrossEncoder` from a local folder, run by torch: reads question and passage together.

torch and sentence-transformers are imported when one is opened, and only here and in the embedder. What it costs is a whole forward pass
for each passage: docs/quality.md has it beside the rest of a question.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_service.digests import digest_json, file_digest
from rag_service.errors import Damaged, Mismatch, MissingDependency, NotFound
from rag_service.types import Scalars

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class CrossEncoderReranker:
    """Make one with `open`."""

    def __init__(self, model: CrossEncoder, *, name: str, digest: str) -> None:
        self._model = model
        self.name = name
        self.digest = digest

    @classmethod
    def open(cls, folder: Path) -> CrossEncoderReranker:
        """Raises `NotFound`, `Damaged`, `Mismatch` for a model that does not give one number for a pair, or `MissingDependency`."""
        if not folder.is_dir():
            raise NotFound(
                f"there is no folder {folder.name} with a reranker", hint="give a folder as CrossEncoder.save_pretrained writes it"
            )
        if find_spec("sentence_transformers") is None:
            raise MissingDependency("a reranker needs sentence-transformers", hint="pip install 'rag-service[build]'")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder
        from torch import nn

        try:
            model = CrossEncoder(str(folder), device="cpu", activation_fn=nn.Identity())
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise Damaged(
                f"{folder.name} cannot be read as a reranker: {type(error).__name__}",
                hint="give a folder as CrossEncoder.save_pretrained writes it, or copy it there again",
            ) from error
        if model.num_labels != 1:
            raise Mismatch(f"{folder.name} gives {model.num_labels} numbers for a pair", hint="use a model made for reranking")
        return cls(model, name=folder.name, digest=reranker_digest(folder))

    def scores(self, question: str, passages: Sequence[str]) -> Scalars:
        """As the port promises: the logistic function of what the model gives. Pairs are judged one by one, so that a score does not
        depend on the padding that other passages bring.
        """
        if not passages:
            return np.empty(0, np.float32)
        logits = self._model.predict([(question, passage) for passage in passages], batch_size=1, show_progress_bar=False)
        return np.array([1.0 / (1.0 + math.exp(-max(min(float(logit), 30.0), -30.0))) for logit in logits], np.float32)


def reranker_digest(folder: Path) -> str:
    """Over every file of the model, and the libraries that run it."""
    files = {path.relative_to(folder).as_posix(): file_digest(path).sha256 for path in sorted(folder.rglob("*")) if path.is_file()}
    libraries = {package: version(package) for package in ("sentence-transformers", "torch", "transformers")}
    return digest_json({"files": files, "libraries": libraries})
