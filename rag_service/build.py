"""The verb: documents → index version.

Loading and chunking fill a scratch file; the chunks are then embedded in the order of their ids, one text at a time, and written. The
version is named by what came out, so the same documents with the same settings give the same version, byte for byte. It appears
under its name in one rename, complete; until then nothing can be served from it.
"""

import os
import shutil
import sqlite3
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from rag_service import __version__
from rag_service.catalog import Catalog
from rag_service.digests import Json, digest_json, digest_text
from rag_service.durable import publish_folder, remove_stale_staging, staging_folder, storage_errors
from rag_service.errors import Damaged, NotFound, NothingToIndex
from rag_service.manifest import (
    BUILD_FILE,
    CHUNKS_FILE,
    LISTED_SKIPS,
    VECTORS_FILE,
    BuildFacts,
    Counts,
    EncoderPart,
    Manifest,
    Part,
    SkippedInput,
    Skips,
    StorePart,
    read_build_facts,
    verify_version,
    write_manifest,
)
from rag_service.ports import Chunker, Embedder, Progress
from rag_service.stored import list_files
from rag_service.stores.chunks import DocumentFacts, write_chunk_table
from rag_service.stores.faiss import build_parameters, kind_for, write_faiss
from rag_service.stores.scratch import Scratch
from rag_service.types import Document, Matrix, Skipped

_BATCH = 64
"""Chunks handed to the embedder at a time; it embeds each alone, so this only sets how often progress is told."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build: the parts, and what names them in the manifest."""

    embedder: Embedder
    embedder_kind: str
    chunker: Chunker
    chunker_part: Part
    loader_part: Part
    store: Literal["auto", "flat", "hnsw"]


@dataclass(frozen=True, slots=True)
class Built:
    manifest: Manifest
    facts: BuildFacts
    existed: bool
    """The version was there already, intact; nothing was written."""
    longest_chunk_tokens: int
    size_bytes: int


@dataclass(slots=True)
class _Tally:
    skips: Counter[str] = field(default_factory=Counter)
    listed: list[SkippedInput] = field(default_factory=list)
    longest_chunk_tokens: int = 0

    def skip(self, skipped: Skipped) -> None:
        self.skips[skipped.reason] += 1
        if len(self.listed) < LISTED_SKIPS:
            self.listed.append(SkippedInput(source=skipped.source, reason=skipped.reason, detail=skipped.detail))

    def report(self) -> Skips:
        return Skips(by_reason=dict(sorted(self.skips.items())), listed=self.listed)


def build_index(
    catalog: Catalog, name: str, documents: Iterable[Document | Skipped], recipe: Recipe, *, source: str, progress: Progress
) -> Built:
    """Builds a version of index `name`. `source` is only recorded.

    Raises `InvalidName`, `Conflict` when the index is being built already, `NothingToIndex`, and `StorageFailed`; whatever it raises,
    and wherever the process is killed, what was there before is untouched.
    """
    began_s = time.monotonic()
    versions = catalog.versions_folder(name)
    tally = _Tally()
    usable = _from_first_usable(documents, tally)
    with catalog.building(name):
        remove_stale_staging(versions)
        try:
            with staging_folder(versions) as staged, storage_errors(f"index {name!r}"):
                manifest = _write_version(staged, usable, recipe, tally, progress)
                duration_s = round(time.monotonic() - began_s, 3)
                facts = BuildFacts(built_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), duration_s=duration_s, source=source)
                final = versions / manifest.version
                existing = _intact(final)
                if existing is not None:
                    os.utime(final)  # it is the newest again: `index activate` without a version means this one
                else:
                    write_manifest(staged, manifest, facts)
                    _replace(staged, final)
        finally:
            with suppress(OSError):
                versions.rmdir()  # only goes when it is empty: a first build that failed leaves no index behind
        size_bytes = sum(path.stat().st_size for path in final.iterdir())
    return Built(manifest, existing or facts, existing is not None, tally.longest_chunk_tokens, size_bytes)


def _from_first_usable(documents: Iterable[Document | Skipped], tally: _Tally) -> Iterator[Document | Skipped]:
    """`documents` from the first that can be used, what was skipped before it being in `tally`; read before anything is written.

    Raises `NothingToIndex` when there is none.
    """
    rest = iter(documents)
    for document in rest:
        if isinstance(document, Document):
            return chain([document], rest)
        tally.skip(document)
    raise _nothing(tally)


def _write_version(staged: Path, documents: Iterable[Document | Skipped], recipe: Recipe, tally: _Tally, progress: Progress) -> Manifest:
    with Scratch.open(staged / "scratch.sqlite") as scratch:
        _load(documents, recipe.chunker, scratch, tally)
        counts = Counts(**dict(zip(("documents", "chunks", "tokens"), scratch.counts(), strict=True)))
        if not counts.chunks:
            raise _nothing(tally)
        kind = kind_for(counts.chunks, recipe.store)
        progress.stage("Embedding", counts.chunks)
        vectors = _embed(scratch, recipe.embedder, progress)
        write_faiss(staged / VECTORS_FILE, vectors, dimension=recipe.embedder.dimension, kind=kind)
        progress.stage("Writing", None)
        write_chunk_table(staged / CHUNKS_FILE, scratch.documents(), scratch.chunks())
        corpus_digest, chunk_set_digest = scratch.corpus_digest(), scratch.chunk_set_digest()
    return Manifest(
        corpus_digest=corpus_digest,
        chunk_set_digest=chunk_set_digest,
        loader=recipe.loader_part,
        chunker=recipe.chunker_part,
        encoder=EncoderPart(
            name=recipe.embedder.name,
            digest=recipe.embedder.digest,
            embedder=recipe.embedder_kind,
            dimension=recipe.embedder.dimension,
            window_tokens=recipe.embedder.tokenizer.window_tokens,
        ),
        store=StorePart(kind=kind, parameters={**build_parameters(kind)}),
        counts=counts,
        skipped=tally.report(),
        built_with={
            "python": ".".join(map(str, sys.version_info[:3])),
            "sqlite": sqlite3.sqlite_version,
            "rag-service": __version__,
            **{package: version(package) for package in ("faiss-cpu", "numpy", "onnxruntime", "tokenizers")},
        },
        files=list_files(staged, [VECTORS_FILE, CHUNKS_FILE]),
    )


def _load(documents: Iterable[Document | Skipped], chunker: Chunker, scratch: Scratch, tally: _Tally) -> None:
    for document in documents:
        if isinstance(document, Skipped):
            tally.skip(document)
            continue
        chunks = chunker(document)
        scratch.add(_facts(document), chunks)
        tally.longest_chunk_tokens = max([tally.longest_chunk_tokens, *(chunk.tokens for chunk in chunks)])


def _facts(document: Document) -> DocumentFacts:
    text_digest = digest_text(document.text)
    described: Json = {
        "id": document.id,
        "title": document.title,
        "source": document.source,
        "metadata": dict(document.metadata),
        "text": text_digest,
    }
    return DocumentFacts(
        id=document.id,
        title=document.title,
        source=document.source,
        metadata=document.metadata,
        digest=digest_json(described),
        text_digest=text_digest,
    )


def _embed(scratch: Scratch, embedder: Embedder, progress: Progress) -> Iterator[Matrix]:
    chunks = scratch.chunks()
    while batch := list(islice(chunks, _BATCH)):
        yield embedder.embed_passages([chunk.embedded_text for chunk in batch])
        progress.advance(len(batch))


def _intact(folder: Path) -> BuildFacts | None:
    """The facts of a version that is already there, or None where there is none or it is damaged."""
    if not (folder / BUILD_FILE).is_file():
        return None
    try:
        verify_version(folder)
        return read_build_facts(folder)
    except (NotFound, Damaged):
        return None


def _replace(staged: Path, final: Path) -> None:
    if final.exists():  # damaged: what cannot be served may be moved away
        final.rename(final.with_name(f".building-damaged-{uuid.uuid4().hex[:8]}"))
    publish_folder(staged, final)
    for damaged in final.parent.glob(".building-damaged-*"):
        shutil.rmtree(damaged, ignore_errors=True)


def _nothing(tally: _Tally) -> NothingToIndex:
    reasons = ", ".join(f"{count} {reason}" for reason, count in tally.report().by_reason.items())
    first = "; ".join(f"{skipped.source}: {skipped.reason} ({skipped.detail})" for skipped in tally.listed[:3])
    return NothingToIndex(
        "none of the documents can be used" + (f": {reasons}" if reasons else ""),
        hint=first or "give a file, folder or glob with Markdown, text, HTML, PDF, DOCX, CSV or JSONL",
    )
