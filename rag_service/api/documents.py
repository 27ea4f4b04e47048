"""Which documents are in the index, and the chunks that they were cut into: how to see that one is there, or gone."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS_WITHOUT_A_BODY
from rag_service.api.gate import current_caller
from rag_service.trace import Outgoing
from rag_service.types import Chunk, DocumentId, MetadataValue

_MOST_CHUNKS = 200


class DocumentChunk(Outgoing):
    chunk_id: str
    ordinal: int = Field(description="Place among the chunks of the document, from 0.")
    document_span: tuple[int, int] = Field(description="Characters of the document's normalised text, end exclusive.")
    page: int | None
    heading_path: list[str]
    tokens: int


class DocumentReply(Outgoing):
    document_id: str
    index_version: str
    title: str
    source: str
    metadata: dict[str, MetadataValue]
    digest: str = Field(description="Over id, title, source, metadata and text.")
    text_digest: str = Field(description="Over the normalised text alone.")
    chunks: list[DocumentChunk] = Field(description=f"In order, at most {_MOST_CHUNKS} from `first` on.")


def document_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["ask"])

    @router.get("/documents/{document_id:path}", response_model=DocumentReply, responses=ERRORS_WITHOUT_A_BODY)
    async def document(
        document_id: Annotated[str, Path(min_length=1, max_length=1000)],
        index_version: Annotated[
            str | None, Query(pattern=r"^[0-9a-f]{12}$", description="Where to look; otherwise in what answers now.")
        ] = None,
        first: Annotated[int, Query(ge=0, le=10**9, description="Ordinal of the first chunk to list.")] = 0,
    ) -> Response:
        """A document of the index. What is not in the version that answers now is 404, also where an older version has it."""
        access = current_caller().filter

        def look() -> DocumentReply:
            found, chunks, version = answering.desk.document(document_id, version=index_version, access=access)
            listed = chunks.chunks_of(DocumentId(document_id), first=first, most=_MOST_CHUNKS)
            return DocumentReply(
                document_id=found.id,
                index_version=version,
                title=found.title,
                source=found.source,
                metadata=dict(found.metadata),
                digest=found.digest,
                text_digest=found.text_digest,
                chunks=[_chunk(chunk) for chunk in listed],
            )

        return Response((await run_in_threadpool(look)).model_dump_json(), media_type="application/json")

    return router


def _chunk(chunk: Chunk) -> DocumentChunk:
    return DocumentChunk(
        chunk_id=chunk.id,
        ordinal=chunk.ordinal,
        document_span=(chunk.start, chunk.end),
        page=chunk.page,
        heading_path=list(chunk.heading_path),
        tokens=chunk.tokens,
    )
