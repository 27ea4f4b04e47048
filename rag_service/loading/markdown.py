"""Markdown. The source itself is the document's text; CommonMark's block structure says where its blocks are."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.utils import EnvType
from mdit_py_plugins.front_matter import front_matter_plugin

from rag_service.loading.blocks import paragraph_blocks, trimmed
from rag_service.loading.decoding import binary, decode
from rag_service.loading.documents import file_document
from rag_service.loading.front_matter import parse_front_matter
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits, over_length
from rag_service.loading.parsing import parser_errors
from rag_service.normalise import document_text, one_line
from rag_service.types import Block, BlockKind, Document, MetadataValue, Skipped

_KINDS: Mapping[str, BlockKind] = {
    "heading_open": "heading",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
}
"""Every other block of the top level (paragraph, quotation, HTML, rule) is read as a paragraph."""

_SPOKEN = frozenset({"text", "text_special", "code_inline"})
_SPACES = frozenset({"softbreak", "hardbreak"})

_MAX_HEADING_SOURCE_CHARS = 2_000
"""Beyond this a heading's markup is not resolved: inline parsing is not linear on hostile input."""


def load_markdown(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """The title is the front matter's, else the first heading of level 1, else the file's stem. The front matter is in no block;
    every other visible character is in one.
    """
    raw = decode(data)
    if raw is None:
        yield binary(source)
        return
    text = document_text(raw)
    too_long = over_length(source, len(text), limits)
    if too_long is not None:
        yield too_long
        return
    with parser_errors("Markdown"):
        document = _document(text, source)
    yield document


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table").use(front_matter_plugin)


def _document(text: str, source: str) -> Document | Skipped:
    tokens: list[Token] = []
    env: EnvType = {}
    # The block rules alone: what stands inside a paragraph is nobody's concern here, and is the slow and fragile half.
    _parser().block.parse(text, _parser(), env, tokens)
    metadata, tokens = _split_front_matter(tokens)
    blocks = _blocks(text, tokens, env)
    title = metadata.pop("title", "") or next((block.title for block in blocks if block.level == 1), "")
    return file_document(source, title=str(title), text=text, blocks=blocks, metadata=metadata)


def _split_front_matter(tokens: list[Token]) -> tuple[dict[str, MetadataValue], list[Token]]:
    """Text between two rules at the top of a file is not front matter: without its token it is found as a gap."""
    if not tokens or tokens[0].type != "front_matter":
        return {}, tokens
    metadata = parse_front_matter(tokens[0].content)
    return ({}, tokens[1:]) if metadata is None else (metadata, tokens)


def _blocks(text: str, tokens: Sequence[Token], env: EnvType) -> list[Block]:
    starts = _line_starts(text)
    blocks: list[Block] = []
    done = 0
    for index, token in enumerate(tokens):
        if token.level != 0 or token.map is None:
            continue
        start, end = starts[max(token.map[0], 0)], starts[token.map[1]]
        start = max(start, done)
        blocks += paragraph_blocks(text, done, start)  # link definitions make no token
        if token.type != "front_matter":
            blocks += _block(text, start, end, token, tokens[index + 1].content if token.type == "heading_open" else "", env)
        done = max(done, end)
    return blocks + paragraph_blocks(text, done)


def _block(text: str, start: int, end: int, token: Token, heading: str, env: EnvType) -> list[Block]:
    """None or one."""
    span = trimmed(text, start, end)
    if span is None:
        return []
    kind = _KINDS.get(token.type, "paragraph")
    if kind == "code":
        return [Block(start, span[1], kind)]
    title = _plain(heading, env) if kind == "heading" else ""
    if title:
        return [Block(*span, kind, level=int(token.tag[1:]), title=title)]
    return [Block(*span, "paragraph" if kind == "heading" else kind)]


def _line_starts(text: str) -> list[int]:
    """Offset of every line, and the end of the text for the line after the last."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    starts[-1] = len(text)
    return starts


def _plain(heading: str, env: EnvType) -> str:
    """The heading as it reads on the page: without markup, HTML tags, and the attribute list that some dialects end it with."""
    spoken = []
    inline: list[Token] = []
    _parser().inline.parse(_without_attributes(heading)[:_MAX_HEADING_SOURCE_CHARS], _parser(), env, inline)
    for token in inline:
        if token.type in _SPOKEN:
            spoken.append(token.content)
        elif token.type in _SPACES:
            spoken.append(" ")
        elif token.type == "image":
            spoken += [part.content for part in token.children or () if part.type in _SPOKEN]
    return one_line("".join(spoken))


def _without_attributes(heading: str) -> str:
    """Drops a closing `{ #id .class }` or `{: #id }`."""
    if not heading.endswith("}"):
        return heading
    opening = heading.rfind("{")
    attributes = heading[opening + 1 : -1].removeprefix(":").lstrip()
    return heading[:opening].rstrip() if opening >= 0 and attributes.startswith(("#", ".")) else heading
