"""What every implementation of the port `VectorStore` promises. The reference is `MemoryStore`: exact, and a page long."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.database import Database
from rag_service.ports import VectorStore
from rag_service.stores.faiss import FaissStore, Kind, open_store, write_faiss, write_store
from rag_service.stores.memory import MemoryStore
from rag_service.stores.pgvector import PgvectorStore, make_vectors
from rag_service.stores.pgvector_parameters import Search
from rag_service.stores.selections import selection_of
from rag_service.types import Matrix, Selection
from tests.postgres.server import database
from tests.stores.qdrant_memory import in_memory

DIMENSION = 32
KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivf")
Open = Callable[[Matrix], VectorStore]


def unit(rows: Matrix) -> Matrix:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / lengths, np.float32)


def random_rows(count: int, seed: int) -> Matrix:
    """Around 50 centres, as texts cluster around subjects: evenly spread vectors are the one thing that embeddings are not."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((50, DIMENSION))
    return unit((centres[random.integers(0, 50, count)] + 0.5 * random.standard_normal((count, DIMENSION))).astype(np.float32))


IN_POSTGRES: dict[str, Search] = {"pgvector": "exact", "pgvector-hnsw": "hnsw"}
GRAPHS = frozenset({"hnsw", "pgvector-hnsw"})
"""Whose recall is below one."""
QDRANT = "qdrant"
"""The local mode of Qdrant's client: every search compares all rows, so it is as exact as the reference; and in Python, so it is slow."""


@pytest.fixture(params=["memory", *KINDS, *IN_POSTGRES, QDRANT])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Open:
    def open_rows(rows: Matrix) -> VectorStore:
        if kind in IN_POSTGRES:
            return in_postgres(rows, IN_POSTGRES[kind], database(tmp_path))
        if kind == QDRANT:
            return in_memory(rows, search="hnsw", dimension=DIMENSION, compared_at_most=FEWER // 4, listed_at_most=FEWER // 4)
        return MemoryStore(rows) if kind == "memory" else store_of(rows, as_kind(kind), tmp_path)

    return open_rows


_tables = count()


def in_postgres(rows: Matrix, search: Search, url: str) -> VectorStore:
    opened, table = Database(url), f"vectors_{next(_tables)}"
    with opened.writing("write to", unhurried=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS rag")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        make_vectors(connection, table, [rows[:100], rows[100:]], dimension=DIMENSION, search=search)
    return PgvectorStore(opened, table, rows=len(rows), dimension=DIMENSION, search=search, compared_at_most=MANY // 4)


def store_of(rows: Matrix, kind: Kind, folder: Path) -> VectorStore:
    folder.mkdir(exist_ok=True)
    write_store(folder, [rows], dimension=DIMENSION, kind=kind)
    return open_store(folder, kind)


def as_kind(name: str) -> Kind:
    [kind] = [kind for kind in KINDS if kind == name]
    return kind


def test_it_knows_how_many_rows_it_holds_and_how_long_they_are(opened: Open) -> None:
    store = opened(random_rows(70, seed=1))
    assert len(store) == 70
    assert store.dimension == DIMENSION


def test_it_finds_what_the_reference_finds(opened: Open, kind: str) -> None:
    rows, queries = random_rows(3000, seed=2), random_rows(50, seed=3)
    store, reference = opened(rows), MemoryStore(rows)
    recalled = 0
    for query in queries:
        positions, scores = store.search(query, 10)
        expected = dict(zip(*(found.tolist() for found in reference.search(query, len(rows))), strict=True))
        assert scores.tolist() == pytest.approx([expected[position] for position in positions.tolist()], abs=1.01e-5)
        best = reference.search(query, 10)[0]
        recalled += len(set(best.tolist()) & set(positions.tolist()))
        if kind not in GRAPHS:
            assert positions.tolist() == best.tolist()
    assert recalled / 500 >= (0.95 if kind in GRAPHS else 1.0)


def test_scores_are_cosines_rounded_to_a_hundred_thousandth_best_first(opened: Open) -> None:
    store = opened(random_rows(500, seed=4))
    positions, scores = store.search(random_rows(1, seed=5)[0], 50)
    assert positions.dtype == np.int64
    assert scores.dtype == np.float32
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert np.array_equal(scores, np.round(scores.astype(np.float64), 5).astype(np.float32))
    assert len(set(positions.tolist())) == 50


def test_a_row_is_its_own_best_match_with_score_one(opened: Open) -> None:
    rows = random_rows(300, seed=6)
    store = opened(rows)
    for row in (0, 150, 299):
        positions, scores = store.search(rows[row], 1)
        assert (positions.tolist(), scores.tolist()) == ([row], [1.0])


def test_a_worked_example_comes_out_as_worked(opened: Open) -> None:
    rows = np.zeros((4, DIMENSION), np.float32)
    rows[0, :2] = (0.6, 0.8)
    rows[1, :2] = (1.0, 0.0)
    rows[2, :2] = (-1.0, 0.0)
    rows[3, :2] = (0.8, 0.6)
    query = np.zeros(DIMENSION, np.float32)
    query[0] = 1.0
    positions, scores = opened(rows).search(query, 4)
    assert positions.tolist() == [1, 3, 0, 2]
    assert scores.tolist() == pytest.approx([1.0, 0.8, 0.6, -1.0])


@pytest.mark.parametrize("k", [29, 30, 31, 1000])
def test_asking_for_more_than_there_is_gives_all_there_is(opened: Open, k: int) -> None:
    positions, scores = opened(random_rows(30, seed=7)).search(random_rows(1, seed=8)[0], k)
    assert len(positions) == len(scores) == min(k, 30)
    assert len(set(positions.tolist())) == len(positions)


@pytest.mark.parametrize(("rows", "k"), [(0, 5), (0, 0), (9, 0)])
def test_nothing_asked_for_or_nothing_there_gives_nothing(opened: Open, rows: int, k: int) -> None:
    store = opened(random_rows(9, seed=9)[:rows])
    positions, scores = store.search(random_rows(1, seed=9)[0], k)
    assert (positions.shape, scores.shape) == ((0,), (0,))
    assert (positions.dtype, scores.dtype) == (np.int64, np.float32)
    assert store.vectors([]).shape == (0, DIMENSION)


def test_ties_are_broken_by_ascending_row_even_across_the_cut(opened: Open) -> None:
    near, far = random_rows(2, seed=10)
    rows = np.tile(far, (200, 1))
    tied = list(range(3, 200, 4))  # 50 rows that are equal, among others that are equal too
    rows[tied] = near
    store = opened(rows)
    for k in (1, 7, 49, 50):
        assert store.search(near, k)[0].tolist() == tied[:k]
    assert store.search(near, 60)[0].tolist() == tied + [row for row in range(200) if row not in tied][:10]


@pytest.mark.parametrize("k", [1, 10, 500])
def test_of_a_thousand_equal_rows_the_first_are_found(opened: Open, k: int) -> None:
    row = random_rows(1, seed=11)
    positions, scores = opened(np.repeat(row, 1000, axis=0)).search(row[0], k)
    assert scores.tolist() == [1.0] * k
    assert positions.tolist() == list(range(k))


def test_rows_are_given_back_as_they_were_in_the_order_asked(opened: Open) -> None:
    rows = random_rows(40, seed=12)
    store = opened(rows)
    asked: Sequence[int] = [39, 0, 7, 7, 21]
    assert np.array_equal(store.vectors(asked), rows[list(asked)])
    assert store.vectors(asked).dtype == np.float32


def test_searching_from_several_threads_finds_what_one_alone_finds(opened: Open) -> None:
    store, queries = opened(random_rows(1000, seed=13)), random_rows(200, seed=14)

    def search(query: Matrix) -> tuple[list[int], list[float]]:
        positions, scores = store.search(query, 10)
        return positions.tolist(), scores.tolist()

    alone = [search(query) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(search, queries)) == alone


MANY = 20_000
"""Enough for HNSW to answer a question about half of them through its graph."""
FEWER = 1_000
"""For what is slow. Its limits are smaller, too, so that all its ways to search are taken."""


@dataclass(frozen=True)
class There:
    """Many rows: in a store of the kind, and in the reference."""

    rows: Matrix
    store: VectorStore
    reference: VectorStore


@pytest.fixture(scope="module")
def many_rows() -> Matrix:
    return random_rows(MANY, seed=20)


@pytest.fixture(scope="module")
def many(many_rows: Matrix, tmp_path_factory: pytest.TempPathFactory) -> dict[str, VectorStore]:
    return one_of_each(many_rows, tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def fewer() -> There:
    rows = random_rows(FEWER, seed=20)
    store = in_memory(rows, search="hnsw", dimension=DIMENSION, compared_at_most=FEWER // 4, listed_at_most=FEWER // 4)
    return There(rows, store, MemoryStore(rows))


@pytest.fixture
def there(kind: str, request: pytest.FixtureRequest) -> There:
    if kind == QDRANT:
        found: There = request.getfixturevalue("fewer")
        return found
    many: dict[str, VectorStore] = request.getfixturevalue("many")
    return There(request.getfixturevalue("many_rows"), many[kind], many["memory"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VectorStore]:
    """12 rows, each five times."""
    rows = random_rows(12, seed=32)[np.arange(60) % 12]
    in_qdrant = in_memory(rows, search="exact", dimension=DIMENSION, listed_at_most=7)
    return {**one_of_each(rows, tmp_path_factory.mktemp("small")), QDRANT: in_qdrant}


def one_of_each(rows: Matrix, folder: Path) -> dict[str, VectorStore]:
    there: dict[str, VectorStore] = {kind: store_of(rows, kind, folder / kind) for kind in KINDS}
    url = database(folder)
    there |= {kind: in_postgres(rows, search, url) for kind, search in IN_POSTGRES.items()}
    return {"memory": MemoryStore(rows), **there}


def near(rows: Matrix, count: int, seed: int) -> Matrix:
    """Questions about what there is: each near one of the rows."""
    random = np.random.default_rng(seed)
    spread = 0.1 * random.standard_normal((count, DIMENSION))
    return unit((rows[random.integers(0, len(rows), count)] + spread).astype(np.float32))


def permitting(rows: Sequence[int] | Matrix, of: int) -> Selection:
    mask = np.zeros(of, np.bool_)
    mask[np.asarray(rows, np.int64)] = True
    return selection_of(mask, documents=1)


def recall(store: VectorStore, reference: VectorStore, queries: Matrix, selections: Sequence[Selection], k: int = 10) -> float:
    """Of what the reference finds within each query's selection; checks that there is enough, and nothing that is forbidden."""
    recalled = 0
    for query, within in zip(queries, selections, strict=True):
        positions, scores = store.search(query, k, within)
        assert len(positions) == len(scores) == len(set(positions.tolist())) == min(k, len(within))
        assert set(positions.tolist()) <= set(within.positions.tolist())
        recalled += len(set(positions.tolist()) & set(reference.search(query, k, within)[0].tolist()))
    return recalled / sum(min(k, len(within)) for within in selections)


@pytest.mark.parametrize("share", [0.0002, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_within_a_selection_it_finds_what_the_reference_finds(there: There, kind: str, share: float) -> None:
    random, rows = np.random.default_rng(21), len(there.rows)
    queries = near(there.rows, 50, seed=22)
    selections = [permitting(random.choice(rows, max(int(share * rows), 1), replace=False), rows) for _ in queries]
    assert recall(there.store, there.reference, queries, selections) >= (0.95 if kind in GRAPHS else 1.0)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_question_whose_neighbourhood_is_forbidden_gets_the_best_of_the_rest(there: There, kind: str, share: float) -> None:
    queries, rows = near(there.rows, 20, seed=23), len(there.rows)
    selections = [permitting(np.argsort(there.rows @ query)[: int(share * rows)], rows) for query in queries]
    assert recall(there.store, there.reference, queries, selections) >= (0.95 if kind in GRAPHS else 1.0)


def test_a_score_within_a_selection_is_the_score_without(there: There) -> None:
    query = random_rows(1, seed=24)[0]
    positions, scores = there.store.search(query, 40)
    for share in (1, 2):  # all that was found, and every second of it
        within = permitting(positions[::share], len(there.rows))
        again, scored = there.store.search(query, 40, within)
        assert (again.dtype, scored.dtype) == (np.int64, np.float32)
        assert again.tolist() == positions[::share].tolist()
        assert scored.tolist() == scores[::share].tolist()


@pytest.mark.parametrize("rows", [0, 9])
def test_nothing_is_found_where_nothing_is_permitted(opened: Open, rows: int) -> None:
    store = opened(random_rows(9, seed=25)[:rows])
    positions, scores = store.search(random_rows(1, seed=26)[0], 5, permitting([], rows))
    assert (positions.shape, scores.shape) == ((0,), (0,))
    assert (positions.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [0, 1, 3, 4, 1000])
def test_asking_for_more_than_is_permitted_gives_all_that_is(opened: Open, k: int) -> None:
    positions, scores = opened(random_rows(30, seed=27)).search(random_rows(1, seed=28)[0], k, permitting([0, 7, 8, 29], 30))
    assert len(positions) == len(scores) == min(k, 4)
    assert set(positions.tolist()) <= {0, 7, 8, 29}


def test_ties_among_permitted_rows_are_broken_by_ascending_row_even_across_the_cut(opened: Open) -> None:
    near, far = random_rows(2, seed=29)
    rows = np.tile(far, (400, 1))
    tied = list(range(3, 400, 4))
    rows[tied] = near
    permitted = [row for row in range(400) if row % 8 in (1, 3)]  # every second of the tied ones, and as many others
    store, within = opened(rows), permitting(permitted, 400)
    for k in (1, 7, 49, 50):
        assert store.search(near, k, within)[0].tolist() == tied[::2][:k]
    assert store.search(near, 60, within)[0].tolist() == tied[::2] + list(range(1, 400, 8))[:10]


def test_threads_with_different_selections_find_what_each_would_alone(there: There) -> None:
    random, queries = np.random.default_rng(30), random_rows(60, seed=31)
    masks = [random.random(len(there.rows)) < (0.001, 0.1, 0.8)[number % 3] for number in range(len(queries))]

    def search(number: int) -> tuple[list[int], list[float]]:
        within = selection_of(masks[number], documents=1)  # made here, so that nobody else keeps its arrays alive
        positions, scores = there.store.search(queries[number], 10, within)
        return positions.tolist(), scores.tolist()

    alone = [search(number) for number in range(len(queries))]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(search, [*range(len(queries))] * 3)) == alone * 3


@settings(max_examples=40, deadline=None)
@given(choice=st.data())
def test_any_selection_of_rows_that_repeat_gives_what_the_reference_gives(small: dict[str, VectorStore], choice: st.DataObject) -> None:
    permitted = choice.draw(st.lists(st.integers(0, 59), unique=True))
    query = random_rows(1, seed=choice.draw(st.integers(0, 20)))[0]
    k = choice.draw(st.integers(0, 70))
    within = permitting(permitted, 60)
    expected = [part.tolist() for part in small["memory"].search(query, k, within)]
    for store in small.values():
        assert [part.tolist() for part in store.search(query, k, within)] == expected


@pytest.mark.parametrize("file_kind", KINDS)
def test_the_same_batches_give_the_same_bytes(tmp_path: Path, file_kind: Kind) -> None:
    rows = random_rows(700, seed=15)
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        names = write_store(tmp_path / name, [rows[:256], rows[256:512], rows[512:]], dimension=DIMENSION, kind=file_kind)
        written.append({file: (tmp_path / name / file).read_bytes() for file in names})
    assert written[0] == written[1]


def test_where_batches_end_does_not_change_a_flat_file(tmp_path: Path) -> None:
    rows = random_rows(100, seed=16)
    write_faiss(tmp_path / "one", [rows], dimension=DIMENSION, kind="flat")
    write_faiss(tmp_path / "many", (rows[start : start + 7] for start in range(0, 105, 7)), dimension=DIMENSION, kind="flat")
    write_faiss(tmp_path / "holes", [rows[:0], rows[:50], rows[:0], rows[50:]], dimension=DIMENSION, kind="flat")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes() == (tmp_path / "holes").read_bytes()


def test_where_batches_end_does_not_change_what_hnsw_finds_best(tmp_path: Path) -> None:
    rows = random_rows(1000, seed=17)
    write_faiss(tmp_path / "one", [rows], dimension=DIMENSION, kind="hnsw")
    write_faiss(tmp_path / "many", (rows[start : start + 64] for start in range(0, 1000, 64)), dimension=DIMENSION, kind="hnsw")
    one, many = FaissStore.open(tmp_path / "one"), FaissStore.open(tmp_path / "many")
    found = [[store.search(query, 1)[0].tolist() for query in random_rows(50, seed=18)] for store in (one, many)]
    assert found[0] == found[1]
