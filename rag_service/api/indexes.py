"""What lies in the folder of the index that is served: its versions and releases. JSON for programs, pages for people."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.pages import as_json, as_page, viewer, wants_page
from rag_service.errors import Forbidden, NotFound, RagError
from rag_service.manifest import Manifest
from rag_service.release import Release
from rag_service.shelf import Shelf, ShelvedRelease, ShelvedVersion
from rag_service.trace import Outgoing
from rag_service.web.indexes import indexes_page, release_page, version_page

Identifier = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]
_T = TypeVar("_T")
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    **ERRORS_WITHOUT_A_BODY,
}


class VersionRow(Outgoing):
    id: str
    digest: str | None
    built_at: str | None
    documents: int | None
    chunks: int | None
    skipped: int | None = Field(description="Inputs that were left out of the build.")
    problem: str | None = Field(description="Why it cannot be read; the rest is then null.")


class ReleaseRow(Outgoing):
    id: str
    digest: str | None
    index_version: str | None
    problem: str | None = Field(description="Why it cannot be read; the rest is then null.")


class IndexesReply(Outgoing):
    name: str
    active: str | None = Field(description="Id of the active release.")
    versions: list[VersionRow] = Field(description="Newest first.")
    releases: list[ReleaseRow] = Field(description="Newest first.")


def index_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["indexes"])

    @router.get("/indexes", response_model=IndexesReply, responses=_RESPONSES)
    async def indexes(request: Request) -> Response:
        """The versions and releases of the index that is served."""
        shelf = _shelf(answering)
        versions, releases, active = await run_in_threadpool(lambda: (shelf.versions(), shelf.releases(), shelf.active()))
        if wants_page(request):
            history = await run_in_threadpool(shelf.history)
            return as_page(indexes_page(shelf.name, versions, releases, active, history=history, viewer=viewer()))
        rows = [_version_row(version) for version in versions], [_release_row(release) for release in releases]
        return as_json(IndexesReply(name=shelf.name, active=active, versions=rows[0], releases=rows[1]).model_dump_json())

    @router.get("/indexes/versions/{identifier}", response_model=Manifest, responses=_RESPONSES)
    async def version(request: Request, identifier: Identifier) -> Response:
        """The manifest of an index version."""
        shelf = _shelf(answering)
        if not wants_page(request):
            return as_json((await _read(lambda: shelf.manifest(identifier))).canonical())
        found, releases, active = await _read(lambda: (shelf.version(identifier), list(shelf.releases_of(identifier)), shelf.active()))
        return as_page(version_page(shelf.name, found, releases, active, viewer=viewer()))

    @router.get("/releases/{identifier}", response_model=Release, responses=_RESPONSES)
    async def release(request: Request, identifier: Identifier) -> Response:
        """Every part of a release."""
        shelf = _shelf(answering)
        found = await _read(lambda: shelf.release(identifier))
        if not wants_page(request):
            return as_json(found.canonical())
        active, there = await run_in_threadpool(lambda: (shelf.active_release(), shelf.has_version(found.index.version)))
        active_id = active.id if active else None
        return as_page(release_page(shelf.name, found, active_id, active_release=active, index_is_there=there, viewer=viewer()))

    return router


def _shelf(answering: Answering) -> Shelf:
    """What stands in a manifest names documents, so it is not for a key that sees some of them."""
    if current_caller().filter is not None:
        raise Forbidden("this key sees a part of the documents, and an index names them all", hint="use a key without a filter")
    if answering.desk.shelf is None:
        raise NotFound("this service was not given a folder of indexes to show")
    return answering.desk.shelf


async def _read(read: Callable[[], _T]) -> _T:
    """Without the hints of errors, which are for whoever runs commands."""
    try:
        return await run_in_threadpool(read)
    except RagError as error:
        error.hint = ""
        raise


def _version_row(found: ShelvedVersion) -> VersionRow:
    manifest = found.manifest
    return VersionRow(
        id=found.id,
        digest=manifest.digest if manifest else None,
        built_at=found.build.built_at if found.build and manifest else None,
        documents=manifest.counts.documents if manifest else None,
        chunks=manifest.counts.chunks if manifest else None,
        skipped=sum(manifest.skipped.by_reason.values()) if manifest else None,
        problem=found.problem,
    )


def _release_row(found: ShelvedRelease) -> ReleaseRow:
    release = found.release
    return ReleaseRow(
        id=found.id,
        digest=release.digest if release else None,
        index_version=release.index.version if release else None,
        problem=found.problem,
    )
