"""The folder of indexes: where each artefact lies, and the pointer that says what is served.

    <root>/encoders/<id>/                    exported encoders
    <root>/<name>/versions/<id>/             index versions
    <root>/<name>/embeddings/<id>.sqlite     vectors of passages, kept from build to build
    <root>/<name>/releases/<id>.json         releases
    <root>/<name>/ACTIVE                     the id of the release that is served, replaced atomically
    <root>/<name>/history.jsonl              what was served before
    <root>/<name>/rebuilt.json               when a build last came to a version that was there already
    <root>/<name>/canaries.jsonl             questions that a release must answer before it is served; written by people
    <root>/<name>/pulling/<id>/              what has come of a version that is being pulled; of an encoder below encoders/
    <root>/<name>/drift/                     what traffic is compared with, and the last report of that: see `drift.folder`
    <root>/<name>/verified/<id>.json         when the files of a version were last compared with their digests

Names reach the file system only through `check_name` and ids only through `check_id`, so no caller can leave the root.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rag_service.durable import (
    append_line,
    exclusive_lock,
    fsync_folder,
    in_use,
    publish_folder,
    remove_stale_staging,
    replace_folder,
    staging_folder,
    storage_errors,
    write_atomically,
)
from rag_service.errors import Conflict, Damaged, InvalidName, NotFound, StorageFailed
from rag_service.history import Action, History, Transition, pointer_in, pointer_to, read_transitions
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE, VECTORS_TO_SHARE_FILE, Manifest, read_manifest, verify_version
from rag_service.release import Release
from rag_service.stored import read_addressed
from rag_service.version_order import note_rebuilt, oldest_first

ENCODERS_FOLDER = "encoders"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_ID = re.compile(r"[0-9a-f]{12}")
_SECONDS = "%Y-%m-%dT%H:%M:%SZ"

ANYTHING = "anything"
"""Where it does not matter what is served now."""


def check_name(name: str) -> str:
    """`name` itself if it can name an index. Raises `InvalidName`."""
    if not _NAME.fullmatch(name) or ".." in name or name == ENCODERS_FOLDER:
        raise InvalidName(
            f"{name!r} cannot name an index",
            hint="use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit (and not 'encoders')",
            param="name",
        )
    return name


def check_id(identifier: str, what: str) -> str:
    """`identifier` itself if it can be an id. Raises `NotFound`."""
    if not _ID.fullmatch(identifier):
        raise NotFound(f"{identifier!r} is not the id of {what}", hint="ids are 12 hex digits; `rag-service index list` shows them")
    return identifier


@dataclass(frozen=True, slots=True)
class Catalog:
    """Paths and pointers below `root`. Holds no state of its own: every call reads the file system."""

    root: Path

    @property
    def shares(self) -> bool:
        """Whether versions, releases and what is served are in a database that other machines use too."""
        return False

    @property
    def where(self) -> str:
        """Where it lies, for people."""
        return str(self.root)

    def close(self) -> None:
        """Closes connections, where there are any; what is asked next opens them again. A process that forks does so before."""

    def names(self) -> list[str]:
        """Indexes with at least one version, sorted."""
        if not self.root.is_dir():
            return []
        named = sorted(folder.parent.name for folder in self.root.glob("*/versions") if _NAME.fullmatch(folder.parent.name))
        return [name for name in named if any(self._version_folders(name))]

    def index_folder(self, name: str) -> Path:
        return self.root / check_name(name)

    def versions_folder(self, name: str) -> Path:
        return self.index_folder(name) / "versions"

    def version_folder(self, name: str, version: str) -> Path:
        return self.versions_folder(name) / check_id(version, "an index version")

    def versions(self, name: str) -> list[str]:
        """Version ids, the one that a build came to last at the end."""
        return oldest_first(self._version_folders(name), self._rebuilt_path(name))

    def note_rebuilt(self, name: str, version: str) -> None:
        """Makes the newest of a version that was there already when a build came to it. Only for who holds the build lock."""
        note_rebuilt(self.version_folder(name, version), self._rebuilt_path(name))

    def holds(self, name: str, version: str) -> bool:
        return (self.version_folder(name, version) / BUILD_FILE).is_file()

    def publish(self, name: str, staged: Path, manifest: Manifest) -> Path:
        """Gives a version that was built in `staged` its name, at once and whole; its folder. What was there must be damaged."""
        final = self.versions_folder(name) / manifest.version
        (staged / VECTORS_TO_SHARE_FILE).unlink(missing_ok=True)
        replace_folder(staged, final)
        return final

    def copy_version(self, name: str, version: str, source: str) -> None:
        """Index `name` gets the version of index `source`, whole or not at all, compared with its manifest before it can be seen. Only for
        who holds the build lock of `name`, which lacks it. Raises `Damaged`, `Conflict` where it is being removed, or `StorageFailed`.
        """
        found, versions = self.version_folder(source, version), self.versions_folder(name)
        remove_stale_staging(versions)
        with in_use(found / MANIFEST_FILE), staging_folder(versions) as staged:
            copy = staged / version  # a version is only valid under its own name
            with storage_errors(f"index version {version}"):
                copy.mkdir()
                for file in (MANIFEST_FILE, BUILD_FILE, *read_manifest(found).files):
                    shutil.copyfile(found / file, copy / file)
            verify_version(copy)
            publish_folder(copy, versions / version)

    def _rebuilt_path(self, name: str) -> Path:
        return self.index_folder(name) / "rebuilt.json"

    def _version_folders(self, name: str) -> Iterator[Path]:
        return (folder for folder in self.versions_folder(name).glob("*") if _ID.fullmatch(folder.name))

    def folders_of_files(self, name: str) -> tuple[Path, ...]:
        """Where files are written one by one, and a killed writer may have left one unfinished."""
        folder = self.index_folder(name)
        drift = self.drift_folder(name)
        return folder, folder / "releases", folder / "verified", drift, drift / "references", drift / "canaries"

    def canaries_path(self, name: str) -> Path:
        return self.index_folder(name) / "canaries.jsonl"

    def drift_folder(self, name: str) -> Path:
        return self.index_folder(name) / "drift"

    def notes_path(self, name: str, version: str) -> Path:
        """What is remembered of when the files of a version were last compared with their digests."""
        return self.index_folder(name) / "verified" / f"{check_id(version, 'an index version')}.json"

    def embeddings_folder(self, name: str) -> Path:
        return self.index_folder(name) / "embeddings"

    def pulling_folder(self, name: str) -> Path:
        """Where versions of an index, or encoders, are put together that are being pulled from elsewhere."""
        return (self.encoders_folder() if name == ENCODERS_FOLDER else self.index_folder(name)) / "pulling"

    def encoders_folder(self) -> Path:
        return self.root / ENCODERS_FOLDER

    def encoder_folder(self, encoder: str) -> Path:
        return self.encoders_folder() / check_id(encoder, "an encoder")

    def encoders(self) -> list[Path]:
        return sorted(folder for folder in self.encoders_folder().glob("*") if _ID.fullmatch(folder.name))

    @contextmanager
    def building(self, name: str) -> Iterator[None]:
        """Holds the build lock of an index (or of `encoders`). Raises `Conflict` if another process builds it."""
        folder = self.encoders_folder() if name == ENCODERS_FOLDER else self.index_folder(name)
        with exclusive_lock(folder / ".lock", doing=f"building {name!r}"):
            yield

    @contextmanager
    def activating(self, name: str) -> Iterator[None]:
        """Holds the lock of whoever changes what an index serves. Raises `Conflict` if another process does."""
        with exclusive_lock(self.index_folder(name) / ".activating", doing=f"changing what {name!r} serves"):
            yield

    def release_path(self, name: str, identifier: str) -> Path:
        return self.index_folder(name) / "releases" / f"{check_id(identifier, 'a release')}.json"

    def add_release(self, name: str, release: Release) -> None:
        path = self.release_path(name, release.id)
        if not path.exists() or path.read_bytes() != release.canonical():
            write_atomically(path, release.canonical())

    def release(self, name: str, identifier: str) -> Release:
        """Raises `NotFound`, or `Damaged` when the file is not what its name says."""
        path = self.release_path(name, identifier)
        if not path.is_file():
            raise NotFound(f"index {name!r} has no release {identifier}", hint=f"{activate_hint(name)} to make one")
        return read_addressed(Release, path, identifier, hint=f"{activate_hint(name)} to make a release anew")

    def releases(self, name: str) -> list[str]:
        """Release ids by modification time of their files, oldest first."""
        return [path.stem for path in _oldest_first((self.index_folder(name) / "releases").glob("*.json")) if _ID.fullmatch(path.stem)]

    def release_of_version(self, name: str, version: str) -> str:
        """Id of the release made last that serves an index version. Raises `NotFound`."""
        check_id(version, "an index version")
        for identifier in reversed(self.releases(name)):
            with suppress(Damaged):  # a release that cannot be read does not hide the others
                if self.release(name, identifier).index.version == version:
                    return identifier
        raise NotFound(f"no release serves index version {version}", hint=f"{activate_hint(name)} with it first", param="index_version")

    def active_path(self, name: str) -> Path:
        return self.index_folder(name) / "ACTIVE"

    def active_id(self, name: str) -> str:
        """The id of the release that is served now. Raises `NotFound` or `Damaged`."""
        return self._pointer(name)[0]

    def served_id(self, name: str) -> str | None:
        """What `active_id` gives; None where it would raise."""
        try:
            return self.active_id(name)
        except (NotFound, Damaged):
            return None

    def follow(self, name: str) -> Callable[[], str]:
        """What gives `active_id`, for a server that asks with every request."""
        return lambda: self.active_id(name)

    def activate(
        self, name: str, release: Release, *, who: str = "", why: str = "", action: Action = "activate", expected: str | None = ANYTHING
    ) -> Transition | None:
        """Stores `release` and makes it what is served. Readers see the old pointer or the new one, each with its place in the history.

        None where it is served already. Raises `Conflict` where somebody else is changing what is served, or where another release than
        `expected` is served by now; None expects that none is. A damaged pointer is replaced. Raises `StorageFailed`, whose message says
        so where `release` is served nevertheless.
        """
        self.add_release(name, release)
        with self.activating(name):
            served = self.served_id(name)
            if expected not in (ANYTHING, served):
                by_now = f"release {served}" if served else "nothing"
                raise Conflict(
                    f"{name!r} serves {by_now} by now, not {expected or 'nothing'}", hint="look at what changed, then decide again"
                )
            if served == release.id:
                with storage_errors("ACTIVE"):
                    fsync_folder(self.index_folder(name))  # whoever made it so may not have come to that
                return None
            if served is not None:
                self._remember(name, self.history(name).transitions[-1])
            past, _ = read_transitions(self._history_path(name))
            transition = Transition(
                seq=past[-1].seq + 1 if past else 1,
                at=_now(),
                action=action,
                release=release.id,
                previous=served,
                who=who,
                why=why,
            )
            self._point_to(name, transition)
        return transition

    def _point_to(self, name: str, transition: Transition) -> None:
        try:
            write_atomically(self.active_path(name), pointer_to(transition))
        except StorageFailed as error:
            if self.served_id(name) != transition.release:
                raise
            raise StorageFailed(
                f"release {transition.release} is what {name!r} serves now, but it may not last: {error.message}",
                hint="servers follow to it; after a power failure the release before may be served again. Check the disk, then do it again",
            ) from error

    def history(self, name: str) -> History:
        """Every change of what is served; empty where nothing ever was. Raises `Damaged` for a damaged pointer."""
        before = None
        while True:
            try:
                pointer = self._pointer(name)
            except NotFound:
                pointer = None
            if before is not None and pointer == before[0]:
                return self._history(name, *before)
            before = pointer, read_transitions(self._history_path(name))  # of one moment, if the pointer is still the same

    def _history(self, name: str, pointer: tuple[str, Transition | None] | None, read: tuple[tuple[Transition, ...], int]) -> History:
        past, damaged = read
        if pointer is None:
            return History(past, damaged)
        active, newest = pointer
        last = past[-1] if past else None
        kept = newest is not None and (last is None or newest.seq > last.seq)
        if last is not None and last.release == active and not kept:
            return History(past, damaged)  # a change was cut short after this had been remembered
        if newest is None or not kept:
            # Set by hand, taken from a backup, or by a version that kept no history.
            at = datetime.fromtimestamp(self.active_path(name).stat().st_mtime, UTC).strftime(_SECONDS)
            previous = last.release if last else None
            newest = Transition(seq=last.seq + 1 if last else 1, at=at, action="unknown", release=active, previous=previous, who="", why="")
        return History((*past, newest), damaged)

    def _remember(self, name: str, transition: Transition) -> None:
        """Adds to the history what stood in the pointer, unless a change that was cut short has done so."""
        path = self._history_path(name)
        past, _ = read_transitions(path)
        if transition not in past[-1:]:
            append_line(path, transition.line())

    def _history_path(self, name: str) -> Path:
        return self.index_folder(name) / "history.jsonl"

    def _pointer(self, name: str) -> tuple[str, Transition | None]:
        try:
            content = self.active_path(name).read_bytes()
        except FileNotFoundError as error:
            raise self._nothing_active(name) from error
        except OSError as error:
            raise Damaged(f"ACTIVE of {name!r} cannot be read", hint=activate_hint(name)) from error
        pointer = pointer_in(content)
        if pointer is None:
            raise Damaged(f"ACTIVE of {name!r} does not name a release", hint=activate_hint(name))
        return pointer

    def _nothing_active(self, name: str) -> NotFound:
        if self.versions(name):
            return NotFound(f"index {name!r} has no active release", hint=activate_hint(name))
        names = ", ".join(self.names()) or "none yet"
        return NotFound(
            f"there is no index {name!r} in {self.where}",
            hint=f"there are: {names}. Build one with `rag-service index build DOCUMENTS --name {name} --activate`",
        )


def activate_hint(name: str) -> str:
    return f"run `rag-service index activate --name {name}`"


def _oldest_first(paths: Iterable[Path]) -> list[Path]:
    """By modification time, then name. What is removed meanwhile is left out."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime_ns, path.name, path))
    return [path for *_, path in sorted(found)]


def _now() -> str:
    return datetime.now(UTC).strftime(_SECONDS)
