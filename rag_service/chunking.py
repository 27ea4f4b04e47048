"""Documents to chunks that fit the encoder's window, measured by the encoder's own tokenizer. Pure.

A chunk never crosses a heading, keeps whole blocks (a paragraph, list, table or code block) where they fit, and is an exact slice of its
document. What the encoder sees is the slice preceded by its context: the title and the headings above it. Nothing is cut: a block
longer than a chunk is divided at the best separator there is.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from langchain_text_splitters import RecursiveCharacterTextSplitter

from rag_service.digests import digest_bytes, digest_json
from rag_service.errors import InvalidSettings
from rag_service.manifest import Part
from rag_service.ports import Chunker, Tokenizer
from rag_service.types import Block, BlockKind, Chunk, ChunkId, Document

Context = Literal["headings", "none"]

CHARS_PER_TOKEN_AT_MOST = 12
"""A WordPiece tokenizer counts any word beyond 100 characters as one unknown token; this keeps such text from making huge chunks."""

_PIECES_PER_CHUNK = 4
"""A block that does not fit is divided into pieces of at most this part of a chunk, so that packing can balance them."""

_PROSE = ["\n\n", "\n", ". ", "? ", "! ", "。", "؟ ", "; ", ", ", " ", ""]
_LINES = ["\n\n", "\n", " ", ""]
_SEPARATORS: dict[BlockKind, list[str]] = {
    "heading": _PROSE,
    "paragraph": _PROSE,
    "list": _LINES,
    "table": _LINES,
    "code": _LINES,
}


@dataclass(frozen=True, slots=True)
class ChunkParameters:
    """`max_tokens` includes context and special tokens; `overlap_tokens` is what consecutive chunks of a section may share."""

    max_tokens: int
    overlap_tokens: int
    context: Context


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    page: int | None


@dataclass(frozen=True, slots=True)
class _Section:
    path: tuple[str, ...]
    """Titles of the headings above, the section's own included."""
    shown: int
    """How many of them, at the end of the path, stand in the section's own text."""
    blocks: tuple[Block, ...]


def describe(parameters: ChunkParameters, *, encoder_digest: str) -> Part:
    """How an index version names this chunker: parameters, code, library and tokenizer all count."""
    given = {
        "max_tokens": parameters.max_tokens,
        "overlap_tokens": parameters.overlap_tokens,
        "context": parameters.context,
    }
    code = digest_bytes(Path(__file__).read_bytes())
    made_by = {"code": code, "langchain-text-splitters": version("langchain-text-splitters"), "encoder": encoder_digest}
    return Part(name="structure", digest=digest_json({"parameters": given, "made_by": made_by}), parameters={**given})


def make_chunker(tokenizer: Tokenizer, parameters: ChunkParameters) -> Chunker:
    """Raises `InvalidSettings` when the parameters do not fit the tokenizer's window."""
    if not 16 <= parameters.max_tokens <= tokenizer.window_tokens:
        raise InvalidSettings(
            f"chunk_tokens is {parameters.max_tokens}; this encoder reads at most {tokenizer.window_tokens}",
            hint=f"set RAG_CHUNK_TOKENS to 16 … {tokenizer.window_tokens}",
            param="chunk_tokens",
        )
    if not 0 <= parameters.overlap_tokens <= parameters.max_tokens // 2:
        raise InvalidSettings(
            f"chunk_overlap_tokens is {parameters.overlap_tokens}; it may be at most half of chunk_tokens ({parameters.max_tokens})",
            hint="lower RAG_CHUNK_OVERLAP_TOKENS",
            param="chunk_overlap_tokens",
        )
    return _StructureChunker(tokenizer, parameters)


class _StructureChunker:
    def __init__(self, tokenizer: Tokenizer, parameters: ChunkParameters) -> None:
        self._tokenizer = tokenizer
        self._parameters = parameters

    def __call__(self, document: Document) -> list[Chunk]:
        chunks: list[Chunk] = []
        seen: Counter[tuple[tuple[str, ...], str]] = Counter()
        for section in _sections(document):
            context = self._context(document.title, section.path)
            # The first chunk of a section shows its own heading, so its context stops above it.
            first = self._context(document.title, section.path[: len(section.path) - section.shown])
            for number, (start, end, page) in enumerate(self._pack(document.text, section, first, context)):
                text = document.text[start:end]
                nth = seen[section.path, text]
                seen[section.path, text] += 1
                embedded = (context if number else first) + text
                chunks.append(
                    Chunk(
                        id=_chunk_id(document, section.path, text, nth),
                        document_id=document.id,
                        ordinal=len(chunks),
                        start=start,
                        end=end,
                        text=text,
                        title=document.title,
                        heading_path=section.path,
                        source=document.source,
                        page=page,
                        embedded_text=embedded,
                        tokens=self._tokenizer.count(embedded),
                        metadata=document.metadata,
                    )
                )
        return chunks

    def _context(self, title: str, path: tuple[str, ...]) -> str:
        """`Title > Heading > Heading` and a line break, shortened from the left to a quarter of a chunk."""
        if self._parameters.context == "none":
            return ""
        parts = [part for part in (title, *(path[1:] if path[:1] == (title,) else path)) if part.strip()]
        while parts:
            context = " > ".join(parts) + "\n"
            if self._length(context) <= self._parameters.max_tokens // 4:
                return context
            parts.pop(0)
        return ""

    def _pack(self, text: str, section: _Section, first: str, context: str) -> Iterator[tuple[int, int, int | None]]:
        """Spans of chunks, about equally long, with the page that each begins on. `first` is the first chunk's context, which can be the
        longer one: a long heading may have pushed the title out of `context`.
        """
        pieces = [
            piece
            for index, block in enumerate(section.blocks)
            for piece in self._pieces(text, block, (context,) if index else (first, context))
        ]
        target = self._target(text, pieces, max(self._length(first), self._length(context)))
        begin = 0
        while begin < len(pieces):
            end = self._filled(text, pieces, begin, context if begin else first, target)
            yield _stripped(text, pieces[begin].start, pieces[end - 1].end, pieces[begin].page)
            begin = end if end == len(pieces) else self._overlapping(text, pieces, begin, end, context, target)

    def _filled(self, text: str, pieces: list[_Piece], begin: int, context: str, target: int) -> int:
        """Where the chunk that begins with `pieces[begin]` ends. By doubling and halving: a chunk may hold hundreds of tiny pieces, and
        to count tokens after each would cost the square of its length.
        """
        end, step, growing = begin + 1, 1, True
        while step:
            tried = end + step
            if tried <= len(pieces) and self._length(context + text[pieces[begin].start : pieces[tried - 1].end]) <= target:
                end = tried
            else:
                growing = False
            step = step * 2 if growing else step // 2
        return end

    def _target(self, text: str, pieces: list[_Piece], overhead: int) -> int:
        """Tokens to fill a chunk with: the limit, lowered so that a section of 1.1 limits gives two halves and no crumb."""
        limit = self._parameters.max_tokens
        whole = self._length(text[pieces[0].start : pieces[-1].end]) if pieces else 0
        room = max(limit - overhead, 1)
        if whole <= room:
            return limit
        count = -(-whole // room)
        return min(limit, overhead + -(-whole // count) + limit // (2 * _PIECES_PER_CHUNK))

    def _overlapping(self, text: str, pieces: list[_Piece], begin: int, index: int, context: str, target: int) -> int:
        """Where the chunk after `pieces[begin:index]` begins: at `index`, or earlier by whole pieces within the overlap."""
        start = index
        while start - 1 > begin:
            shared = self._length(text[pieces[start - 1].start : pieces[index - 1].end])
            longer = self._length(context + text[pieces[start - 1].start : pieces[index].end])
            if shared > self._parameters.overlap_tokens or longer > target:
                break
            start -= 1
        return start

    def _pieces(self, text: str, block: Block, contexts: Sequence[str]) -> list[_Piece]:
        """The block, if it fits below each of `contexts`, or its parts. White space alone is no piece."""
        limit = self._parameters.max_tokens
        if all(self._length(context + text[block.start : block.end]) <= limit for context in contexts):
            return [_Piece(block.start, block.end, block.page)]
        splitter = RecursiveCharacterTextSplitter(
            separators=_SEPARATORS[block.kind],
            keep_separator="end",
            strip_whitespace=False,  # the pieces then join to the block, which gives their offsets
            chunk_size=max(limit // _PIECES_PER_CHUNK, 4),
            chunk_overlap=0,
            length_function=lru_cache(4096)(self._length),  # a text without separators is measured character by character
        )
        pieces: list[_Piece] = []
        start = block.start
        for part in splitter.split_text(text[block.start : block.end]):
            if part.strip():
                pieces.append(_Piece(start, start + len(part), block.page))
            start += len(part)
        return pieces

    def _length(self, text: str) -> int:
        return max(self._tokenizer.count(text), len(text) // CHARS_PER_TOKEN_AT_MOST)


def _sections(document: Document) -> Iterator[_Section]:
    """Runs of blocks under one heading, in reading order. A heading with nothing below it but deeper headings joins the first of them:
    alone it would be a chunk that answers nothing and resembles every question about its subject.
    """
    path: list[tuple[int, str]] = []
    blocks: list[Block] = []
    for block in document.blocks:
        if block.kind == "heading":
            goes_deeper = bool(blocks) and blocks[-1].kind == "heading" and block.level > blocks[-1].level
            if blocks and not goes_deeper:
                yield _section(path, blocks)
                blocks = []
            path = [(level, title) for level, title in path if level < block.level]
            path.append((block.level, block.title))
        blocks.append(block)
    if blocks:
        yield _section(path, blocks)


def _section(path: list[tuple[int, str]], blocks: list[Block]) -> _Section:
    titles = tuple(title for _, title in path if title)
    shown = sum(1 for block in blocks if block.kind == "heading" and block.title)
    return _Section(titles, min(shown, len(titles)), tuple(blocks))


def _stripped(text: str, start: int, end: int, page: int | None) -> tuple[int, int, int | None]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip()), page


def _chunk_id(document: Document, path: tuple[str, ...], text: str, nth: int) -> ChunkId:
    """By content and place in the outline, not by offset: text that merely moved keeps its id. `nth` tells repeats apart."""
    digest = digest_json({"document": document.id, "path": list(path), "text": text, "nth": nth})
    return ChunkId(digest.removeprefix("sha256:")[:32])
