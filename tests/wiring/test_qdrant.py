"""An index whose vectors are in Qdrant: built, served, compared with its manifest, taken to another machine.

By the client's local mode in a folder, and over HTTP by the same local mode behind a server of the tests: no server of Qdrant is here.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from rag_service.ask import Pipeline
from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.errors import Damaged, InvalidSettings, Mismatch, MissingDependency, StorageFailed
from rag_service.manifest import VECTORS_FILE, VECTORS_TO_SHARE_FILE
from rag_service.question import Question
from rag_service.settings import Settings, load_settings
from rag_service.wiring import qdrant as wired
from rag_service.wiring.activating import activate
from rag_service.wiring.releases import make_release, open_release
from tests.conftest import Outcome
from tests.doubles import HOLIDAYS
from tests.processes import ServerProcess
from tests.stores.qdrant_over_http import KEY, qdrant_over_http

Build = Callable[..., Built]
Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    wired.close_places()


@pytest.fixture
def root(tmp_path: Path, encoder_folder: Path) -> Path:
    """Encoders, and no index."""
    (tmp_path / "indexes").mkdir()
    (tmp_path / "indexes" / "encoders").symlink_to(encoder_folder.parent)
    return tmp_path / "indexes"


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A folder of the local mode."""
    return (tmp_path / "qdrant").as_uri()


def settings_for(root: Path, url: str, **more: object) -> Settings:
    return load_settings({}, indexes=root, name="handbook", store="qdrant", qdrant_url=url, **more)


def served(settings: Settings, version: str) -> Pipeline:
    catalog = Catalog(settings.indexes)
    release = make_release(settings, catalog, "handbook", version)
    activate(settings, catalog, "handbook", release, who="test")
    return open_release(settings, catalog, "handbook", release).pipeline


def points(url: str, change: Callable[[Any, str], object]) -> None:
    """What somebody does to the collection behind the back of the service."""
    [place] = [place for (known, _), place in wired._places.items() if known == url]

    def change_all(client: Any) -> None:
        for collection in client.get_collections().collections:
            change(client, collection.name)

    place.ask("change", change_all)


def test_it_answers_as_the_same_index_in_a_file_does(root: Path, place: str, handbook: Path, build: Build, pipeline: Pipeline) -> None:
    built = build(root, handbook, store="qdrant", qdrant_url=place)
    folder = Catalog(root).version_folder("handbook", built.manifest.version)
    assert built.manifest.store.kind == "qdrant"
    assert not (folder / VECTORS_FILE).exists()
    assert not (folder / VECTORS_TO_SHARE_FILE).exists()
    there, local = (made.ask(Question(HOLIDAYS)) for made in (served(settings_for(root, place), built.manifest.version), pipeline))
    assert (there.answer, there.confidence) == (local.answer, local.confidence)
    assert [(hit.chunk.id, hit.score) for hit in there.hits] == [(hit.chunk.id, hit.score) for hit in local.hits]
    again = build(root, handbook, store="qdrant", qdrant_url=place)
    assert (again.existed, again.manifest) == (True, built.manifest)


def test_points_that_were_deleted_are_found_and_put_right_by_the_next_build(root: Path, place: str, handbook: Path, build: Build) -> None:
    built = build(root, handbook, store="qdrant", qdrant_url=place)
    settings, catalog = settings_for(root, place), Catalog(root)
    release = make_release(settings, catalog, "handbook", built.manifest.version)
    points(place, lambda client, name: client.delete(name, points_selector=[0, 1]))
    with pytest.raises(Damaged, match=rf"holds {built.manifest.counts.chunks - 2} vectors, not {built.manifest.counts.chunks}"):
        open_release(settings, catalog, "handbook", release)
    points(place, lambda client, name: client.delete_collection(name))
    with pytest.raises(Damaged, match="not found"):
        open_release(settings, catalog, "handbook", release)
    assert build(root, handbook, store="qdrant", qdrant_url=place).existed
    open_release(settings, catalog, "handbook", release, verify="full")


def test_a_changed_vector_stops_an_activation(root: Path, place: str, handbook: Path, build: Build) -> None:
    version = build(root, handbook, store="qdrant", qdrant_url=place).manifest.version

    def swap(client: Any, name: str) -> None:
        [other] = client.retrieve(name, ids=[1], with_vectors=True)
        client.upsert(name, [models.PointStruct(id=0, vector=other.vector)])

    points(place, swap)
    with pytest.raises(Damaged, match="not those that were written"):
        served(settings_for(root, place), version)
    assert Catalog(root).served_id("handbook") is None


def test_it_must_be_said_where_qdrant_is(root: Path, place: str, handbook: Path, build: Build) -> None:
    with pytest.raises(InvalidSettings, match="needs to know where Qdrant is"):
        build(root, handbook, store="qdrant")
    version = build(root, handbook, store="qdrant", qdrant_url=place).manifest.version
    settings = load_settings({}, indexes=root, name="handbook")
    with pytest.raises(Mismatch, match="are in Qdrant"):
        open_release(settings, Catalog(root), "handbook", make_release(settings, Catalog(root), "handbook", version))


def test_without_the_client_it_is_said_what_to_install(
    root: Path, place: str, handbook: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rag_service.stores.qdrant_place", None)
    with pytest.raises(MissingDependency, match=r"\[qdrant\]"):
        build(root, handbook, store="qdrant", qdrant_url=place)


def test_a_build_that_cannot_reach_qdrant_leaves_no_version(root: Path, handbook: Path, build: Build) -> None:
    with pytest.raises(StorageFailed, match="refused"):
        build(root, handbook, store="qdrant", qdrant_url="http://127.0.0.1:1")
    assert Catalog(root).names() == []


def test_a_build_whose_writing_fails_leaves_no_version_and_the_next_goes_on(
    root: Path, handbook: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    with qdrant_over_http() as server:
        given = {"store": "qdrant", "qdrant_url": server.url, "qdrant_api_key": KEY}
        answer = server.result

        def full(method: str, path: str, body: Any) -> Any:
            if method == "PUT" and path.endswith("/points"):
                raise ValueError("No space left on device")
            return answer(method, path, body)

        monkeypatch.setattr(server, "result", full)
        with pytest.raises(StorageFailed, match="No space left on device"):
            build(root, handbook, **given)
        assert Catalog(root).names() == []
        monkeypatch.setattr(server, "result", answer)
        assert not build(root, handbook, **given).existed


def test_commands_build_activate_verify_and_answer(cli: Command, command: Command, root: Path, place: str, handbook: Path) -> None:
    environ = {"RAG_STORE": "qdrant", "RAG_QDRANT_URL": place, "RAG_INDEXES": str(root), "RAG_NAME": "handbook"}
    made = cli("index", "build", handbook, "--activate", **environ)
    assert made.code == 0, made.err
    assert "store qdrant" in made.out
    assert cli("index", "verify", **environ).code == 0
    points(place, lambda client, name: client.delete(name, points_selector=[3]))
    damaged = cli("index", "verify", **environ)
    assert damaged.code != 0
    assert "holds" in damaged.err
    assert cli("index", "build", handbook, **environ).code == 0
    wired.close_places()
    assert "28 days" in command("ask", HOLIDAYS, environ=environ).out


def asked(server: ServerProcess, question: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/ask", json.dumps({"question": question}), {"content-type": "application/json"})
    reply = connection.getresponse()
    found = reply.status, json.loads(reply.read())
    connection.close()
    return found


def test_a_service_on_another_machine_waits_for_qdrant_and_goes_on_when_it_was_away(
    root: Path, handbook: Path, build: Build, start: Callable[..., Any], tmp_path: Path, encoder_folder: Path
) -> None:
    other_question = "How are receipts for travel expenses sent?"
    with qdrant_over_http() as server:
        built = build(root, handbook, store="qdrant", qdrant_url=server.url, qdrant_api_key=KEY)
        served(settings_for(root, server.url, qdrant_api_key=KEY), built.manifest.version)
        other = tmp_path / "other"  # as an index is taken along: its folder, and nothing of Qdrant
        shutil.copytree(root / "handbook", other / "handbook")
        (other / "encoders").symlink_to(encoder_folder.parent)
        environ = {"RAG_QDRANT_URL": server.url, "RAG_QDRANT_API_KEY": KEY, "RAG_INDEXES": str(other), "RAG_NAME": "handbook"}
        server.status = 503
        process = start("serve", "--port", "0", environ=environ)
        until_s = time.monotonic() + 30
        while not server.refused and time.monotonic() < until_s:
            time.sleep(0.05)
        assert server.refused
        server.status = 200
        service = ServerProcess(process)  # waits until it is ready
        status, reply = asked(service, HOLIDAYS)
        assert (status, reply["answer"].startswith("Every employee has 28 days")) == (200, True)
        server.status = 503
        status, reply = asked(service, other_question)
        assert (status, reply["error"]["code"]) == (503, "storage_failed")
        assert KEY not in json.dumps(reply)
        server.status = 200
        assert asked(service, other_question)[0] == 200
        service.end()
        assert any("not ready, and tried again every second" in line for line in service.said)
        assert all(KEY not in line for line in service.said)
