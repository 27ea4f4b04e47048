"""Vectors and records in PostgreSQL against FAISS and SQLite: CPU of the server and of this process for each search and each record,
and recall@10 against exact. Vectors are clustered as in `benchmarks/stores.py`. The server is the one of the tests, syncing to the disk.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.stores import DIMENSION, QUERIES, K, _around
from rag_service.database import Database
from rag_service.ledger.postgres import PostgresLedger
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.ports import Ledger, VectorStore
from rag_service.stores.faiss import FaissStore, write_faiss
from rag_service.stores.memory import MemoryStore
from rag_service.stores.pgvector import PgvectorStore, make_vectors
from rag_service.stores.pgvector_parameters import Search
from rag_service.stores.selections import selection_of
from rag_service.types import Matrix, Selection
from tests.postgres.server import PostgresServer
from tests.recorded import entry

CASES: tuple[tuple[Search, int], ...] = (("exact", 20_000), ("exact", 100_000), ("hnsw", 100_000))
SHARES = (None, 0.1, 0.5)
RECORDS, TOGETHER = 400, 2_000


def run() -> None:
    server = PostgresServer(durable=True, settings=("shared_buffers=1GB", "maintenance_work_mem=512MB")).start()
    try:
        server.sql("CREATE DATABASE rag")
        server.sql("CREATE SCHEMA rag", "CREATE EXTENSION vector", database="rag")
        _stores(server)
        _ledgers(server)
    finally:
        server.remove()


def _stores(server: PostgresServer) -> None:
    random = np.random.default_rng(7)
    centres = random.standard_normal((2000, DIMENSION)).astype(np.float32)
    vectors, queries = _around(centres, 100_000, random), _around(centres, QUERIES, random)
    for number, (search, rows) in enumerate(CASES):
        database, some = Database(server.url("rag")), vectors[:rows]
        began_s = time.monotonic()
        with database.writing("write to", unhurried=True) as connection:
            make_vectors(connection, f"vectors_{number}", np.array_split(some, 20), dimension=DIMENSION, search=search)
        print(f"pgvector {search} {rows:,} rows: written in {time.monotonic() - began_s:.1f} s", flush=True)
        store = PgvectorStore(database, f"vectors_{number}", rows=rows, dimension=DIMENSION, search=search)
        _measure(store, some, queries, lambda database=database: _backend_s(database))  # type: ignore[misc]
        database.close()
    with tempfile.TemporaryDirectory() as folder:
        write_faiss(Path(folder) / "flat", np.array_split(vectors, 20), dimension=DIMENSION, kind="flat")
        print("FAISS exact 100,000 rows", flush=True)
        _measure(FaissStore.open(Path(folder) / "flat"), vectors, queries, lambda: 0.0)


def _measure(store: VectorStore, rows: Matrix, queries: Matrix, server_s: Callable[[], float]) -> None:
    random, reference = np.random.default_rng(8), MemoryStore(rows)
    for share in SHARES:
        within: list[Selection | None] = [
            None if share is None else selection_of(random.random(len(rows)) < share, documents=1) for _ in queries
        ]
        store.search(queries[0], K, within[0])
        before = server_s(), time.process_time(), time.monotonic()
        found = [store.search(query, K, one)[0] for query, one in zip(queries, within, strict=True)]
        after = server_s(), time.process_time(), time.monotonic()
        here = [set(reference.search(query, K, one)[0].tolist()) for query, one in zip(queries, within, strict=True)]
        recall = sum(len(best & set(one.tolist())) for best, one in zip(here, found, strict=True)) / (K * len(queries))
        server, own, wall = (1000 * (last - first) / len(queries) for first, last in zip(before, after, strict=True))
        what = "all" if share is None else f"{share:.0%} permitted"
        print(f"  {what}: server {server:.2f} + own {own:.2f} CPU-ms, {wall:.2f} ms, recall@{K} {recall:.3f}", flush=True)


def _backend_s(database: Database) -> float:
    [(pid,)] = database.fetched("read", "SELECT pg_backend_pid()")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ledgers(server: PostgresServer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, ledger in (
            ("PostgreSQL", PostgresLedger(Database(server.url("rag")))), ("SQLite", SqliteLedger(Path(folder) / "ledger.sqlite")),
        ):  # fmt: skip
            _record(name, ledger)
            ledger.close()


def _record(name: str, ledger: Ledger) -> None:
    entries = [entry(number) for number in range(RECORDS + TOGETHER)]
    ledger.check()
    began = time.process_time(), time.monotonic()
    for one in entries[:RECORDS]:
        ledger.add(one).result()
    middle = time.process_time(), time.monotonic()
    for future in [ledger.add(one) for one in entries[RECORDS:]]:
        future.result()
    end = time.process_time(), time.monotonic()
    each = [(b - a) * 1000 / RECORDS for a, b in zip(began, middle, strict=True)]
    at_once = [(b - a) * 1000 / TOGETHER for a, b in zip(middle, end, strict=True)]
    print(f"{name}: one after the other {each[1]:.2f} ms and {each[0]:.2f} own CPU-ms a record", flush=True)
    print(f"  {TOGETHER:,} at once {at_once[1]:.3f} ms and {at_once[0]:.3f} own CPU-ms a record", flush=True)


if __name__ == "__main__":
    run()
