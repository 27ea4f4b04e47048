"""Releases: made from settings, and opened, with proof, to pipelines that answer."""

import logging
import weakref
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.centroid import centroid_of
from rag_service.deployment import Deployment, describe_deployment, running_code
from rag_service.digests import short_id
from rag_service.durable import in_use
from rag_service.errors import Damaged, Mismatch, StorageFailed
from rag_service.lexical.bm25 import Bm25Index
from rag_service.manifest import CHUNKS_FILE, MANIFEST_FILE, BuildFacts, Manifest, read_build_facts, read_manifest
from rag_service.opened import Opened, Report
from rag_service.ports import ChunkTable, Embedder, Generator, Reranker, VectorStore
from rag_service.prompt import load_template
from rag_service.record import EmbedderIdentity, IndexFacts, IndexIdentity, Lineage
from rag_service.release import Checks, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, Retrieval
from rag_service.retrieval import Retriever
from rag_service.settings import Settings
from rag_service.stored import Scalar, verify_files
from rag_service.stores.chunks import SqliteChunks
from rag_service.stores.neighbours import open_neighbours
from rag_service.stores.sentences import SentenceArrays
from rag_service.verified import verified_version
from rag_service.wiring.encoders import Encoders, embedder_of
from rag_service.wiring.generators import generator_options, generator_spec, open_generator
from rag_service.wiring.rerankers import chosen_reranker, open_reranker
from rag_service.wiring.stores import open_vectors

LEAST_CANARY_COSINE = 0.995
"""What a stored vector and the encoder's vector of the same text must reach. The same encoder on the same kind of machine gives 1.0; the
int8 against the fp32 weights of one model give about 0.985, another model of the same dimension next to nothing."""

CONDENSE_TEMPLATE = "condense/1"
"""Part of the code: its bytes are in the digest of `running_code`."""

_CANARY_CHUNKS = 4

Verify = Literal["cached", "full"]

logger = logging.getLogger("rag_service.wiring")
_T = TypeVar("_T")


def deployment_of(settings: Settings) -> Deployment:
    return describe_deployment(
        environment=settings.environment, declared_image=settings.container_image, declared_commit=settings.code_commit
    )


def make_release(settings: Settings, catalog: Catalog, name: str, index_version: str, *, encoders: Encoders | None = None) -> Release:
    """The release that serves `index_version` as the settings say. Opens the encoder and the generator to take their digests; `encoders`
    shares an encoder that is open.
    """
    manifest = read_manifest(catalog.version_folder(name, index_version))
    template = load_template(settings.prompt)
    return Release(
        index=IndexRef(version=manifest.version, digest=manifest.digest),
        encoder=NamedDigest(name=manifest.encoder.name, digest=manifest.encoder.digest),
        chunker=NamedDigest(name=manifest.chunker.name, digest=manifest.chunker.digest),
        retrieval=Retrieval(
            mode=settings.retrieval, top_k=settings.top_k, per_document=settings.per_document, min_confidence=settings.min_confidence
        ),
        reranker=chosen_reranker(settings),
        prompt=PromptRef(name=template.name, version=template.version, digest=template.digest),
        generator=_chosen_generator(settings, (encoders or Encoders(settings, catalog)).of(manifest)),
        checks=Checks(support=settings.support),
        code=running_code(),
    )


def with_generator(release: Release, settings: Settings, catalog: Catalog, name: str) -> Release:
    """`release` with the generator that the settings say, and all else as it was."""
    manifest = read_manifest(catalog.version_folder(name, release.index.version))
    return release.model_copy(update={"generator": _chosen_generator(settings, embedder_of(manifest, catalog, settings))})


def _chosen_generator(settings: Settings, embedder: Embedder) -> GeneratorRef:
    spec, options = generator_spec(settings), generator_options(settings)
    with open_generator(spec, options, embedder) as generator:
        return _generator_ref(spec, options, generator)


def _generator_ref(spec: str, options: dict[str, Scalar], generator: Generator) -> GeneratorRef:
    return GeneratorRef(spec=spec, options=options, name=generator.name, digest=generator.digest, parameters={**generator.parameters})


def open_release(
    settings: Settings,
    catalog: Catalog,
    name: str,
    release: Release,
    *,
    deployment: Deployment | None = None,
    report: Report = lambda _check, _state: None,
    encoders: Encoders | None = None,
    verify: Verify = "cached",
    sampled_chunks: int = _CANARY_CHUNKS,
) -> Opened:
    """Opens and proves everything that answering needs, before the first question. What it holds is released with its last reader.

    Checks, in order: every file of the index version against the manifest, the encoder's files and digest, dimension and row counts,
    `sampled_chunks` stored vectors against what the encoder gives now, the generator. Raises what the failing check raises. `encoders`
    shares an encoder that is open; `verify` says whether files that have not changed since they were last read are read again.
    """
    encoders = encoders or Encoders(settings, catalog)
    folder = catalog.version_folder(name, release.index.version)
    resources = ExitStack()
    with resources:
        if (folder / MANIFEST_FILE).is_file():
            resources.enter_context(in_use(folder / MANIFEST_FILE))
        manifest, facts = proved("manifest", report, lambda: _verified_manifest(catalog, name, release, verify))
        embedder = proved("encoder", report, lambda: _warm(encoders.of(manifest)))
        reranker = open_reranker(release.reranker) if release.reranker else None
        vectors = partial(open_vectors, settings, catalog, name, folder, manifest, full=verify == "full")
        retriever = proved("index", report, lambda: _open_index(vectors(), folder, manifest, embedder, release, reranker, resources))
        proved("canary", report, lambda: _check_canary(embedder, retriever.store, retriever.chunks, sampled_chunks))
        template = load_template(f"{release.prompt.name}/{release.prompt.version}")
        opening = open_generator(release.generator.spec, release.generator.options, embedder)
        generator = proved("generator", report, lambda: resources.enter_context(opening))
        running = release.model_copy(
            update={
                "prompt": PromptRef(name=template.name, version=template.version, digest=template.digest),
                "generator": _generator_ref(release.generator.spec, release.generator.options, generator),
                "code": running_code(),
            }
        )
        pipeline = Pipeline(
            lineage=Lineage(
                release=running,
                index=_index_identity(name, manifest, facts),
                embedder=EmbedderIdentity(embedder.name, embedder.digest, embedder.dimension, embedder.runtime, embedder.revision),
                deployment=deployment or deployment_of(settings),
            ),
            embedder=embedder,
            retriever=retriever,
            template=template,
            condense_template=load_template(CONDENSE_TEMPLATE, condensing=True),
            generator=generator,
            max_question_chars=settings.max_question_chars,
            facts=IndexFacts(centroid_of(retriever.store), manifest.skipped.by_reason),
        )
        weakref.finalize(pipeline, resources.pop_all().close)
    return Opened(pipeline, _differences(release, running))


def open_chunks(catalog: Catalog, name: str, version: str) -> ChunkTable:
    """The chunks of an index version that need not be the one that is served; closed with the table's last reader.

    Raises `NotFound` or `Damaged`.
    """
    folder = catalog.version_folder(name, version)
    manifest = read_manifest(folder)
    verify_files(folder, {CHUNKS_FILE: manifest.files[CHUNKS_FILE]}, hint="build the index again")
    return SqliteChunks.open(folder / CHUNKS_FILE)


def remember(catalog: Catalog, name: str, opened: Opened) -> None:
    """Stores the release that really runs, so that the id in its traces can be looked up. A read-only folder does not stop anything."""
    release = opened.pipeline.lineage.release
    try:
        catalog.add_release(name, release)
    except StorageFailed as error:
        logger.warning("release %s cannot be stored: %s", release.id, error.message)


def proved(check: str, report: Report, prove: Callable[[], _T]) -> _T:
    """What `prove` gives, with `report` told how the check went."""
    report(check, "checking")
    try:
        result = prove()
    except Exception:
        report(check, "failed")
        raise
    report(check, "ok")
    return result


def _verified_manifest(catalog: Catalog, name: str, release: Release, verify: Verify) -> tuple[Manifest, BuildFacts]:
    folder = catalog.version_folder(name, release.index.version)
    manifest = read_manifest(folder)
    if manifest.digest != release.index.digest:
        raise Damaged(f"index version {folder.name} is not the one that the release names", hint="activate the index again")
    for part, named, built in (("encoder", release.encoder, manifest.encoder), ("chunker", release.chunker, manifest.chunker)):
        if named.digest != built.digest:
            raise Mismatch(
                f"the release names the {part} {named.name} ({short_id(named.digest)}), but its index version was built with "
                f"{built.name} ({short_id(built.digest)})",
                hint="activate the index again",
            )
    notes = catalog.notes_path(name, release.index.version)
    return verified_version(folder, notes=notes, full=verify == "full"), read_build_facts(folder)


def _warm(embedder: Embedder) -> Embedder:
    vector = embedder.embed_query("Is the service ready to answer?")
    norm = float(np.linalg.norm(vector))
    if vector.shape != (embedder.dimension,) or not abs(norm - 1.0) < 1e-3:
        raise Mismatch(f"{embedder.name} gives vectors of shape {vector.shape} and length {norm:.3f}", hint="export the encoder again")
    return embedder


def _open_index(
    store: VectorStore,
    folder: Path,
    manifest: Manifest,
    embedder: Embedder,
    release: Release,
    reranker: Reranker | None,
    resources: ExitStack,
) -> Retriever:
    chunks = resources.enter_context(closing(SqliteChunks.open(folder / CHUNKS_FILE)))
    if store.dimension != embedder.dimension:
        raise Mismatch(
            f"the index has vectors of {store.dimension} dimensions, the encoder {embedder.name} gives {embedder.dimension}",
            hint="build the index again with this encoder",
        )
    if not len(store) == len(chunks) == manifest.counts.chunks:
        raise Damaged(
            f"the index has {len(store)} vectors for {len(chunks)} chunks, its manifest says {manifest.counts.chunks}",
            hint="build the index again",
        )
    return Retriever(
        store=store,
        keywords=Bm25Index.open(folder, rows=manifest.counts.chunks),
        sentences=SentenceArrays.open(folder, chunks=manifest.counts.chunks, dimension=embedder.dimension),
        chunks=chunks,
        neighbours=open_neighbours(folder, chunks=manifest.counts.chunks),
        languages=tuple(manifest.keywords.languages),
        unrelated=manifest.encoder.unrelated_cosine,
        mode=release.retrieval.mode,
        per_document=release.retrieval.per_document,
        reranker=reranker,
        rerank_depth=release.reranker.depth if release.reranker else 0,
    )


def _check_canary(embedder: Embedder, store: VectorStore, chunks: ChunkTable, sampled: int) -> None:
    count = len(store)
    rows = sorted({round(step * (count - 1) / max(sampled - 1, 1)) for step in range(sampled)}) if count else []
    texts = [chunk.embedded_text for chunk in chunks.chunks(rows)]
    cosines = np.einsum("nd,nd->n", store.vectors(rows), embedder.embed_passages(texts))
    if len(rows) and float(cosines.min()) < LEAST_CANARY_COSINE:
        raise Mismatch(
            f"the encoder {embedder.name} does not reproduce the index's vectors: least cosine {float(cosines.min()):.4f}, "
            f"needed {LEAST_CANARY_COSINE}",
            hint="the index was built with another encoder, or on a machine whose arithmetic differs: build it again here",
        )


def _index_identity(name: str, manifest: Manifest, facts: BuildFacts) -> IndexIdentity:
    return IndexIdentity(
        name=name,
        version=manifest.version,
        digest=manifest.digest,
        corpus_digest=manifest.corpus_digest,
        built_at=facts.built_at,
        documents=manifest.counts.documents,
        chunks=manifest.counts.chunks,
    )


def _differences(stored: Release, running: Release) -> tuple[str, ...]:
    return tuple(part for part in ("code", "generator", "prompt") if getattr(stored, part) != getattr(running, part))
