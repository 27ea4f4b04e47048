"""The folder of indexes: where each artefact lies, and the pointer that says what is served.

    <root>/encoders/<id>/                    exported encoders
    <root>/<name>/versions/<id>/             index versions
    <root>/<name>/releases/<id>.json         releases
    <root>/<name>/ACTIVE                     the id of the release that is served, replaced atomically

Names reach the file system only through `check_name` and ids only through `_check_id`, so no caller can leave the root.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rag_service.durable import exclusive_lock, write_atomically
from rag_service.errors import Damaged, InvalidName, NotFound
from rag_service.release import Release
from rag_service.stored import read_addressed

ENCODERS_FOLDER = "encoders"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_ID = re.compile(r"[0-9a-f]{12}")


def check_name(name: str) -> str:
    """`name` itself if it can name an index. Raises `InvalidName`."""
    if not _NAME.fullmatch(name) or ".." in name or name == ENCODERS_FOLDER:
        raise InvalidName(
            f"{name!r} cannot name an index",
            hint="use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit (and not 'encoders')",
            param="name",
        )
    return name


def _check_id(identifier: str, what: str) -> str:
    if not _ID.fullmatch(identifier):
        raise NotFound(f"{identifier!r} is not the id of {what}", hint="ids are 12 hex digits; `rag-service index list` shows them")
    return identifier


@dataclass(frozen=True, slots=True)
class Catalog:
    """Paths and pointers below `root`. Holds no state of its own: every call reads the file system."""

    root: Path

    def names(self) -> list[str]:
        """Indexes with at least one version, sorted."""
        if not self.root.is_dir():
            return []
        named = sorted(folder.parent.name for folder in self.root.glob("*/versions") if _NAME.fullmatch(folder.parent.name))
        return [name for name in named if self.versions(name)]

    def index_folder(self, name: str) -> Path:
        return self.root / check_name(name)

    def versions_folder(self, name: str) -> Path:
        return self.index_folder(name) / "versions"

    def version_folder(self, name: str, version: str) -> Path:
        return self.versions_folder(name) / _check_id(version, "an index version")

    def versions(self, name: str) -> list[str]:
        """Version ids by modification time of their folders, oldest first."""
        folders = [folder for folder in self.versions_folder(name).glob("*") if _ID.fullmatch(folder.name)]
        return [folder.name for folder in sorted(folders, key=lambda folder: (folder.stat().st_mtime_ns, folder.name))]

    def encoders_folder(self) -> Path:
        return self.root / ENCODERS_FOLDER

    def encoder_folder(self, encoder: str) -> Path:
        return self.encoders_folder() / _check_id(encoder, "an encoder")

    def encoders(self) -> list[Path]:
        return sorted(folder for folder in self.encoders_folder().glob("*") if _ID.fullmatch(folder.name))

    @contextmanager
    def building(self, name: str) -> Iterator[None]:
        """Holds the build lock of an index (or of `encoders`). Raises `Conflict` if another process builds it."""
        folder = self.encoders_folder() if name == ENCODERS_FOLDER else self.index_folder(name)
        with exclusive_lock(folder / ".lock", doing=f"building {name!r}"):
            yield

    def add_release(self, name: str, release: Release) -> None:
        path = self.index_folder(name) / "releases" / f"{release.id}.json"
        if not path.exists() or path.read_bytes() != release.canonical():
            write_atomically(path, release.canonical())

    def release(self, name: str, identifier: str) -> Release:
        """Raises `NotFound`, or `Damaged` when the file is not what its name says."""
        path = self.index_folder(name) / "releases" / f"{_check_id(identifier, 'a release')}.json"
        if not path.is_file():
            raise NotFound(f"index {name!r} has no release {identifier}", hint=f"{_activate(name)} to make one")
        return read_addressed(Release, path, identifier, hint=f"{_activate(name)} to make a release anew")

    def releases(self, name: str) -> list[str]:
        """Release ids by modification time of their files, oldest first."""
        files = [path for path in (self.index_folder(name) / "releases").glob("*.json") if _ID.fullmatch(path.stem)]
        return [path.stem for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def release_of_version(self, name: str, version: str) -> str:
        """Id of the release made last that serves an index version. Raises `NotFound`."""
        _check_id(version, "an index version")
        for identifier in reversed(self.releases(name)):
            with suppress(Damaged):  # a release that cannot be read does not hide the others
                if self.release(name, identifier).index.version == version:
                    return identifier
        raise NotFound(f"no release serves index version {version}", hint=f"{_activate(name)} with it first", param="index_version")

    def active_path(self, name: str) -> Path:
        return self.index_folder(name) / "ACTIVE"

    def active_id(self, name: str) -> str:
        """The id of the release that is served now. Raises `NotFound` or `Damaged`."""
        try:
            content = self.active_path(name).read_text("ascii")
        except FileNotFoundError as error:
            raise self._nothing_active(name) from error
        except (UnicodeDecodeError, OSError) as error:
            raise Damaged(f"ACTIVE of {name!r} cannot be read", hint=_activate(name)) from error
        identifier = content.removesuffix("\n")
        if not _ID.fullmatch(identifier):
            raise Damaged(f"ACTIVE of {name!r} does not name a release", hint=_activate(name))
        return identifier

    def activate(self, name: str, release: Release) -> None:
        """Stores `release` and makes it what is served. Readers see the old pointer or the new one."""
        self.add_release(name, release)
        write_atomically(self.active_path(name), f"{release.id}\n".encode())

    def _nothing_active(self, name: str) -> NotFound:
        if self.versions(name):
            return NotFound(f"index {name!r} has no active release", hint=_activate(name))
        names = ", ".join(self.names()) or "none yet"
        return NotFound(
            f"there is no index {name!r} in {self.root}",
            hint=f"there are: {names}. Build one with `rag-service index build DOCUMENTS --name {name} --activate`",
        )


def _activate(name: str) -> str:
    return f"run `rag-service index activate --name {name}`"
