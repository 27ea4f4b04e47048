import pytest

from rag_service.abstention import after_generation, before_generation
from rag_service.types import Chunk, ChunkId, Completion, DocumentId, Hit, Usage

CHUNK = Chunk(ChunkId("c"), DocumentId("d"), 0, 0, 1, "x", "", (), "d.txt", None, "x", 3)


@pytest.mark.parametrize(
    ("scores", "chunks", "expected"),
    [
        ([], 0, "empty_index"),
        ([], 5, "no_hits"),
        ([0.29], 5, "below_min_score"),
        ([0.3], 5, None),
        ([0.9, 0.1], 5, None),
        ([-0.5], 5, "below_min_score"),
    ],
)
def test_there_is_no_answer_without_enough_evidence(scores: list[float], chunks: int, expected: str | None) -> None:
    assert before_generation([Hit(CHUNK, score) for score in scores], indexed_chunks=chunks, min_score=0.3) == expected


@pytest.mark.parametrize(("declined", "expected"), [(True, "generator_declined"), (False, None)])
def test_a_generator_that_declines_is_believed(declined: bool, expected: str | None) -> None:
    assert after_generation(Completion("", declined, "stop", "m", Usage(None, None))) == expected
