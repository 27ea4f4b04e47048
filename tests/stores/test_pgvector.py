"""What is particular to vectors in PostgreSQL: a filter inside the graph, and rows that went missing."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rag_service.errors import Damaged, Mismatch, StorageFailed
from rag_service.stores.memory import MemoryStore
from rag_service.stores.pgvector import PgvectorStore, graph_settings, written
from rag_service.types import Matrix
from tests.contracts.test_stores import DIMENSION, in_postgres, near, permitting, random_rows, recall
from tests.postgres.server import database

ROWS = 12_000


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return random_rows(ROWS, seed=40)


@pytest.fixture(scope="module")
def store(rows: Matrix, tmp_path_factory: pytest.TempPathFactory) -> PgvectorStore:
    made = in_postgres(rows, "hnsw", database(tmp_path_factory.mktemp("graph")))
    assert isinstance(made, PgvectorStore)
    return made


def test_a_tenth_is_found_through_the_graph_only_where_it_goes_on_searching(
    store: PgvectorStore, rows: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `hnsw.iterative_scan` off, pgvector filters what the first candidates are, and that is all."""
    random = np.random.default_rng(41)
    queries = near(rows, 40, seed=42)
    selections = [permitting(random.choice(ROWS, ROWS // 10, replace=False), ROWS) for _ in queries]
    monkeypatch.setattr(store, "_compared_at_most", 0)  # so many could as well be compared one by one
    assert recall(store, MemoryStore(rows), queries, selections) >= 0.95
    assert recall_by_hand(store, rows, queries, selections, "strict_order") >= 0.95
    assert recall_by_hand(store, rows, queries, selections, "off") < 0.75


def recall_by_hand(store: PgvectorStore, rows: Matrix, queries: Matrix, selections: list, scan: str) -> float:  # type: ignore[type-arg]
    """With 40 candidates, which is pgvector's own default, and nothing of ours around it."""
    statement = "SELECT position FROM rag.{} WHERE get_bit(%s, position) = 1 ORDER BY embedding <#> %s::vector LIMIT 10"
    found = 0
    for query, within in zip(queries, selections, strict=True):
        best = set(MemoryStore(rows).search(query, 10, within)[0].tolist())
        with store._database.reading("search") as connection, connection.transaction():
            for setting in graph_settings():
                connection.execute(setting)
            connection.execute("SET LOCAL hnsw.ef_search = 40")
            connection.execute(f"SET LOCAL hnsw.iterative_scan = {scan}".encode())
            read = connection.execute(statement.format(store._table).encode(), (within.bitmap.tobytes(), written(query))).fetchall()
        found += len(best & {position for (position,) in read})
    return found / (10 * len(queries))


def test_the_graph_is_what_is_used_where_there_is_one(store: PgvectorStore, rows: Matrix) -> None:
    with store._database.reading("search") as connection, connection.transaction():
        for setting in graph_settings():
            connection.execute(setting)
        statement = f"EXPLAIN SELECT position FROM rag.{store._table} ORDER BY embedding <#> %s::vector LIMIT 10"
        plan = "\n".join(line for (line,) in connection.execute(statement.encode(), (written(rows[0]),)).fetchall())
    assert "embedding_idx" in plan


def test_the_digest_is_over_all_rows_as_they_were_given(store: PgvectorStore, rows: Matrix) -> None:
    assert store.digest() == hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest()


@pytest.fixture
def small(tmp_path: Path) -> PgvectorStore:
    made = in_postgres(random_rows(200, seed=43), "exact", database(tmp_path))
    assert isinstance(made, PgvectorStore)
    return made


def test_a_row_that_went_missing_is_named_and_not_passed_over(small: PgvectorStore) -> None:
    with small._database.writing("write to") as connection:
        connection.execute(f"DELETE FROM rag.{small._table} WHERE position = 7".encode())
    with pytest.raises(Damaged, match="row 7"):
        small.vectors([1, 7])
    with pytest.raises(Damaged, match="199 vectors"):
        small.search(random_rows(1, seed=44)[0], 200)


def test_a_selection_of_another_store_is_refused(small: PgvectorStore) -> None:
    with pytest.raises(Mismatch, match="row 299 of 200"):
        small.search(random_rows(1, seed=45)[0], 5, permitting([299], 300))


def test_a_table_that_is_gone_is_no_empty_index(small: PgvectorStore) -> None:
    with small._database.writing("write to") as connection:
        connection.execute(f"DROP TABLE rag.{small._table}".encode())
    with pytest.raises(StorageFailed):
        small.search(random_rows(1, seed=46)[0], 5)


def test_vectors_of_every_float_come_back_bit_by_bit(tmp_path: Path) -> None:
    odd = np.array([[1e-38, -1e-30, 3.4e38, 0.1, -0.0, 1 / 3, 2**-24, 1.0] * (DIMENSION // 8)], np.float32)
    store = in_postgres(np.repeat(odd, 150, axis=0), "exact", database(tmp_path))
    assert store.vectors([149]).tobytes() == odd.tobytes()
