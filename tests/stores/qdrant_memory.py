"""Qdrant's own client in its local mode, in memory: what it finds is what a server should find, and how a server does that is not shown."""

import hashlib

from qdrant_client import QdrantClient

from rag_service.stores.qdrant import QdrantStore, fill
from rag_service.stores.qdrant_parameters import Search
from rag_service.stores.qdrant_place import QdrantPlace
from rag_service.types import Matrix


class InMemory(QdrantPlace):
    def __init__(self) -> None:
        super().__init__("file:///memory")

    def _new_client(self) -> QdrantClient:
        return QdrantClient(":memory:")


def digest_of(rows: Matrix) -> str:
    return f"sha256:{hashlib.sha256(rows.astype('<f4').tobytes()).hexdigest()}"


def in_memory(rows: Matrix, *, search: Search, dimension: int, **limits: int) -> QdrantStore:
    store = QdrantStore(InMemory().collection("rag-test"), rows=len(rows), dimension=dimension, search=search, **limits)
    fill(store, rows, digest=digest_of(rows))
    return store
