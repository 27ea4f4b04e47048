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
    mode: Literal["hybrid", "dense"] = "hybrid"
    top_k: int = Field(ge=1)
    """Passages that reach the prompt."""
    per_document: int = Field(3, ge=1)
    """Of these, how many may be of one document where others are nearly as good."""
    min_confidence: float = Field(ge=0.0, le=1.0)
    """That the documents hold an answer; below it the service abstains."""

    @property
    def digest(self) -> str:
        return digest_json(self.model_dump(mode="json"))


class RerankerRef(Frozen):
    spec: str
    """What to open: `cross_encoder:<folder>`."""
    name: str
    digest: Digest
    """Over the model's files and the parameters."""
    depth: int = Field(ge=1)
    """Hits that are judged."""


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


class Checks(Frozen):
    """Of an answer, before it leaves."""

    support: Literal["flag", "strict"] = "flag"
    """What happens to an answer with a sentence that no passage supports: it is marked, or withheld."""


class CodeRef(Frozen):
    version: str
    digest: Digest
    """Over the sources and library versions that it takes to answer (`deployment.running_code`)."""


class Release(Addressed):
    schema_: Literal["rag.release/v2"] = Field("rag.release/v2", alias="schema")
    index: IndexRef
    encoder: NamedDigest
    chunker: NamedDigest
    retrieval: Retrieval
    reranker: RerankerRef | None = None
    prompt: PromptRef
    generator: GeneratorRef
    checks: Checks = Checks()
    code: CodeRef
