"""The verb: documents → index version.

Loading and chunking fill a scratch file; the chunks are then embedded in the order of their ids, one text at a time, and written. What
was embedded before is taken from what earlier builds kept. The version is named by what came out, so the same documents with the same
settings give the same version, byte for byte, whatever was there before. It appears under its name in one rename, complete; until then
nothing can be served from it.
"""

import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from rag_service import __version__
from rag_service.catalog import Catalog
from rag_service.deployment import numeric_class
from rag_service.digests import Json, digest_json, digest_text, file_digest, short_id
from rag_service.durable import remove_stale_staging, staging_folder, storage_errors
from rag_service.errors import Damaged, NothingToIndex
from rag_service.evidence import BATCH, EVIDENCE_FILES, Passages, keyword_part, sentence_part, write_evidence
from rag_service.languages import Language, language_of
from rag_service.manifest import (
    CHUNKS_FILE,
    LISTED_SKIPS,
    VECTORS_TO_SHARE_FILE,
    BuildFacts,
    Counts,
    EncoderPart,
    Manifest,
    Part,
    SkippedInput,
    Skips,
    StorePart,
    intact_version,
    write_manifest,
)
from rag_service.ports import BulkEmbedder, Chunker, Embedder, Progress
from rag_service.relevance import UNRELATED, unrelated_cosine
from rag_service.stored import list_files
from rag_service.stores.arrays import RowWriter
from rag_service.stores.chunks import write_chunk_table
from rag_service.stores.embeddings import Embeddings
from rag_service.stores.faiss import build_parameters, kind_for, write_store
from rag_service.stores.pgvector_parameters import pgvector_parameters
from rag_service.stores.qdrant_parameters import qdrant_parameters
from rag_service.stores.scratch import Scratch
from rag_service.stores.table_difference import TableDifference, table_difference
from rag_service.types import Document, DocumentFacts, Matrix, Skipped
from rag_service.units import units

_COPIES = 2
"""Of the vectors, that a store writes at most."""
_LEAST_SHARE = 0.02
_SENTENCES = 8
"""Of a chunk, about, at most: each has a vector of one byte a dimension."""
_WAVE = 20_000
"""Texts that are sent elsewhere at once, and held in memory meanwhile."""
_LISTED_CHANGES = 20
"""Documents of each kind that are named beside the counts of what changed."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build: the parts, and what names them in the manifest."""

    embedder: Embedder
    embedder_kind: str
    chunker: Chunker
    chunker_part: Part
    loader_part: Part
    store: Literal["auto", "flat", "hnsw", "ivf", "pgvector", "qdrant"]
    languages: tuple[Language, ...] = ()
    """Whose words are stemmed; empty: those that the documents are in."""
    keep_embeddings: bool = True
    """For the next build of this index, and use what earlier ones kept."""
    elsewhere: BulkEmbedder | None = None
    """What embeds all that has not been embedded before; what it gives is kept, and then used as if an earlier build had kept it."""
    share: Callable[[Path, Manifest], None] | None = None
    """Takes a file of vectors to where they are searched, and proves that they are there, before a version is published that needs them."""


@dataclass(frozen=True, slots=True)
class Built:
    manifest: Manifest
    facts: BuildFacts
    existed: bool
    """The version was there already, intact; nothing was written."""
    longest_chunk_tokens: int
    size_bytes: int
    embedded: int
    reused: int
    """Chunks whose text had been embedded before: by an earlier build, or in this one where two chunks are alike."""
    before: str | None
    """The version that was the newest before this build; None where there was none, or it cannot be read."""
    difference: TableDifference | None
    """From the version before."""


@dataclass(slots=True)
class _Tally:
    skips: Counter[str] = field(default_factory=Counter)
    listed: list[SkippedInput] = field(default_factory=list)
    longest_chunk_tokens: int = 0
    embedded: int = 0
    reused: int = 0
    languages: Counter[Language | None] = field(default_factory=Counter)

    def skip(self, skipped: Skipped) -> None:
        self.skips[skipped.reason] += 1
        if len(self.listed) < LISTED_SKIPS:
            self.listed.append(SkippedInput(source=skipped.source, reason=skipped.reason, detail=skipped.detail))

    def languages_used(self, chosen: tuple[Language, ...]) -> tuple[Language, ...]:
        """Those that were chosen, or those of at least a fiftieth of the documents; English where none is known."""
        if chosen:
            return tuple(sorted(set(chosen)))
        least = self.languages.total() * _LEAST_SHARE
        return tuple(sorted(language for language, count in self.languages.items() if language and count >= least)) or ("en",)

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
        before = next(iter(reversed(catalog.versions(name))), None)
        try:
            with staging_folder(versions) as staged, storage_errors(f"index {name!r}"):
                manifest = _write_version(staged, usable, recipe, tally, progress, embeddings=_embeddings_file(catalog, name, recipe))
                duration_s = round(time.monotonic() - began_s, 3)
                facts = BuildFacts(built_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), duration_s=duration_s, source=source)
                existing = _intact(catalog, name, manifest)
                if recipe.share is not None:
                    recipe.share(staged / VECTORS_TO_SHARE_FILE, manifest)
                if existing is not None:
                    catalog.note_rebuilt(name, manifest.version)  # `index activate` without a version means this one
                else:
                    write_manifest(staged, manifest, facts)
                    catalog.publish(name, staged, manifest)
        finally:
            with suppress(OSError):
                versions.rmdir()  # only goes when it is empty: a first build that failed leaves no index behind
        final = catalog.version_folder(name, manifest.version)
        size_bytes = sum(path.stat().st_size for path in final.iterdir())
        difference = _difference(catalog, name, before, final) if before is not None else None
    return Built(
        manifest=manifest,
        facts=existing or facts,
        existed=existing is not None,
        longest_chunk_tokens=tally.longest_chunk_tokens,
        size_bytes=size_bytes,
        embedded=tally.embedded,
        reused=tally.reused,
        before=before if difference is not None else None,
        difference=difference,
    )


def _embeddings_file(catalog: Catalog, name: str, recipe: Recipe) -> Path | None:
    """What was embedded elsewhere, or by another encoder, is another file."""
    if not recipe.keep_embeddings:
        return None
    embedder = recipe.embedder
    made_by = {"encoder": embedder.digest, "runtime": embedder.runtime, "numeric_class": numeric_class()}
    return catalog.embeddings_folder(name) / f"{short_id(digest_json({**made_by}))}.sqlite"


def _difference(catalog: Catalog, name: str, before: str, final: Path) -> TableDifference | None:
    try:
        return table_difference(catalog.version_folder(name, before) / CHUNKS_FILE, final / CHUNKS_FILE, listed=_LISTED_CHANGES)
    except Damaged:
        return None


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


def _write_version(
    staged: Path,
    documents: Iterable[Document | Skipped],
    recipe: Recipe,
    tally: _Tally,
    progress: Progress,
    *,
    embeddings: Path | None,
) -> Manifest:
    with Scratch.open(staged / "scratch.sqlite") as scratch:
        _load(documents, recipe.chunker, scratch, tally)
        counts = Counts(**dict(zip(("documents", "chunks", "tokens"), scratch.counts(), strict=True)), sentences=0)
        if not counts.chunks:
            raise _nothing(tally)
        dimension, languages = recipe.embedder.dimension, tally.languages_used(recipe.languages)
        with Embeddings.open(embeddings, dimension=dimension, reserved_bytes=_reserved_bytes(staged, counts.chunks, dimension)) as kept:
            sent = _embed_elsewhere(scratch, recipe.elsewhere, kept, progress) if recipe.elsewhere else 0
            before = kept.added
            passages = Passages(recipe.embedder, kept)
            progress.stage("Embedding", counts.chunks)
            vectors = _embedded(scratch, passages, progress)
            store, vector_files = _write_vectors(staged, vectors, counts.chunks, recipe.store, dimension)
            tally.embedded, tally.reused = kept.added - before + sent, kept.found - sent
            progress.stage("Sentences", counts.chunks)
            sentences = write_evidence(staged, scratch, passages, languages, progress)
            unrelated = unrelated_cosine(passages.vectors(UNRELATED))
            kept.drop_unused(_texts(scratch), counts.chunks + sentences + len(UNRELATED))
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
            dimension=dimension,
            window_tokens=recipe.embedder.tokenizer.window_tokens,
            unrelated_cosine=unrelated,
        ),
        store=store,
        keywords=keyword_part(languages),
        sentences=sentence_part(),
        counts=counts.model_copy(update={"sentences": sentences}),
        skipped=tally.report(),
        built_with={
            "python": ".".join(map(str, sys.version_info[:3])),
            "sqlite": sqlite3.sqlite_version,
            "rag-service": __version__,
            **{package: version(package) for package in ("bm25s", "faiss-cpu", "numpy", "onnxruntime", "PyStemmer", "tokenizers")},
        },
        files=list_files(staged, [*vector_files, *EVIDENCE_FILES, CHUNKS_FILE]),
    )


def _write_vectors(
    staged: Path,
    vectors: Iterator[Matrix],
    rows: int,
    chosen: Literal["auto", "flat", "hnsw", "ivf", "pgvector", "qdrant"],
    dimension: int,
) -> tuple[StorePart, list[str]]:
    """What the manifest says of the store, and which of its files belong to the version."""
    if chosen == "pgvector" or chosen == "qdrant":
        with RowWriter(staged / VECTORS_TO_SHARE_FILE, "f4") as file:
            for batch in vectors:
                file.add(batch)
        digest = f"sha256:{file_digest(staged / VECTORS_TO_SHARE_FILE).sha256}"
        if chosen == "qdrant":
            return StorePart(kind="qdrant", parameters={**qdrant_parameters(rows, dimension, digest)}), []
        return StorePart(kind="pgvector", parameters={**pgvector_parameters(rows), "vectors": digest}), []
    kind = kind_for(rows, chosen)
    files = write_store(staged, vectors, dimension=dimension, kind=kind)
    return StorePart(kind=kind, parameters={**build_parameters(kind, rows)}), files


def _reserved_bytes(staged: Path, chunks: int, dimension: int) -> int:
    """What the rest of a build may need on the disk: the tables, the vectors of chunks twice, and those of their sentences."""
    return (staged / "scratch.sqlite").stat().st_size + (_COPIES * 4 + _SENTENCES) * chunks * dimension


def _load(documents: Iterable[Document | Skipped], chunker: Chunker, scratch: Scratch, tally: _Tally) -> None:
    for document in documents:
        if isinstance(document, Skipped):
            tally.skip(document)
            continue
        chunks = chunker(document)
        scratch.add(_facts(document), chunks)
        tally.languages[language_of(document.text)] += 1
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


def _embedded(scratch: Scratch, passages: Passages, progress: Progress) -> Iterator[Matrix]:
    chunks = scratch.chunks()
    while batch := list(islice(chunks, BATCH)):
        yield passages.vectors([chunk.embedded_text for chunk in batch])
        progress.advance(len(batch))


def _embed_elsewhere(scratch: Scratch, elsewhere: BulkEmbedder, kept: Embeddings, progress: Progress) -> int:
    """Has everything embedded that is not kept yet, in waves that memory holds; how many chunks that were."""
    progress.stage("Elsewhere", None)
    chunks = 0
    for number, texts in enumerate((_chunk_texts(scratch), _texts(scratch))):
        while wave := list(islice(texts, _WAVE)):
            batches = (wave[first : first + BATCH] for first in range(0, len(wave), BATCH))
            missing = list(dict.fromkeys(text for batch in batches for text in kept.missing(batch)))
            for embedded, vectors in elsewhere.embed(missing) if missing else ():
                kept.add(embedded, vectors)
                progress.advance(len(embedded))
            chunks += len(missing) if number == 0 else 0
    return chunks


def _chunk_texts(scratch: Scratch) -> Iterator[str]:
    return (chunk.embedded_text for chunk in scratch.chunks())


def _texts(scratch: Scratch) -> Iterator[str]:
    """Everything of this build that was embedded."""
    yield from UNRELATED
    for chunk in scratch.chunks():
        yield chunk.embedded_text
        yield from (chunk.text[unit.start : unit.end] for unit in units(chunk.text, chunk.heading_path))


def _intact(catalog: Catalog, name: str, manifest: Manifest) -> BuildFacts | None:
    """The facts of a version that is already there, or None where there is none or it is damaged."""
    return intact_version(catalog.version_folder(name, manifest.version)) if catalog.holds(name, manifest.version) else None


def _nothing(tally: _Tally) -> NothingToIndex:
    reasons = ", ".join(f"{count} {reason}" for reason, count in tally.report().by_reason.items())
    first = "; ".join(f"{skipped.source}: {skipped.reason} ({skipped.detail})" for skipped in tally.listed[:3])
    return NothingToIndex(
        "none of the documents can be used" + (f": {reasons}" if reasons else ""),
        hint=first or "give a file, folder or glob with Markdown, text, HTML, PDF, DOCX, CSV or JSONL",
    )
