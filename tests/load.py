"""Editions of some pages, of which no two share a chunk, and clients that ask about them: an answer of two editions gives itself away."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from rag_service.catalog import Catalog
from rag_service.release import Release
from rag_service.settings import load_settings
from rag_service.stores.chunks import SqliteChunks
from rag_service.wiring.releases import make_release
from tests.doubles import HOLIDAYS

CLIENTS = 24


def write_pages(folder: Path, edition: int) -> Path:
    """Forty pages, of which one says which edition it is."""
    folder.mkdir(exist_ok=True)
    for number in range(40):
        said = f"This is edition {edition}." if number == edition % 40 else "It has stayed as it was."
        (folder / f"page{number:02}.md").write_text(f"# Page {number}\n\n{said} Room {number} has {number % 7 + 2} seats.\n")
    return folder


@dataclass(frozen=True)
class Editions:
    """Releases of several versions of one index."""

    releases: tuple[Release, ...]
    chunks: dict[str, set[str]]
    """Version → the ids of its chunks."""

    @property
    def served(self) -> set[tuple[str, str]]:
        """Each release with the version that it serves."""
        return {(release.id, release.index.version) for release in self.releases}


def make_editions(root: Path, build: Callable[..., Any], folder: Path) -> Editions:
    """What `handbook` serves already, and two editions of the pages."""
    catalog, settings = Catalog(root), load_settings({}, indexes=root)
    versions = [catalog.release("handbook", catalog.active_id("handbook")).index.version]
    versions += [build(root, write_pages(folder, edition)).manifest.version for edition in (1, 2)]
    releases = tuple(make_release(settings, catalog, "handbook", version) for version in versions)
    chunks = {}
    for release in releases:
        catalog.add_release("handbook", release)
        table = SqliteChunks.open(catalog.version_folder("handbook", release.index.version) / "chunks.sqlite")
        chunks[release.index.version] = {chunk.id for chunk in table.chunks(range(len(table)))}
        table.close()
    assert not set.intersection(*chunks.values())
    return Editions(releases, chunks)


@dataclass
class Load:
    """Asks so many questions a second, whatever the answers take, by up to `CLIENTS` clients on connections of their own."""

    port: int
    chunks: dict[str, set[str]]
    """Version → the ids of its chunks."""
    per_s: float
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Release and version → how many."""
    errors: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _local: threading.local = field(default_factory=threading.local)
    _connections: list[HTTPConnection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    QUESTIONS = (HOLIDAYS, "How many seats has room 7?", "Which edition is this?", "Who wears a yellow badge?", "What is the weather?")

    @property
    def asked(self) -> int:
        return sum(self.answers.values()) + len(self.errors)

    def run(self, stop: threading.Event) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            due_s, number = time.monotonic(), 0
            while not stop.is_set():
                pool.submit(self._ask, number)
                number += 1
                due_s += 1 / self.per_s
                time.sleep(max(due_s - time.monotonic(), 0))
        for connection in self._connections:
            connection.close()

    def _ask(self, number: int) -> None:
        try:
            began_s = time.monotonic()
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
                self._connections.append(connection)
            body = json.dumps({"question": f"{self.QUESTIONS[number % 5]}", "request_id": str(number)})
            connection.request("POST", "/ask", body, {"content-type": "application/json"})
            response = connection.getresponse()
            reply = json.loads(response.read())
            problem = "" if response.status == 200 else f"{response.status}: {reply}"
            problem = problem or self._mixture(reply)
            took_s = time.monotonic() - began_s
        except Exception as error:  # noqa: BLE001 - whatever it is, it counts
            problem, took_s, reply = f"{type(error).__name__}: {error}", 0.0, {}
            self._local.connection = None
        with self._lock:
            self.slowest_s = max(self.slowest_s, took_s)
            if problem:
                self.errors.append(problem[:300])
            else:
                self.answers[reply["trace"]["release"]["id"], reply["trace"]["index"]["version"]] += 1

    def _mixture(self, reply: Any) -> str:
        version = reply["trace"]["index"]["version"]
        shown = {hit["chunk_id"] for hit in reply["hits"]} | {citation["chunk_id"] for citation in reply["citations"]}
        return "" if shown <= self.chunks[version] else f"chunks of another version than {version}: {shown - self.chunks[version]}"
