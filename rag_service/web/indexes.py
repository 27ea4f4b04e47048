"""Index versions and releases, each with everything it is made of."""

from collections.abc import Sequence
from pathlib import PurePath

from rag_service.difference import release_differences
from rag_service.errors import RagError
from rag_service.history import EMPTY, History
from rag_service.prompt import Template, load_template
from rag_service.release import Release
from rag_service.shelf import ShelvedRelease, ShelvedVersion
from rag_service.web.pages import ANYBODY, Viewer, render

MOST_TRANSITIONS = 50


def indexes_page(
    name: str,
    versions: Sequence[ShelvedVersion],
    releases: Sequence[ShelvedRelease],
    active: str | None,
    *,
    history: History = EMPTY,
    viewer: Viewer = ANYBODY,
) -> str:
    """`active` is the id of the active release. Both lists are newest first."""
    served = next((found.release.index.version for found in releases if found.id == active and found.release is not None), None)
    return render(
        "indexes.html", viewer=viewer, section="indexes", name=name, versions=versions, releases=releases, active=active, served=served,
        transitions=history.transitions[: -MOST_TRANSITIONS - 1 : -1], back=history.back(),
    )  # fmt: skip


def version_page(name: str, version: ShelvedVersion, releases: Sequence[str], active: str | None, *, viewer: Viewer = ANYBODY) -> str:
    """`releases` are the ids of those that serve it, newest first."""
    source = PurePath(version.build.source).name if version.build else ""  # a whole path would tell about the machine
    return render(
        "version.html", viewer=viewer, section="indexes", name=name, version=version, manifest=version.manifest, source=source,
        releases=releases, active=active,
    )  # fmt: skip


def release_page(
    name: str,
    release: Release,
    active: str | None,
    *,
    active_release: Release | None = None,
    index_is_there: bool = True,
    viewer: Viewer = ANYBODY,
) -> str:
    """`active_release` is shown in what it differs; None where it cannot be read."""
    return render(
        "release.html", viewer=viewer, section="indexes", name=name, release=release, active=active, index_is_there=index_is_there,
        template=_template(release), differences=release_differences(release, active_release) if active_release else (),
    )  # fmt: skip


def _template(release: Release) -> Template | None:
    """The prompt's text, where the program still has it as it was."""
    try:
        template = load_template(f"{release.prompt.name}/{release.prompt.version}")
    except RagError:
        return None
    return template if template.digest == release.prompt.digest else None
