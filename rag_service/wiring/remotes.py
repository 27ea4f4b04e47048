"""Pushing to object storage and pulling from it, the way the settings say."""

from datetime import UTC, datetime

from rag_service.catalog import Catalog
from rag_service.errors import NotFound
from rag_service.manifest import read_manifest
from rag_service.opened import Report
from rag_service.ports import ObjectStore, Progress
from rag_service.pull import Pulled, holds_release, pull_release, pull_version, released_in
from rag_service.push import Pushed, point_to, push_version
from rag_service.release import Release
from rag_service.settings import Settings
from rag_service.wiring.activating import checked, this_person
from rag_service.wiring.releases import make_release


def open_remote(settings: Settings, url: str) -> ObjectStore:
    """Sends nothing yet. Raises `InvalidSettings` and `MissingDependency`."""
    from rag_service.remotes.objects import FsspecObjects

    return FsspecObjects.open(url, timeout_s=settings.remote_timeout_s)


def push(catalog: Catalog, name: str, identifier: str | None, remote: ObjectStore, progress: Progress, *, again: bool = False) -> Pushed:
    """An index version, and the release that is named, or active. Raises what `push_version` raises."""
    version, release = _chosen(catalog, name, identifier)
    return push_version(catalog, name, version, remote, progress, release=release, again=again)


def release_to_push(settings: Settings, catalog: Catalog, name: str, identifier: str | None, told: Report) -> Release:
    """The release that is named or active, or one of the version that is named, once it has passed every check of an activation."""
    version, release = _chosen(catalog, name, identifier)
    release = release or make_release(settings, catalog, name, version)
    checked(settings, catalog, name, release, told=told)
    catalog.add_release(name, release)
    return release


def say_served(remote: ObjectStore, name: str, release: Release, *, why: str) -> bool:
    """Tells those who follow the store to serve a release that has been pushed; False where it said so already."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return point_to(remote, name, release, at=at, who=this_person(), why=why) is not None


def pull(catalog: Catalog, name: str, identifier: str | None, remote: ObjectStore, progress: Progress) -> Pulled:
    """The release or index version that is named, or the release that the store says is served, with all that it takes to serve it."""
    if identifier is None:
        return pull_release(catalog, name, released_in(remote, name), remote, progress)
    pulled = pull_release if holds_release(catalog, name, identifier, remote) else pull_version
    return pulled(catalog, name, identifier, remote, progress)


def release_pulled(settings: Settings, catalog: Catalog, name: str, pulled: Pulled) -> Release:
    """The release that was pulled, or one that serves the version that was, as the settings say."""
    if pulled.release is not None:
        return catalog.release(name, pulled.release)
    return make_release(settings, catalog, name, pulled.version or "")


def _chosen(catalog: Catalog, name: str, identifier: str | None) -> tuple[str, Release | None]:
    """Version and release that an id means: either may be named. Without an id what is active, or the newest version."""
    if identifier is None:
        if (active := catalog.served_id(name)) is not None:
            release = catalog.release(name, active)
            return release.index.version, release
        if versions := catalog.versions(name):
            return versions[-1], None
        raise NotFound(f"index {name!r} has no version", hint="`rag-service index build` makes one")
    if catalog.release_path(name, identifier).is_file():
        release = catalog.release(name, identifier)
        return release.index.version, release
    return read_manifest(catalog.version_folder(name, identifier)).version, None
