"""Where chunks wait, on disk, between chunking and embedding: a build's memory does not grow with its corpus."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from rag_service.digests import digest_json, merkle_root
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId


class Scratch:
    """Chunks and document facts of one build. Make one with `open`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["Scratch"]:
        """Creates the file and removes it afterwards."""
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, digest TEXT, facts TEXT) WITHOUT ROWID")
                connection.execute("CREATE TABLE chunks (id TEXT PRIMARY KEY, tokens INTEGER, chunk TEXT) WITHOUT ROWID")
                connection.execute("BEGIN")
                yield cls(connection)
        finally:
            path.unlink(missing_ok=True)

    def add(self, document: DocumentFacts, chunks: list[Chunk]) -> None:
        facts = json.dumps(asdict(document) | {"metadata": dict(document.metadata)})
        self._connection.execute("INSERT INTO documents VALUES (?, ?, ?)", (document.id, document.digest, facts))
        rows = ((chunk.id, chunk.tokens, json.dumps(asdict(chunk) | {"metadata": {}})) for chunk in chunks)
        self._connection.executemany("INSERT INTO chunks VALUES (?, ?, ?)", rows)

    def counts(self) -> tuple[int, int, int]:
        """Documents, chunks, and tokens of all chunks."""
        documents = self._connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        chunks, tokens = self._connection.execute("SELECT count(*), coalesce(sum(tokens), 0) FROM chunks").fetchone()
        return documents, chunks, tokens

    def documents(self) -> Iterator[DocumentFacts]:
        """By ascending id."""
        for (facts,) in self._connection.execute("SELECT facts FROM documents ORDER BY id"):
            values = json.loads(facts)
            yield DocumentFacts(**values | {"id": DocumentId(values["id"])})

    def chunks(self) -> Iterator[Chunk]:
        """By ascending id, which is the order of rows in an index version: equal scores are then told apart by content."""
        for (chunk,) in self._connection.execute("SELECT chunk FROM chunks ORDER BY id"):
            values = json.loads(chunk)
            values |= {"id": ChunkId(values["id"]), "document_id": DocumentId(values["document_id"])}
            yield Chunk(**values | {"heading_path": tuple(values["heading_path"])})

    def corpus_digest(self) -> str:
        return merkle_root(digest for (digest,) in self._connection.execute("SELECT digest FROM documents ORDER BY digest"))

    def chunk_set_digest(self) -> str:
        return merkle_root(
            digest_json([chunk.id, chunk.document_id, chunk.ordinal, chunk.start, chunk.end, chunk.page, chunk.embedded_text])
            for chunk in self.chunks()
        )
