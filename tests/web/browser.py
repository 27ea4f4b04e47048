"""A real browser, and pages that remember everything that should not happen in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
WIDE, NARROW = (1280, 900), (360, 740)

_WATCH = """
addEventListener("securitypolicyviolation", (event) => console.error("policy: " + event.violatedDirective + " " + event.blockedURI));
window.ran = [];
window.alert = (what) => window.ran.push(String(what));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A browser window of its own, with what went wrong in any page of it."""

    context: BrowserContext
    base_url: str
    scripts: bool = True
    problems: list[str] = field(default_factory=list)
    """Errors of scripts, what a policy blocked, files that were not there."""
    foreign: list[str] = field(default_factory=list)
    """Requests to anybody else."""
    expected_statuses: set[int] = field(default_factory=set)
    """Errors of the service that a test provokes."""

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.goto(self.base_url + path)
        return page

    def check(self) -> None:
        ran = [what for page in self.context.pages for what in page.evaluate("window.ran || []")] if self.scripts else []
        assert (self.problems, self.foreign, ran) == ([], [], []), (self.problems, self.foreign, ran)


@contextmanager
def window(
    browser: Browser, base_url: str, *, size: tuple[int, int] = WIDE, dark: bool = False, scripts: bool = True, reduced_motion: bool = True
) -> Iterator[Watched]:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        reduced_motion="reduce" if reduced_motion else "no-preference",
        locale="en-GB",
    )
    context.set_default_timeout(10_000)
    watched = Watched(context, base_url, scripts)
    if scripts:
        context.add_init_script(_WATCH)
    host = urlsplit(base_url).netloc

    def requested(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != host:
            watched.foreign.append(url)

    def said(kind: str, text: str) -> None:
        if kind == "error" and not any(f"status of {status}" in text for status in watched.expected_statuses):
            watched.problems.append(text)

    context.on("request", lambda request: requested(request.url))
    context.on("console", lambda message: said(message.type, message.text))
    context.on("weberror", lambda error: watched.problems.append(str(error.error)))
    try:
        yield watched
    finally:
        context.close()


def overflows(page: Page) -> list[str]:
    """Elements that make the page scroll sideways; none where it does not."""
    found: list[str] = page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= wide) return [];
          return [...document.querySelectorAll("body *")]
            .filter((element) => element.getBoundingClientRect().right > wide + 1)
            .map((element) => element.tagName + "." + element.className + " " + element.textContent.trim().slice(0, 40));
        }"""
    )
    return found
