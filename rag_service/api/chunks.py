"""What a citation links to: the text of one chunk, as JSON for programs and as a page for people."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.api.pages import as_json, as_page, viewer, wants_page
from rag_service.api.schemas import ChunkReply
from rag_service.types import Chunk
from rag_service.web.chunks import chunk_page


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
        quote: Annotated[
            str | None,
            Query(
                pattern=r"^[0-9]{1,9}-[0-9]{1,9}$",
                description="What the page marks: characters of the text, `<start>-<end>`, end exclusive.",
            ),
        ] = None,
    ) -> Response:
        """The text that a citation quotes, also after the index has been built again."""
        access = current_caller().filter
        found, version = await run_in_threadpool(answering.desk.chunk, chunk_id, version=index_version, access=access)
        if wants_page(request):
            return as_page(chunk_page(found, version, quote=_span(quote), viewer=viewer()))
        return as_json(_reply(found, version).model_dump_json())

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


def _span(quote: str | None) -> tuple[int, int] | None:
    if quote is None:
        return None
    start, _, end = quote.partition("-")
    return int(start), int(end)
