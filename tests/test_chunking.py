"""Chunks measured by the real tokenizer: exact slices, nothing lost, nothing too long for the encoder."""

import base64
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.chunking import ChunkParameters, describe, make_chunker
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import InvalidSettings
from rag_service.loading.markdown import load_markdown
from rag_service.loading.text import load_text
from rag_service.types import Chunk, Document

FASTAPI_DOCS = Path(__file__).resolve().parents[2] / "shared" / "data" / "fastapi-docs" / "docs"
DEFAULTS = ChunkParameters(max_tokens=256, overlap_tokens=0, context="headings")


def markdown(text: str, source: str = "guide.md") -> Document:
    document = next(load_markdown(text.encode(), source))
    assert isinstance(document, Document)
    return document


def plain(text: str) -> Document:
    document = next(load_text(text.encode(), "notes.txt"))
    assert isinstance(document, Document)
    return document


class WordTokenizer:
    """One token a word and none for anything else, so that sizes can be worked by hand."""

    def __init__(self, window_tokens: int = 1000) -> None:
        self.window_tokens = window_tokens

    def count(self, text: str) -> int:
        return len(text.split())


@pytest.fixture(scope="session")
def chunked(embedder: OnnxEmbedder) -> Callable[..., list[Chunk]]:
    """Chunks of a document by the real tokenizer, after checking what holds for every document."""

    def chunk(document: Document, **changed: Any) -> list[Chunk]:
        parameters = replace(DEFAULTS, **changed)
        chunks = make_chunker(embedder.tokenizer, parameters)(document)
        check(document, chunks, parameters, embedder.tokenizer.count)
        return chunks

    return chunk


def check(document: Document, chunks: list[Chunk], parameters: ChunkParameters, count: Callable[[str], int]) -> None:
    covered = bytearray(len(document.text))
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert 0 <= chunk.start < chunk.end <= len(document.text)
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip()
        assert chunk.embedded_text.endswith(chunk.text)
        assert chunk.tokens == count(chunk.embedded_text) <= parameters.max_tokens
        covered[chunk.start : chunk.end] = b"\x01" * (chunk.end - chunk.start)
    lost = [i for block in document.blocks for i in range(block.start, block.end) if not covered[i] and not document.text[i].isspace()]
    assert not lost
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    for earlier, later in itertools.pairwise(chunks):
        assert earlier.start < later.start
        assert earlier.end < later.end
        assert later.start >= earlier.end or parameters.overlap_tokens
        if later.start < earlier.end:
            assert count(document.text[later.start : earlier.end]) <= parameters.overlap_tokens
    headings = [block for block in document.blocks if block.kind == "heading"]
    for chunk in chunks:
        inside = [block for block in headings if chunk.start <= block.start < chunk.end]
        assert all(later.level > earlier.level for earlier, later in itertools.pairwise(inside))
        above = [block for block in document.blocks if inside and block.end > chunk.start and block.start < inside[0].start]
        assert all(block.kind == "heading" for block in above), "only the rest of a longer heading may stand before a heading"


WORDS = st.sampled_from(
    [
        "index",
        "release",
        "Fußgänger",
        "東京都庁",
        "🥖",
        "snake_case",
        "https://example.org/a?b=1",
        "x=1;",
        "e.g.",
        "3.14",
        "مرحبا",
        "[l](url)",
    ]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=60).map(lambda words: " ".join(words) + ".")
HEADINGS = st.tuples(st.integers(1, 6), st.lists(WORDS, min_size=1, max_size=25)).map(lambda h: "#" * h[0] + " " + " ".join(h[1]))
LISTS = st.lists(SENTENCES, min_size=1, max_size=6).map(lambda items: "\n".join(f"- {item}" for item in items))
TABLES = st.integers(1, 40).map(lambda rows: "| a | b |\n|---|---|\n" + "\n".join(f"| cell {r} | {r * r} |" for r in range(rows)))
CODE = st.lists(st.sampled_from(["    if x:", "", "return 1", " " * 90, "y = [1, 2]"]), max_size=60).map(
    lambda lines: "```\n" + "\n".join(lines) + "\n```"
)
PAGES = st.lists(st.one_of(HEADINGS, SENTENCES, LISTS, TABLES, CODE), min_size=1, max_size=14).map("\n\n".join)
SIZES = st.sampled_from([(16, 0), (16, 8), (40, 10), (64, 32), (256, 0), (256, 60)])


@settings(max_examples=60, deadline=None)
@given(page=PAGES, size=SIZES, context=st.sampled_from(["headings", "none"]))
def test_chunks_of_any_page_are_exact_fit_and_lose_nothing(
    chunked: Callable[..., list[Chunk]], page: str, size: tuple[int, int], context: str
) -> None:
    chunked(markdown(page), max_tokens=size[0], overlap_tokens=size[1], context=context)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=600), size=SIZES)
def test_chunks_of_any_text_are_exact_fit_and_lose_nothing(chunked: Callable[..., list[Chunk]], text: str, size: tuple[int, int]) -> None:
    for document in load_markdown(text.encode(), "a.md"):
        if isinstance(document, Document):
            chunked(document, max_tokens=size[0], overlap_tokens=size[1])


ABSURD = {
    "a word of 50,000 characters": "x" * 50_000,
    "10,000 emoji": "🥖" * 10_000,
    "emoji joined to families": "👩‍👩‍👧‍👦" * 1_500,
    "Chinese without a space": "东京都厅位于新宿区" * 1_500,
    "a base64 blob": base64.b64encode(random.Random(1).randbytes(15_000)).decode(),
    "a huge table": "|name|value|\n|-|-|\n" + "".join(f"|cell {row}|value {row * row}|\n" for row in range(1_500)),
    "a table padded with spaces": "|name|value|\n|-|-|\n" + "".join(f"|{row}{' ' * 4_000}|{row * row}|\n" for row in range(6)),
    "code with 20,000 spaces in it": "```\nbefore" + " " * 20_000 + "after\n```\n",
    "code that begins far to the right": "```\n" + " " * 20_000 + "after\n```\n",
    "headings six deep and long": "".join(f"{'#' * level} {'deep heading ' * 20}\n\n" for level in range(1, 7)) + "word " * 400,
    "a title of 2,000 characters": f"# {'title ' * 333}\n\n## Section\n\n" + "word " * 400,
    "20,000 paragraphs of one letter": "a\n\n" * 20_000,
    "punctuation alone": ".,;:!?" * 3_000,
    "combining marks": "e\u0301\u0302" * 3_000,
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_input_still_gives_chunks_that_fit(chunked: Callable[..., list[Chunk]], name: str) -> None:
    assert chunked(markdown(ABSURD[name]))


class MeasuredTokenizer(WordTokenizer):
    """Remembers how many characters it was given in all."""

    chars = 0

    def count(self, text: str) -> int:
        self.chars += len(text)
        return super().count(text)


@pytest.mark.parametrize("text", ["lorem ipsum. ", "x", "a\n\n", "東京"], ids=["one paragraph", "one word", "tiny paragraphs", "no spaces"])
def test_work_grows_in_step_with_the_document(text: str) -> None:
    chars = []
    for size in (100_000, 200_000):
        tokenizer = MeasuredTokenizer()
        document = plain(text * (size // len(text)))
        assert make_chunker(tokenizer, DEFAULTS)(document)
        chars.append(tokenizer.chars)
    assert chars[1] < 2.5 * chars[0]
    assert chars[1] < 200 * 200_000


def test_a_paragraph_of_a_megabyte_is_divided() -> None:
    words = [str(number) for number in range(160_000)]
    document = plain(" ".join(words))
    assert len(document.text) > 1_000_000
    chunks = make_chunker(WordTokenizer(), DEFAULTS)(document)
    assert " ".join(chunk.text for chunk in chunks).split() == words


@pytest.mark.parametrize("title", ["short", "Überschrift mit vielen langen Wörtern " * 2, "title " * 60])
@pytest.mark.parametrize("heading", ["short", "Überschrift mit vielen langen Wörtern " * 2, "Überschrift mit vielen langen Wörtern " * 9])
def test_a_section_that_just_fits_still_fits_with_the_context_of_its_first_chunk(
    chunked: Callable[..., list[Chunk]], title: str, heading: str
) -> None:
    for words in range(20, 250, 7):
        chunked(markdown(f"# {title}\n\n## {heading}\n\n" + "word " * words))


def test_every_chunk_of_real_documentation_can_be_embedded(chunked: Callable[..., list[Chunk]], embedder: OnnxEmbedder) -> None:
    if not FASTAPI_DOCS.is_dir():
        pytest.skip("the shared data sets are not here")
    longest: list[Chunk] = []
    for path in sorted(FASTAPI_DOCS.rglob("*.md")):
        for document in load_markdown(path.read_bytes(), path.name):
            if isinstance(document, Document):
                longest += sorted(chunked(document), key=lambda chunk: -chunk.tokens)[:1]
    longest.sort(key=lambda chunk: -chunk.tokens)
    assert len(longest) > 10
    assert embedder.embed_passages([chunk.embedded_text for chunk in longest[:20]]).shape == (min(20, len(longest)), embedder.dimension)


def test_the_same_document_gives_the_same_chunks_again(chunked: Callable[..., list[Chunk]]) -> None:
    page = "# Guide\n\n" + "\n\n".join(f"## Part {n}\n\n" + f"sentence {n} of the guide. " * 60 for n in range(4))
    assert chunked(markdown(page)) == chunked(markdown(page))


def test_text_inserted_before_other_sections_leaves_their_ids_alone(chunked: Callable[..., list[Chunk]]) -> None:
    sections = [f"## Part {n}\n\nWhat stands in part {n}.\n\n" for n in range(3)]
    before = chunked(markdown("# Guide\n\nOpening words.\n\n" + "".join(sections)))
    after = chunked(markdown("# Guide\n\nOpening words.\n\n## New\n\nNew words.\n\n" + "".join(sections)))
    kept = [chunk.id for chunk in after if "New" not in chunk.text]
    assert kept == [chunk.id for chunk in before]
    assert [chunk.start for chunk in after if "New" not in chunk.text][1:] != [chunk.start for chunk in before][1:]


def test_the_same_words_in_two_documents_have_two_ids(chunked: Callable[..., list[Chunk]]) -> None:
    [one], [other] = chunked(markdown("Same words.", "a.md")), chunked(markdown("Same words.", "b.md"))
    assert one.text == other.text
    assert one.id != other.id


def test_repeated_paragraphs_have_ids_of_their_own() -> None:
    chunker = make_chunker(WordTokenizer(), ChunkParameters(16, 0, "none"))
    chunks = chunker(plain("\n\n".join(["ten words " * 5] * 3)))
    assert len(chunks) == 3
    assert len({chunk.id for chunk in chunks}) == 3


def test_a_heading_with_nothing_below_it_joins_the_deeper_one(chunked: Callable[..., list[Chunk]]) -> None:
    [chunk] = chunked(markdown("# Guide\n\n## Installing\n\n### On Linux\n\nRun make setup.\n"))
    assert chunk.text.startswith("# Guide")
    assert chunk.text.endswith("Run make setup.")
    assert chunk.heading_path == ("Guide", "Installing", "On Linux")


def test_a_heading_with_nothing_below_it_does_not_join_its_sibling(chunked: Callable[..., list[Chunk]]) -> None:
    first, second = chunked(markdown("## Empty\n\n## Full\n\nWords.\n"))
    assert first.text == "## Empty"
    assert second.text == "## Full\n\nWords."
    assert second.heading_path == ("Full",)


def test_a_heading_leaves_the_path_when_one_of_its_level_follows(chunked: Callable[..., list[Chunk]]) -> None:
    chunks = chunked(markdown("# A\n\na\n\n## B\n\nb\n\n### C\n\nc\n\n## D\n\nd\n\n# E\n\ne\n"))
    assert [chunk.heading_path for chunk in chunks] == [("A",), ("A", "B"), ("A", "B", "C"), ("A", "D"), ("E",)]


def test_a_chunk_is_preceded_by_title_and_headings_but_not_by_what_it_shows_itself() -> None:
    chunker = make_chunker(WordTokenizer(), ChunkParameters(24, 0, "headings"))
    first, second = chunker(markdown("# Guide\n\nOpening.\n\n## Part\n\n" + "word " * 20))[1:]
    assert first.embedded_text == "Guide\n" + first.text
    assert second.embedded_text == "Guide > Part\n" + second.text


def test_without_context_the_encoder_sees_the_text_alone(chunked: Callable[..., list[Chunk]]) -> None:
    chunks = chunked(markdown("# Guide\n\n## Part\n\n" + "some words here. " * 200), context="none")
    assert len(chunks) > 1
    assert all(chunk.embedded_text == chunk.text for chunk in chunks)


def test_context_gives_up_its_outer_parts_first() -> None:
    chunker = make_chunker(WordTokenizer(), ChunkParameters(16, 0, "headings"))  # context may have 16 // 4 = 4 words
    page = "# one two three four\n\nOpening.\n\n## five six\n\nOpening.\n\n### seven\n\n" + "word " * 20
    last = chunker(markdown(page))[-1]
    assert last.embedded_text == "five six > seven\n" + last.text


def test_a_code_block_that_fits_stays_whole() -> None:
    chunker = make_chunker(WordTokenizer(), ChunkParameters(16, 0, "none"))
    code = "```python\na = 1\n\nb = 2\n\nc = 3\n```"  # 11 words
    chunks = chunker(markdown(f"one two three four five six seven eight nine ten\n\n{code}\n\nlast words\n"))
    assert [chunk for chunk in chunks if code in chunk.text]


def test_a_section_a_little_too_long_is_halved_and_leaves_no_crumb() -> None:
    chunker = make_chunker(WordTokenizer(), ChunkParameters(100, 0, "none"))
    sentences = " ".join(f"{n} b c d e f g h i j." for n in range(11))  # 110 words: 1.1 chunks
    first, second = chunker(plain(sentences))
    assert min(len(first.text.split()), len(second.text.split())) >= 40


def test_without_overlap_consecutive_chunks_share_nothing_and_with_it_they_do(chunked: Callable[..., list[Chunk]]) -> None:
    text = "\n\n".join(f"Paragraph {n} says what paragraph {n} says." for n in range(60))
    apart = chunked(plain(text), max_tokens=64)
    shared = chunked(plain(text), max_tokens=64, overlap_tokens=16)
    assert all(later.start >= earlier.end for earlier, later in itertools.pairwise(apart))
    assert all(later.start < earlier.end for earlier, later in itertools.pairwise(shared))


def test_a_chunk_keeps_the_page_on_which_it_begins() -> None:
    document = plain("one two three four five six seven eight\n\nnine ten eleven twelve thirteen fourteen fifteen sixteen seventeen")
    first, second = (replace(block, page=page) for page, block in enumerate(document.blocks, start=1))
    chunks = make_chunker(WordTokenizer(), ChunkParameters(16, 0, "none"))(replace(document, blocks=(first, second)))
    assert [chunk.page for chunk in chunks] == [1, 2]


def test_a_document_without_blocks_has_no_chunks(chunked: Callable[..., list[Chunk]]) -> None:
    assert chunked(replace(plain("words"), blocks=())) == []


@pytest.mark.parametrize(("max_tokens", "blamed"), [(0, "chunk_tokens"), (15, "chunk_tokens"), (257, "chunk_tokens"), (-1, "chunk_tokens")])
def test_a_chunk_size_that_the_encoder_cannot_read_is_refused(max_tokens: int, blamed: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        make_chunker(WordTokenizer(window_tokens=256), ChunkParameters(max_tokens, 0, "headings"))
    assert caught.value.param == blamed
    assert "16 … 256" in caught.value.hint


@pytest.mark.parametrize("overlap", [-1, 51, 100])
def test_an_overlap_of_more_than_half_a_chunk_is_refused(overlap: int) -> None:
    with pytest.raises(InvalidSettings) as caught:
        make_chunker(WordTokenizer(), ChunkParameters(100, overlap, "headings"))
    assert caught.value.param == "chunk_overlap_tokens"


def variants() -> Iterator[tuple[ChunkParameters, str]]:
    yield DEFAULTS, "sha256:a"
    yield replace(DEFAULTS, max_tokens=128), "sha256:a"
    yield replace(DEFAULTS, overlap_tokens=8), "sha256:a"
    yield replace(DEFAULTS, context="none"), "sha256:a"
    yield DEFAULTS, "sha256:b"


def test_the_chunkers_digest_changes_with_every_parameter_and_with_the_encoder() -> None:
    digests = [describe(parameters, encoder_digest=encoder).digest for parameters, encoder in variants()]
    assert len(set(digests)) == len(digests)
    assert digests == [describe(parameters, encoder_digest=encoder).digest for parameters, encoder in variants()]
