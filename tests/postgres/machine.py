"""A machine that serves an index in PostgreSQL: a folder of its own, with nothing in it at first, and the database of all."""

from pathlib import Path
from typing import Any

from rag_service.catalog import Catalog
from rag_service.question import Question
from rag_service.settings import Settings, load_settings
from rag_service.wiring.activating import activate
from rag_service.wiring.releases import make_release, open_release
from rag_service.wiring.stores import open_catalog
from tests.doubles import HOLIDAYS


class Machine:
    def __init__(self, folder: Path, url: str) -> None:
        self.settings: Settings = load_settings({}, indexes=folder / "indexes", store=url, name="handbook")
        self.catalog: Catalog = open_catalog(self.settings)
        self.folder = folder
        self.environ = {"RAG_STORE": url, "RAG_INDEXES": str(folder / "indexes"), "RAG_NAME": "handbook"}

    def activate(self, version: str, **changed: object) -> str:
        settings = self.settings.model_copy(update=changed)
        release = make_release(settings, self.catalog, "handbook", version)
        activate(settings, self.catalog, "handbook", release, who="test")
        return release.id

    def ask(self) -> Any:
        release = self.catalog.release("handbook", self.catalog.active_id("handbook"))
        return open_release(self.settings, self.catalog, "handbook", release).pipeline.ask(Question(HOLIDAYS))
