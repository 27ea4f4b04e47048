"""How vectors in PostgreSQL are searched: what a manifest says of it. Known also where psycopg is not installed."""

from typing import Literal

Search = Literal["exact", "hnsw"]

EXACT_ROWS = 100_000
"""Above this a table gets a graph. Comparing 100,000 × 384 takes 19 ms of the server's CPU and the graph 12 ms, but that many rows took
five minutes to link, instead of a second to copy (`benchmarks/postgres.py`)."""
LINKS = 32
EF_CONSTRUCTION = 200
EF_SEARCH = 200
"""Links per node and candidate lists, at build and at search."""


def pgvector_parameters(rows: int) -> dict[str, str | int]:
    """What decides what is found, beside the vectors."""
    if rows <= EXACT_ROWS:
        return {"search": "exact"}
    return {"search": "hnsw", "links": LINKS, "ef_construction": EF_CONSTRUCTION, "ef_search": EF_SEARCH}
