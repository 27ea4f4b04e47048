"""The pipelines that answer: each little corpus is built, made a release of and opened the way that serves.

Builds of one corpus share what was embedded, so one without a document, or with others beside it, costs a tenth of a second. In a folder
that is kept, so do later runs.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.behaviours.case import Documents, Reply
from eval.behaviours.running import Silent
from eval.metrics.answers import without_citations
from rag_service.ask import Pipeline
from rag_service.catalog import ENCODERS_FOLDER, Catalog
from rag_service.digests import short_id
from rag_service.durable import storage_errors
from rag_service.embedders.encoder import DEFAULT_ENCODER
from rag_service.errors import InvalidInput, Mismatch, NothingToIndex, RagError
from rag_service.filters import parse_filter
from rag_service.manifest import Manifest, read_manifest
from rag_service.question import Question
from rag_service.record import Record
from rag_service.release import Release
from rag_service.settings import Settings

KEPT_BELOW = "behaviours"
"""Folder of what is kept, below the harness's own."""

_NO_DOCUMENT = parse_filter({"document_id": "a document that is not there"})


@dataclass(frozen=True, slots=True)
class Original:
    """A release, and the manifest of its index: what little indexes are made alike to."""

    release: Release
    manifest: Manifest

    @classmethod
    def of(cls, catalog: Catalog, name: str, release: Release) -> "Original":
        """A release of index `name`. From a catalog in a database its encoder is brought. Raises `NotFound` or `Damaged`."""
        manifest = read_manifest(catalog.version_folder(name, release.index.version))
        if manifest.encoder.embedder == "onnx":
            catalog.encoder_folder(short_id(manifest.encoder.digest))
        return cls(release, manifest)


class LittleIndexes:
    """Pipelines over little corpora, each opened once and kept. `root` is theirs alone; `changed` is applied to every pipeline."""

    def __init__(
        self,
        root: Path,
        settings: Settings,
        *,
        like: Original | None = None,
        changed: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline,
    ) -> None:
        self._root = root
        self._like = like
        self._settings = _building_like(like, settings).model_copy(update={"indexes": root})
        self._encoders_folder = settings.indexes / ENCODERS_FOLDER
        self._changed = changed
        self._opened: dict[Documents, Pipeline | NothingToIndex] = {}
        self._encoders: Any = None

    def ask(self, documents: Documents, question: str) -> Reply:
        """Raises what building and opening raise, but for documents of which nothing can be indexed: that is a reply."""
        filters = _NO_DOCUMENT if documents.searched == "hidden" else None
        try:
            pipeline = self.pipeline(documents)
        except NothingToIndex as error:
            return _of_error(error)
        deadline_s = time.monotonic() + self._settings.timeout_s
        try:
            return reply_of(pipeline.ask(Question(question, filters=filters, deadline_s=deadline_s)))
        except RagError as error:
            return _of_error(error)

    def pipeline(self, documents: Documents) -> Pipeline:
        """Raises `NothingToIndex`, and what building and opening raise."""
        indexed = replace(documents, searched="all")
        if indexed not in self._opened:
            try:
                self._opened[indexed] = self._open(indexed)
            except NothingToIndex as error:
                self._opened[indexed] = error
        found = self._opened[indexed]
        if isinstance(found, NothingToIndex):
            raise found
        return self._changed(_emptied(found) if documents.searched == "none" else found)

    def _open(self, documents: Documents) -> Pipeline:
        from rag_service.wiring.building import build  # loads FAISS, which reads OMP_NUM_THREADS then
        from rag_service.wiring.encoders import Encoders
        from rag_service.wiring.releases import make_release, open_release

        catalog, name = Catalog(self._root), _index_name(documents.folder)
        self._share_encoders(catalog)
        if self._encoders is None:
            self._encoders = Encoders(self._settings, catalog)
        with _source(documents) as source:
            version = build(self._settings, catalog, name, str(source), Silent()).manifest.version
        release = make_release(self._settings, catalog, name, version, encoders=self._encoders)
        if self._like is not None:
            release = _alike(self._like.release, release)
        return open_release(self._settings, catalog, name, release, encoders=self._encoders).pipeline

    def _share_encoders(self, catalog: Catalog) -> None:
        """An encoder is looked for, and exported to, where the service has it."""
        link, shared = catalog.encoders_folder(), self._encoders_folder.absolute()
        with storage_errors(str(link)):
            shared.mkdir(parents=True, exist_ok=True)
            catalog.root.mkdir(parents=True, exist_ok=True)
            if link.is_symlink() and link.readlink() != shared:
                link.unlink()
            if not link.exists():
                link.symlink_to(shared)


@contextmanager
def little_indexes(
    settings: Settings,
    *,
    home: Path | None = None,
    like: Original | None = None,
    changed: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline,
) -> Iterator[LittleIndexes]:
    """With these settings; where `like` is given, with its encoder, its chunks and all that its release says of answering.

    What is built stays in `home`, where one is given, for the next run.
    """
    with ExitStack() as stack:
        root = home / KEPT_BELOW if home is not None else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="behaviours-")))
        yield LittleIndexes(root, settings, like=like, changed=changed)


def reply_of(record: Record) -> Reply:
    return Reply(
        status=record.status,
        code=record.abstain_reason,
        answer=without_citations(record.answer or "", [citation.answer_span for citation in record.citations]),
        cites=tuple(dict.fromkeys(citation.chunk.document_id for citation in record.citations)),
        warnings=tuple(notice.code for notice in record.notices),
    )


def _of_error(error: RagError) -> Reply:
    return Reply(status="error", code=error.code, message=error.message)


def _emptied(pipeline: Pipeline) -> Pipeline:
    """The same over an index without a chunk. No build makes one: it refuses. But nothing may be made up where there is one."""
    from rag_service.stores.memory import MemoryStore

    nothing = MemoryStore(np.empty((0, pipeline.embedder.dimension), np.float32))
    return replace(pipeline, retriever=replace(pipeline.retriever, store=nothing))


def _index_name(folder: Path) -> str:
    """One a corpus, so that its variants share what was embedded."""
    return ("corpus-" + re.sub(r"[^a-z0-9]+", "-", folder.name.lower()))[:60].rstrip("-")


@contextmanager
def _source(documents: Documents) -> Iterator[Path]:
    """A folder that holds these documents and no others."""
    if not documents.without and documents.beside is None:
        yield documents.folder
        return
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder, storage_errors("a little corpus"):
        whole = Path(folder) / documents.folder.name
        shutil.copytree(documents.folder, whole)
        for name in documents.without:
            (whole / name).unlink()
        if documents.beside is not None:
            taken = {path.name for path in whole.iterdir()} & {path.name for path in documents.beside.iterdir()}
            if taken:
                raise InvalidInput(f"{min(taken)} is in {documents.folder.name} and in {documents.beside.name}", hint="rename one of them")
            shutil.copytree(documents.beside, whole, dirs_exist_ok=True)
        yield whole


def _building_like(like: Original | None, settings: Settings) -> Settings:
    """What decides an index, as the original was built; a little index is always searched exactly."""
    if like is None:
        return settings
    encoder, chunker = like.manifest.encoder, like.manifest.chunker.parameters
    if encoder.embedder == "onnx":
        name = short_id(encoder.digest)
    else:
        name = encoder.name if settings.encoder == DEFAULT_ENCODER else settings.encoder
    return Settings.model_validate(
        {
            **settings.model_dump(),
            "embedder": encoder.embedder,
            "encoder": name,
            "chunk_tokens": chunker["max_tokens"],
            "chunk_overlap_tokens": chunker["overlap_tokens"],
            "chunk_context": chunker["context"],
        }
    )


def _alike(original: Release, little: Release) -> Release:
    """The original over another index. Raises `Mismatch` where that has vectors of another encoder."""
    if little.encoder.digest != original.encoder.digest:
        raise Mismatch(
            f"release {original.id} was made with {original.encoder.name} ({short_id(original.encoder.digest)}); what is here is "
            f"{little.encoder.name} ({short_id(little.encoder.digest)})",
            hint="restore the encoder, or build and activate the index again",
        )
    return original.model_copy(update={"index": little.index, "encoder": little.encoder, "chunker": little.chunker, "code": little.code})
