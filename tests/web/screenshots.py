"""`make screenshots`: asks the demo index real questions, and takes the pictures of the pages that stand in the README."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from rag_service.catalog import Catalog
from rag_service.settings import Settings, load_settings
from rag_service.wiring.building import build
from rag_service.wiring.encoders import export_encoder, find_encoder
from rag_service.wiring.releases import make_release
from tests.api.conftest import desk_on, running
from tests.web.browser import chromium, window

PROJECT = Path(__file__).resolve().parents[2]
MAIN = "What is a release?"
EARLIER = ("Why is a replay exact?", "Do I need a GPU?", "What is the capital of France?", MAIN)
"""Asked of an earlier release, which cut the documents into shorter passages."""
QUESTIONS = (
    MAIN,
    "Which formats can be read?",
    "Who wrote the Odyssey?",
    "How do I roll back to the previous release?",
    "How are ties between equal scores ordered?",
    "Does the service speak TLS?",
    "How do I limit how often a key may ask?",
    MAIN,
)
RATED = {1: "up", 3: "up", 5: "down", 6: "up"}
IN_A_STREAM = "How do I check an index for corruption?"


class _Silent:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


@dataclass(frozen=True)
class Demo:
    url: str
    first: str
    """Id of the answer to the main question."""
    older: str
    """Id of the answer that the earlier release gave to it."""
    citation: dict[str, Any]
    """Of the first answer."""


@contextmanager
def demo() -> Iterator[Demo]:
    """The documentation as an index, served by one release and then by another, with questions asked of both."""
    settings = load_settings({}, indexes=PROJECT / "indexes")
    encoder = find_encoder(settings, Catalog(settings.indexes)) or export_encoder(settings, Catalog(settings.indexes))[1]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "encoders").symlink_to(encoder.parent)
        catalog = Catalog(root)
        _release(catalog, load_settings({}, indexes=root, name="demo", chunk_tokens=64, top_k=3))
        with running(desk_on(root, "demo"), grace_s=2.0) as client:
            *_, older = (client.ask({"question": question}).json for question in EARLIER)
        _release(catalog, load_settings({}, indexes=root, name="demo"))
        with running(desk_on(root, "demo"), grace_s=2.0) as client:
            replies = [client.ask({"question": question}).json for question in QUESTIONS]
            for place, rating in RATED.items():
                said = {"rating": rating, "comment": "Checked against the page."}
                client.post(f"/traces/{replies[place]['answer_id']}/feedback", said)
            first = replies[0]
            yield Demo(f"http://127.0.0.1:{client.port}", first["answer_id"], older["answer_id"], first["citations"][0])


def _release(catalog: Catalog, settings: Settings) -> None:
    """Builds the documentation anew, and lets it be served as the settings say."""
    version = build(settings, catalog, "demo", str(PROJECT / "docs"), _Silent()).manifest.version
    catalog.activate("demo", make_release(settings, catalog, "demo", version))


def ask_it(page: Page) -> None:
    page.fill("#question", IN_A_STREAM)
    page.keyboard.press("Enter")
    page.wait_for_selector("#trace-link:not([hidden])")


def replay_it(page: Page) -> None:
    page.click("#replay button.primary")
    page.wait_for_selector(".verdict")


@dataclass(frozen=True)
class Picture:
    name: str
    path: str
    """With the names of ids that `places_of` knows."""
    height: int = 900
    width: int = 1280
    dark: bool = False
    act: Callable[[Page], None] | None = None
    """What is done on the page first."""


PICTURES = (
    Picture("ask", "/", act=ask_it),
    Picture("passage", "{citation}", height=620),
    Picture("traces", "/traces", height=920),
    Picture("trace", "/traces/{first}", height=1215),
    Picture("trace-dark", "/traces/{first}", height=1215, dark=True),
    Picture("trace-narrow", "/traces/{first}", width=390, height=844),
    Picture("replay", "/traces/{first}", height=590, act=replay_it),
    Picture("compare", "/traces/compare?a={older}&b={first}", height=1240),
    Picture("indexes", "/indexes", height=540),
)


def places_of(shown: Demo) -> dict[str, str]:
    start, end = shown.citation["quote_span"]
    return {"first": shown.first, "older": shown.older, "citation": f"{shown.citation['url']}&quote={start}-{end}#quote"}


def take(browser: Browser, shown: Demo, picture: Picture, folder: Path) -> None:
    with window(browser, shown.url, size=(picture.width, picture.height), dark=picture.dark) as watched:
        page = watched.open(picture.path.format(**places_of(shown)))
        if picture.act is not None:
            picture.act(page)
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=folder / f"{picture.name}.png")
        watched.check()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "screenshots"
    folder.mkdir(exist_ok=True)
    with demo() as shown, chromium() as browser:
        for picture in PICTURES:
            take(browser, shown, picture, folder)


if __name__ == "__main__":
    main()
