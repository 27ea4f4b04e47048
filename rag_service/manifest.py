"""What an index version is made of: the contract of the folder `indexes/<name>/versions/<id>/`.

`manifest.json` holds canonical JSON; its SHA-256 is the digest of the version and the first 12 hex digits are the folder's name. It
lists every other file with size and SHA-256, so one changed bit anywhere is found before anything parses it. What differs from
build to build of the same content (time, duration, source path) stands in `build.json`, outside that digest.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from rag_service.digests import canonical_json, digest_bytes, digest_json, short_id
from rag_service.errors import Damaged, Mismatch, NotFound
from rag_service.languages import Language
from rag_service.stored import Addressed, Digest, FileEntry, Frozen, Scalar, read_addressed, read_bytes, verify_files

MANIFEST_FILE = "manifest.json"
BUILD_FILE = "build.json"
VECTORS_FILE = "vectors.faiss"
ROWS_FILE = "vectors.f32"
"""Of the store `ivf` alone."""
CHUNKS_FILE = "chunks.sqlite"
VECTORS_TO_SHARE_FILE = "vectors.shared.f32"
"""Of the stores `pgvector` and `qdrant`, while a version is built: on its way to where it is searched, and no file of the version."""

_REBUILD = "build it again from its documents (a rebuild replaces a damaged folder), or restore the folder from a backup"


class Part(Frozen):
    """A step of the build: its name, what it was told, and a digest over both and its code."""

    name: str
    digest: Digest
    parameters: dict[str, Scalar] = Field(default_factory=dict)


class EncoderPart(Frozen):
    name: str
    digest: Digest
    embedder: str
    """Which of `embedders/` runs it."""
    dimension: int
    window_tokens: int
    unrelated_cosine: float
    """What this encoder gives for texts that have nothing to do with one another (`relevance.UNRELATED`)."""


class KeywordPart(Frozen):
    name: str
    digest: Digest
    """Over how texts become terms, and the parameters."""
    languages: list[Language]
    parameters: dict[str, Scalar]


class StorePart(Frozen):
    kind: Literal["flat", "hnsw", "ivf", "pgvector", "qdrant"]
    metric: Literal["cosine"] = "cosine"
    parameters: dict[str, Scalar] = Field(default_factory=dict)


class Counts(Frozen):
    documents: int
    chunks: int
    tokens: int
    """Sum over the chunks, as the encoder counts them."""
    sentences: int
    """Units that are compared with a question one by one: sentences, items, rows, blocks of code."""


class SkippedInput(Frozen):
    source: str
    reason: str
    detail: str


class Skips(Frozen):
    """Inputs that were left out: all of them counted, the first `LISTED_SKIPS` named."""

    by_reason: dict[str, int] = Field(default_factory=dict)
    listed: list[SkippedInput] = Field(default_factory=list)


LISTED_SKIPS = 1000
SCHEMA = "rag.index/v2"


class Manifest(Addressed):
    schema_: Literal["rag.index/v2"] = Field("rag.index/v2", alias="schema")
    corpus_digest: Digest
    """Merkle root over the sorted digests of the documents."""
    chunk_set_digest: Digest
    """Merkle root over the chunks in row order."""
    loader: Part
    chunker: Part
    encoder: EncoderPart
    store: StorePart
    keywords: KeywordPart
    sentences: Part
    counts: Counts
    skipped: Skips
    built_with: dict[str, str]
    files: dict[str, FileEntry]

    @property
    def version(self) -> str:
        """The id of the index version."""
        return self.id


class BuildFacts(Frozen):
    """How one build of a version went."""

    built_at: str
    """UTC, ISO 8601, seconds."""
    duration_s: float
    source: str


def write_manifest(folder: Path, manifest: Manifest, build: BuildFacts) -> None:
    facts = build.model_dump(mode="json")
    (folder / BUILD_FILE).write_bytes(canonical_json({"build": facts, "digest": digest_json(facts)}))
    (folder / MANIFEST_FILE).write_bytes(manifest.canonical())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version folder, checked against the folder's name. Raises `NotFound`, `Damaged`, or `Mismatch` for another form."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        if folder.is_dir():
            raise Damaged(
                f"{folder.name} holds no {MANIFEST_FILE}: it is not an index version",
                hint="build the index again; folders are only valid as `rag-service index build` writes them",
            )
        raise NotFound(f"there is no index version {folder.name}", hint="`rag-service index list` shows what there is")
    _require_this_form(path)
    return read_addressed(Manifest, path, folder.name, hint=_REBUILD)


def _require_this_form(path: Path) -> None:
    """Raises `Mismatch` for the version of an earlier or later service, which is not damaged."""
    data = read_bytes(path)
    if short_id(digest_bytes(data)) != path.parent.name:
        return  # it is damaged, and whoever reads it says so
    try:
        schema = json.loads(data)["schema"]
    except (ValueError, KeyError, TypeError):
        return
    if schema != SCHEMA and str(schema).startswith("rag.index/"):
        raise Mismatch(
            f"index version {path.parent.name} has the form {schema}; this service reads {SCHEMA}",
            hint="build the index again from its documents; kept vectors make that quick",
        )


def verify_version(folder: Path) -> Manifest:
    """The manifest, after every file of the version has been compared with it. Raises `NotFound` or `Damaged`."""
    manifest = read_manifest(folder)
    verify_files(folder, manifest.files, hint=_REBUILD)
    return manifest


def read_build_facts(folder: Path) -> BuildFacts:
    path = folder / BUILD_FILE
    if not path.is_file():
        raise _damaged(folder, "it is missing")
    try:
        wrapped = json.loads(read_bytes(path))
        facts = BuildFacts.model_validate(wrapped["build"])
        intact = digest_json(facts.model_dump(mode="json")) == wrapped["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, "it cannot be read") from error
    if not intact:
        raise _damaged(folder, "its content does not match its digest")
    return facts


def intact_version(folder: Path) -> BuildFacts | None:
    """The facts of a version that is there and whole; None where there is none, or it is damaged."""
    if not (folder / BUILD_FILE).is_file():
        return None
    try:
        verify_version(folder)
        return read_build_facts(folder)
    except (NotFound, Damaged):
        return None


def _damaged(folder: Path, why: str) -> Damaged:
    return Damaged(f"{folder.name}/{BUILD_FILE} is damaged: {why}", hint=_REBUILD)
