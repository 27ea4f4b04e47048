"""What an index version is made of: the contract of the folder `indexes/<name>/versions/<id>/`.

`manifest.json` holds canonical JSON; its SHA-256 is the digest of the version and the first 12 hex digits are the folder's name. It
lists every other file with size and SHA-256, so one changed bit anywhere is found before anything parses it. What differs from
build to build of the same content (time, duration, source path) stands in `build.json`, outside that digest.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag_service.digests import canonical_json, digest_bytes, digest_json, file_digest, short_id
from rag_service.errors import Damaged, NotFound, StorageFailed

MANIFEST_FILE = "manifest.json"
BUILD_FILE = "build.json"
VECTORS_FILE = "vectors.faiss"
CHUNKS_FILE = "chunks.sqlite"

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ShortId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Scalar = str | int | float | bool | None


class Frozen(BaseModel):
    """Base of everything that is stored by content: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Frozen):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int


class Part(Frozen):
    """A step of the build: its name, what it was told, and a digest over both and its code."""

    name: str
    digest: Digest
    parameters: dict[str, Scalar] = {}


class EncoderPart(Frozen):
    name: str
    digest: Digest
    embedder: str
    """Which of `embedders/` runs it."""
    dimension: int
    window_tokens: int


class StorePart(Frozen):
    kind: Literal["flat", "hnsw"]
    metric: Literal["cosine"] = "cosine"
    parameters: dict[str, Scalar] = {}


class Counts(Frozen):
    documents: int
    chunks: int
    tokens: int
    """Sum over the chunks, as the encoder counts them."""


class SkippedInput(Frozen):
    source: str
    reason: str
    detail: str


class Skips(Frozen):
    """Inputs that were left out: all of them counted, the first `LISTED_SKIPS` named."""

    by_reason: dict[str, int] = {}
    listed: list[SkippedInput] = []


LISTED_SKIPS = 1000


class Manifest(Frozen):
    schema_: Literal["rag.index/v1"] = Field("rag.index/v1", alias="schema")
    corpus_digest: Digest
    """Merkle root over the sorted digests of the documents."""
    chunk_set_digest: Digest
    """Merkle root over the chunks in row order."""
    loader: Part
    chunker: Part
    encoder: EncoderPart
    store: StorePart
    counts: Counts
    skipped: Skips
    built_with: dict[str, str]
    files: dict[str, FileEntry]

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    def canonical(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        return digest_bytes(self.canonical())

    @property
    def version(self) -> str:
        return short_id(self.digest)


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
    """The manifest of a version folder, checked against the folder's name. Raises `NotFound` or `Damaged`."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        if folder.is_dir():
            raise Damaged(
                f"{folder.name} holds no {MANIFEST_FILE}: it is not an index version",
                hint="build the index again; folders are only valid as `rag-service index build` writes them",
            )
        raise NotFound(f"there is no index version {folder.name}", hint="`rag-service index list` shows what there is")
    data = _read(path)
    try:
        manifest = Manifest.model_validate_json(data)
        canonical = manifest.canonical()
    except ValueError as error:  # of the schema, or a number that canonical JSON cannot hold
        raise _damaged(folder.name, MANIFEST_FILE, "it does not follow the schema rag.index/v1") from error
    if canonical != data or manifest.version != folder.name:
        raise _damaged(folder.name, MANIFEST_FILE, "its content does not give the version that the folder is named by")
    return manifest


def read_build_facts(folder: Path) -> BuildFacts:
    try:
        wrapped = json.loads(_read(folder / BUILD_FILE))
        facts = BuildFacts.model_validate(wrapped["build"])
        intact = digest_json(facts.model_dump(mode="json")) == wrapped["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder.name, BUILD_FILE, "it cannot be read") from error
    if not intact:
        raise _damaged(folder.name, BUILD_FILE, "its content does not match its digest")
    return facts


def verify_files(folder: Path, files: dict[str, FileEntry]) -> None:
    """Reads every listed file and compares size and SHA-256. Raises `Damaged` naming the first that differs."""
    for name, entry in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise _damaged(folder.name, name, "it is missing")
        if (size := path.stat().st_size) != entry.size_bytes:
            raise _damaged(folder.name, name, f"it has {size:,} bytes instead of {entry.size_bytes:,}")
        try:
            actual = file_digest(path)
        except OSError as error:
            raise StorageFailed(f"could not read {name}: {error.strerror}") from error
        if actual.sha256 != entry.sha256:
            raise _damaged(folder.name, name, "its SHA-256 is not the one it was written with")


def list_files(folder: Path, names: list[str]) -> dict[str, FileEntry]:
    """Entries for `names`, as they stand in `folder` now."""
    return {name: FileEntry(**file_digest(folder / name)._asdict()) for name in names}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageFailed(f"could not read {path.name}: {error.strerror}") from error


def _damaged(version: str, file: str, why: str) -> Damaged:
    return Damaged(
        f"{version}/{file} is damaged: {why}",
        hint="build it again from its documents (a rebuild replaces a damaged folder), or restore the folder from a backup",
    )
