"""The lineage of an answer as bytes, and back. Many answers share one, so it is stored once, under the digest of its canonical JSON."""

from dataclasses import asdict
from functools import lru_cache
from typing import Literal

from pydantic import Field

from rag_service.deployment import Deployment, Image
from rag_service.digests import canonical_json, digest_bytes
from rag_service.record import EmbedderIdentity, IndexIdentity, Lineage
from rag_service.release import Release
from rag_service.stored import Frozen


class _Index(Frozen):
    name: str
    version: str
    digest: str
    corpus_digest: str
    built_at: str
    documents: int
    chunks: int


class _Embedder(Frozen):
    name: str
    digest: str
    dimension: int
    runtime: str
    revision: str | None


class _Image(Frozen):
    ref: str
    digest: str | None
    source: str


class _Deployment(Frozen):
    environment: str
    fingerprint: str
    numeric_class: str
    commit: str | None
    dirty: bool | None
    image: _Image | None
    unknown: dict[str, str]


class _Lineage(Frozen):
    schema_: Literal["rag.lineage/v1"] = Field(alias="schema")
    release: Release
    index: _Index
    embedder: _Embedder
    deployment: _Deployment


@lru_cache(maxsize=64)
def lineage_bytes(lineage: Lineage) -> tuple[str, bytes]:
    """Its digest, and itself."""
    document = canonical_json(
        {
            "schema": "rag.lineage/v1",
            "release": lineage.release.model_dump(mode="json", by_alias=True),
            "index": asdict(lineage.index),
            "embedder": asdict(lineage.embedder),
            "deployment": asdict(lineage.deployment),
        }
    )
    return digest_bytes(document), document


@lru_cache(maxsize=64)
def lineage_from(document: bytes) -> tuple[str, Lineage]:
    """The digest of what `lineage_bytes` gave, and the lineage. Raises `ValueError` for anything else."""
    stored = _Lineage.model_validate_json(document)
    image = stored.deployment.image
    lineage = Lineage(
        release=stored.release,
        index=IndexIdentity(**stored.index.model_dump()),
        embedder=EmbedderIdentity(**stored.embedder.model_dump()),
        deployment=Deployment(
            **{**stored.deployment.model_dump(exclude={"image"}), "image": Image(image.ref, image.digest, image.source) if image else None}
        ),
    )
    return digest_bytes(document), lineage
