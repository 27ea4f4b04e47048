"""Which encoder: found, exported, or the very one that an index was built with."""

import shutil
import threading
from pathlib import Path
from typing import assert_never
from weakref import WeakValueDictionary

from rag_service.catalog import ENCODERS_FOLDER, Catalog
from rag_service.digests import short_id
from rag_service.durable import publish_folder, remove_stale_staging, staging_folder, storage_errors
from rag_service.embedders.encoder import DEFAULT_ENCODER, PINS, EncoderCard, known_source, read_card, verified_card
from rag_service.errors import Damaged, Mismatch, NotFound
from rag_service.manifest import Manifest
from rag_service.ports import Embedder
from rag_service.settings import Settings


def embedder_to_build_with(settings: Settings, catalog: Catalog) -> Embedder:
    """The embedder that the settings choose. An exported encoder that is not there yet is exported.

    Raises `NotFound` for an unknown encoder and `MissingDependency` when exporting needs an extra that is not installed.
    """
    match settings.embedder:
        case "onnx":
            from rag_service.embedders.onnx import OnnxEmbedder

            folder = find_encoder(settings, catalog) or export_encoder(settings, catalog)[1]
            return OnnxEmbedder.open(folder, threads=settings.build_threads)
        case "sentence_transformers":
            from rag_service.embedders.sentence_transformers import SentenceTransformersEmbedder

            return SentenceTransformersEmbedder.open(settings.encoder, device=settings.device)
        case "langchain":
            from rag_service.embedders.langchain import LangChainEmbedder

            return LangChainEmbedder.from_spec(settings.encoder)
        case _:
            assert_never(settings.embedder)


def find_encoder(settings: Settings, catalog: Catalog) -> Path | None:
    """The newest exported encoder that the settings ask for: by its id, or exported from that very model in that precision."""
    folders = [(card, folder) for card, folder in exported_encoders(catalog) if isinstance(card, EncoderCard)]
    found = [folder for card, folder in folders if card.id == settings.encoder]
    if not found:
        source = known_source(settings.encoder)  # a name alone proves nothing: other weights may be called the same
        found = [folder for card, folder in folders if card.source == source and card.precision == settings.precision]
    return max(found, key=lambda folder: folder.stat().st_mtime_ns, default=None)


def exported_encoders(catalog: Catalog) -> list[tuple[EncoderCard | Damaged, Path]]:
    """Every folder in encoders/ with its card, or with what is wrong with it."""
    found: list[tuple[EncoderCard | Damaged, Path]] = []
    for folder in catalog.encoders():
        try:
            found.append((read_card(folder), folder))
        except (Damaged, NotFound) as error:
            found.append((Damaged(error.message, hint=error.hint), folder))
    return found


def export_encoder(settings: Settings, catalog: Catalog) -> tuple[EncoderCard, Path, float]:
    """Exports the encoder that the settings name; gives its card, its folder and the least cosine to the original."""
    known = settings.encoder in PINS or Path(settings.encoder).is_dir() or settings.encoder.count("/") == 1
    if not known:
        raise NotFound(
            f"there is no encoder {settings.encoder!r}",
            hint=f"known: {', '.join(PINS)}; otherwise give a model folder, or owner/model for one from a hub (needs network)",
            param="encoder",
        )
    from rag_service.embedders.sentence_transformers import require_build_extra

    require_build_extra()
    from rag_service.embedders.export import check_agreement
    from rag_service.embedders.export import export_encoder as export

    encoders = catalog.encoders_folder()
    with catalog.building(ENCODERS_FOLDER):
        remove_stale_staging(encoders)
        with staging_folder(encoders) as staged, storage_errors(f"encoder {settings.encoder!r}"):
            unnamed = staged / "export"
            unnamed.mkdir()
            card = export(settings.encoder, unnamed, precision=settings.precision)
            named = unnamed.rename(staged / card.id)
            least_cosine = check_agreement(settings.encoder, named, precision=settings.precision)  # before anybody could use it
            final = encoders / card.id
            if not _is_intact(final):
                shutil.rmtree(final, ignore_errors=True)
                publish_folder(named, final)
    return card, final, least_cosine


def _is_intact(folder: Path) -> bool:
    try:
        verified_card(folder)
    except (Damaged, NotFound):
        return False
    return True


def verify_encoder(manifest: Manifest, catalog: Catalog) -> EncoderCard | None:
    """Compares every file of the exported encoder that an index version needs; None where it needs no exported one.

    Raises `NotFound` or `Damaged`.
    """
    if manifest.encoder.embedder != "onnx":
        return None
    return verified_card(catalog.encoder_folder(short_id(manifest.encoder.digest)))


class Encoders:
    """Opens encoders, each once: as long as anybody uses one, whoever else needs it shares it. Safe to use from several threads."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._open: WeakValueDictionary[tuple[str, str], Embedder] = WeakValueDictionary()
        self._opening = threading.Lock()

    def of(self, manifest: Manifest) -> Embedder:
        """Raises what `embedder_of` raises."""
        key = (manifest.encoder.embedder, manifest.encoder.digest)
        with self._opening:
            embedder = self._open.get(key)
            if embedder is None:
                embedder = self._open[key] = embedder_of(manifest, self._catalog, self._settings)
        return embedder


def embedder_of(manifest: Manifest, catalog: Catalog, settings: Settings) -> Embedder:
    """The very encoder that an index version was built with. Raises `NotFound`, `Damaged` or `Mismatch`."""
    encoder = manifest.encoder
    if encoder.embedder == "onnx":
        from rag_service.embedders.onnx import OnnxEmbedder

        embedder: Embedder = OnnxEmbedder.open(catalog.encoder_folder(short_id(encoder.digest)))
    else:
        chosen = settings.model_copy(update={"embedder": encoder.embedder, "encoder": settings.encoder})
        if settings.encoder == DEFAULT_ENCODER and encoder.name != DEFAULT_ENCODER:
            chosen = chosen.model_copy(update={"encoder": encoder.name})
        embedder = embedder_to_build_with(chosen, catalog)
    if embedder.digest != encoder.digest:
        raise Mismatch(
            f"this index was built with {encoder.name} ({short_id(encoder.digest)}); what is here is "
            f"{embedder.name} ({short_id(embedder.digest)})",
            hint="restore the encoder that the index was built with, or build the index again",
        )
    return embedder
