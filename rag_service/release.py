"""A release: everything that can change an answer, named by content.

Its digest is the SHA-256 of its canonical JSON and its id the first 12 hex digits. Same id, same behaviour; a different byte
anywhere, a different id. Where it runs is not part of it (see `deployment`).
"""

from typing import Literal

from pydantic import Field

from rag_service.digests import digest_json
from rag_service.stored import Addressed, Digest, Frozen, Scalar, ShortId


class IndexRef(Frozen):
    version: ShortId
    digest: Digest


class NamedDigest(Frozen):
    name: str
    digest: Digest


class Retrieval(Frozen):
    mode: Literal["dense"] = "dense"
    top_k: int = Field(5, ge=1)
    """Passages that reach the prompt."""
    min_score: float = Field(ge=-1.0, le=1.0)
    """Cosine of the best passage below which the service abstains."""

    @property
    def digest(self) -> str:
        return digest_json(self.model_dump(mode="json"))


class PromptRef(Frozen):
    name: str
    version: str
    digest: Digest


class GeneratorRef(Frozen):
    spec: str
    """What to open: `extractive`, `llamacpp:<path>`, or `<provider>:<model>`."""
    options: dict[str, Scalar]
    """What to open it with; empty for `extractive`."""
    name: str
    digest: Digest
    """Over model files (where there are any), engine and parameters, as the generator itself reports it."""
    parameters: dict[str, Scalar]


class CodeRef(Frozen):
    version: str
    digest: Digest
    """Over the sources and library versions that it takes to answer (`deployment.running_code`)."""


class Release(Addressed):
    schema_: Literal["rag.release/v1"] = Field("rag.release/v1", alias="schema")
    index: IndexRef
    encoder: NamedDigest
    chunker: NamedDigest
    retrieval: Retrieval
    reranker: None = None
    prompt: PromptRef
    generator: GeneratorRef
    code: CodeRef
