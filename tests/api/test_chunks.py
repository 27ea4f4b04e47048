"""`GET /chunks/{id}`: what a citation links to, for programs and for people, now and after the index has been built again."""

from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from rag_service.api.schemas import ChunkReply
from rag_service.catalog import Catalog
from rag_service.settings import load_settings
from rag_service.web.pages import POLICY
from rag_service.wiring.releases import make_release
from tests.api.replies import HOLIDAYS, refused
from tests.web.html import check_harmless, parsed, text_of

HTML = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def cited(client: Any) -> dict[str, Any]:
    citation: dict[str, Any] = client.ask({"question": HOLIDAYS}).json["citations"][0]
    return citation


def test_the_link_of_a_citation_leads_to_the_text_that_it_quotes(client: Any) -> None:
    citation = cited(client)
    reply = client.get(citation["url"])
    assert reply.status == 200
    chunk = ChunkReply.model_validate_json(reply.body)
    start, end = citation["quote_span"]
    assert chunk.text[start:end] == citation["quote"]
    for name in ("chunk_id", "document_id", "title", "heading_path", "source", "page"):
        assert reply.json[name] == citation[name]
    assert reply.headers["vary"].lower() == "accept"


def test_a_chunk_is_found_without_its_version_too(client: Any) -> None:
    citation = cited(client)
    assert client.get(f"/chunks/{citation['chunk_id']}").json == client.get(citation["url"]).json


def test_a_browser_gets_a_page_with_the_quote_marked(client: Any) -> None:
    citation = cited(client)
    start, end = citation["quote_span"]
    reply = client.send("GET", f"{citation['url']}&quote={start}-{end}", headers=HTML)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["vary"].lower() == "accept"
    assert reply.headers["content-security-policy"] == POLICY
    page = reply.body.decode()
    check_harmless(page)
    assert [mark.text() for mark in parsed(page).css("mark")] == [citation["quote"]]
    assert citation["source"] in text_of(parsed(page))
    assert client.get(f"{citation['url']}&quote={start}-{end}").json == client.get(citation["url"]).json


@pytest.mark.parametrize("quote", ["5", "5-", "-5", "a-b", "5-1234567890", "٣-٤"])
def test_what_cannot_be_a_quote_is_refused_by_name(client: Any, quote: str) -> None:
    url = f"{cited(client)['url']}&quote={quote_plus(quote)}"
    assert refused(client.get(url), 422, "invalid_request")["param"] == "quote"


def test_whatever_stands_in_a_document_is_text_on_the_page(serve: Any, own_indexes: Path, tmp_path: Path, build: Any) -> None:
    source = tmp_path / "hostile"
    source.mkdir()
    (source / 'x" onload="alert(1).md').write_text(
        f"# {HOSTILE}\n\n## <b>{HOSTILE}\n\nThe parrot speaks {HOSTILE} & {{title}} every day.\n"
    )
    version = build(own_indexes, source, name="hostile").manifest.version
    catalog = Catalog(own_indexes)
    catalog.activate("hostile", make_release(load_settings({}, indexes=own_indexes), catalog, "hostile", version))
    client = serve(own_indexes, name="hostile")
    [hit] = client.search({"question": "What does the parrot speak?", "top_k": 1}).json["hits"]
    page = client.send("GET", hit["url"], headers=HTML).body.decode()
    check_harmless(page)
    text = text_of(parsed(page))
    assert "The parrot speaks" in text
    assert HOSTILE in text
    assert "{title}" in text


def test_a_link_goes_on_working_when_the_index_has_been_built_again(serve: Any, own_indexes: Path, tmp_path: Path, build: Any) -> None:
    client = serve(own_indexes)
    citation = cited(client)
    before = client.get(citation["url"]).json
    source = tmp_path / "new"
    source.mkdir()
    (source / "leave.md").write_text("# Leave\n\nEvery employee has 40 days of paid holiday a year.\n")
    version = build(own_indexes, source).manifest.version
    catalog = Catalog(own_indexes)
    catalog.activate("handbook", make_release(load_settings({}, indexes=own_indexes), catalog, "handbook", version))
    while (now := client.ask({"question": HOLIDAYS}).json)["trace"]["index"]["version"] != version:
        pass  # answers of the old release, until the new one is open
    assert "40 days" in now["answer"]
    assert client.get(citation["url"]).json == before
    assert client.get(f"/chunks/{citation['chunk_id']}").json == before
    [new] = now["citations"]
    assert client.get(new["url"]).json["index_version"] == version
    refused(client.get(f"/chunks/{citation['chunk_id']}?index_version={version}"), 404, "not_found")
    old = client.ask({"question": HOLIDAYS, "index_version": before["index_version"]}).json
    assert old["citations"][0]["url"] == citation["url"]


@pytest.mark.parametrize("version", ["", "?index_version=" + "0" * 12])
def test_a_chunk_or_version_that_is_not_there_is_a_404(client: Any, version: str) -> None:
    refused(client.get(f"/chunks/{'0' * 32}{version}"), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("zz", "chunk_id"),
        ("A" * 32, "chunk_id"),
        ("0" * 33, "chunk_id"),
        ("%00", "chunk_id"),
        ("0" * 32 + "?index_version=..", "index_version"),
        ("0" * 32 + "?index_version=" + "0" * 13, "index_version"),
    ],
)
def test_what_cannot_be_an_id_is_refused_by_name(client: Any, path: str, param: str) -> None:
    reply = client.get(f"/chunks/{path}")
    if path == "%00":
        refused(reply, 404, "not_found")
    else:
        assert refused(reply, 422, "invalid_request")["param"] == param
