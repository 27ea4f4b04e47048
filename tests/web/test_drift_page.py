"""The page of drift in a real browser: with a report, without one, narrow, dark, and for those who hear it."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.drift.compare import compare
from rag_service.drift.folder import DriftFolder
from rag_service.drift.reference import reference_of, side_of
from rag_service.drift.report import Report, Source, SystemFinding
from tests.api.conftest import Client, desk_on, running
from tests.drift.test_drift import GERMAN, LEAST, USUAL, sample_of
from tests.web.browser import NARROW, WIDE, Watched, overflows, window


def report_on(pipeline: Pipeline, asked: Sequence[str], *, source: Source = "records", notes: tuple[str, ...] = ()) -> Report:
    """Of what was really asked, with an alarm of the system beside it."""
    reference, seen, release = sample_of(pipeline, USUAL), sample_of(pipeline, asked), pipeline.lineage.release
    since, until = ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z") if source in {"records", "searches"} else ("", "")
    kept = reference_of("handbook", release, source, reference, side_of(reference, records=4210, since=since, until=until))
    return Report(
        made_at="2026-11-26T06:00:00Z", index="handbook", encoder=release.encoder.digest, reference_id=kept.id, source=source,
        reference=kept.side,
        window=side_of(seen, records=1234, since="2026-11-19T06:00:00Z", until="2026-11-26T06:00:00Z"),
        alpha=LEAST.alpha, draws=LEAST.draws, seed=LEAST.seed, least=LEAST.least,
        findings=compare(reference, seen, min_confidence=0.6, policy=LEAST, traffic=kept.of_traffic),
        system=SystemFinding(
            state="alarm", why="the same release gives other answers than when it was activated", release=release.id, before=release.id,
            asked=7, changed=("question 2 parts at retrieve", "question 5 parts at generate"),
        ),
        notes=notes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def indexes(served_indexes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(
        served_indexes, tmp_path_factory.mktemp("drift") / "own", symlinks=True, ignore=shutil.ignore_patterns("ledger.sqlite*")
    )


@pytest.fixture(scope="module")
def client(indexes: Path, pipeline: Pipeline) -> Iterator[Client]:
    """With a report of questions that have become German."""
    folder = DriftFolder(Catalog(indexes).drift_folder("handbook"))
    folder.write_report(report_on(pipeline, [*GERMAN[:70], *USUAL[:40]], notes=("12 answers made with another encoder were left out",)))
    with running(desk_on(indexes), grace_s=2.0) as client:
        yield client


def test_the_page_says_first_what_differs_and_then_of_each_signal_what_it_was_and_is(watched: Watched) -> None:
    page = watched.open("/")
    page.click("nav >> text=Drift")
    expect(page.locator("h1")).to_have_text("Drift of handbook")
    expect(page.locator("p.note").first).to_contain_text(re.compile(r"\d of \d+ signals differ\. The system itself answers otherwise\."))
    language = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="language of questions"))
    expect(language).to_contain_text("alarm")
    expect(language).to_contain_text("de")
    expect(page.locator("#system-title ~ ul li")).to_have_text(["question 2 parts at retrieve", "question 5 parts at generate"])
    expect(page.locator("p.note.weak")).to_have_text("12 answers made with another encoder were left out")
    page.click("#system-title ~ p a")
    page.wait_for_url("**/releases/*")


def test_a_reader_of_the_screen_hears_which_signal_is_drawn_and_what_of_it(watched: Watched) -> None:
    page = watched.open("/drift")
    regions = [page.get_by_role("region", name=f"Signals about {about}") for about in ("questions", "answers")]
    assert [region.locator("tbody tr").count() for region in regions] == [3, 8]
    names = [image.get_attribute("aria-label") or "" for image in page.get_by_role("img").all()]
    assert len(names) == 10, "an undefined signal has no drawing"
    assert all(re.fullmatch(r"[a-z, -]+: (\S.* in the reference, \S.* in the window|\d+% told apart)", name) for name in names), names
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert {"Signals about questions", "Signals about answers"} <= set(reached), "whoever has no mouse can scroll them"
    assert page.locator("svg rect title").count() == page.locator("svg.shift rect").count() > 0


def test_drawings_are_large_enough_to_see_and_stand_on_the_line_of_their_numbers(browser: Browser, client: Client) -> None:
    for size, least in ((WIDE, 180), (NARROW, 250)):
        with window(browser, f"http://127.0.0.1:{client.port}", size=size) as watched:
            page = watched.open("/drift")
            boxes = [image.bounding_box() for image in page.locator("svg.shift").all()]
            assert all(box is not None and box["width"] >= least for box in boxes), (size, boxes)
            watched.check()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_never_scrolls_sideways_and_its_two_sides_can_be_told_apart(
    browser: Browser, client: Client, size: tuple[int, int], dark: bool
) -> None:
    with window(browser, f"http://127.0.0.1:{client.port}", size=size, dark=dark) as watched:
        page = watched.open("/drift")
        assert overflows(page) == []
        reference, seen = (
            page.evaluate(f"getComputedStyle(document.querySelector('rect.of-{side}')).fill") for side in ("reference", "window")
        )
        assert reference != seen
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") not in {reference, seen}
        watched.check()


def test_without_a_report_the_page_names_the_commands_that_make_one(browser: Browser, served_indexes: Path, tmp_path: Path) -> None:
    root = shutil.copytree(served_indexes, tmp_path / "own", symlinks=True, ignore=shutil.ignore_patterns("ledger.sqlite*"))
    with running(desk_on(root), grace_s=2.0) as client, window(browser, f"http://127.0.0.1:{client.port}", size=NARROW) as watched:
        page = watched.open("/drift")
        expect(page.locator(".empty")).to_contain_text("rag-service drift report --name handbook makes one.")
        expect(page.locator(".empty")).to_contain_text("rag-service drift reference --name handbook makes one of the last 28 days.")
        assert page.get_by_role("table").count() == 0
        assert overflows(page) == []
        watched.check()


def test_what_differs_from_an_evaluation_is_shown_as_no_alarm(browser: Browser, own_indexes: Path, pipeline: Pipeline) -> None:
    report = report_on(pipeline, GERMAN[:70], source="evaluation").model_copy(update={"system": SystemFinding(state="undefined")})
    DriftFolder(Catalog(own_indexes).drift_folder("handbook")).write_report(report)
    with running(desk_on(own_indexes), grace_s=2.0) as client, window(browser, f"http://127.0.0.1:{client.port}") as watched:
        page = watched.open("/drift")
        expect(page.locator("p.note").first).to_contain_text("signals differ from an evaluation, which is no traffic")
        expect(page.locator("p.note").first).to_have_class("note weak")
        assert page.locator(".badge.bad").count() == 0
        expect(page.locator(".badge.weak").first).to_have_text("unlike")
        watched.check()
