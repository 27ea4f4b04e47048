"""Building an index version the way the settings say."""

from importlib.metadata import version
from pathlib import Path

from rag_service import loading, normalise
from rag_service.build import Built, Recipe, build_index
from rag_service.catalog import Catalog, check_name
from rag_service.chunking import ChunkParameters, describe, make_chunker
from rag_service.digests import digest_json, file_digest
from rag_service.loading import LoadLimits, load
from rag_service.manifest import Part
from rag_service.ports import Progress
from rag_service.settings import Settings
from rag_service.wiring.encoders import embedder_to_build_with


def build(settings: Settings, catalog: Catalog, name: str, source: str, progress: Progress) -> Built:
    """Documents of `source` to a version of index `name`. Raises what `load`, the encoder and `build_index` raise."""
    check_name(name)
    limits = LoadLimits(max_file_bytes=settings.max_file_bytes, max_document_chars=settings.max_document_chars)
    documents = load(source, limits=limits, progress=progress)  # finds the files now: a wrong path is said before an encoder loads
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
        store=settings.store,
        languages=settings.languages,
        keep_embeddings=settings.keep_embeddings,
    )
    return build_index(catalog, name, documents, recipe, source=source, progress=progress)


def _loader_part(limits: LoadLimits) -> Part:
    """Limits, loader code and parser versions: whatever decides what text an input becomes."""
    parameters = {"max_file_bytes": limits.max_file_bytes, "max_document_chars": limits.max_document_chars}
    folder = Path(loading.__file__).parent
    sources = [*sorted(folder.glob("*.py")), Path(normalise.__file__)]
    code = {path.name: file_digest(path).sha256 for path in sources}
    parsers = {package: version(package) for package in ("lxml", "markdown-it-py", "mdit-py-plugins", "pypdf", "python-docx", "selectolax")}
    digest = digest_json({"parameters": parameters, "code": code, "parsers": parsers})
    return Part(name="files", digest=digest, parameters={**parameters})
