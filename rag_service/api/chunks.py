"""What a citation links to: the text of one chunk, as JSON for programs and as a page for people."""

import hashlib
from base64 import b64encode
from html import escape
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.schemas import ChunkReply
from rag_service.types import Chunk

_STYLE = "pre { white-space: pre-wrap; max-width: 45em }"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
<p>{place}</p>
<pre>{text}</pre>
<p><small>{source}, characters {start} to {end} · chunk {chunk} · index version {version}</small></p>
</html>
"""
_POLICY = f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; " + (
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows the page's one style sheet, and nothing that could come out of a document."""
_BY_ACCEPT = {"Vary": "Accept"}


def chunk_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["ask"])

    @router.get(
        "/chunks/{chunk_id}",
        response_model=ChunkReply,
        responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **ERRORS_WITHOUT_A_BODY},
    )
    async def chunk(
        request: Request,
        chunk_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")],
        index_version: Annotated[
            str | None,
            Query(pattern=r"^[0-9a-f]{12}$", description="Where to look; otherwise in what answers now, then in older versions."),
        ] = None,
    ) -> Response:
        """The text that a citation quotes, also after the index has been built again."""
        access = current_caller().filter
        found, version = await run_in_threadpool(answering.desk.chunk, chunk_id, version=index_version, access=access)
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_page(found, version), headers={**_BY_ACCEPT, "Content-Security-Policy": _POLICY})
        return Response(_reply(found, version).model_dump_json(), headers=_BY_ACCEPT, media_type="application/json")

    return router


def _reply(chunk: Chunk, version: str) -> ChunkReply:
    return ChunkReply(
        chunk_id=chunk.id,
        index_version=version,
        document_id=chunk.document_id,
        title=chunk.title,
        heading_path=list(chunk.heading_path),
        source=chunk.source,
        page=chunk.page,
        metadata=dict(chunk.metadata),
        document_span=(chunk.start, chunk.end),
        text=chunk.text,
    )


def _page(chunk: Chunk, version: str) -> str:
    headings = [heading for heading in chunk.heading_path if heading != chunk.title]
    place = " > ".join([*headings, *([f"page {chunk.page}"] if chunk.page else [])])
    return _PAGE.format(
        title=escape(chunk.title or chunk.source),
        style=_STYLE,
        place=escape(place),
        text=escape(chunk.text),
        source=escape(chunk.source),
        start=chunk.start,
        end=chunk.end,
        chunk=chunk.id,
        version=version,
    )
