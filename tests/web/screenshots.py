"""`make screenshots`: asks the demo index real questions, and takes the pictures of the pages that stand in the README."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from rag_service.catalog import Catalog
from rag_service.settings import load_settings
from rag_service.wiring.building import build
from rag_service.wiring.encoders import export_encoder, find_encoder
from rag_service.wiring.releases import make_release
from tests.api.conftest import desk_on, running
from tests.web.browser import NARROW, WIDE, chromium, window

PROJECT = Path(__file__).resolve().parents[2]
QUESTIONS = (
    "How do I check an index for corruption?",
    "Which formats can be read?",
    "What is the capital of France?",
    "How do I roll back to the previous release?",
    "What does abstain mean?",
    "Does the service speak TLS?",
    "Do I need a GPU?",
    "How do I check an index for corruption?",
)
MAIN = QUESTIONS[0]


class _Silent:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


@dataclass(frozen=True)
class Demo:
    url: str
    answers: tuple[str, ...]
    """Ids: to the questions, then to the first of them by the second release."""
    citation: dict[str, Any]
    release: str
    version: str


@contextmanager
def demo() -> Iterator[Demo]:
    """The documentation as an index, served by one release and then by another, with questions asked of both."""
    settings = load_settings({}, indexes=PROJECT / "indexes")
    encoder = find_encoder(settings, Catalog(settings.indexes)) or export_encoder(settings, Catalog(settings.indexes))[1]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "encoders").symlink_to(encoder.parent)
        catalog = Catalog(root)
        settings = load_settings({}, indexes=root, name="demo")
        version = build(settings, catalog, "demo", str(PROJECT / "docs"), _Silent()).manifest.version
        wider = load_settings({}, indexes=root, name="demo", top_k=8)
        catalog.activate("demo", make_release(wider, catalog, "demo", version))
        with running(desk_on(root, "demo"), grace_s=2.0) as client:
            older = client.ask({"question": MAIN, "cache": False}).json
        catalog.activate("demo", make_release(settings, catalog, "demo", version))
        with running(desk_on(root, "demo"), grace_s=2.0) as client:
            replies = [client.ask({"question": question}).json for question in QUESTIONS]
            for reply, rating in zip(replies[:5], ("up", "up", None, "down", "up"), strict=True):
                if rating:
                    client.post(f"/traces/{reply['answer_id']}/feedback", {"rating": rating, "comment": "Checked against the page."})
            yield Demo(
                url=f"http://127.0.0.1:{client.port}",
                answers=(*(reply["answer_id"] for reply in replies), older["answer_id"]),
                citation=replies[0]["citations"][0],
                release=replies[0]["trace"]["release"]["id"],
                version=version,
            )


def ask_it(page: Page) -> None:
    page.fill("#question", MAIN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#trace-link:not([hidden])")


def replay_it(page: Page) -> None:
    page.click("#replay button.primary")
    page.wait_for_selector(".verdict")


PICTURES: tuple[tuple[str, str, Any], ...] = (
    ("ask", "/", ask_it),
    ("passage", "{citation}", None),
    ("traces", "/traces", None),
    ("trace", "/traces/{first}", None),
    ("replay", "/traces/{first}", replay_it),
    ("compare", "/traces/compare?a={older}&b={first}", None),
    ("indexes", "/indexes", None),
    ("version", "/indexes/versions/{version}", None),
    ("release", "/releases/{release}", None),
)


def take(
    browser: Browser, shown: Demo, folder: Path, *, suffix: str = "", whole: bool = False, only: tuple[str, ...] = (), **how: Any
) -> None:
    citation = shown.citation
    places = {
        "first": shown.answers[0],
        "older": shown.answers[-1],
        "release": shown.release,
        "version": shown.version,
        "citation": f"{citation['url']}&quote={citation['quote_span'][0]}-{citation['quote_span'][1]}#quote",
    }
    for name, path, act in PICTURES:
        if only and name not in only:
            continue
        with window(browser, shown.url, **how) as watched:
            page = watched.open(path.format(**places))
            if act is not None:
                act(page)
            page.evaluate("document.activeElement.blur()")
            page.screenshot(path=folder / f"{name}{suffix}.png", full_page=whole)
            watched.check()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "screenshots"
    folder.mkdir(exist_ok=True)
    with demo() as shown, chromium() as browser:
        take(browser, shown, folder, size=WIDE, only=("ask", "passage", "traces", "trace", "replay", "compare", "release"))
        take(browser, shown, folder, size=WIDE, dark=True, suffix="-dark", only=("trace",))
        take(browser, shown, folder, size=NARROW, suffix="-narrow", only=("trace",))


if __name__ == "__main__":
    main()
