"""Documents over HTTP: there, gone, and who may know."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rag_service.catalog import Catalog
from rag_service.key_file import create_key
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.api.conftest import Client, Serve
from tests.api.replies import refused
from tests.doubles import HOLIDAYS


def test_a_document_has_its_digest_and_its_chunks_in_order(client: Any) -> None:
    reply = client.get("/documents/leave.md")
    assert reply.status == 200, reply.body
    document = reply.json
    assert (document["document_id"], document["title"], document["source"]) == ("leave.md", "Leave", "leave.md")
    assert document["index_version"] == client.get("/info").json["index"]["version"]
    assert [chunk["ordinal"] for chunk in document["chunks"]] == list(range(len(document["chunks"])))
    assert document["chunks"][0]["heading_path"] == ["Leave", "Holidays"]
    for chunk in document["chunks"]:
        assert client.get(f"/chunks/{chunk['chunk_id']}").json["document_id"] == "leave.md"
    rest = client.get("/documents/leave.md?first=1").json["chunks"]
    assert rest == document["chunks"][1:]


def test_a_document_in_a_folder_is_found_by_its_path_however_it_is_written(client: Any) -> None:
    for path in ("security/passwords.md", "security%2Fpasswords.md"):
        assert client.get(f"/documents/{path}").json["document_id"] == "security/passwords.md"


@pytest.mark.parametrize(
    "identifier",
    [
        "nowhere.md", "LEAVE.md", "../leave.md", "..%2f..%2fACTIVE", "%2fetc%2fpasswd", "leave.md%00", "con", "x" * 300, "' OR 1=1 --", "%",
        "a\u2215b", "*", "leave.md/",
    ],
)  # fmt: skip
def test_what_is_no_document_is_404(client: Any, identifier: str) -> None:
    """A5: an id is looked up in a table, and is never a path."""
    reply = client.get(f"/documents/{quote(identifier, safe='%/')}")
    assert reply.status == 404, reply.body
    assert b"root:" not in reply.body


def test_an_id_that_is_too_long_or_a_version_that_is_none_is_refused(client: Any) -> None:
    assert client.get(f"/documents/{'x' * 1001}").status == 422
    assert client.get("/documents/leave.md?index_version=nonsense").status == 422
    assert client.get("/documents/leave.md?first=-1").status == 422
    refused(client.get("/documents/leave.md?index_version=0123456789ab"), 404, "not_found")


@pytest.fixture
def served(own_indexes: Path, serve: Serve) -> Client:
    return serve(own_indexes)


def test_a_deleted_document_is_gone_from_the_new_version_while_an_old_record_still_shows_what_was_cited(
    served: Client, own_indexes: Path, handbook: Path, build: Any, tmp_path: Path
) -> None:
    asked = served.ask({"question": HOLIDAYS}).json
    [cited] = {citation["document_id"] for citation in asked["citations"]}
    assert cited == "leave.md"
    old = asked["trace"]["index"]["version"]
    for page in ("travel.md", "visitors.txt"):
        (tmp_path / page).write_bytes((handbook / page).read_bytes())
    catalog = Catalog(own_indexes)
    version = build(own_indexes, f"{tmp_path}/*.*").manifest.version
    assert served.get("/documents/leave.md").status == 200, "it is built, and not served"
    catalog.activate("handbook", make_release(load_settings({}, indexes=own_indexes), catalog, "handbook", version))
    deadline_s = time.monotonic() + 2
    while served.get("/info").json["index"]["version"] != version:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)

    assert version in refused(served.get("/documents/leave.md"), 404, "not_found")["message"]
    assert served.get("/documents/travel.md").status == 200
    assert served.get(f"/documents/leave.md?index_version={old}").json["index_version"] == old
    assert served.ask({"question": HOLIDAYS}).json["status"] == "abstained"

    record = served.get(f"/traces/{asked['answer_id']}").json
    assert record["citations"] == asked["citations"]
    assert "28 days" in record["answer"]
    assert "28 days of paid holiday" in json.dumps(record["hits"])
    assert served.get(f"/chunks/{asked['citations'][0]['chunk_id']}").status == 200


def test_a_key_that_sees_a_part_of_the_documents_does_not_learn_of_the_others(
    own_indexes: Path, serve: Serve, tmp_path: Path, build: Any
) -> None:
    lines = [{"id": f"{team}-1", "text": f"The code of team {team} is {code}.", "team": team} for team, code in (("red", 1), ("blue", 2))]
    (tmp_path / "teams.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    catalog = Catalog(own_indexes)
    version = build(own_indexes, tmp_path / "teams.jsonl", name="teams").manifest.version
    catalog.activate("teams", make_release(load_settings({}, indexes=own_indexes), catalog, "teams", version))
    keys = tmp_path / "keys.json"
    red = create_key(keys, name="red", documents={"team": "red"})[1]
    client = serve(own_indexes, "teams", keys=keys).with_key(red)
    assert client.get("/documents/red-1").status == 200
    hidden, nowhere = client.get("/documents/blue-1"), client.get("/documents/gree-1")
    assert refused(hidden, 404, "not_found")["message"].replace("blue", "gree") == refused(nowhere, 404, "not_found")["message"]
    refused(client.get(f"/documents/blue-1?index_version={version}"), 404, "not_found")


def test_documents_need_a_key_where_there_are_keys(own_indexes: Path, serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    create_key(keys, name="somebody")
    client = serve(own_indexes, keys=keys)
    refused(client.get("/documents/leave.md"), 401, "unauthorized")
    refused(client.with_key(create_key(keys, name="x", scopes=("traces",))[1]).get("/documents/leave.md"), 403, "forbidden")
