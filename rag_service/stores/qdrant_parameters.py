"""How vectors in Qdrant are searched, and what their collection is called: what a manifest says of it. Known also where the client of
Qdrant is not installed.
"""

from typing import Literal

from rag_service.digests import Json, digest_json

Search = Literal["exact", "hnsw"]

EXACT_ROWS = 100_000
"""Above this a collection gets a graph. The figure is pgvector's: no server of Qdrant was measured."""
LINKS = 32
EF_CONSTRUCTION = 200
EF_SEARCH = 200
"""Links per node and candidate lists, at build and at search."""

_NAMED_BY = 32
"""Hex digits in the name of a collection."""


def qdrant_parameters(rows: int, dimension: int, vectors: str) -> dict[str, str | int]:
    """What decides what is found, and the collection that holds it: the same vectors under the same parameters are the same collection,
    whichever index and machine they were built for. `vectors` is their digest, `sha256:…`.
    """
    found: dict[str, str | int] = {"search": "exact", "vectors": vectors}
    if rows > EXACT_ROWS:
        graph = {"links": LINKS, "ef_construction": EF_CONSTRUCTION, "ef_search": EF_SEARCH}
        found = {**found, "search": "hnsw", **graph}
    named: Json = {**found, "rows": rows, "dimension": dimension}
    return {**found, "collection": f"rag-{digest_json(named).removeprefix('sha256:')[:_NAMED_BY]}"}
