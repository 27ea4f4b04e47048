"""Servers with records, a browser, and stored answers to make pages of."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from rag_service.ask import Pipeline
from rag_service.digests import digest_text
from rag_service.kept import Kept
from rag_service.question import Question
from rag_service.record import Receipt
from tests.api.conftest import Client
from tests.api.conftest import serve as serve
from tests.web.browser import CHROMIUM, Watched, chromium, window

HOLIDAYS = "How many days of paid holiday does an employee have?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each module: while it is open, nothing else in this thread can run an event loop."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with chromium() as browser:
        yield browser


@pytest.fixture
def watched(browser: Browser, client: Client) -> Iterator[Watched]:
    """A window on the server of the module, whose pages must break nothing."""
    with window(browser, f"http://127.0.0.1:{client.port}") as watched:
        yield watched
        watched.check()


def kept(pipeline: Pipeline, question: str | Question = HOLIDAYS) -> Kept:
    """An answer as a ledger gives it back."""
    record = pipeline.ask(Question(question) if isinstance(question, str) else question)
    return Kept(record, "full", frozenset(), None, digest_text(record.question), Receipt(7, "sha256:" + "5" * 64))
