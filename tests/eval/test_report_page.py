"""The HTML report: one file that loads nothing, runs nothing that is not its own, and works in a real browser from a disk."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from selectolax.lexbor import LexborHTMLParser

from eval.gate import decide
from eval.policy import Policy
from eval.reports.embedded import MOST_QUESTIONS, as_data, embedded
from eval.reports.markdown import run_markdown
from eval.reports.page import page
from eval.reports.view import view_of
from eval.results import Run
from rag_service.errors import NotFound
from tests.eval.reported import TEXTS, N, a_failed_row, a_question, a_told_row, base, candidate, chunk_id, rows_of, told, told_run
from tests.web.browser import CHROMIUM, Watched, chromium, overflows, window

SIZES = {"wide": (1400, 1000), "narrow": (390, 844)}
HOSTILE = (
    "<script>alert('script')</script>",
    "</script><script>alert('escape')</script><!--<script>",
    "<img src=x onerror=alert('onerror')>",
    "'\" autofocus onfocus=alert('focus') x='",
    "</style></title><svg/onload=alert('svg')>",
    "{{ 7919 * 7907 }} {% raw %} ${7919 * 7907}",
    "\u202eturned\u2066 &lt;b&gt; \u2028 line",
    "http://attacker.example/x.png",
)


def decided_page(run: Run, **policy: Any) -> str:
    return page(view_of(run, decide(run, run.candidates[0].name, run.candidates[1].name, Policy(**policy))))


def hostile_run() -> Run:
    rows = [
        a_told_row(
            number,
            right=True,
            question=a_question(number, id=f"{text} {number}", question=text, answers=(text,), answerable=True, tags=(text,)),
            answer=text,
            plain=text,
        )
        for number, text in enumerate(HOSTILE)
    ]
    failed = a_failed_row(9, HOSTILE[1])
    others = [replace(row, evidence=HOSTILE[2], sample=replace(row.sample, answer=f"no {row.sample.answer}", plain="no")) for row in rows]
    wrong = [replace(row, scores={**row.scores, "correct": 0.0}, label="reader_miss") for row in others]
    return told_run(
        told(HOSTILE[0], [*rows, failed], warnings=(HOSTILE[2],)),
        told(HOSTILE[1], [*wrong, failed], top_k=5, changed={"prompt": HOSTILE[3]}),
        told(HOSTILE[2], [*rows, failed], top_k=6),
        texts={identifier: f"{HOSTILE[1]} {text}" for identifier, text in TEXTS.items()},
        questions=HOSTILE[4],
        command=HOSTILE[0],
    )


def data_of(html: str) -> dict[str, Any]:
    found = LexborHTMLParser(html).css_first("script#data")
    assert found is not None
    content: dict[str, Any] = json.loads(found.text())
    return content


PAGES = {
    "decided": lambda: decided_page(told_run()),
    "many": lambda: page(view_of(told_run(base(), candidate(), told("third", rows_of(range(3)), top_k=7)))),
    "one": lambda: page(view_of(told_run(base()))),
    "hostile": lambda: page(view_of(hostile_run())),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_refers_to_nothing_outside_itself(name: str) -> None:
    tree = LexborHTMLParser(PAGES[name]())
    for element in tree.css("*"):
        attributes = element.attributes
        assert not [each for each in attributes if each.startswith("on") or each in ("style", "src", "srcset", "srcdoc", "action")]
        assert element.tag not in ("link", "img", "iframe", "object", "embed", "base", "image", "use")
        assert (attributes.get("href") or "#").startswith("#")
    style = tree.css_first("style")
    assert style is not None
    assert not re.search(r"url\(|@import", style.text())


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_of_a_page_lets_its_own_script_and_style_run_and_nothing_else(name: str) -> None:
    html = PAGES[name]()
    tree = LexborHTMLParser(html)
    meta = tree.css_first("meta[http-equiv='Content-Security-Policy']")
    assert meta is not None
    rules = dict(rule.strip().split(" ", 1) for rule in (meta.attributes["content"] or "").split(";"))
    script, style = re.findall(r"<script>(.*?)</script>", html, re.DOTALL), re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert rules == {
        "default-src": "'none'",
        "script-src": _hash(script[-1]),
        "style-src": _hash(style[0]),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_verdict_stands_first_with_its_reasons() -> None:
    run = told_run(base(), told("worse", rows_of(range(5)), top_k=5))
    tree = LexborHTMLParser(decided_page(run))
    sections = [section.attributes["id"] for section in tree.css("main section")]
    assert sections[:3] == ["verdict", "primary", "guardrails"]
    verdict = tree.css_first("#verdict")
    assert verdict is not None
    assert "REJECT" in verdict.text()
    assert "15 of 40 questions were right and are wrong now" in verdict.text()


def test_sections_that_have_nothing_to_show_are_not_there() -> None:
    tree = LexborHTMLParser(
        page(view_of(told_run(told("searched", [replace(row, label="not_judged", oracle=None) for row in rows_of([])], headroom={}))))
    )
    sections = {section.attributes["id"] for section in tree.css("main section")}
    assert not sections & {"verdict", "primary", "guardrails", "candidates", "cost", "headroom", "attribution", "slices", "flips"}
    links = {(link.attributes["href"] or "")[1:] for link in tree.css(".on-page a")}
    assert links == sections


def test_a_page_says_how_large_the_difference_is_and_what_could_be_seen() -> None:
    primary = LexborHTMLParser(PAGES["decided"]()).css_first("#primary")
    assert primary is not None
    text = " ".join(primary.text().split())
    for part in ("+0.200", "0.500 → 0.700", "+0.050 to +0.375", "0.039", "0.229", "10 / 28 / 2", "40 in 40"):
        assert part in text


def test_bars_begin_at_zero() -> None:
    html = PAGES["decided"]()
    attribution = re.search(r'<section id="attribution".*?</section>', html, re.DOTALL)
    assert attribution is not None
    whole = re.findall(r'<rect class="bar ?b?" x="0" y="0" height="14" width="([\d.]+)%"', attribution[0])
    assert [float(width) for width in whole] == [pytest.approx(100 * 20 / 28, abs=1e-3), 100.0]


def test_the_pair_that_is_shown_can_be_chosen() -> None:
    run = told_run(base(), candidate(), told("third", rows_of(range(3)), top_k=7))
    assert (view_of(run).candidate.name, view_of(run, base="third").candidate.name) == ("better", "better")
    chosen = view_of(run, base="better", candidate="third")
    assert [side.name for side in chosen.sides] == ["better", "third"]
    with pytest.raises(NotFound, match="'fourth'"):
        view_of(run, candidate="fourth")


def test_texts_in_the_data_cannot_end_the_element() -> None:
    content = {"text": "".join(HOSTILE) + "<!-- --> ]]> \u2029"}
    written = as_data(content)
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == content


def test_the_data_gives_every_question_back() -> None:
    data = data_of(PAGES["hostile"]())
    assert [row[1] for row in data["rows"]][: len(HOSTILE)] == list(HOSTILE)
    assert data["sides"] == [HOSTILE[0], HOSTILE[2]]


def test_passages_that_hold_the_answer_are_marked_with_its_place() -> None:
    data = data_of(page(view_of(told_run(base()))))
    passages = data["rows"][3][6][0][6]  # question 3, its one candidate, its passages
    chunk, rank, pool_rank, score, mark, shown, places, quotes = passages[0]
    document, start, end, text = data["chunks"][chunk]
    assert (data["documents"][document], start, rank, pool_rank, mark, shown) == ("doc-3", 0, 1, 1, 2, 2)
    assert [text[begin:stop] for begin, stop in places] == ["1021"]
    assert quotes == [[0, 18]]
    assert (score, end) == (0.9, len(TEXTS[chunk_id("doc-3")]))


def test_thousands_of_questions_stay_below_a_few_megabytes() -> None:
    """By a third: 1,000 questions under two candidates, each with passages of its own of 800 characters."""
    run = told_run(
        told("base", rows_of(range(500), n=1000)),
        told("better", rows_of(range(600), n=1000, top_k=4), top_k=4),
        texts={identifier: (text * 20)[:800] for identifier, text in ((chunk_id(f"doc-{n}"), f"Text {n}. ") for n in range(1100))},
    )
    assert len(page(view_of(run)).encode()) < 2_000_000


def test_beyond_the_limit_questions_that_differ_are_kept_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.reports.embedded.MOST_QUESTIONS", 15)
    assert MOST_QUESTIONS == 5_000
    run = told_run(base(), told("other", rows_of(range(0, 20, 2))))
    found = embedded(run, run.candidates, "correct")
    ids = [row[0] for row in json.loads(found.json)["rows"]]
    assert (found.asked, found.listed, len(ids)) == (40, 15, 15)
    assert {f"q{number}" for number in range(1, 20, 2)} <= set(ids)  # right under one of the two


def test_passages_beyond_the_room_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.reports.embedded.PASSAGE_CHARS", 500)
    html = page(view_of(told_run()))
    data = data_of(html)
    assert sum(len(chunk[3]) for chunk in data["chunks"] if len(chunk) > 3) <= 500
    assert "is left out, to keep the page small" in html


def colours(css: str) -> Iterator[tuple[str, dict[str, str]]]:
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    for theme, block in (("light", light), ("dark", dark)):
        yield theme, dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_can_be_read_on_every_ground_in_both_themes() -> None:
    css = (files("eval.reports") / "templates" / "report.css").read_text("utf-8")
    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent", "better", "worse", "open") for ground in ("ground", "raised", "sunk")]
    pairs += [(tone, f"{tone}-soft") for tone in ("accent", "better", "worse", "open")]
    pairs += [(ink, soft) for ink in ("ink", "quiet") for soft in ("better-soft", "worse-soft", "open-soft")] + [("on-mark", "mark")]
    for theme, named in colours(css):
        for ink, ground in pairs:
            one, other = sorted((luminance(named[ink]), luminance(named[ground])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (theme, ink, ground)


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, made in PAGES.items():
        (folder / f"{name}.html").write_text(made(), "utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    with window(browser, "file://", size=SIZES["wide"]) as watched:
        yield watched
        watched.check()


@pytest.mark.parametrize(("size", "dark"), [("wide", False), ("narrow", True)], ids=["wide-light", "narrow-dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_a_disk_without_a_word_in_the_console_and_fits(
    browser: Browser, written: dict[str, Path], name: str, size: str, dark: bool
) -> None:
    with window(browser, "file://", size=SIZES[size], dark=dark) as watched:
        opened = watched.open(str(written[name]))
        opened.locator("#question-rows .row").first.click()
        for closed in opened.locator("main details > summary").all():
            closed.click()
        assert overflows(opened) == []
        watched.check()


def shown(opened: Page) -> list[str]:
    return opened.locator("#question-rows .asked").all_inner_texts()


def test_questions_are_filtered_by_text_status_label_tag_and_change(watched: Watched, written: dict[str, Path]) -> None:
    opened = watched.open(str(written["decided"]))
    expect(opened.locator("#found")).to_have_text("40 questions")
    opened.fill("#f-text", "ITEM 18")
    expect(opened.locator("#found")).to_have_text("1 of 40 questions")
    assert shown(opened) == ["What is the number of item 18?"]
    opened.fill("#f-text", "nothing of the kind")
    expect(opened.locator("#no-questions")).to_be_visible()
    opened.click("button[type=reset]")
    expect(opened.locator("#found")).to_have_text("40 questions")
    opened.select_option("#f-kind", "worse")
    assert shown(opened) == ["What is the number of item 18?", "What is the number of item 19?"]
    opened.select_option("#f-kind", "")
    opened.select_option("#f-tag", "odd")
    opened.select_option("#f-label", "should_have_abstained")
    assert shown(opened) == [f"What is the number of item {number}?" for number in (19, 29, 39)]
    opened.select_option("#f-status", "error")
    expect(opened.locator("#found")).to_have_text("0 of 40 questions")


def test_questions_are_drawn_a_page_at_a_time(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "many.html"
    file.write_text(page(view_of(told_run(told("one", rows_of(range(60), n=120))))), "utf-8")
    opened = watched.open(str(file))
    rows = opened.locator("#question-rows > li")
    expect(rows).to_have_count(50)
    opened.click("#more-questions")
    expect(rows).to_have_count(100)
    assert opened.evaluate("document.activeElement.closest('li') === document.querySelectorAll('#question-rows > li')[50]")
    opened.click("#more-questions")
    expect(rows).to_have_count(120)
    expect(opened.locator("#more-questions")).to_be_hidden()


def test_flips_are_shown_side_by_side_the_newly_wrong_first(watched: Watched, written: dict[str, Path]) -> None:
    opened = watched.open(str(written["decided"]))
    flips = opened.locator("#flip-rows > li")
    expect(flips).to_have_count(10)
    assert flips.locator(".asked").all_inner_texts()[:3] == [f"What is the number of item {number}?" for number in (18, 19, 20)]
    opened.select_option("#flip-kind", "1")
    assert flips.locator(".asked").all_inner_texts()[0] == "What is the number of item 20?"
    flips.nth(2).locator(".row").click()
    sides = flips.nth(2).locator(".side")
    expect(sides).to_have_count(2)
    expect(sides.nth(0).locator("h3")).to_have_text("base")
    expect(sides.nth(0)).to_contain_text("context truncated")
    expect(sides.nth(1).locator(".answer")).to_have_text("The number of item 22 is 1154. [1]")
    assert [sides.nth(side).locator(".own").all_inner_texts() for side in (0, 1)] == [[" unknown"], [" 1154"]]
    sides.nth(1).locator("summary", has_text="doc-22").click()
    expect(sides.nth(1).locator("pre mark:not(.quote)")).to_have_text("1154")


def test_a_page_is_worked_with_the_keyboard_alone(watched: Watched, written: dict[str, Path]) -> None:
    opened = watched.open(str(written["decided"]))
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    opened.locator("#f-order").focus()
    opened.keyboard.press("Tab")  # to Clear
    opened.keyboard.press("Tab")
    row = opened.locator("#question-rows .row").first
    expect(row).to_be_focused()
    opened.keyboard.press("Enter")
    expect(row).to_have_attribute("aria-expanded", "true")
    expect(opened.locator("#question-rows .more").first).to_be_visible()
    opened.keyboard.press("Enter")
    expect(opened.locator("#question-rows .more").first).to_be_hidden()


def test_a_label_leads_to_its_questions(watched: Watched, written: dict[str, Path]) -> None:
    opened = watched.open(str(written["decided"]))
    opened.locator("#attribution a", has_text="context truncated").first.click()
    expect(opened.locator("#f-label")).to_have_value("context_truncated")
    expect(opened.locator("#found")).to_have_text(re.compile(r"^\d+ of 40 questions$"))
    expect(opened.locator("#questions")).to_be_in_viewport()


def test_hostile_texts_are_shown_as_they_are_and_do_nothing(watched: Watched, written: dict[str, Path]) -> None:
    opened = watched.open(str(written["hostile"]))
    assert shown(opened)[:3] == list(HOSTILE[:3])
    for row in opened.locator("#question-rows .row").all():
        row.click()
    for closed in opened.locator("#question-rows details > summary").all():
        closed.click()
    expect(opened.locator("#question-rows pre").first).to_contain_text(HOSTILE[1])
    assert "62615533" not in opened.content()
    opened.fill("#f-text", "<script>")
    opened.select_option("#f-tag", HOSTILE[0])
    expect(opened.locator("#found")).to_have_text(f"1 of {len(HOSTILE) + 1} questions")


def test_without_scripts_everything_but_the_questions_is_there(browser: Browser, written: dict[str, Path]) -> None:
    with window(browser, "file://", size=SIZES["wide"], scripts=False) as watched:
        opened = watched.open(str(written["decided"]))
        expect(opened.locator("#primary .big")).to_have_text("+0.200")
        expect(opened.locator("#questions noscript p")).to_contain_text("eval export csv")


def test_reports_have_all_questions_that_both_were_asked() -> None:
    assert len(data_of(PAGES["decided"]())["rows"]) == N


def test_a_verdict_on_one_candidate_is_not_shown_with_another() -> None:
    run = told_run(base(), candidate(), told("third", rows_of(range(3)), top_k=7))
    decision = decide(run, run.candidates[0].name, run.candidates[1].name, Policy())
    assert view_of(run, decision).decision == decision
    assert view_of(run, decision, candidate="third").decision is None
    assert decision.verdict not in run_markdown(run, decision, candidate="third")
