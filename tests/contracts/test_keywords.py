"""What every implementation of the port `KeywordIndex` promises. The reference is `MemoryKeywords`: BM25 by its formula."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.lexical.bm25 import FILES, Bm25Index, write_bm25
from rag_service.lexical.memory import MemoryKeywords
from rag_service.ports import KeywordIndex
from rag_service.types import QueryTerms

Chunks = Sequence[Sequence[str]]
Open = Callable[[Chunks], KeywordIndex]

FERRIES = (
    ("ferry", "island", "ferry"),
    ("island", "summer"),
    ("bread",),
    ("bread", "summer", "yeast", "oven", "bread", "bread"),
)
"""Twelve terms in four chunks: a mean length of 3."""


@pytest.fixture(params=["memory", "bm25s"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    def open_chunks(chunks: Chunks) -> KeywordIndex:
        return MemoryKeywords(chunks) if request.param == "memory" else written(chunks, tmp_path)

    return open_chunks


def written(chunks: Chunks, folder: Path) -> Bm25Index:
    write_bm25(folder, chunks)
    return Bm25Index.open(folder, rows=len(chunks))


def scores(index: KeywordIndex, *terms: str) -> list[float]:
    found = index.scores(index.look_up(terms))
    assert found.dtype == np.float32
    assert found.shape == (len(index),)
    return [float(score) for score in found]


def coverage(index: KeywordIndex, terms: Sequence[str], rows: Sequence[int]) -> list[float]:
    found = index.coverage(index.look_up(terms), np.array(rows, np.int64))
    assert found.dtype == np.float32
    assert found.shape == (len(rows),)
    return [float(share) for share in found]


def test_a_term_is_weighed_by_how_few_chunks_hold_it(opened: Open) -> None:
    found = opened(FERRIES).look_up(["ferry", "summer", "yeast", "glacier"])
    # log(1 + (N - n + 0.5) / (n + 0.5)) with N = 4 and n = 1, 2, 1, 0
    assert found.weights.tolist() == pytest.approx([math.log(1 + 3.5 / 1.5), math.log(2), math.log(1 + 3.5 / 1.5), math.log(10)])


def test_a_worked_example_comes_out_as_worked(opened: Open) -> None:
    index = opened(FERRIES)
    # idf * f / (f + 1.2 * (0.25 + 0.75 * length / 3)); the chunk of mean length has the norm 1.2
    assert scores(index, "ferry") == pytest.approx([math.log(1 + 3.5 / 1.5) * 2 / 3.2, 0, 0, 0], rel=1e-5)
    assert scores(index, "bread") == pytest.approx([0, 0, math.log(2) / (1 + 0.6), math.log(2) * 3 / (3 + 2.1)], rel=1e-5)
    assert scores(index, "bread", "island") == pytest.approx(
        [math.log(2) / 2.2, math.log(2) / (1 + 0.9), math.log(2) / 1.6, math.log(2) * 3 / 5.1], rel=1e-5
    )


def test_terms_are_looked_up_once_each_in_order_of_appearance(opened: Open) -> None:
    index = opened(FERRIES)
    found = index.look_up(["summer", "bread", "summer", "glacier", "bread"])
    assert found.terms == ("summer", "bread", "glacier")
    assert (found.columns >= 0).tolist() == [True, True, False]
    assert found.columns.dtype == np.int32
    assert found.weights.dtype == np.float64
    assert scores(index, "summer", "summer") == scores(index, "summer")


def test_a_term_that_no_chunk_holds_adds_nothing_to_a_score(opened: Open) -> None:
    index = opened(FERRIES)
    assert scores(index, "glacier") == [0, 0, 0, 0]
    assert scores(index, "bread", "glacier") == scores(index, "bread")


def test_coverage_is_the_share_of_the_weight_that_a_chunk_holds(opened: Open) -> None:
    index = opened(FERRIES)
    rare, half, missing = math.log(1 + 3.5 / 1.5), math.log(2), math.log(10)
    total = rare + half + missing
    assert coverage(index, ["ferry", "island", "glacier"], [0, 1, 2, 3]) == pytest.approx([(rare + half) / total, half / total, 0, 0])
    assert coverage(index, ["bread", "summer"], [3]) == pytest.approx([1.0])


def test_coverage_comes_in_the_order_asked_for_any_rows(opened: Open) -> None:
    index = opened(FERRIES)
    assert coverage(index, ["bread"], [3, 0, 2, 3]) == [1, 0, 1, 1]
    assert coverage(index, ["bread"], []) == []


def test_how_often_a_chunk_holds_a_term_does_not_change_what_it_covers(opened: Open) -> None:
    index = opened([["a", "b"], ["a", "a", "a", "b"]])
    one, two = coverage(index, ["a"], [0, 1])
    assert one == two == 1.0


def test_a_question_without_terms_finds_and_covers_nothing(opened: Open) -> None:
    index = opened(FERRIES)
    assert index.look_up([]).terms == ()
    assert scores(index) == [0, 0, 0, 0]
    assert coverage(index, [], [0, 3]) == [0, 0]


@pytest.mark.parametrize("chunks", [[], [[]], [[], [], []]])
def test_an_index_without_terms_answers_too(opened: Open, chunks: Chunks) -> None:
    index = opened(chunks)
    assert len(index) == len(chunks)
    assert index.look_up(["ferry"]).columns.tolist() == [-1]
    assert scores(index, "ferry") == [0] * len(chunks)
    assert coverage(index, ["ferry"], list(range(len(chunks)))) == [0] * len(chunks)


def test_a_chunk_without_terms_counts_as_one_that_does_not_hold_them(opened: Open) -> None:
    index = opened([["ferry"], [], [], []])
    assert index.look_up(["ferry"]).weights.tolist() == pytest.approx([math.log(1 + 3.5 / 1.5)])
    # mean length 1/4, so the norm is 1.2 * (0.25 + 0.75 * 4)
    assert scores(index, "ferry") == pytest.approx([math.log(1 + 3.5 / 1.5) / (1 + 3.9), 0, 0, 0], rel=1e-5)


@pytest.mark.parametrize("term", ["größe", "東京", "поезд", "قطار", "e\u0301", "👩‍🚀", "\ud800", "\0", "a" * 10_000])
def test_any_text_can_be_a_term(opened: Open, term: str) -> None:
    index = opened([["ferry"], [term, "ferry"], [term]])
    assert [score > 0 for score in scores(index, term)] == [False, True, True]
    assert coverage(index, [term], [0, 1, 2]) == [0, 1, 1]


def test_terms_are_told_apart_to_the_last_character(opened: Open) -> None:
    index = opened([["é"], ["e\u0301"], ["e"], ["E"]])
    for row, term in enumerate(["é", "e\u0301", "e", "E"]):
        assert [score > 0 for score in scores(index, term)] == [number == row for number in range(4)]


def test_threads_that_search_at_once_find_what_each_would_alone(opened: Open) -> None:
    random = np.random.default_rng(1)
    words = [f"w{number}" for number in range(200)]
    index = opened([random.choice(words, 30).tolist() for _ in range(300)])
    questions = [index.look_up(random.choice(words, 4).tolist()) for _ in range(60)]

    def search(question: QueryTerms) -> list[float]:
        found: list[float] = index.scores(question).tolist()
        return found

    alone = [search(question) for question in questions]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(search, questions * 3)) == alone * 3


WORDS = st.sampled_from([*"abcdefg", "größe", "東京"]) | st.text(max_size=3)
CHUNKS = st.lists(st.lists(WORDS, max_size=12), max_size=12)


@settings(max_examples=60, deadline=None)
@given(chunks=CHUNKS, question=st.lists(WORDS, max_size=6))
def test_the_files_give_what_the_formula_gives(tmp_path_factory: pytest.TempPathFactory, chunks: Chunks, question: list[str]) -> None:
    index, reference = written(chunks, tmp_path_factory.mktemp("bm25")), MemoryKeywords(chunks)
    found, expected = index.look_up(question), reference.look_up(question)
    rows = np.arange(len(chunks))
    assert len(index) == len(reference)
    assert found.terms == expected.terms
    assert (found.columns >= 0).tolist() == (expected.columns >= 0).tolist()
    assert found.weights.tolist() == pytest.approx(expected.weights.tolist(), rel=1e-12)
    assert (found.weights > 0).all()
    assert index.scores(found).tolist() == pytest.approx(reference.scores(expected).tolist(), rel=1e-5)
    assert index.coverage(found, rows).tolist() == pytest.approx(reference.coverage(expected, rows).tolist(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(chunks=CHUNKS.filter(bool), question=st.lists(WORDS, min_size=1, max_size=6))
def test_what_holds_no_term_scores_nothing_and_what_holds_all_covers_all(
    tmp_path_factory: pytest.TempPathFactory, chunks: Chunks, question: list[str]
) -> None:
    rows = np.arange(len(chunks))
    for index in (written(chunks, tmp_path_factory.mktemp("bm25")), MemoryKeywords(chunks)):
        wanted = index.look_up(question)
        shared = [len(set(question) & set(chunk)) for chunk in chunks]
        assert (index.scores(wanted) > 0).tolist() == [count > 0 for count in shared]
        covered = index.coverage(wanted, rows)
        assert (covered > 0).tolist() == [count > 0 for count in shared]
        assert (covered > 1 - 1e-6).tolist() == [count == len(set(question)) for count in shared]
        assert float(covered.max()) <= 1.0 + 1e-6


@settings(max_examples=30, deadline=None)
@given(chunks=CHUNKS)
def test_the_same_terms_give_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, chunks: Chunks) -> None:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    write_bm25(one, chunks)
    write_bm25(two, (iter_of(chunk) for chunk in chunks))
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def iter_of(chunk: Sequence[str]) -> list[str]:
    """Equal strings that are other objects."""
    return ["".join(list(term)) for term in chunk]
