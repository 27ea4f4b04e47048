"""What is particular to vectors in Qdrant: the way there and back, faults on it, and collections that are not what was written.

There is no server of Qdrant here. Behind these tests is the client's local mode, in places behind HTTP.
"""

import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import models

from rag_service.errors import Damaged, Mismatch, StorageFailed
from rag_service.stores import qdrant, qdrant_place
from rag_service.stores.memory import MemoryStore
from rag_service.stores.qdrant import QdrantStore, fill, page_rows
from rag_service.stores.qdrant_parameters import EXACT_ROWS, qdrant_parameters
from rag_service.stores.qdrant_place import QdrantPlace
from rag_service.types import Matrix
from tests.contracts.test_stores import DIMENSION, permitting, random_rows
from tests.stores.qdrant_memory import digest_of, in_memory
from tests.stores.qdrant_over_http import KEY, QdrantOverHttp, qdrant_over_http

ROWS = 400


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return random_rows(ROWS, seed=50)


@pytest.fixture
def server() -> Iterator[QdrantOverHttp]:
    with qdrant_over_http() as running:
        yield running


def store_at(place: QdrantPlace, rows: int = ROWS, **given: int) -> QdrantStore:
    return QdrantStore(place.collection("rag-test"), rows=rows, dimension=DIMENSION, search="hnsw", **given)


@pytest.fixture
def place(server: QdrantOverHttp) -> Iterator[QdrantPlace]:
    opened = QdrantPlace(server.url, KEY)
    yield opened
    opened.close()


@pytest.fixture
def store(place: QdrantPlace, rows: Matrix) -> QdrantStore:
    """Behind HTTP."""
    made = store_at(place, compared_at_most=100, listed_at_most=120)
    fill(made, rows, digest=digest_of(rows))
    return made


def test_what_is_found_over_http_is_what_the_reference_finds(store: QdrantStore, rows: Matrix) -> None:
    reference, random = MemoryStore(rows), np.random.default_rng(51)
    for number, query in enumerate(random_rows(12, seed=52)):
        within = permitting(random.choice(ROWS, (5, 90, 200, 350)[number % 4], replace=False), ROWS)
        for selection in (None, within):
            found, expected = store.search(query, 10, selection), reference.search(query, 10, selection)
            assert found[0].tolist() == expected[0].tolist()
            assert found[1].tolist() == pytest.approx(expected[1].tolist(), abs=1.01e-5)
    assert np.array_equal(store.vectors([399, 0, 3, 3]), rows[[399, 0, 3, 3]])


def test_vectors_of_every_float_come_back_bit_by_bit(place: QdrantPlace) -> None:
    odd = np.array([[1e-38, -1e-30, 3.4e38, 0.1, -0.0, 1 / 3, 2**-24, 1.0] * (DIMENSION // 8)], np.float32)
    odd = np.vstack([odd, np.random.default_rng(53).standard_normal((50, DIMENSION)).astype(np.float32)])
    store = store_at(place, len(odd))
    fill(store, odd, digest=digest_of(odd))
    assert store.vectors(range(51)).tobytes() == odd.tobytes()


def queries(server: QdrantOverHttp) -> list[dict[str, object]]:
    return [body for _, path, body in server.asked if path.endswith("/query")]


def test_a_few_permitted_rows_are_compared_and_many_are_found_through_the_graph(store: QdrantStore, server: QdrantOverHttp) -> None:
    query = random_rows(1, seed=54)[0]
    store.search(query, 5, permitting(range(100), ROWS))
    store.search(query, 5, permitting(range(300), ROWS))
    few, many = queries(server)[-2:]
    assert few["params"] == {"exact": True, "quantization": {"ignore": True}}
    assert many["params"] == {"hnsw_ef": 200}


def test_whichever_rows_are_fewer_are_named_the_permitted_or_the_forbidden(store: QdrantStore, server: QdrantOverHttp) -> None:
    query = random_rows(1, seed=55)[0]
    store.search(query, 5, permitting(range(3, 7), ROWS))
    store.search(query, 5, permitting(range(3, ROWS), ROWS))
    few, most = queries(server)[-2:]
    assert few["filter"] == {"must": [{"has_id": [3, 4, 5, 6]}]}
    assert most["filter"] == {"must_not": [{"has_id": [0, 1, 2]}]}


def test_no_request_names_more_rows_than_a_server_takes_at_once(store: QdrantStore, server: QdrantOverHttp) -> None:
    before = len(queries(server))
    store.search(random_rows(1, seed=56)[0], 5, permitting(range(0, ROWS, 2), ROWS))
    named = [len(body["filter"]["must"][0]["has_id"]) for body in queries(server)[before:]]  # type: ignore[index]
    assert named == [120, 80]


def test_a_collection_has_a_graph_only_where_it_is_searched(place: QdrantPlace, server: QdrantOverHttp) -> None:
    rows = random_rows(3, seed=57)
    for search, links in (("exact", 0), ("hnsw", 32)):
        store = QdrantStore(place.collection(f"rag-{search}"), rows=3, dimension=DIMENSION, search=search)  # type: ignore[arg-type]
        fill(store, rows, digest=digest_of(rows))
        made = [body for method, path, body in server.asked if method == "PUT" and path.endswith(search)]
        assert made == [
            {
                "vectors": {"size": DIMENSION, "distance": "Dot", "datatype": "float32"},
                "hnsw_config": {"m": links, "ef_construct": 200},
            }
        ]


def test_pages_of_long_vectors_are_shorter() -> None:
    assert page_rows(384) == 500
    assert page_rows(4096) == 48
    assert page_rows(10**6) == 1


def test_a_build_that_was_killed_is_taken_up_where_it_ended(
    place: QdrantPlace, server: QdrantOverHttp, rows: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant, "_PAGE_ROWS", 150)
    store = store_at(place)
    store.collection.create(DIMENSION, links=32, ef_construction=200)
    store.collection.put(0, rows[:150])
    with pytest.raises(Damaged, match="holds 150 vectors, not 400"):
        store.check()
    fill(store, rows, digest=digest_of(rows))
    written = [body["batch"]["ids"][0] for method, path, body in server.asked if method == "PUT" and path.endswith("/points")]
    assert written == [0, 150, 300]
    assert store.vectors(range(ROWS)).tobytes() == rows.tobytes()


def test_what_is_there_already_is_proved_and_not_written_again(store: QdrantStore, server: QdrantOverHttp, rows: Matrix) -> None:
    before = len(server.asked)
    fill(store, rows, digest=digest_of(rows))
    assert all(method != "PUT" for method, _, _ in server.asked[before:])


def test_a_changed_vector_is_found_and_put_right_by_the_next_build(store: QdrantStore, server: QdrantOverHttp, rows: Matrix) -> None:
    server.local.upsert("rag-test", [models.PointStruct(id=7, vector=rows[8].tolist())])
    store.check()  # the count is right
    with pytest.raises(Damaged, match="not those that were written"):
        store.check_all(digest_of(rows))
    fill(store, rows, digest=digest_of(rows))
    store.check_all(digest_of(rows))


def test_a_row_that_went_missing_is_named_and_not_passed_over(rows: Matrix) -> None:
    store = in_memory(rows[:200], search="exact", dimension=DIMENSION)
    store.collection.place.ask("change", lambda client: client.delete("rag-test", points_selector=[7]))
    with pytest.raises(Damaged, match="row 7"):
        store.vectors([1, 7])
    with pytest.raises(Damaged, match="199 vectors were found"):
        store.search(rows[0], 200)
    with pytest.raises(Damaged, match="holds 199 vectors, not 200"):
        store.check()
    with pytest.raises(Damaged):
        store.digest()


def test_points_that_are_no_rows_are_refused(rows: Matrix) -> None:
    store = in_memory(rows[:50], search="exact", dimension=DIMENSION)
    store.collection.put(90, rows[90:91])
    with pytest.raises(Damaged, match="points that are no rows"):
        store.search(rows[90], 3)
    with pytest.raises(Damaged, match="holds 51 vectors, not 50"):
        fill(store, rows[:50], digest=digest_of(rows[:50]))


def test_a_collection_made_for_something_else_is_left_alone(place: QdrantPlace, server: QdrantOverHttp, rows: Matrix) -> None:
    server.local.create_collection("rag-test", vectors_config=models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE))
    with pytest.raises(Damaged, match="made for something else"):
        fill(store_at(place), rows, digest=digest_of(rows))
    assert server.local.count("rag-test").count == 0


def test_a_collection_that_is_gone_is_no_empty_index(store: QdrantStore, server: QdrantOverHttp, rows: Matrix) -> None:
    server.local.delete_collection("rag-test")
    for ask in (store.check, lambda: store.search(rows[0], 3), lambda: store.vectors([0])):
        with pytest.raises(Damaged, match="doesn't exist"):
            ask()


def test_a_selection_of_another_store_is_refused(rows: Matrix) -> None:
    store = in_memory(rows[:50], search="exact", dimension=DIMENSION)
    with pytest.raises(Mismatch, match="row 299 of 50"):
        store.search(rows[0], 5, permitting([299], 300))


@pytest.mark.parametrize("key", [None, "an-0ther-key"])
def test_a_wrong_key_is_said_and_not_repeated(server: QdrantOverHttp, key: str | None) -> None:
    place = QdrantPlace(server.url, key)
    with pytest.raises(StorageFailed, match="401") as caught:
        place.check()
    place.close()
    assert "RAG_QDRANT_API_KEY" in caught.value.hint
    assert "an-0ther-key" not in f"{caught.value.message} {caught.value.hint} {place!r}"


@pytest.mark.parametrize("status", [302, 429, 500, 503])
def test_what_a_server_or_a_proxy_refuses_is_said_and_it_goes_on_afterwards(
    store: QdrantStore, server: QdrantOverHttp, rows: Matrix, status: int
) -> None:
    server.status = status
    with pytest.raises(StorageFailed, match=f"answered {status}") as caught:
        store.search(rows[0], 3)
    assert "upstream" not in caught.value.message
    server.status = 200
    assert store.search(rows[0], 1)[0].tolist() == [0]


def test_a_server_that_hangs_is_given_up(rows: Matrix, server: QdrantOverHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_place, "_READ_S", 1)
    place = QdrantPlace(server.url, KEY)
    server.hangs.set()
    began_s = time.monotonic()
    with pytest.raises(StorageFailed, match=r"no answer in time \(ReadTimeout\)"):
        store_at(place).search(rows[0], 3)
    assert time.monotonic() - began_s < 3
    place.close()


def test_a_server_that_is_away_is_left_alone_for_a_moment_and_then_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_place, "_LEFT_ALONE_S", 0.4)
    with socket.socket() as held:  # bound, and not listening
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        place = QdrantPlace(f"http://127.0.0.1:{port}", KEY)
        with pytest.raises(StorageFailed, match=r"could not open .*refused"):
            place.check()
    with qdrant_over_http(port) as server:
        with pytest.raises(StorageFailed, match=r"could not open .*refused"):
            place.check()
        assert server.asked == []
        time.sleep(0.45)
        place.check()
    place.close()


def test_a_reply_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_place, "_REPLY_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = QdrantPlace(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n")
                for _ in range(100):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(StorageFailed, match="no answer in time"):
            place.check()
        place.close()
        thread.join()


def test_what_is_no_qdrant_is_said(server: QdrantOverHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "result", lambda *_: {"surprise": KEY})
    place = QdrantPlace(server.url, KEY)
    with pytest.raises(StorageFailed, match="what no server of Qdrant answers") as caught:
        place.check()
    place.close()
    assert KEY not in caught.value.message


def test_a_name_says_what_a_collection_holds() -> None:
    one = qdrant_parameters(10, 384, "sha256:" + "a" * 64)
    assert one == qdrant_parameters(10, 384, "sha256:" + "a" * 64)
    others = [
        qdrant_parameters(10, 384, "sha256:" + "b" * 64),
        qdrant_parameters(11, 384, "sha256:" + "a" * 64),
        qdrant_parameters(10, 256, "sha256:" + "a" * 64),
    ]
    assert len({str(found["collection"]) for found in (one, *others)}) == 4
    assert one["search"] == "exact"
    assert qdrant_parameters(EXACT_ROWS + 1, 384, "sha256:" + "a" * 64)["search"] == "hnsw"


def test_so_many_rows_as_one_request_names_fit_into_it() -> None:
    assert qdrant.LISTED_AT_MOST * len("9999999999, ") < 32 * 2**20
