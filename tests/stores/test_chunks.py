"""The chunk table and the scratch table: what goes in comes out, in the order asked, and the same bytes for the same input."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_service.digests import digest_text
from rag_service.errors import Damaged
from rag_service.filters import Filter, parse_filter
from rag_service.stores.chunks import SqliteChunks, write_chunk_table
from rag_service.stores.scratch import Scratch
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId

METADATA = {"author": "Zoë", "year": 2024, "draft": False, "rating": 4.5}


def facts(name: str) -> DocumentFacts:
    return DocumentFacts(
        id=DocumentId(name),
        title=f"Title of {name}",
        source=f"{name}.md",
        metadata=METADATA if name == "a" else {},
        digest=digest_text(f"facts {name}"),
        text_digest=digest_text("shared" if name in "ab" else name),
    )


def chunk(identifier: str, document: str = "a", ordinal: int = 0, text: str = "Some text.") -> Chunk:
    return Chunk(
        id=ChunkId(identifier),
        document_id=DocumentId(document),
        ordinal=ordinal,
        start=3,
        end=3 + len(text),
        text=text,
        title=f"Title of {document}",
        heading_path=("Guide", 'Part "1" ∕ é'),
        source=f"{document}.md",
        page=7 if document == "a" else None,
        embedded_text=f"Guide\n{text}",
        tokens=9,
        metadata=METADATA if document == "a" else {},
    )


DOCUMENTS = [facts("a"), facts("b"), facts("c")]
CHUNKS = [chunk("00", "b"), chunk("11", "a"), chunk("22", "a", 1, "Other text."), chunk("33", "c", 0, "\x00 🥖 'quoted'")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "chunks.sqlite"
    write_chunk_table(target, DOCUMENTS, CHUNKS)
    return target


def test_chunks_come_back_as_they_were_in_the_order_asked(path: Path) -> None:
    table = SqliteChunks.open(path)
    assert len(table) == 4
    assert table.chunks([3, 0, 2, 2]) == [CHUNKS[3], CHUNKS[0], CHUNKS[2], CHUNKS[2]]
    assert table.chunks([]) == []
    table.close()


def test_a_chunk_is_found_by_its_id(path: Path) -> None:
    table = SqliteChunks.open(path)
    assert [table.chunk(stored.id) for stored in CHUNKS] == CHUNKS
    assert table.chunk(ChunkId("2")) is None
    assert table.chunk(ChunkId("")) is None
    assert table.chunk(ChunkId("22' OR '1' = '1")) is None
    table.close()


def parsed(given: dict[str, object]) -> Filter:
    found = parse_filter(given)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "positions", "bits", "documents"),
    [
        ({"year": 2024}, [1, 2], 0b0110, 1),
        ({"author": "Zoë", "draft": False}, [1, 2], 0b0110, 1),
        ({"year": {"exists": False}}, [0, 3], 0b1001, 2),
        ({"source": {"prefix": ""}}, [0, 1, 2, 3], 0b1111, 3),
        ({"document_id": {"in": ["c", "b"]}}, [0, 3], 0b1001, 2),
        ({"title": "Title of c"}, [3], 0b1000, 1),
        ({"source": "c.md", "document_id": "a"}, [], 0, 0),
        ({"draft": 0}, [], 0, 0),
    ],
)
def test_a_filter_selects_the_chunks_of_the_documents_it_allows(
    path: Path, given: dict[str, object], positions: list[int], bits: int, documents: int
) -> None:
    table = SqliteChunks.open(path)
    selection = table.select(parsed(given))
    assert selection.positions.tolist() == positions
    assert selection.positions.dtype == np.int64
    assert selection.bitmap.tolist() == [bits]
    assert (len(selection), selection.documents) == (len(positions), documents)
    table.close()


def test_a_document_without_chunks_is_not_counted(tmp_path: Path) -> None:
    write_chunk_table(tmp_path / "table", [*DOCUMENTS, facts("d")], CHUNKS)
    table = SqliteChunks.open(tmp_path / "table")
    assert table.select(parsed({"source": {"prefix": ""}})).documents == 3
    assert len(table.select(parsed({"document_id": "d"}))) == 0
    table.close()


def test_an_empty_table_has_nothing_to_select(tmp_path: Path) -> None:
    write_chunk_table(tmp_path / "empty", [], [])
    table = SqliteChunks.open(tmp_path / "empty")
    selection = table.select(parsed({"year": {"exists": False}}))
    assert (len(selection), len(selection.bitmap), selection.documents) == (0, 0, 0)
    table.close()


def test_a_selection_is_kept_for_whoever_asks_next_and_nobody_can_change_it(path: Path) -> None:
    table = SqliteChunks.open(path)
    first = table.select(parsed({"year": 2024}))
    assert table.select(parsed({"year": {"eq": 2024.0}})) is first
    assert table.select(parsed({"year": True})) is not first
    with pytest.raises(ValueError, match="read-only"):
        first.positions[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        first.bitmap[0] = 255
    table.close()


def test_a_table_of_many_pages_is_selected_from_while_others_read(tmp_path: Path) -> None:
    documents = [facts(f"d{number:05d}") for number in range(12_000)]
    chunks = [chunk(f"{number:05d}", f"d{number * 7 % 12_000:05d}", number // 12_000) for number in range(24_000)]
    write_chunk_table(tmp_path / "table", documents, chunks)
    table = SqliteChunks.open(tmp_path / "table")

    def select(digit: int) -> list[int]:
        assert table.chunks([digit])[0].id == f"{digit:05d}"
        return table.select(parsed({"document_id": {"prefix": f"d{digit:05d}"[:-1]}, "title": {"ne": "x"}})).positions.tolist()

    expected = [position for position in range(24_000) if position * 7 % 12_000 < 10]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(select, [*range(10), *range(10)])) == [expected] * 20
        assert list(pool.map(select, [11_990, 11_999])) == [[p for p in range(24_000) if p * 7 % 12_000 >= 11_990]] * 2
    table.close()


def test_documents_are_found_by_the_digest_of_their_text(path: Path) -> None:
    table = SqliteChunks.open(path)
    assert table.document_ids_by_text(digest_text("shared")) == ["a", "b"]
    assert table.document_ids_by_text(digest_text("c")) == ["c"]
    assert table.document_ids_by_text(digest_text("unknown")) == []
    table.close()


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    write_chunk_table(tmp_path / "empty", [], [])
    table = SqliteChunks.open(tmp_path / "empty")
    assert len(table) == 0
    table.close()


def test_the_same_chunks_give_the_same_bytes(tmp_path: Path, path: Path) -> None:
    write_chunk_table(tmp_path / "again", DOCUMENTS, CHUNKS)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_many_threads_may_read_at_once(path: Path) -> None:
    table = SqliteChunks.open(path)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: table.chunks([row % 4])[0], range(200))) == CHUNKS * 50
    table.close()


def test_reading_writes_nothing_beside_the_file(path: Path) -> None:
    before = path.read_bytes()
    table = SqliteChunks.open(path)
    table.chunks([0])
    table.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_path_with_special_characters_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "a ?mode=rw#x%20é"
    folder.mkdir()
    write_chunk_table(folder / "chunks.sqlite", DOCUMENTS, CHUNKS)
    table = SqliteChunks.open(folder / "chunks.sqlite")
    assert len(table) == 4
    table.close()


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_what_is_no_chunk_table_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chunks.sqlite"
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"chunks\.sqlite"):
        SqliteChunks.open(path)
    with pytest.raises(Damaged):
        SqliteChunks.open(tmp_path / "missing.sqlite")


def test_two_chunks_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        write_chunk_table(tmp_path / "twice", DOCUMENTS, [CHUNKS[0], CHUNKS[0]])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), context=st.sampled_from(["", "Guide\n"]))
def test_whatever_a_chunk_says_comes_back(tmp_path: Path, text: str, context: str) -> None:
    target = tmp_path / "any"
    target.unlink(missing_ok=True)
    stored = replace(chunk("00"), text=text, end=3 + len(text), embedded_text=context + text, heading_path=(text,))
    write_chunk_table(target, DOCUMENTS, [stored])
    table = SqliteChunks.open(target)
    assert table.chunks([0]) == [stored]
    table.close()


def test_scratch_gives_documents_and_chunks_by_ascending_id(tmp_path: Path) -> None:
    with Scratch.open(tmp_path / "scratch") as scratch:
        scratch.add(facts("b"), [chunk("33", "b"), chunk("11", "b", 1)])
        scratch.add(facts("a"), [chunk("22", "a")])
        scratch.add(facts("c"), [])
        assert scratch.counts() == (3, 3, 27)
        assert list(scratch.documents()) == [facts("a"), facts("b"), facts("c")]
        kept = [replace(found, metadata={}) for found in (chunk("11", "b", 1), chunk("22", "a"), chunk("33", "b"))]
        assert list(scratch.chunks()) == kept


def test_scratch_digests_do_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    digests = []
    for order in ("abc", "cab"):
        with Scratch.open(tmp_path / "scratch") as scratch:
            for name in order:
                scratch.add(facts(name), [chunk(f"{name}0", name)])
            digests.append((scratch.corpus_digest(), scratch.chunk_set_digest()))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "changed", [{"ordinal": 1}, {"start": 2}, {"end": 99}, {"page": 8}, {"embedded_text": "x"}, {"document_id": "b"}, {"id": "01"}]
)
def test_the_chunk_set_digest_changes_with_what_is_embedded_and_where_it_stands(tmp_path: Path, changed: dict[str, object]) -> None:
    digests = []
    for stored in (chunk("00"), replace(chunk("00"), **changed)):  # type: ignore[arg-type]  # any field
        with Scratch.open(tmp_path / "scratch") as scratch:
            scratch.add(facts("a"), [stored])
            digests.append(scratch.chunk_set_digest())
    assert digests[0] != digests[1]


def test_the_scratch_file_is_gone_afterwards_even_when_the_build_failed(tmp_path: Path) -> None:
    with Scratch.open(tmp_path / "scratch"):
        assert (tmp_path / "scratch").exists()
    assert not (tmp_path / "scratch").exists()
    with pytest.raises(RuntimeError), Scratch.open(tmp_path / "scratch"):
        raise RuntimeError("the build failed")
    assert not (tmp_path / "scratch").exists()
