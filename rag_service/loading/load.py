"""A source's documents one after another, and a report on everything that is not one."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rag_service.errors import Unreadable
from rag_service.loading.documents import stem
from rag_service.loading.formats import EXTENSIONS, extension, loader_for
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits, over_length
from rag_service.loading.source import Found, find, read
from rag_service.ports import Progress
from rag_service.types import Document, Skipped

_DIGEST_BYTES = 16
"""128 bits: no two of a billion texts meet by chance."""


def load(source: Path | str, *, limits: LoadLimits = DEFAULT_LIMITS, progress: Progress | None = None) -> Iterator[Document | Skipped]:
    """Documents of a file, of a folder and all folders below it, or of a pattern (`docs/**/*.md`), in the order of their paths.

    Finds the files at once, and raises `NothingToIndex` if there are none; reads them as the caller asks, one at a time.
    Whatever is wrong with a file is reported as `Skipped`, and stops nothing. Hidden files and folders are left out silently. Raises
    `Conflict` where files vanish or are written to while they are read.
    """
    return _documents(find(source), limits, progress)


def _documents(files: list[Found], limits: LoadLimits, progress: Progress | None) -> Iterator[Document | Skipped]:
    seen = _Seen()
    if progress is not None:
        progress.stage("load", len(files))
    for found in files:
        for item in _file(found, limits):
            yield item if isinstance(item, Skipped) else over_length(item.source, len(item.text), limits) or seen.admit(item)
        if progress is not None:
            progress.advance()


def _file(found: Found, limits: LoadLimits) -> Iterator[Document | Skipped]:
    if found.problem is not None:
        yield found.problem
        return
    loader = loader_for(found.source, limits)
    if loader is None:
        ending = extension(found.source)
        detail = f"no loader for {ending!r} files" if ending else "no extension"
        yield Skipped(found.source, "unsupported", f"{detail}; supported are {', '.join(EXTENSIONS)}")
        return
    data = read(found, limits.max_file_bytes)
    if isinstance(data, Skipped):
        yield data
    elif not data:
        yield Skipped(found.source, "empty", "0 bytes")
    else:
        try:
            yield from loader(data, found.source)
        except Unreadable as error:
            yield Skipped(found.source, "unreadable", error.message)


class _Seen:
    """Which texts and ids there were. Holds digests, sources and ids; never a text."""

    def __init__(self) -> None:
        self._sources: dict[bytes, str] = {}
        self._ids: set[str] = set()

    def admit(self, document: Document) -> Document | Skipped:
        """The document, or `duplicate` (same text and title as an earlier one) or `duplicate_id` (same id, other content)."""
        earlier = self._sources.setdefault(_content(document), document.source)
        if earlier is not document.source:
            return Skipped(document.source, "duplicate", earlier)
        if document.id in self._ids:
            return Skipped(document.source, "duplicate_id", f"an earlier document has the id {document.id!r}")
        self._ids.add(document.id)
        return document


def _content(document: Document) -> bytes:
    """A title that is only the file's name says nothing about content: a copy under another name is still a copy."""
    title = "" if document.title == stem(document.source) else document.title
    return hashlib.blake2b(f"{title}\0{document.text}".encode(), digest_size=_DIGEST_BYTES).digest()
