import pytest

from rag_service.abstention import after_checks, after_generation, before_generation
from rag_service.types import Chunk, ChunkId, Completion, DocumentId, Hit, SentenceSupport, SupportLevel, Usage

CHUNK = Chunk(ChunkId("c"), DocumentId("d"), 0, 0, 1, "x", "", (), "d.txt", None, "x", 3)


@pytest.mark.parametrize(
    ("hits", "chunks", "confidence", "expected"),
    [
        (0, 0, 0.0, "empty_index"),
        (0, 5, 0.0, "no_hits"),
        (0, 5, 1.0, "no_hits"),
        (1, 5, 0.29, "low_confidence"),
        (1, 5, 0.3, None),
        (2, 5, 0.9, None),
        (2, 5, 0.0, "low_confidence"),
    ],
)
def test_there_is_no_answer_without_enough_evidence(hits: int, chunks: int, confidence: float, expected: str | None) -> None:
    found = [Hit(CHUNK, 0.9)] * hits  # whose scores do not count
    assert before_generation(found, indexed_chunks=chunks, confidence=confidence, min_confidence=0.3) == expected


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.99999])
def test_a_least_confidence_of_nothing_abstains_from_nothing_and_one_of_certainty_from_all(confidence: float) -> None:
    def reason(least: float) -> str | None:
        return before_generation([Hit(CHUNK, 0.9)], indexed_chunks=5, confidence=confidence, min_confidence=least)

    assert (reason(0.0), reason(1.0)) == (None, "low_confidence")


@pytest.mark.parametrize(("declined", "expected"), [(True, "generator_declined"), (False, None)])
def test_a_generator_that_declines_is_believed(declined: bool, expected: str | None) -> None:
    assert after_generation(Completion("", declined, "stop", "m", Usage(None, None))) == expected


def sentence(level: SupportLevel, *, claims: bool = True) -> SentenceSupport:
    return SentenceSupport((0, 1), level, 0.0, (1,), True, claims, ())


@pytest.mark.parametrize(
    ("support", "withheld"),
    [
        ([], False),
        ([sentence("supported"), sentence("partly")], False),
        ([sentence("supported"), sentence("unsupported")], True),
        ([sentence("supported"), sentence("unsupported", claims=False)], False),
    ],
)
def test_only_who_is_strict_withholds_an_answer_with_a_claim_that_nothing_supports(support: list[SentenceSupport], withheld: bool) -> None:
    assert after_checks(support, strict=True) == ("unsupported" if withheld else None)
    assert after_checks(support, strict=False) is None
