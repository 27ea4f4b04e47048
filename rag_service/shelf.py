"""What lies in the folder of one index, for people and programs that look at it. Reads, and changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rag_service.catalog import Catalog
from rag_service.errors import NotFound, RagError
from rag_service.history import EMPTY, History
from rag_service.manifest import BuildFacts, Manifest, read_build_facts, read_manifest
from rag_service.release import Release

MOST_LISTED = 200
"""Of versions, and of releases."""


@dataclass(frozen=True, slots=True)
class ShelvedVersion:
    """`manifest` is None where it cannot be read, and `problem` then says why; `build` too, by itself."""

    id: str
    manifest: Manifest | None
    build: BuildFacts | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class ShelvedRelease:
    id: str
    release: Release | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Shelf:
    catalog: Catalog
    name: str

    def active(self) -> str | None:
        """Id of the active release; None where there is none, or the pointer cannot be read."""
        try:
            return self.catalog.active_id(self.name)
        except RagError:
            return None

    def active_release(self) -> Release | None:
        active = self.active()
        try:
            return self.release(active) if active is not None else None
        except RagError:
            return None

    def history(self) -> History:
        """Empty where it cannot be read."""
        try:
            return self.catalog.history(self.name)
        except RagError:
            return EMPTY

    def versions(self) -> list[ShelvedVersion]:
        """Newest first, at most `MOST_LISTED`."""
        return [self.version(identifier) for identifier in self.catalog.versions(self.name)[::-1][:MOST_LISTED]]

    def version(self, identifier: str) -> ShelvedVersion:
        """Raises `NotFound`."""
        folder = self.catalog.version_folder(self.name, identifier)
        try:
            return ShelvedVersion(identifier, read_manifest(folder), _facts(folder), None)
        except NotFound:
            raise
        except RagError as error:
            return ShelvedVersion(identifier, None, _facts(folder), error.message)

    def manifest(self, identifier: str) -> Manifest:
        """Raises `NotFound` or `Damaged`."""
        return read_manifest(self.catalog.version_folder(self.name, identifier))

    def has_version(self, identifier: str) -> bool:
        return self.catalog.version_folder(self.name, identifier).is_dir()

    def releases(self) -> list[ShelvedRelease]:
        """Newest first, at most `MOST_LISTED`."""
        return [self._shelved(identifier) for identifier in self.catalog.releases(self.name)[::-1][:MOST_LISTED]]

    def release(self, identifier: str) -> Release:
        """Raises `NotFound` or `Damaged`."""
        return self.catalog.release(self.name, identifier)

    def releases_of(self, version: str) -> Iterator[str]:
        """Ids of the listed releases that serve an index version, newest first."""
        return (found.id for found in self.releases() if found.release is not None and found.release.index.version == version)

    def _shelved(self, identifier: str) -> ShelvedRelease:
        try:
            return ShelvedRelease(identifier, self.release(identifier), None)
        except RagError as error:
            return ShelvedRelease(identifier, None, error.message)


def _facts(folder: Path) -> BuildFacts | None:
    try:
        return read_build_facts(folder)
    except RagError:
        return None
