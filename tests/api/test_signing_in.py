"""People sign in with a key: the cookie, what it counts for and what not, and what a page of another site can do with it."""

import logging
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from rag_service.api.browsers import origin_of
from rag_service.api.cookies import COOKIE, kept_in_cookie, local_path
from rag_service.key_file import Scope, create_key, revoke_key
from tests.api.conftest import Client, Reply, desk_on
from tests.api.replies import HOLIDAYS, refused
from tests.web.html import check_harmless, parsed, text_of

BROWSER = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
OURS, CROSS_SITE = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "cross-site"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def client(serve: Any, served_indexes: Path, tmp_path: Path, keys: Path) -> Client:
    """Of a server that needs keys, of which there is one already."""
    create_key(keys, name="first")
    return _served(serve, served_indexes, tmp_path, keys)


def _served(serve: Any, indexes: Path, tmp_path: Path, keys: Path, **doors: Any) -> Client:
    client: Client = serve(desk_on(indexes, ledger=tmp_path / "ledger.sqlite"), keys=keys, **doors)
    return client


def key_for(keys: Path, *scopes: Scope, **options: Any) -> str:
    return create_key(keys, name="-".join(scopes), scopes=scopes, **options)[1]


def sign_in(client: Client, key: str, goes_to: str = "/", **headers: str) -> Reply:
    body = f"key={quote_plus(key)}&next={quote_plus(goes_to)}".encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.send("POST", "/sign-in", body, {**BROWSER, **FORM, **OURS, **named})


def cookie_of(reply: Reply) -> dict[str, str]:
    return {"cookie": reply.headers["set-cookie"].partition(";")[0]}


def page_of(client: Client, path: str, cookie: dict[str, str]) -> Reply:
    return client.send("GET", path, headers={**BROWSER, **cookie})


# --- the way in


def test_a_browser_without_a_key_is_asked_for_one_and_then_led_to_where_it_wanted(client: Client, keys: Path) -> None:
    asked = page_of(client, "/traces?status=answered", {})
    assert asked.status == 401
    page = asked.body.decode()
    check_harmless(page)
    field = parsed(page).css_first("input[name=next]")
    assert field is not None
    assert field.attributes["value"] == "/traces?status=answered"
    let_in = sign_in(client, key_for(keys, "traces"), "/traces?status=answered")
    assert (let_in.status, let_in.headers["location"]) == (303, "/traces?status=answered")
    assert page_of(client, "/traces?status=answered", cookie_of(let_in)).status == 200


def test_programs_without_a_key_get_the_same_json_as_ever(client: Client) -> None:
    reply = client.get("/traces")
    refused(reply, 401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_the_cookie_is_for_this_host_unseen_by_scripts_and_gone_with_the_browser(client: Client, keys: Path) -> None:
    key = key_for(keys, "ask")
    reply = sign_in(client, key)
    [cookie] = SimpleCookie(reply.headers["set-cookie"]).values()
    assert (cookie.key, cookie.value) == (COOKIE, key)
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"]) == ("Strict", "/")
    assert (cookie["domain"], cookie["max-age"], cookie["expires"], cookie["secure"]) == ("", "", "", "")
    assert key not in reply.headers["location"]
    assert reply.headers["cache-control"] == "no-store"


def test_where_people_come_over_tls_the_cookie_never_goes_out_without(serve: Any, served_indexes: Path, tmp_path: Path, keys: Path) -> None:
    key = key_for(keys, "ask")
    client = _served(serve, served_indexes, tmp_path, keys, public_url="https://rag.example.org/")
    assert "; Secure" in sign_in(client, key).headers["set-cookie"]
    assert "; Secure" in kept_in_cookie(key, secure=True)


@pytest.mark.parametrize(("scope", "first"), [("ask", "/"), ("traces", "/traces"), ("admin", "/indexes")])
def test_whoever_signs_in_comes_to_a_page_that_their_key_is_for(client: Client, keys: Path, scope: Scope, first: str) -> None:
    let_in = sign_in(client, key_for(keys, scope))
    assert let_in.headers["location"] == first
    assert page_of(client, first, cookie_of(let_in)).status == 200


def test_a_wrong_key_is_refused_counted_and_neither_shown_nor_logged(client: Client, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = key_for(keys, "ask")
    wrong = good[:-4] + "XXXX"
    with caplog.at_level(logging.DEBUG):
        statuses = []
        for _ in range(25):
            reply = sign_in(client, wrong)
            statuses.append(reply.status)
            assert "set-cookie" not in reply.headers
            assert wrong not in reply.body.decode()
    assert statuses == [401] * 20 + [429] * 5
    assert int(reply.headers["retry-after"]) >= 1
    assert "this key is not valid" in text_of(parsed(sign_in(client, good[:8]).body.decode())) or reply.status == 429
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert wrong[17:] not in logged
    assert f"not let in: key {good[4:16]} from 127.0.0.1" in logged
    assert sign_in(client, good).status == 303, "a valid key goes on"


def test_signing_out_forgets_the_key(client: Client, keys: Path) -> None:
    cookie = cookie_of(sign_in(client, key_for(keys, "ask")))
    assert "Sign out" in page_of(client, "/", cookie).body.decode()
    reply = client.send("POST", "/sign-out", b"", {**BROWSER, **FORM, **OURS, **cookie})
    assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    [gone] = SimpleCookie(reply.headers["set-cookie"]).values()
    assert (gone.value, gone["max-age"], gone["path"]) == ("", "0", "/")


def test_a_key_that_is_revoked_ends_the_session(client: Client, keys: Path) -> None:
    key = key_for(keys, "ask")
    cookie = cookie_of(sign_in(client, key))
    assert page_of(client, "/", cookie).status == 200
    revoke_key(keys, key[4:16])
    assert page_of(client, "/", cookie).status == 401


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "evil.example", "",
     "/\t/evil.example", "/a b", "/" + "a" * 3000, "/a\\b", "/ä"],
)  # fmt: skip
def test_nobody_is_sent_to_another_site_after_signing_in(elsewhere: str) -> None:
    assert local_path(elsewhere) == "/"


@pytest.mark.parametrize("local", ["/", "/traces?text=a%20b&status=answered", "/chunks/1?quote=1-2#quote", "/a//b"])
def test_a_local_path_is_kept(local: str) -> None:
    assert local_path(local) == local


def test_signing_in_where_no_key_is_needed_leads_to_the_first_page(serve: Any, served_indexes: Path) -> None:
    client = serve(served_indexes)
    assert page_of(client, "/sign-in", {}).headers["location"] == "/"
    assert sign_in(client, "anything").headers["location"] == "/"
    assert "Sign out" not in page_of(client, "/", {}).body.decode()


# --- what the cookie counts for


def test_the_cookie_counts_for_reading_wherever_it_comes_from(client: Client, keys: Path) -> None:
    cookie = cookie_of(sign_in(client, key_for(keys, "ask", "traces")))
    for fetched in ({}, OURS, {"sec-fetch-site": "none"}, {"sec-fetch-site": "cross-site"}):
        assert client.send("GET", "/traces", headers={**cookie, **fetched}).status == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 401),
        ({"sec-fetch-site": "cross-site"}, 401),
        ({"sec-fetch-site": "cross-site", "origin": "HOST"}, 401),
        ({"origin": "HOST"}, 200),
        ({"origin": "http://evil.example"}, 401),
        ({"origin": "http://127.0.0.1"}, 401),
        ({"origin": "null"}, 401),
        ({}, 401),
    ],
    ids=str,
)
def test_what_changes_something_counts_with_the_cookie_only_from_a_page_of_this_service(
    client: Client, keys: Path, sent: dict[str, str], status: int
) -> None:
    cookie = cookie_of(sign_in(client, key_for(keys, "ask")))
    headers = {name: value.replace("HOST", f"http://127.0.0.1:{client.port}") for name, value in sent.items()}
    reply = client.send("POST", "/ask", b'{"question": "Who?"}', {"content-type": "application/json", **cookie, **headers})
    assert reply.status == status


def test_behind_a_proxy_the_public_address_is_ours_too(serve: Any, served_indexes: Path, tmp_path: Path, keys: Path) -> None:
    key = key_for(keys, "ask")
    client = _served(serve, served_indexes, tmp_path, keys, public_url="https://rag.example.org/base/")
    cookie = {"cookie": f"{COOKIE}={key}"}
    body, json_type = b'{"question": "Who?"}', {"content-type": "application/json"}
    assert client.send("POST", "/ask", body, {**json_type, **cookie, "origin": "https://rag.example.org"}).status == 200
    assert client.send("POST", "/ask", body, {**json_type, **cookie, "origin": "https://rag.example.org:8443"}).status == 401


def test_a_page_of_another_site_cannot_sign_anybody_in_or_out(client: Client, keys: Path) -> None:
    key = key_for(keys, "ask")
    for headers in (CROSS_SITE, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}):
        body = f"key={key}".encode()
        assert "set-cookie" not in client.send("POST", "/sign-in", body, {**FORM, **headers}).headers
        assert "set-cookie" not in client.send("POST", "/sign-out", b"", {**FORM, **headers}).headers


def test_without_keys_a_page_of_another_site_can_change_nothing(serve: Any, served_indexes: Path) -> None:
    client = serve(served_indexes, cors_origins=("https://chat.example.org",))
    body, json_type = b'{"question": "Who?"}', {"content-type": "application/json"}
    for headers in (CROSS_SITE, {"origin": "https://evil.example"}, {"origin": "null"}):
        refused(client.send("POST", "/ask", body, {**json_type, **headers}), 403, "forbidden")
        refused(client.send("POST", f"/traces/ans_{'0' * 32}/replay", b"", headers), 403, "forbidden")
    assert client.send("POST", "/ask", body, {**json_type, **CROSS_SITE, "origin": "https://chat.example.org"}).status == 200
    assert client.send("POST", "/ask", body, json_type).status == 200, "what is no browser says nothing"


def test_a_key_in_a_header_goes_before_the_cookie_and_is_not_bound_to_a_page(client: Client, keys: Path) -> None:
    cookie = cookie_of(sign_in(client, key_for(keys, "ask")))
    other = key_for(keys, "traces")
    assert client.send("GET", "/traces", headers=cookie).status == 403
    assert client.send("GET", "/traces", headers={**cookie, "x-api-key": other}).status == 200
    assert client.send("GET", "/traces", headers={**cookie, "x-api-key": "rag_nonsense"}).status == 401
    body = b'{"question": "Who?"}'
    asking = {"content-type": "application/json", "x-api-key": key_for(keys, "ask"), **CROSS_SITE}
    assert client.send("POST", "/ask", body, asking).status == 200


@pytest.mark.parametrize(
    "cookie",
    ["rag_key=", "rag_key=rag_nonsense", "rag_key={key}; rag_key=rag_nonsense", "RAG_KEY={key}", "x={key}", "rag_key={key}x", "rag_key"],
)
def test_what_is_no_key_in_the_cookie_lets_nobody_in(client: Client, keys: Path, cookie: str) -> None:
    key = key_for(keys, "ask")
    assert client.send("GET", "/info", headers={"cookie": cookie.format(key=key)}).status == 401
    assert client.send("GET", "/info", headers={"cookie": f"other=1; rag_key={key}; more=2"}).status == 200


# --- what a key is for


@pytest.mark.parametrize(
    ("path", "scopes"),
    [("/", {"ask"}), ("/traces", {"traces"}), ("/indexes", {"traces", "admin"}), ("/releases/RELEASE", {"traces", "admin"}),
     ("/indexes/versions/VERSION", {"traces", "admin"})],
)  # fmt: skip
def test_each_page_is_for_the_keys_that_are_for_it(client: Client, keys: Path, path: str, scopes: set[str]) -> None:
    trace = client.with_key(key_for(keys, "ask")).ask({"question": HOLIDAYS}).json["trace"]
    path = path.replace("RELEASE", trace["release"]["id"]).replace("VERSION", trace["index"]["version"])
    for scope in ("ask", "traces", "admin"):
        cookie = {"cookie": f"{COOKIE}={key_for(keys, scope)}"}  # type: ignore[arg-type]  # one of the scopes
        reply = page_of(client, path, cookie)
        assert reply.status == (200 if scope in scopes else 403), scope
        if reply.status == 403:
            page = reply.body.decode()
            check_harmless(page)
            assert "it needs the scope" in text_of(parsed(page))
            assert parsed(page).css("nav a"), "where this key may go stands there"


def test_a_key_that_sees_a_part_of_the_documents_does_not_see_what_names_them_all(client: Client, keys: Path) -> None:
    limited = client.with_key(key_for(keys, "ask", "traces", "admin", documents={"source": "leave.md"}))
    for path in ("/indexes", "/indexes/versions/" + "0" * 12, "/releases/" + "0" * 12):
        refused(limited.get(path), 403, "forbidden")
    page = limited.send("GET", "/", headers=BROWSER).body.decode()
    assert "passages, by release" not in page


def test_the_way_in_and_how_it_looks_are_open_to_everybody(client: Client) -> None:
    page = page_of(client, "/sign-in?next=//evil.example", {})
    assert page.status == 200
    assert 'value="/"' in page.body.decode()
    for link in parsed(page.body.decode()).css("link, script[src]"):
        reply = client.get(link.attributes.get("href") or link.attributes.get("src") or "")
        assert reply.status == 200
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/app.css").headers["cache-control"] == "no-cache"
    for path in ("/static/..%2Fpages.py", "/static/nothing.css", "/static/", "/static"):
        assert client.get(path).status == 401, "and nothing else"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Rag.example.org/base/", "https://rag.example.org"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (None, None),
        ("rag", None),
    ],
)
def test_the_origin_of_an_address(url: str | None, origin: str | None) -> None:
    assert origin_of(url) == origin
