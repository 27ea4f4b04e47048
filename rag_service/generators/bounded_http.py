"""A client of HTTP that reads no more of a reply than an answer can need: a provider that sends without end must not fill the memory."""

import atexit
import importlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from rag_service.errors import GeneratorFailed

MAX_REPLY_BYTES = 16 * 2**20
"""50,000 pieces of a stream (see `transcript`), each an event of some 250 bytes, and some for what is around them."""


@cache
def bounded_client() -> Any:
    """OpenAI's own client of HTTP, which raises `GeneratorFailed` in the middle of a reply that is too long. One for the process,
    as LangChain has by default: connections are used again whichever release is asked.

    Raises `ImportError` where `openai` is not installed. Compressed replies are not asked for and not read: a few bytes can be a
    gigabyte.
    """
    from openai import DefaultHttpxClient

    client = DefaultHttpxClient(event_hooks={"response": [_bound]}, headers={"Accept-Encoding": "identity"})
    atexit.register(client.close)
    return client


def _bound(response: Any) -> None:
    """Called with each response before its body is read."""
    if response.headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        raise _too_much("sent a compressed reply that nobody asked for")
    package = importlib.import_module(type(response).__module__.partition(".")[0])  # httpx or httpx2, whichever `openai` is made with
    response.stream = _bounded_stream(package.SyncByteStream, response.stream)


def _bounded_stream(base: Any, inner: Any) -> Any:
    class Bounded(base):  # type: ignore[misc]  # the client reads nothing that is not of its own class
        def __iter__(self) -> Iterator[bytes]:
            return bounded(inner)

        def close(self) -> None:
            inner.close()

    return Bounded()


def bounded(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same, or `GeneratorFailed` after `MAX_REPLY_BYTES`."""
    room = MAX_REPLY_BYTES
    for part in parts:
        room -= len(part)
        if room < 0:
            raise _too_much(f"sent more than {MAX_REPLY_BYTES // 2**20} MiB")
        yield part


def _too_much(what: str) -> GeneratorFailed:
    return GeneratorFailed(f"the provider {what}", hint="check what answers at base_url", stage="generate")
