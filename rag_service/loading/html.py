"""HTML, as the text that a reader sees."""

from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from rag_service.errors import Unreadable
from rag_service.loading.blocks import TextBuilder
from rag_service.loading.decoding import binary, decode
from rag_service.loading.documents import built_document
from rag_service.loading.html_blocks import BLOCK_TAGS, Gatherer, Run, gatherer
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits
from rag_service.loading.nesting import MAX_DEPTH, nests_too_deeply
from rag_service.loading.parsing import parser_errors
from rag_service.types import Document, Skipped

_DROPPED = frozenset({"head", "script", "style", "nav", "noscript", "template", "iframe", "svg", "textarea"})

_PROLOGUE_BYTES = 1024
"""Where the standard has a page declare its encoding."""


def load_html(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """The title is `<title>`, else the first `<h1>`, else the file's stem. Raises `Unreadable` for pages that nest absurdly."""
    del limits  # `load` checks the text, which is shorter than the file
    raw = _decode(data)
    if raw is None:
        yield binary(source)
        return
    if nests_too_deeply(raw):
        raise Unreadable(f"elements nest more than {MAX_DEPTH:,} deep")
    with parser_errors("HTML"):
        tree = LexborHTMLParser(raw.encode("utf-8", "replace"))
        builder = _render(tree)
        title = tree.css_first("head > title")
        document = built_document(source, title=(title.text() if title else "") or builder.first_heading(1), builder=builder)
    yield document


def _decode(data: bytes) -> str | None:
    """As the page declares, if it is neither UTF-8 nor marked; else as any other text."""
    text = decode(data)
    if text is None or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return text
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    declared = _declared_encoding(data[:_PROLOGUE_BYTES])
    try:
        return data.decode(declared) if declared else text
    except (UnicodeDecodeError, LookupError):
        return text


def _declared_encoding(prologue: bytes) -> str:
    with parser_errors("HTML"):
        tree = LexborHTMLParser(prologue.decode("latin-1").encode("utf-8"))
        metas = [meta.attributes for meta in tree.css("meta")]
    for meta in metas:
        declared = meta.get("charset") or (meta.get("content") or "").lower().partition("charset=")[2]
        if declared:
            return declared.strip(" \"';")
    return ""


def _render(tree: LexborHTMLParser) -> TextBuilder:
    """Walks with its own stack: how deep a page nests must not be a question of Python's."""
    renderer = _Renderer()
    stack: list[tuple[LexborNode, bool]] = [(tree.root, False)] if tree.root is not None else []
    while stack:
        node, leaving = stack.pop()
        if leaving:
            renderer.leave(node)
        elif node.is_text_node:
            renderer.run.text(node.text_content or "")
        elif node.is_element_node and node.tag not in _DROPPED:
            renderer.enter(node)
            stack.append((node, True))
            child = node.last_child
            while child is not None:
                stack.append((child, False))
                child = child.prev
    renderer.end_paragraph()
    return renderer.builder


class _Renderer:
    """At most one block is open: the outermost of heading, code, list and table. Text outside of them makes paragraphs."""

    def __init__(self) -> None:
        self.builder = TextBuilder()
        self.run = Run()
        self._open: Gatherer | None = None
        self._opened_by: int | None = None

    def enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "br":
            self.run.line_break()
        if self._open is None and tag in BLOCK_TAGS:
            self.end_paragraph()
            self._open = gatherer(tag, self.run)
            self._opened_by = node.mem_id if self._open else None
        if self._open is not None:
            self._open.enter(tag)

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if self._open is None:
            if tag in BLOCK_TAGS:
                self.end_paragraph()
            return
        self._open.leave(tag)
        if node.mem_id == self._opened_by:
            self._open.finish(self.builder)
            self._open = self._opened_by = None

    def end_paragraph(self) -> None:
        self.builder.add("paragraph", self.run.take())
