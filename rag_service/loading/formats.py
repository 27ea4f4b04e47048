"""Which loader reads which file. The only place that knows file extensions."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Protocol

from rag_service.loading.csv import load_csv
from rag_service.loading.docx import load_docx
from rag_service.loading.html import load_html
from rag_service.loading.jsonl import load_jsonl
from rag_service.loading.limits import LoadLimits
from rag_service.loading.markdown import load_markdown
from rag_service.loading.pdf import load_pdf
from rag_service.loading.text import load_text
from rag_service.ports import Loader
from rag_service.types import Document, Skipped


class _Format(Protocol):
    """A `Loader` once `limits` is bound."""

    def __call__(self, data: bytes, source: str, *, limits: LoadLimits) -> Iterator[Document | Skipped]: ...


_FORMATS: tuple[tuple[_Format, tuple[str, ...]], ...] = (
    (load_markdown, (".md", ".markdown", ".mdx")),
    (load_text, (".txt", ".text", ".rst", ".log")),
    (load_html, (".html", ".htm", ".xhtml")),
    (load_pdf, (".pdf",)),
    (load_docx, (".docx",)),
    (load_csv, (".csv", ".tsv")),
    (load_jsonl, (".jsonl", ".ndjson")),
)

_BY_EXTENSION: Mapping[str, _Format] = MappingProxyType({end: load for load, ends in _FORMATS for end in ends})

EXTENSIONS: tuple[str, ...] = tuple(_BY_EXTENSION)
"""Lower case, each with its dot."""


def extension(source: str) -> str:
    """Lower case, with its dot; empty if the name has none."""
    return PurePosixPath(source).suffix.lower()


def loader_for(source: str, limits: LoadLimits) -> Loader | None:
    """The loader for a file of this name, or None if its extension is not known."""
    load = _BY_EXTENSION.get(extension(source))
    return None if load is None else partial(load, limits=limits)
