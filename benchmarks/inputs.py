"""Where the benchmarks find the exported encoder and the question sets."""

import os
from pathlib import Path

from rag_service.catalog import Catalog
from rag_service.settings import Settings, load_settings
from rag_service.wiring.encoders import export_encoder, find_encoder

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT.parent / "shared" / "data"


def encoder_folder(settings: Settings) -> Path:
    catalog = Catalog(settings.indexes)
    return find_encoder(settings, catalog) or export_encoder(settings, catalog)[1]


def default_settings(**given: object) -> Settings:
    root = Path(os.environ.get("RAG_INDEXES") or PROJECT / "indexes")
    return load_settings({}, indexes=root, **given)
