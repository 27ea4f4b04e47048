"""`GET /chunks/{id}`: what a citation links to, for programs and for people, now and after the index has been built again."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rag_service.api.schemas import ChunkReply
from rag_service.catalog import Catalog
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.api.replies import HOLIDAYS, refused

HTML = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


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


def test_a_browser_gets_a_page_whose_policy_allows_its_style_and_nothing_else(client: Any) -> None:
    citation = cited(client)
    reply = client.send("GET", citation["url"], headers=HTML)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = reply.body.decode()
    elements = Elements(page)
    assert citation["quote"] in elements.text
    assert citation["source"] in elements.text
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy["style-src"].split() == [f"'sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" for style in styles]
    assert "script-src" not in policy
    for tag, attributes in elements.found:
        assert tag not in {"script", "img", "link", "iframe", "form"}
        assert not [name for name in attributes if name == "style" or name.startswith("on")], "the policy would not let it work"


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
    elements = Elements(page)
    assert {tag for tag, _ in elements.found} <= {"html", "meta", "title", "style", "h1", "p", "pre", "small"}
    assert "The parrot speaks" in elements.text
    assert HOSTILE in elements.text
    assert "{title}" in elements.text


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
