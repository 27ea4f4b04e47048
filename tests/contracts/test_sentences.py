"""What every implementation of the port `SentenceTable` promises. The reference is `MemorySentences`: whole vectors, and a loop."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.errors import Damaged
from rag_service.ports import SentenceTable
from rag_service.stores.memory import MemorySentences
from rag_service.stores.sentences import FILES, ChunkSentences, SentenceArrays, write_sentences
from rag_service.types import Matrix, QueryTerms, SentenceMatches, Vector

DIMENSION = 8
COSINE_OFF = 0.002
"""As the module says of vectors of 8 bits a dimension, for those of real encoders; a few large dimensions are a worse case."""
Open = Callable[[Sequence[ChunkSentences]], SentenceTable]


def unit(*rows: Sequence[float]) -> Matrix:
    whole = np.zeros((len(rows), DIMENSION), np.float32)
    for number, row in enumerate(rows):
        whole[number, : len(row)] = np.array(row) / np.linalg.norm(row)
    return whole


def columns(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.array(numbers, np.int32)


def asked(**weights: float) -> QueryTerms:
    """`c3=1.5` is the term in column 3 with this weight; `x…` is one that no chunk holds."""
    numbers = [int(name[1:]) if name[0] == "c" else -1 for name in weights]
    return QueryTerms(tuple(weights), np.array(numbers, np.int32), np.array(list(weights.values()), np.float64))


QUESTION = unit([1.0])[0]
CHUNKS = [
    ChunkSentences([(0, 10), (11, 30)], unit([1, 0], [3, 4]), [columns(2, 0), columns(1)]),
    ChunkSentences([], np.empty((0, DIMENSION), np.float32), []),
    ChunkSentences([(5, 9)], unit([0, 1]), [columns()]),
    ChunkSentences([(0, 4), (4, 8), (9, 12)], unit([-1], [4, 3], [1, 1]), [columns(0), columns(2, 2, 2), columns(-1, 0, 1, 2)]),
]


@pytest.fixture(params=["memory", "arrays"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    def open_chunks(chunks: Sequence[ChunkSentences]) -> SentenceTable:
        return MemorySentences(chunks) if request.param == "memory" else written(chunks, tmp_path)

    return open_chunks


def written(chunks: Sequence[ChunkSentences], folder: Path) -> SentenceArrays:
    count = write_sentences(folder, iter(chunks))
    table = SentenceArrays.open(folder, chunks=len(chunks), dimension=DIMENSION)
    assert len(table) == count == sum(len(chunk.spans) for chunk in chunks)
    return table


def match(table: SentenceTable, rows: Sequence[int], query: QueryTerms, vector: Vector = QUESTION) -> SentenceMatches:
    found = table.match(np.array(rows, np.int64), vector, query)
    assert (found.owner.dtype, found.spans.dtype) == (np.int64, np.int64)
    assert (found.similarity.dtype, found.coverage.dtype) == (np.float32, np.float32)
    assert found.spans.shape == (len(found.owner), 2)
    assert found.similarity.shape == found.coverage.shape == found.owner.shape
    return found


def test_sentences_come_chunk_by_chunk_in_the_order_asked_and_in_reading_order(opened: Open) -> None:
    found = match(opened(CHUNKS), [3, 0, 2], asked(c0=1.0))
    assert found.owner.tolist() == [0, 0, 0, 1, 1, 2]
    assert found.spans.tolist() == [[0, 4], [4, 8], [9, 12], [0, 10], [11, 30], [5, 9]]


def test_a_worked_example_comes_out_as_worked(opened: Open) -> None:
    found = match(opened(CHUNKS), [0, 2, 3], asked(c0=1.0, c2=3.0, x=4.0))
    assert found.similarity.tolist() == pytest.approx([1, 0.6, 0, -1, 0.8, 1 / np.sqrt(2)], abs=0.005)
    assert found.coverage.tolist() == pytest.approx([4 / 8, 0, 0, 1 / 8, 3 / 8, 4 / 8])


def test_a_chunk_without_sentences_has_no_matches(opened: Open) -> None:
    assert match(opened(CHUNKS), [1], asked(c0=1.0)).owner.tolist() == []
    assert match(opened(CHUNKS), [1, 2, 1], asked(c0=1.0)).owner.tolist() == [1]


def test_a_chunk_that_is_asked_for_twice_comes_twice(opened: Open) -> None:
    found = match(opened(CHUNKS), [2, 2], asked(c0=1.0))
    assert found.owner.tolist() == [0, 1]
    assert found.spans.tolist() == [[5, 9], [5, 9]]


def test_nothing_asked_for_gives_nothing(opened: Open) -> None:
    assert match(opened(CHUNKS), [], asked(c0=1.0)).owner.tolist() == []


@pytest.mark.parametrize("query", [asked(), asked(x=2.0, y=1.0), asked(c7=1.0)])
def test_a_question_whose_terms_no_sentence_holds_covers_nothing(opened: Open, query: QueryTerms) -> None:
    found = match(opened(CHUNKS), [0, 2, 3], query)
    assert found.coverage.tolist() == [0] * 6
    assert found.similarity.tolist()[0] == pytest.approx(1.0, abs=0.005)


def test_a_sentence_with_all_terms_is_covered_wholly_whatever_their_order(opened: Open) -> None:
    table = opened(CHUNKS)
    for query in (asked(c0=0.3, c1=0.7, c2=1.9), asked(c2=1.9, c0=0.3, c1=0.7)):
        assert match(table, [3], query).coverage.tolist()[2] == pytest.approx(1.0)


@pytest.mark.parametrize("chunks", [[], [CHUNKS[1]], [CHUNKS[1]] * 3])
def test_an_index_without_sentences_matches_nothing(opened: Open, chunks: Sequence[ChunkSentences]) -> None:
    assert match(opened(chunks), list(range(len(chunks))), asked(c0=1.0)).owner.tolist() == []


@st.composite
def sentences_of_chunks(draw: st.DrawFn) -> list[ChunkSentences]:
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    chunks = []
    for count in draw(st.lists(st.integers(0, 4), max_size=6)):
        vectors = random.standard_normal((count, DIMENSION)) + 1e-3
        held = [columns(*draw(st.lists(st.integers(-1, 6), max_size=5))) for _ in range(count)]
        spans = [(10 * number, 10 * number + 5) for number in range(count)]
        chunks.append(ChunkSentences(spans, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), held))
    return chunks


@settings(max_examples=60, deadline=None)
@given(chunks=sentences_of_chunks(), choice=st.data())
def test_the_files_give_what_the_reference_gives(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[ChunkSentences], choice: st.DataObject
) -> None:
    rows = choice.draw(st.lists(st.integers(0, len(chunks) - 1), max_size=8)) if chunks else []
    numbers = choice.draw(st.lists(st.integers(0, 8), unique=True, max_size=4))
    weights = choice.draw(st.lists(st.floats(0.01, 9), min_size=len(numbers), max_size=len(numbers)))
    query = asked(**{f"c{number}": weight for number, weight in zip(numbers, weights, strict=True)}, x=0.5)
    direction = np.random.default_rng(choice.draw(st.integers(0, 99))).standard_normal(DIMENSION)
    vector = (direction / np.linalg.norm(direction)).astype(np.float32)
    found = match(written(chunks, tmp_path_factory.mktemp("sentences")), rows, query, vector)
    expected = match(MemorySentences(chunks), rows, query, vector)
    assert found.owner.tolist() == expected.owner.tolist()
    assert found.spans.tolist() == expected.spans.tolist()
    assert found.coverage.tolist() == pytest.approx(expected.coverage.tolist(), abs=1e-6)
    # Each dimension is off by half a step of largest / 127 at most, and a question of unit length adds up to sqrt(8) of them.
    assert found.similarity.tolist() == pytest.approx(expected.similarity.tolist(), abs=np.sqrt(DIMENSION) / 127 / 2)


def test_a_cosine_of_a_vector_as_long_as_real_ones_is_off_by_two_thousandths_at_most(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((400, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chunk = ChunkSentences([(number, number + 1) for number in range(400)], vectors, [columns()] * 400)
    write_sentences(tmp_path, [chunk])
    found = SentenceArrays.open(tmp_path, chunks=1, dimension=384).match(np.array([0]), vectors[0], asked())
    off = np.abs(found.similarity - vectors @ vectors[0])
    assert 0 < float(off.max()) <= COSINE_OFF


def test_the_same_sentences_give_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_sentences(tmp_path / name, iter(CHUNKS))
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert files[0].keys() == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_damage(tmp_path: Path, name: str) -> None:
    write_sentences(tmp_path, CHUNKS)
    (tmp_path / name).unlink()
    with pytest.raises(Damaged, match=name):
        SentenceArrays.open(tmp_path, chunks=len(CHUNKS), dimension=DIMENSION)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_damage(tmp_path: Path, name: str, left: float) -> None:
    write_sentences(tmp_path, CHUNKS)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(Damaged) as caught:
        SentenceArrays.open(tmp_path, chunks=len(CHUNKS), dimension=DIMENSION)
    assert caught.value.hint == "build the index again"


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_index_is_damage(tmp_path: Path, name: str) -> None:
    write_sentences(tmp_path, CHUNKS)
    (tmp_path / "other").mkdir()
    write_sentences(tmp_path / "other", [*CHUNKS, CHUNKS[0]])
    (tmp_path / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(Damaged, match="do not belong together"):
        SentenceArrays.open(tmp_path, chunks=len(CHUNKS), dimension=DIMENSION)


@pytest.mark.parametrize(("chunks", "dimension"), [(3, DIMENSION), (5, DIMENSION), (4, 16), (4, 4)])
def test_an_index_of_another_shape_is_damage(tmp_path: Path, chunks: int, dimension: int) -> None:
    write_sentences(tmp_path, CHUNKS)
    with pytest.raises(Damaged):
        SentenceArrays.open(tmp_path, chunks=chunks, dimension=dimension)
