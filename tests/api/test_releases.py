"""Changing what is served over HTTP: by whom, with every check, and never half."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rag_service.catalog import Catalog
from rag_service.key_file import create_key
from rag_service.release import Release
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.api.conftest import Client, Serve
from tests.api.replies import refused
from tests.doubles import HOLIDAYS

DOGS = "When may dogs come to the office?"


@pytest.fixture(scope="module")
def with_second(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, build: Any) -> tuple[Path, Release]:
    """The handbook, and a release of other documents that is stored and was never served."""
    folder = tmp_path_factory.mktemp("second")
    root = shutil.copytree(served_indexes, folder / "indexes", symlinks=True)
    (folder / "pets.md").write_text("# Pets\n\nDogs may come to the office on Fridays.\n")
    version = build(root, folder / "pets.md").manifest.version
    release = make_release(load_settings({}, indexes=root), Catalog(root), "handbook", version)
    Catalog(root).add_release("handbook", release)
    return root, release


@pytest.fixture
def catalog(with_second: tuple[Path, Release], tmp_path: Path) -> Catalog:
    return Catalog(shutil.copytree(with_second[0], tmp_path / "own", symlinks=True))


@pytest.fixture
def first(catalog: Catalog) -> str:
    return catalog.active_id("handbook")


@pytest.fixture
def second(with_second: tuple[Path, Release]) -> Release:
    return with_second[1]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    create_key(path, name="somebody")
    return path


@pytest.fixture
def client(catalog: Catalog, serve: Serve, keys: Path) -> Client:
    return serve(catalog.root, keys=keys)


@pytest.fixture
def admin(client: Client, keys: Path) -> Client:
    return client.with_key(create_key(keys, name="ann", scopes=("ask", "admin"))[1])


def followed(client: Client, release: str, within_s: float = 2.0) -> Any:
    """What `/info` says once the server serves that release."""
    deadline_s = time.monotonic() + within_s
    while (info := client.get("/info").json)["release"]["id"] != release:
        assert time.monotonic() < deadline_s, info
        time.sleep(0.02)
    return info


def test_an_admin_activates_and_rolls_back_and_the_history_says_who_and_why(admin: Client, first: str, second: Release) -> None:
    assert admin.ask({"question": DOGS}).json["status"] == "abstained"
    reply = admin.post(f"/releases/{second.id}/activate", {"why": "dogs are in", "expected": first})
    assert reply.status == 200, reply.body
    assert reply.json["transition"]["previous"] == first
    assert (reply.json["release"], reply.json["index_version"], reply.json["changed"]) == (second.id, second.index.version, True)
    assert reply.json["differences"] == []
    followed(admin, second.id)
    assert "Fridays" in admin.ask({"question": DOGS}).json["answer"]

    back = admin.post("/releases/rollback", {"why": "no dogs"})
    assert back.status == 200, back.body
    assert (back.json["release"], back.json["transition"]["action"]) == (first, "rollback")
    followed(admin, first)
    assert admin.ask({"question": DOGS}).json["status"] == "abstained"

    history = admin.get("/releases/history").json
    assert history["damaged"] == 0
    told = [(one["action"], one["release"], one["why"]) for one in history["transitions"]]
    assert told == [("rollback", first, "no dogs"), ("activate", second.id, "dogs are in"), ("activate", first, "")]
    assert all(one["who"].startswith("key ") and one["who"].endswith("(ann)") for one in history["transitions"][:2])


def test_an_empty_body_is_a_switch_without_a_reason(admin: Client, first: str, second: Release) -> None:
    assert admin.post(f"/releases/{second.id}/activate", {}).status == 200
    assert admin.post("/releases/rollback", {}).json["release"] == first


def test_what_is_served_already_stays_and_makes_no_history(admin: Client, first: str) -> None:
    reply = admin.post(f"/releases/{first}/activate", {"why": "again"}).json
    assert (reply["changed"], reply["transition"]) == (False, None)
    assert len(admin.get("/releases/history").json["transitions"]) == 1


def test_only_the_scope_admin_changes_what_is_served(client: Client, keys: Path, catalog: Catalog, first: str, second: Release) -> None:
    calls = ((f"/releases/{second.id}/activate", {}), ("/releases/rollback", {}))
    for path, body in calls:
        refused(client.post(path, body), 401, "unauthorized")
        for scopes in (("ask",), ("traces",), ("ask", "traces")):
            key = create_key(keys, name="one", scopes=scopes)[1]  # type: ignore[arg-type]  # they are scopes
            refused(client.with_key(key).post(path, body), 403, "forbidden")
    limited = client.with_key(create_key(keys, name="part", scopes=("ask", "traces", "admin"), documents={"team": "red"})[1])
    for path, body in calls:
        refused(limited.post(path, body), 403, "forbidden")
    refused(limited.get("/releases/history"), 403, "forbidden")
    assert catalog.active_id("handbook") == first


def test_without_a_history_there_is_nothing_to_go_back_to(admin: Client, first: str) -> None:
    assert "never served another release" in refused(admin.post("/releases/rollback", {}), 404, "not_found")["message"]
    followed(admin, first)


@pytest.mark.parametrize("identifier", ["0123456789ab", "ffffffffffff"])
def test_an_unknown_release_is_404(admin: Client, catalog: Catalog, first: str, identifier: str) -> None:
    refused(admin.post(f"/releases/{identifier}/activate", {}), 404, "not_found")
    refused(admin.post("/releases/rollback", {"to": identifier}), 404, "not_found")
    assert catalog.active_id("handbook") == first


@pytest.mark.parametrize("identifier", ["..", "..%2f..%2fACTIVE", "0123456789AB", "x" * 300, "%00", "0123456789ab%0a", "∕etc"])
def test_what_is_no_id_reaches_no_file(admin: Client, catalog: Catalog, first: str, identifier: str) -> None:
    """A5."""
    reply = admin.post(f"/releases/{quote(identifier, safe='%.')}/activate", {})
    assert reply.status in (400, 404, 405, 422), reply.body
    assert catalog.active_id("handbook") == first


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"why": "x" * 501}, "why"),
        ({"expected": "nonsense"}, "expected"),
        ({"reason": "x"}, "reason"),
        ({"why": 7}, "why"),
    ],
)
def test_a_body_that_cannot_be_meant_is_refused_and_names_the_field(
    admin: Client, catalog: Catalog, first: str, second: Release, body: dict[str, object], param: str
) -> None:
    for path in (f"/releases/{second.id}/activate", "/releases/rollback"):
        assert param in json.dumps(refused(admin.post(path, body), 422, "invalid_request"))
    assert catalog.active_id("handbook") == first


def test_a_release_that_fails_a_check_is_409_and_names_the_check_and_what_is_served_is_still_served(
    admin: Client, catalog: Catalog, first: str, second: Release
) -> None:
    path = catalog.version_folder("handbook", second.index.version) / "vectors.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    error = refused(admin.post(f"/releases/{second.id}/activate", {}), 409, "release_unavailable")
    assert "the check `manifest` failed" in error["message"]
    assert error["param"] == "release"
    assert catalog.active_id("handbook") == first
    assert "28 days" in admin.ask({"question": HOLIDAYS}).json["answer"]
    assert admin.get("/health/ready").json["ready"] is True


def test_a_release_that_fails_a_canary_question_is_409(admin: Client, catalog: Catalog, first: str, second: Release) -> None:
    catalog.canaries_path("handbook").write_text(json.dumps({"question": HOLIDAYS, "contains": "28"}) + "\n")
    error = refused(admin.post(f"/releases/{second.id}/activate", {}), 409, "release_unavailable")
    assert "the check `questions` failed: 1 of 1 canary questions failed" in error["message"]
    assert admin.post(f"/releases/{first}/activate", {}).status == 200


def test_a_version_that_is_gone_is_404_and_what_is_served_is_still_served(
    admin: Client, catalog: Catalog, first: str, second: Release
) -> None:
    catalog.version_folder("handbook", second.index.version).rename(catalog.root / "elsewhere")
    refused(admin.post(f"/releases/{second.id}/activate", {}), 404, "not_found")
    assert catalog.active_id("handbook") == first


def test_nothing_changes_where_another_release_is_served_than_was_expected(
    admin: Client, catalog: Catalog, first: str, second: Release
) -> None:
    for path in (f"/releases/{second.id}/activate", "/releases/rollback"):
        body = {"expected": "0123456789ab", **({"to": second.id} if path.endswith("rollback") else {})}
        refused(admin.post(path, body), 409, "conflict")
    assert catalog.active_id("handbook") == first


def test_of_two_admins_at_once_one_switches_and_the_other_is_told(admin: Client, catalog: Catalog, first: str, second: Release) -> None:
    third = second.model_copy(update={"retrieval": second.retrieval.model_copy(update={"top_k": 2})})
    catalog.add_release("handbook", third)
    replies: dict[str, Any] = {}

    def switch(release: str) -> None:
        replies[release] = admin.post(f"/releases/{release}/activate", {"expected": first})

    threads = [threading.Thread(target=switch, args=(one.id,)) for one in (second, third)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(reply.status for reply in replies.values()) == [200, 409]
    [winner] = [release for release, reply in replies.items() if reply.status == 200]
    assert catalog.active_id("handbook") == winner


@pytest.mark.usefixtures("client")
def test_an_activation_elsewhere_is_followed_within_a_second_although_nobody_asks(
    catalog: Catalog, second: Release, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="rag_service.serving"):
        catalog.activate("handbook", second)
        time.sleep(1.0)
    assert any(f"serving release {second.id}" in record.getMessage() for record in caplog.records)


def test_a_page_is_led_back_to_the_indexes(admin: Client, second: Release) -> None:
    body = b"why=from+the+page"
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
    reply = admin.send("POST", f"/releases/{second.id}/activate", body, headers)
    assert (reply.status, reply.headers.get("location")) == (303, "/indexes"), reply.body
    assert admin.get("/releases/history").json["transitions"][0]["why"] == "from the page"


def test_a_service_without_keys_says_that_somebody_did_it(catalog: Catalog, second: Release, serve: Callable[..., Any]) -> None:
    client = serve(catalog.root)
    assert client.post(f"/releases/{second.id}/activate", {}).status == 200
    assert client.get("/releases/history").json["transitions"][0]["who"] == "somebody without a key"
