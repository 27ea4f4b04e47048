"""Keys over a real socket: what somebody may not see does not show, whichever way they ask.

Two teams share one index. Each has a key that sees its own documents; a third key sees everything.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag_service.catalog import Catalog
from rag_service.key_file import Scope, create_key, revoke_key
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.api.replies import refused

QUESTION = "What is the launch code of the project?"
RED, BLUE = "crimson-4411", "azure-7722"
"""What stands in the documents of one team alone."""


@dataclass(frozen=True)
class Team:
    name: str
    secret: str
    others_secret: str


TEAMS = (Team("red", RED, BLUE), Team("blue", BLUE, RED))


@pytest.fixture(scope="module")
def shared_index(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, build: Any) -> Path:
    folder = tmp_path_factory.mktemp("teams")
    (folder / "indexes").mkdir()
    (folder / "indexes" / "encoders").symlink_to(encoder_folder.parent)
    lines = [
        {"id": f"{team}-{number}", "title": f"Project {team} {number}", "text": text, "team": team}
        for team, secret in (("red", RED), ("blue", BLUE))
        for number, text in enumerate((f"The launch code of the project is {secret}.", f"The project {secret} starts on Monday."))
    ]
    lines.append({"id": "unlabelled", "title": "Unlabelled", "text": "The launch code of the unlabelled project is violet-9933."})
    (folder / "projects.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    root = folder / "indexes"
    catalog = Catalog(root)
    version = build(root, folder / "projects.jsonl", name="projects").manifest.version
    catalog.activate("projects", make_release(load_settings({}, indexes=root), catalog, "projects", version))
    return root


@dataclass(frozen=True)
class Shared:
    """One server with keys."""

    client: Any
    keys: Path
    by_team: dict[str, Any]
    """Team, or `all` → a client with its key."""

    def with_scopes(self, *scopes: Scope, **options: Any) -> Any:
        return self.client.with_key(create_key(self.keys, name="one", scopes=scopes, **options)[1])


@pytest.fixture
def shared(shared_index: Path, serve: Any, tmp_path: Path) -> Shared:
    keys = tmp_path / "keys.json"
    presented = {team.name: create_key(keys, name=team.name, documents={"team": team.name})[1] for team in TEAMS}
    presented["all"] = create_key(keys, name="all", scopes=("ask", "traces"))[1]
    client = serve(shared_index, name="projects", keys=keys)
    return Shared(client, keys, {name: client.with_key(key) for name, key in presented.items()})


def replies_of(client: Any) -> Iterator[Any]:
    """The same question by every route that answers, twice: the second time from the cache where there is one."""
    question = {"question": QUESTION, "top_k": 50}
    rag = {"top_k": 50, "min_confidence": 0}
    asked = {**question, **rag, "include": ["chunks"]}
    for _ in range(2):
        yield client.ask(asked)
        yield client.search({**question, "include": ["chunks"]})
        yield client.ask({**asked, "stream": True})
        yield client.batch({"questions": [{**question, **rag}], "include": ["chunks"]})
        yield client.post("/v1/chat/completions", {"model": "projects", "messages": [{"role": "user", "content": QUESTION}], "rag": rag})
    yield client.get("/info")
    yield client.get("/v1/models")


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.name)
def test_a_key_is_answered_from_its_own_documents_and_never_sees_those_of_others(shared: Shared, team: Team) -> None:
    for client in shared.by_team.values():  # what the cache then holds is of all of them
        list(replies_of(client))
    for reply in replies_of(shared.by_team[team.name]):
        assert reply.status == 200, reply.body
        for hidden in (team.others_secret, "violet", "unlabelled"):
            assert hidden.encode() not in reply.body
    own = shared.by_team[team.name].ask({"question": QUESTION}).json
    assert team.secret in own["answer"]
    assert {hit["metadata"]["team"] for hit in own["hits"]} == {team.name}


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.name)
def test_counts_tell_a_key_nothing_about_what_it_does_not_see(shared: Shared, team: Team) -> None:
    client = shared.by_team[team.name]
    for trace in (client.ask({"question": QUESTION}).json["trace"], client.search({"question": QUESTION}).json["trace"]):
        assert (trace["index"]["documents"], trace["index"]["chunks"]) == (None, None)
        assert {"index.documents", "index.chunks"} <= set(trace["unknown"])
        assert (trace["scope"]["documents"], trace["scope"]["chunks"]) == (2, 2)
        assert trace["scope"]["access"]
    info = client.get("/info").json["index"]
    assert (info["documents"], info["chunks"]) == (None, None)
    everything = shared.by_team["all"].get("/info").json["index"]
    assert (everything["documents"], everything["chunks"]) == (5, 5)


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.name)
def test_an_error_tells_a_key_no_counts_either(shared: Shared, team: Team) -> None:
    trace = shared.by_team[team.name].ask({"question": " "}).json["trace"]
    assert (trace["index"]["documents"], trace["index"]["chunks"]) == (None, None)


@pytest.mark.parametrize(
    "filters",
    [
        {"team": "blue"},
        {"team": {"in": ["red", "blue"]}},
        {"team": {"ne": "red"}},
        {"team": {"exists": False}},
        {"team": [{"eq": "blue"}]},
        {"document_id": "blue-0"},
        {"source": {"prefix": ""}},
    ],
)
def test_filters_of_a_request_narrow_what_a_key_sees_and_never_widen_it(shared: Shared, filters: object) -> None:
    red = shared.by_team["red"]
    for reply in (
        red.ask({"question": QUESTION, "filters": filters, "include": ["chunks"]}),
        red.search({"question": QUESTION, "filters": filters, "include": ["chunks"]}),
        red.batch({"questions": [{"question": QUESTION, "filters": filters}], "include": ["chunks"]}),
    ):
        assert reply.status == 200
        assert BLUE.encode() not in reply.body
        assert b"violet" not in reply.body
    assert all(hit["metadata"]["team"] == "red" for hit in red.search({"question": QUESTION, "filters": filters}).json["hits"])


def test_a_chunk_that_a_key_may_not_see_is_not_there_for_it(shared: Shared) -> None:
    hits = shared.by_team["all"].search({"question": QUESTION, "top_k": 50}).json["hits"]
    assert len(hits) == 5
    missing = refused(shared.by_team["red"].get(f"/chunks/{'0' * 32}"), 404, "not_found")
    for hit in hits:
        for url in (hit["url"], hit["url"].partition("?")[0]):
            reply = shared.by_team["red"].get(url)
            if hit["metadata"].get("team") == "red":
                assert reply.status == 200
            else:
                error = refused(reply, 404, "not_found")
                if "?" not in url:  # no different from what does not exist
                    assert error["message"] == missing["message"].replace("0" * 32, hit["chunk_id"])


def test_an_answer_is_repeated_to_those_who_see_the_same_and_to_nobody_else(shared: Shared) -> None:
    ids = {name: client.ask({"question": QUESTION}).json for name, client in shared.by_team.items()}
    assert all(reply["repeats"] is None for reply in ids.values())
    for name, client in shared.by_team.items():
        assert client.ask({"question": QUESTION}).json["repeats"] == ids[name]["answer_id"]
    colleague = shared.with_scopes("ask", documents={"team": "red"})
    assert colleague.ask({"question": QUESTION}).json["repeats"] == ids["red"]["answer_id"]


def test_without_a_key_nothing_answers_but_the_probes(shared: Shared) -> None:
    for path in ("/health/live", "/health/ready", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert shared.client.get(path).status == 200
    for method, path in (
        ("POST", "/ask"),
        ("POST", "/ask/batch"),
        ("POST", "/search"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", f"/chunks/{'0' * 32}"),
        ("GET", "/info"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("GET", "/health/live/"),
        ("GET", "//health/live"),
    ):
        reply = shared.client.send(method, path, b"{}" if method == "POST" else None, {"content-type": "application/json"})
        refused(reply, 401, "unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"


def test_a_key_does_what_its_scopes_say_and_no_more(shared: Shared) -> None:
    asks, reads, runs = (shared.with_scopes(scope) for scope in ("ask", "traces", "admin"))
    assert asks.ask({"question": QUESTION}).status == 200
    refused(asks.get("/metrics"), 403, "forbidden")
    for client in (reads, runs):
        assert client.get("/metrics").status == 200
        for reply in (client.ask({"question": QUESTION}), client.search({"question": QUESTION}), client.get("/info")):
            assert "scope ask" in refused(reply, 403, "forbidden")["message"]


def test_a_key_that_is_revoked_does_nothing_from_the_next_request_on(shared: Shared) -> None:
    key, presented = create_key(shared.keys, name="short")
    client = shared.client.with_key(presented)
    assert client.ask({"question": QUESTION}).status == 200
    revoke_key(shared.keys, key.id)
    refused(client.ask({"question": QUESTION}), 401, "unauthorized")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(shared: Shared) -> None:
    client = shared.with_scopes("ask", rate_per_minute=2)
    replies = [client.get("/info") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    error = refused(replies[-1], 429, "rate_limited")
    assert error["retryable"] is True


def test_no_reply_repeats_a_key(shared: Shared) -> None:
    presented = create_key(shared.keys, name="secret")[1]
    client = shared.client.with_key(presented)
    for reply in (
        client.ask({"question": QUESTION}),
        client.ask({"x": 1}),
        client.get("/nothing"),
        client.get("/metrics"),
        client.get("/info"),
    ):
        assert presented.encode() not in reply.body
        assert presented[-43:].encode() not in reply.body
    assert b"wrong-secret" not in shared.client.with_key("rag_000000000000_wrong-secret").get("/info").body


def test_a_document_that_is_restricted_later_is_not_readable_in_what_was_served_before(
    tmp_path: Path, encoder_folder: Path, build: Any, serve: Any
) -> None:
    (tmp_path / "indexes").mkdir()
    (tmp_path / "indexes" / "encoders").symlink_to(encoder_folder.parent)
    root, catalog = tmp_path / "indexes", Catalog(tmp_path / "indexes")
    versions = []
    for team in ("red", "blue"):
        documents = [
            {"id": "plan", "title": "Plan", "text": f"The launch code of the project is {RED}.", "team": team},
            {"id": "note", "title": "Note", "text": "The red team meets on Friday.", "team": "red"},
        ]
        (tmp_path / "projects.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
        versions.append(build(root, tmp_path / "projects.jsonl", name="projects").manifest.version)
        catalog.activate("projects", make_release(load_settings({}, indexes=root), catalog, "projects", versions[-1]))
    key = create_key(tmp_path / "keys.json", name="red", scopes=("ask",), documents={"team": "red"})[1]
    everything = create_key(tmp_path / "keys.json", name="all", scopes=("ask",))[1]
    client = serve(root, name="projects", keys=tmp_path / "keys.json")
    asked = {"question": QUESTION, "index_version": versions[0]}
    reply = client.with_key(everything).ask(asked).json
    assert RED in reply["answer"]
    url = reply["citations"][0]["url"]
    assert client.with_key(everything).get(url).status == 200
    assert client.with_key(key).get(url).status == 404
    for path in ("/ask", "/search"):
        refused(client.with_key(key).post(path, asked), 403, "forbidden")
    assert RED not in client.with_key(key).ask({"question": QUESTION, "min_confidence": 0}).body.decode()
