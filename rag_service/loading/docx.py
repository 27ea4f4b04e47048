"""Word documents (DOCX): the body's headings, paragraphs, lists and tables, in order. No headers, footers or notes."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.document import Document as WordDocument
from docx.oxml.ns import qn

from rag_service.errors import Unreadable
from rag_service.loading.blocks import TextBuilder
from rag_service.loading.documents import built_document
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits
from rag_service.loading.parsing import parser_errors
from rag_service.normalise import one_line
from rag_service.types import Document, Skipped

_Element = Any  # lxml publishes no types

_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT = qn("w:t")
_INLINE = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_SPOKEN = frozenset({_TEXT, *_INLINE})
_MARKUP_COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_PASSED_OVER = frozenset({qn("w:pPr"), qn("w:rPr"), qn("w:del"), qn("w:moveFrom"), qn("w:sectPr"), f"{_MARKUP_COMPATIBILITY}Fallback"})
"""Properties, deleted text, and the second copy of what older programs cannot show."""

_HEADING_STYLE = re.compile(r"heading ([1-9])")
_MAX_LEVEL = 6
_MAX_STYLE_PARENTS = 12
_LIBRARY_DEFAULT_TITLE = "Word Document"
"""What python-docx makes up for a file without properties."""

_MAX_RATIO = 200
"""Expanded to compressed. Word's XML stays below 50; DEFLATE ends at 1032."""
_RATIO_MATTERS_BYTES = 10 * 1024 * 1024


def load_docx(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """The title is the properties', else the first paragraph of style Title, else the first heading, else the file's stem.
    Raises `Unreadable` for files that are damaged, encrypted, or not Word's.
    """
    too_large = _expands_too_far(data, source, limits)
    if too_large is not None:
        yield too_large
        return
    with parser_errors("Word"):
        document = _document(docx.Document(io.BytesIO(data)), source)
    yield document


def _expands_too_far(data: bytes, source: str, limits: LoadLimits) -> Skipped | None:
    """Asks the archive's directory. It may lie, but `zipfile` never expands an entry beyond the size declared there."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            expanded = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, OSError) as error:
        raise Unreadable("not a DOCX file: damaged, or encrypted", hint="open it in Word and save it again") from error
    if expanded > limits.max_expanded_bytes:
        return Skipped(source, "oversized", f"expands to {expanded:,} bytes; the limit is {limits.max_expanded_bytes:,}")
    if expanded > _RATIO_MATTERS_BYTES and expanded > _MAX_RATIO * len(data):
        return Skipped(source, "oversized", f"expands to {expanded // len(data)} times its size; the limit is {_MAX_RATIO}")
    return None


def _document(word: WordDocument, source: str) -> Document | Skipped:
    builder = TextBuilder()
    styles = _Styles(word)
    items: list[str] = []
    styled_title = ""
    for element in _descend(word.element.body, frozenset({_PARAGRAPH, _TABLE})):
        kind, level = ("table", 0) if element.tag == _TABLE else styles.role(element)
        text = _table_text(element) if kind == "table" else _paragraph_text(element).strip()
        if kind != "list":
            _end_list(builder, items)
        if kind == "list" and text:
            items.append(f"{len(items) + 1}. {text}" if level else f"- {text}")
        elif kind == "title":
            styled_title = styled_title or text
            builder.add("heading", text, level=1)
        elif kind == "heading":
            builder.add("heading", text, level=level)
        elif kind == "table":
            builder.add("table", text)
        elif kind == "paragraph":
            builder.add("paragraph", text)
    _end_list(builder, items)
    return built_document(source, title=_properties_title(word) or styled_title or builder.first_heading(), builder=builder)


def _end_list(builder: TextBuilder, items: list[str]) -> None:
    builder.add("list", "\n".join(items))
    items.clear()


def _properties_title(word: WordDocument) -> str:
    title = one_line(word.core_properties.title or "")
    return "" if title == _LIBRARY_DEFAULT_TITLE else title


class _Styles:
    """What the paragraphs' styles mean, resolved through the styles that they are based on."""

    def __init__(self, word: WordDocument) -> None:
        self._names: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        for style in word.styles.element.iterchildren(qn("w:style")):
            style_id = style.get(qn("w:styleId")) or ""
            self._names[style_id] = _value(style, "w:name").lower()
            self._parents[style_id] = _value(style, "w:basedOn")

    def role(self, paragraph: _Element) -> tuple[str, int]:
        """`title`, `heading` (with its level), `list` (1 if numbered, else 0), or `paragraph`."""
        properties = paragraph.find(qn("w:pPr"))
        if properties is None:
            return "paragraph", 0
        for name in self._ancestry(_value(properties, "w:pStyle")):
            heading = _HEADING_STYLE.fullmatch(name)
            if heading:
                return "heading", min(int(heading[1]), _MAX_LEVEL)
            if name == "title":
                return "title", 1
            if name.startswith("list") and name != "list paragraph":
                return "list", int(name.startswith("list number"))
        return ("list" if properties.find(qn("w:numPr")) is not None else "paragraph"), 0

    def _ancestry(self, style_id: str) -> Iterator[str]:
        """Names from the style up; styles of a hostile file may go round in circles."""
        for _ in range(_MAX_STYLE_PARENTS):
            if style_id not in self._names:
                return
            yield self._names[style_id]
            style_id = self._parents[style_id]


def _value(element: _Element, child: str) -> str:
    """The `w:val` of a child, or an empty string."""
    found = element.find(qn(child))
    return "" if found is None else found.get(qn("w:val")) or ""


def _table_text(table: _Element) -> str:
    rows = []
    for row in _descend(table, frozenset({_ROW})):
        cells = [_cell_text(cell) for cell in _descend(row, frozenset({_CELL}))]
        if any(cells):
            rows.append(" | ".join(cells))
    return "\n".join(rows)


def _cell_text(cell: _Element) -> str:
    return " ".join(" ".join(_paragraph_text(paragraph) for paragraph in _descend(cell, frozenset({_PARAGRAPH}))).split())


def _paragraph_text(paragraph: _Element) -> str:
    return "".join((element.text or "") if element.tag == _TEXT else _INLINE[element.tag] for element in _descend(paragraph, _SPOKEN))


def _descend(root: _Element, wanted: frozenset[str]) -> Iterator[_Element]:
    """Elements of these tags in document order, through whatever wraps them (content controls, insertions, links), but not inside
    one another. Keeps its own stack, and reads children directly: a merged cell may claim to span a billion columns.
    """
    stack = list(root)[::-1]
    while stack:
        element = stack.pop()
        if element.tag in wanted:
            yield element
        elif element.tag not in _PASSED_OVER:
            stack.extend(list(element)[::-1])
