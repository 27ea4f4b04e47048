"""What differs between two tables of chunks, against sets worked out in Python."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.errors import Damaged
from rag_service.stores.chunks import write_chunk_table
from rag_service.stores.table_difference import TableDifference, table_difference
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId

Corpus = dict[str, tuple[str, int]]
"""Document → its content, and its number of chunks."""


def written(path: Path, corpus: Corpus) -> Path:
    path.unlink(missing_ok=True)
    documents: list[DocumentFacts] = []
    chunks: list[Chunk] = []
    for name, (content, count) in sorted(corpus.items()):
        identifier = DocumentId(name)
        documents.append(DocumentFacts(identifier, name, name, {}, f"digest of {content}", f"text of {content}"))
        chunks += [
            Chunk(
                id=ChunkId(f"{name}/{content}/{ordinal}"), document_id=identifier, ordinal=ordinal, start=0, end=1, text="x",
                title=name, heading_path=(), source=name, page=None, embedded_text="x", tokens=1, metadata={},
            )
            for ordinal in range(count)
        ]  # fmt: skip
    write_chunk_table(path, documents, sorted(chunks, key=lambda chunk: chunk.id))
    return path


A: Corpus = {"same": ("1", 2), "changed": ("1", 2), "gone": ("1", 3)}
B: Corpus = {"same": ("1", 2), "changed": ("2", 1), "new": ("1", 1), "newer": ("1", 1)}


def test_documents_and_chunks_that_came_went_and_changed_are_counted_and_named(tmp_path: Path) -> None:
    found = table_difference(written(tmp_path / "a", A), written(tmp_path / "b", B), listed=10)
    assert found == TableDifference(
        added=2, changed=1, removed=1, same=1, chunks_added=3, chunks_removed=5, chunks_same=2,
        added_ids=(DocumentId("new"), DocumentId("newer")), changed_ids=(DocumentId("changed"),), removed_ids=(DocumentId("gone"),),
    )  # fmt: skip
    assert not found.nothing


def test_the_other_way_round_what_came_has_gone(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", A), written(tmp_path / "b", B)
    there, back = table_difference(a, b, listed=10), table_difference(b, a, listed=10)
    assert (back.added_ids, back.removed_ids, back.changed_ids) == (there.removed_ids, there.added_ids, there.changed_ids)
    assert (back.chunks_added, back.chunks_removed) == (there.chunks_removed, there.chunks_added)


def test_a_table_differs_in_nothing_from_itself(tmp_path: Path) -> None:
    a = written(tmp_path / "a", A)
    found = table_difference(a, a, listed=10)
    assert found.nothing
    assert (found.same, found.chunks_same) == (3, 7)


def test_ids_are_listed_in_order_up_to_the_limit_and_counts_are_whole(tmp_path: Path) -> None:
    many: Corpus = {f"d{number:02}": ("1", 1) for number in range(30)}
    found = table_difference(written(tmp_path / "a", A), written(tmp_path / "b", many), listed=2)
    assert found.added == 30
    assert found.added_ids == ("d00", "d01")
    assert table_difference(tmp_path / "a", tmp_path / "b", listed=0).added_ids == ()


corpora = st.dictionaries(
    st.sampled_from(["a", "b", "c/d", "é", "'; --", "%"]), st.tuples(st.sampled_from("123"), st.integers(0, 3)), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(a=corpora, b=corpora)
def test_counts_are_those_of_sets(a: Corpus, b: Corpus, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tables")
    found = table_difference(written(folder / "a", a), written(folder / "b", b), listed=100)
    chunks_a, chunks_b = (
        {f"{name}/{content}/{ordinal}" for name, (content, count) in corpus.items() for ordinal in range(count)} for corpus in (a, b)
    )
    both = a.keys() & b.keys()
    expected = TableDifference(
        added=len(b.keys() - a.keys()),
        changed=sum(a[name][0] != b[name][0] for name in both),
        removed=len(a.keys() - b.keys()),
        same=sum(a[name][0] == b[name][0] for name in both),
        chunks_added=len(chunks_b - chunks_a),
        chunks_removed=len(chunks_a - chunks_b),
        chunks_same=len(chunks_a & chunks_b),
    )
    assert dataclasses.replace(found, added_ids=(), changed_ids=(), removed_ids=()) == expected
    assert found.added_ids == tuple(sorted(b.keys() - a.keys(), key=str.encode))


@pytest.mark.parametrize("damage", ["missing", "empty", "no table", "cut short"])
def test_a_table_that_cannot_be_read_is_damage(tmp_path: Path, damage: str) -> None:
    a, b = written(tmp_path / "a", A), written(tmp_path / "b", B)
    data = b.read_bytes()
    {
        "missing": b.unlink,
        "empty": lambda: b.write_bytes(b""),
        "no table": lambda: b.write_bytes(b"no table at all" * 500),
        "cut short": lambda: b.write_bytes(data[:5000]),
    }[damage]()
    with pytest.raises(Damaged, match="cannot be compared") as caught:
        table_difference(a, b, listed=10)
    assert "index verify" in caught.value.hint
    assert damage != "missing" or not b.exists(), "looking at it must not make it"
