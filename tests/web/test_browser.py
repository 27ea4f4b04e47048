"""People at work, in a real browser: ask, follow a citation, look at what made the answer, make it again, compare, rate."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import GeneratorFailed
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.api.conftest import Client, desk_on, running
from tests.doubles import Writes, completion, with_generator
from tests.web.browser import NARROW, WIDE, Watched, overflows, window
from tests.web.conftest import HOLIDAYS

MOON = "How far is the moon from Jupiter in parsecs?"


@pytest.fixture(scope="module")
def client(served_indexes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    with running(desk_on(served_indexes, ledger=ledger), grace_s=2.0) as client:
        yield client


def asked(page: Page, question: str = HOLIDAYS) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#status")).to_have_text(re.compile("answered|abstained"))


def test_a_question_is_answered_in_a_stream_and_its_citation_opens_the_passage_at_the_quote(watched: Watched) -> None:
    page = watched.open("/")
    asked(page)
    expect(page.locator("#answer")).to_contain_text("28 days of paid holiday")
    expect(page.locator("#sources li.cited")).to_have_count(1)
    page.click("#answer a.marker")
    page.wait_for_url("**/chunks/*#quote")
    expect(page.locator("mark#quote")).to_contain_text("28 days of paid holiday")
    expect(page.locator("mark#quote")).to_be_in_viewport()


def test_an_answer_grows_while_it_is_written_and_can_be_cancelled(browser: Browser, serve: Any, pipeline: Pipeline) -> None:
    class Slow(Writes):
        def generate(self, *_: Any, write: Any = None, cancellation: Any = None, **__: Any) -> Any:
            write("Every employee ")
            until_s = time.monotonic() + 10
            while time.monotonic() < until_s:
                cancellation.check()
                time.sleep(0.01)
            return completion("Every employee has a long wait.")

    client = serve(with_generator(pipeline, Slow(completion(""))))
    with window(browser, f"http://127.0.0.1:{client.port}", reduced_motion=False) as watched:
        page = watched.open("/")
        page.fill("#question", HOLIDAYS)
        page.keyboard.press("Enter")
        expect(page.locator("#answer")).to_have_text("Every employee ")
        expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
        expect(page.locator("#cancel")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#status")).to_have_text("cancelled")
        expect(page.locator("#cancel")).to_be_hidden()
        watched.check()


def test_markers_are_placed_by_characters_whatever_script_stands_before_them(browser: Browser, serve: Any, pipeline: Pipeline) -> None:
    said = "🦜🦜 Every employee has 28 days of paid holiday a year [1]. 𝔘nused days expire [1, 2]."
    client = serve(with_generator(pipeline, Writes(completion(said), pieces=3)))
    with window(browser, f"http://127.0.0.1:{client.port}") as watched:
        page = watched.open("/")
        asked(page)
        expect(page.locator("#answer a.marker")).to_have_text(["[1]", "[1]", "[2]"])
        assert page.inner_text("#answer").startswith("🦜🦜 Every employee has 28 days of paid holiday a year [1]. 𝔘nused")
        watched.check()


def test_an_answer_with_code_looks_the_same_in_a_stream_as_in_a_page_that_the_service_made(
    browser: Browser, serve: Any, pipeline: Pipeline
) -> None:
    said = "Every employee has `28` days [1]:\n\n```bash\ncount <days> [1]\n```\n\nUnused days expire [2]. ```never\nclosed [2]."
    client = serve(with_generator(pipeline, Writes(completion(said), pieces=7)))
    seen = []
    for scripts in (True, False):
        with window(browser, f"http://127.0.0.1:{client.port}", scripts=scripts) as watched:
            page = watched.open("/")
            page.fill("#question", HOLIDAYS)
            page.click("#submit")
            expect(page.locator("#status")).to_have_text("answered")
            expect(page.locator("#answer code")).to_have_count(2)
            expect(page.locator("#answer code.block")).to_have_text("count <days> [1]")
            seen.append(page.inner_text("#answer"))
            watched.check()
    assert seen[0] == seen[1]


def test_what_goes_wrong_is_said_in_words_with_the_trace_id(browser: Browser, serve: Any, pipeline: Pipeline) -> None:
    client = serve(with_generator(pipeline, Writes(GeneratorFailed("the model fell over", hint="look at it"))))
    with window(browser, f"http://127.0.0.1:{client.port}") as watched:
        watched.expected_statuses.update({422, 502})
        page = watched.open("/")
        page.fill("#question", HOLIDAYS)
        page.keyboard.press("Enter")
        expect(page.locator("#problem-text")).to_have_text("the model fell over: look at it")
        expect(page.locator("#problem-trace")).to_have_text(re.compile("[0-9a-f]{32}"))
        page.click("summary")
        page.fill("#top_k", "999")
        page.click("#submit")
        expect(page.locator("#problem-text")).to_contain_text("top_k is 999; at most 50 is accepted")
        watched.check()


def test_an_abstention_says_why(watched: Watched) -> None:
    page = watched.open("/")
    asked(page, MOON)
    expect(page.locator("#answer")).to_have_text("No answer: it is not sure enough that the documents answer the question.")
    expect(page.locator("#status")).to_have_text("abstained")
    asked(page)
    expect(page.locator("#answer")).to_contain_text("28 days")


def test_everything_can_be_done_by_keyboard(watched: Watched) -> None:
    page = watched.open("/")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type(HOLIDAYS)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Tell me.")
    assert page.input_value("#question") == f"{HOLIDAYS}\nTell me."
    page.fill("#question", HOLIDAYS)
    page.keyboard.press("Enter")
    expect(page.locator("#trace-link")).to_be_visible()
    _tab_to(page, "a.marker")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus can be seen"
    _tab_to(page, "#trace-link")
    page.keyboard.press("Enter")
    page.wait_for_url("**/traces/ans_*")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    _tab_to(page, "#replay button.primary")
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_contain_text("exact")
    expect(page.locator("#replay")).to_be_in_viewport()
    _tab_to(page, "#prompt pre.scroll")


def _tab_to(page: Page, selector: str) -> None:
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_an_answer_is_rated_found_by_its_rating_and_compared_with_another(watched: Watched) -> None:
    page = watched.open("/")
    page.click("summary")
    page.check("#fresh")
    asked(page)
    page.click("#rate button[value=up]")
    expect(page.locator("#said")).to_have_text("Thank you: it is kept with the answer.")
    expect(page.locator("#rate button[value=up]")).to_have_attribute("aria-pressed", "true")
    page.fill("#top_k", "2")
    asked(page)
    page.goto(f"{watched.base_url}/traces")
    page.select_option("#rating", "up")
    page.fill("#text", "holiday")
    page.click("form.filters button")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("/traces?text=holiday&rating=up"), "empty fields do not stand in the address"
    page.goto(f"{watched.base_url}/traces")
    page.check("tbody tr:nth-child(2) input[name=a]")
    page.check("tbody tr:nth-child(1) input[name=b]")
    page.click("text=Compare A with B")
    page.wait_for_url(re.compile(r"/traces/compare\?(a|b)=ans_"))
    expect(page.locator(".verdict")).to_contain_text("top_k of the request (5 → 2)")
    page.click("text=Swap A and B")
    expect(page.locator(".verdict")).to_contain_text("top_k of the request (2 → 5)")
    page.click(".side:first-of-type h2 a")
    page.wait_for_url("**/traces/ans_*")
    page.fill("#comment", "Too <b>short</b>")
    page.check("input[name=rating][value=down]")
    page.click("text=Send feedback")
    page.wait_for_url("**/traces/ans_*#feedback")
    expect(page.locator(".feedback li").first).to_contain_text("Too <b>short</b>")


def test_from_a_trace_every_part_of_what_made_it_can_be_reached(watched: Watched) -> None:
    page = watched.open("/")
    asked(page)
    page.click("#trace-link")
    page.wait_for_url("**/traces/ans_*")
    links = page.eval_on_selector_all("main a[href]", "(all) => [...new Set(all.map((a) => a.href.split('#')[0]))]")
    assert len([link for link in links if "/releases/" in link]) == 1
    for link in links:
        response = page.goto(link)
        assert response is not None
        assert response.status == 200, link
        expect(page.locator("h1")).to_have_count(1)


def test_a_digest_is_copied_whole(browser: Browser, client: Client) -> None:
    with window(browser, f"http://127.0.0.1:{client.port}") as watched:
        watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = watched.open("/")
        page.click(".serving button.copy")
        release = page.inner_text(".serving .id a")
        page.wait_for_function("document.querySelector('.serving button.copy').classList.contains('done')")
        assert page.evaluate("navigator.clipboard.readText()") == release
        watched.check()


def test_without_scripts_pages_can_be_read_and_questions_asked(browser: Browser, client: Client) -> None:
    with window(browser, f"http://127.0.0.1:{client.port}", scripts=False) as watched:
        watched.expected_statuses.add(422)
        page = watched.open("/")
        expect(page.locator(".serving .copy")).to_be_hidden()
        expect(page.locator("#cancel")).to_be_hidden()
        page.fill("#question", HOLIDAYS)
        page.click("#submit")
        expect(page.locator("#answer")).to_contain_text("28 days of paid holiday")
        page.click("#answer a.marker >> nth=0")
        expect(page.locator("mark#quote")).to_contain_text("28 days of paid holiday")
        page.go_back()
        page.click("text=What made this answer")
        expect(page.locator(".lineage")).to_be_visible()
        page.click("#replay button.primary")
        expect(page.locator(".verdict")).to_contain_text("exact")
        page.check("input[name=rating][value=up]")
        page.click("text=Send feedback")
        expect(page.locator(".feedback li").first).to_be_visible()
        page.click("nav >> text=Traces")
        page.fill("#text", "holiday")
        page.click("form.filters button")
        assert page.locator("tbody tr").count() >= 1
        page.goto(f"{watched.base_url}/?q=Who+signs+the+book%3F")
        assert page.input_value("#question") == "Who signs the book?"
        page.fill("#question", " ")
        page.click("#submit")
        expect(page.locator("#problem-text")).to_contain_text("question")
        watched.check()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_scrolls_sideways_loads_from_elsewhere_or_breaks_its_policy(
    browser: Browser, client: Client, size: tuple[int, int], dark: bool
) -> None:
    reply = client.ask({"question": HOLIDAYS, "cache": False}).json
    other = client.ask({"question": HOLIDAYS, "top_k": 1}).json
    citation, version = reply["citations"][0], reply["trace"]["index"]["version"]
    paths = [
        "/", "/traces", f"/traces/{reply['answer_id']}", f"/traces/compare?a={reply['answer_id']}&b={other['answer_id']}",
        citation["url"], "/indexes", f"/indexes/versions/{version}", f"/releases/{reply['trace']['release']['id']}",
    ]  # fmt: skip
    with window(browser, f"http://127.0.0.1:{client.port}", size=size, dark=dark) as watched:
        watched.expected_statuses.add(404)
        page = watched.context.new_page()
        for path in [*paths, "/nothing/here"]:
            page.goto(watched.base_url + path)
            if path == "/":
                asked(page)
            assert overflows(page) == [], path
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(19, 22, 21)" if dark else "rgb(251, 251, 250)")
        watched.check()


def test_an_error_is_a_page_for_a_browser_and_json_for_programs(watched: Watched, client: Client) -> None:
    watched.expected_statuses.update({404, 422})
    page = watched.open("/traces/ans_" + "0" * 32)
    expect(page.locator("h1")).to_have_text("Nothing is here")
    expect(page.locator(".lead")).to_contain_text("there is no record ans_000")
    for query in ("score_below=much", "limit=10000"):
        page.goto(f"{watched.base_url}/traces?{query}")
        expect(page.locator("h1")).to_have_text("Something in this request does not fit")
    assert client.get("/traces/ans_" + "0" * 32).json["error"]["code"] == "not_found"


def test_a_new_release_shows_on_old_answers(browser: Browser, own_indexes: Path, serve: Any) -> None:
    client = serve(own_indexes)
    reply = client.ask({"question": HOLIDAYS}).json
    catalog = Catalog(own_indexes)
    settings = load_settings({}, indexes=own_indexes, name="handbook", top_k=2)
    catalog.activate("handbook", make_release(settings, catalog, "handbook", reply["trace"]["index"]["version"]))
    while (now := client.ask({"question": HOLIDAYS}).json["trace"]["release"]["id"]) == reply["trace"]["release"]["id"]:
        time.sleep(0.01)
    with window(browser, f"http://127.0.0.1:{client.port}") as watched:
        page = watched.open(f"/traces/{reply['answer_id']}")
        page.click("a.badge >> text=another release answers now")
        page.wait_for_url(f"**/releases/{now}")
        expect(page.locator("body")).to_contain_text("active: this release answers now")
        watched.check()
