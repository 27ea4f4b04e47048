"""Building an index version the way the settings say."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rag_service import loading, normalise
from rag_service.build import Built, Recipe, build_index
from rag_service.catalog import Catalog, check_name
from rag_service.chunking import ChunkParameters, describe, make_chunker
from rag_service.digests import digest_json, file_digest, short_id
from rag_service.errors import InvalidSettings
from rag_service.loading import LoadLimits, load
from rag_service.manifest import Part
from rag_service.ports import Progress
from rag_service.settings import Settings
from rag_service.wiring.encoders import embedder_to_build_with
from rag_service.wiring.qdrant import sharing


def build(
    settings: Settings,
    catalog: Catalog,
    name: str,
    source: str,
    progress: Progress,
    *,
    ray: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Built:
    """Documents of `source` to a version of index `name`; embedded on the Ray cluster at the address `ray`, where one is given.

    `tell` is told which machines of the cluster work. Raises what `load`, the encoder, the cluster and `build_index` raise.
    """
    check_name(name)
    limits = LoadLimits(max_file_bytes=settings.max_file_bytes, max_document_chars=settings.max_document_chars)
    documents = load(source, limits=limits, progress=progress)  # finds the files now: a wrong path is said before an encoder loads
    share = sharing(settings)  # is asked now: a wrong key is said before anything is embedded
    embedder = embedder_to_build_with(settings, catalog)
    parameters = ChunkParameters(
        max_tokens=settings.chunk_tokens, overlap_tokens=settings.chunk_overlap_tokens, context=settings.chunk_context
    )
    recipe = Recipe(
        embedder=embedder,
        embedder_kind=settings.embedder,
        chunker=make_chunker(embedder.tokenizer, parameters),
        chunker_part=describe(parameters, encoder_digest=embedder.digest),
        loader_part=_loader_part(limits),
        store="pgvector" if catalog.shares else _kind(settings),
        share=share,
        languages=settings.languages,
        keep_embeddings=settings.keep_embeddings,
    )
    if ray is None:
        return build_index(catalog, name, documents, recipe, source=source, progress=progress)
    if settings.embedder != "onnx" or not settings.keep_embeddings:
        raise InvalidSettings(
            "a cluster embeds with exported encoders, and what it gives is kept",
            hint="set RAG_EMBEDDER=onnx and RAG_KEEP_EMBEDDINGS=true, which are the defaults",
        )
    from rag_service.embedders.ray_cluster import RayCluster

    folder = catalog.encoder_folder(short_id(embedder.digest))
    with RayCluster.open(ray, folder, threads=settings.build_threads, tell=tell) as cluster:
        return build_index(catalog, name, documents, replace(recipe, elsewhere=cluster), source=source, progress=progress)


def _kind(settings: Settings) -> Literal["auto", "flat", "hnsw", "ivf", "qdrant"]:
    """An index that is built apart from the database, as by an evaluation, is as it is by default."""
    match settings.store:
        case "flat" | "hnsw" | "ivf" | "qdrant" as kind:
            return kind
        case _:
            return "auto"


def _loader_part(limits: LoadLimits) -> Part:
    """Limits, loader code and parser versions: whatever decides what text an input becomes."""
    parameters = {"max_file_bytes": limits.max_file_bytes, "max_document_chars": limits.max_document_chars}
    folder = Path(loading.__file__).parent
    sources = [*sorted(folder.glob("*.py")), Path(normalise.__file__)]
    code = {path.name: file_digest(path).sha256 for path in sources}
    parsers = {package: version(package) for package in ("lxml", "markdown-it-py", "mdit-py-plugins", "pypdf", "python-docx", "selectolax")}
    digest = digest_json({"parameters": parameters, "code": code, "parsers": parsers})
    return Part(name="files", digest=digest, parameters={**parameters})
