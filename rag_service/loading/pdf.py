"""PDF: the text layer, page by page. A scanned page has none, and there is no OCR here."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pypdf import PdfReader

from rag_service.errors import Unreadable
from rag_service.loading.blocks import TextBuilder
from rag_service.loading.documents import built_document
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits, over_length
from rag_service.loading.parsing import parser_errors
from rag_service.normalise import normalise, one_line
from rag_service.types import Document, Skipped

_SENTENCE_ENDS = tuple('.!?:;"”»)。！？')
_SHORT_LINE_SHARE = 0.8
"""Of the page's wide lines: a sentence that ends on a line shorter than this ends its paragraph too."""


def load_pdf(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """Every block has its page. The title is the document information's, else the file's stem. Raises `Unreadable` for files that
    are damaged, or encrypted with a password.
    """
    with _quiet(), parser_errors("PDF"):
        document = _document(data, source, limits)
    yield document


def _document(data: bytes, source: str, limits: LoadLimits) -> Document | Skipped:
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted:
        _unlock(reader)
    pages = len(reader.pages)
    if pages > limits.max_pages:
        return Skipped(source, "oversized", f"{pages:,} pages; the limit is {limits.max_pages:,}")
    builder = TextBuilder()
    for number, page in enumerate(reader.pages, start=1):
        for paragraph in _paragraphs(normalise(page.extract_text())):
            builder.add("paragraph", paragraph, page=number)
        too_long = over_length(source, builder.chars, limits)
        if too_long is not None:
            return too_long
    if not builder.blocks:
        return Skipped(source, "empty", f"no text layer: {pages} {'page' if pages == 1 else 'pages'} (scanned?)")
    return built_document(source, title=_title(reader), builder=builder)


def _unlock(reader: PdfReader) -> None:
    """Many files are encrypted with an empty password, only to forbid printing."""
    try:
        unlocked = reader.decrypt("")
    except Exception as error:  # as in `parser_errors`; and AES needs a package that is not there
        raise Unreadable("encrypted", hint="save it without a password") from error
    if not unlocked:
        raise Unreadable("encrypted", hint="save it without a password")


def _title(reader: PdfReader) -> str:
    title = one_line(str(reader.metadata.title or "")) if reader.metadata else ""
    return title if title.isprintable() and "\ufffd" not in title else ""


def _paragraphs(text: str) -> Iterator[str]:
    """Divides at blank lines, and where a sentence ends on a short line: most PDFs have no blank lines left."""
    lines = [line.rstrip() for line in text.split("\n")]
    widths = sorted(len(line) for line in lines if line)
    wide = widths[len(widths) * 9 // 10] if widths else 0
    paragraph: list[str] = []
    for line in lines:
        if line:
            paragraph.append(line)
        if paragraph and (not line or (line.endswith(_SENTENCE_ENDS) and len(line) < _SHORT_LINE_SHARE * wide)):
            yield "\n".join(paragraph)
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


@contextmanager
def _quiet() -> Iterator[None]:
    """pypdf logs each oddity it gets over, hundreds for one file; what it cannot get over it raises."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
