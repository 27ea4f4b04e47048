import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.relevance import HYBRID, UNRELATED, Evidence, Weights, relevance, unrelated_cosine

PARTS = [field.name for field in dataclasses.fields(Weights)]
COSINES = {"cosine", "sentence", "cosine_around"}
SHARES = st.floats(0, 1, width=32)


def evidence(*chunks: dict[str, float]) -> Evidence:
    """Parts that are not named are 0."""
    return Evidence(**{part: np.array([chunk.get(part, 0.0) for chunk in chunks], np.float32) for part in PARTS})


def score(unrelated: float = 0.0, **parts: float) -> float:
    return float(relevance(evidence(parts), HYBRID, unrelated=unrelated)[0])


def test_weights_are_positive_and_add_up_to_one() -> None:
    weights = dataclasses.astuple(HYBRID)
    assert math.fsum(weights) == pytest.approx(1.0)
    assert min(weights) > 0


def test_there_is_a_weight_for_each_part_of_the_evidence() -> None:
    assert [field.name for field in dataclasses.fields(Evidence)] == PARTS


def test_a_worked_example_comes_out_as_worked() -> None:
    weights = Weights(cosine=0.4, sentence=0.2, keywords=0.1, coverage=0.1, sentence_coverage=0.1, cosine_around=0.05, keywords_around=0.05)
    first = {"cosine": 0.6, "sentence": 0.7, "keywords": 1.0, "coverage": 0.5, "sentence_coverage": 0.25, "cosine_around": 0.4}
    second = {"cosine": 0.2, "keywords_around": 0.5}
    # Cosines counted from 0.2: 0.6 is 0.5, 0.7 is 0.625, 0.4 is 0.25, 0.2 is 0, and 0 is -0.25.
    found = relevance(evidence(first, second), weights, unrelated=0.2)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(
        [0.4 * 0.5 + 0.2 * 0.625 + 0.1 + 0.1 * 0.5 + 0.1 * 0.25 + 0.05 * 0.25, -0.2 * 0.25 - 0.05 * 0.25 + 0.05 * 0.5]
    )


def test_what_fits_in_every_way_scores_one_and_what_does_not_scores_nothing() -> None:
    assert score(0.7, **dict.fromkeys(PARTS, 1.0)) == pytest.approx(1.0)
    assert score(0.7, **{part: 0.7 if part in COSINES else 0.0 for part in PARTS}) == pytest.approx(0.0, abs=1e-6)


def test_no_chunks_have_no_scores() -> None:
    assert relevance(evidence(), HYBRID, unrelated=0.1).shape == (0,)


@given(
    parts=st.fixed_dictionaries(dict.fromkeys(PARTS, SHARES)),
    part=st.sampled_from(PARTS),
    more=st.floats(0.01, 1),
    unrelated=st.floats(0, 0.9),
)
def test_more_of_any_part_scores_higher_by_its_weight(parts: dict[str, float], part: str, more: float, unrelated: float) -> None:
    counted = more / (1 - unrelated) if part in COSINES else more
    higher = score(unrelated, **{**parts, part: parts[part] + more})
    assert higher - score(unrelated, **parts) == pytest.approx(getattr(HYBRID, part) * counted, rel=1e-3, abs=1e-5)


@given(chunks=st.lists(st.fixed_dictionaries(dict.fromkeys(PARTS, SHARES)), max_size=5), unrelated=st.floats(0, 0.9))
def test_a_score_depends_on_its_own_chunk_alone(chunks: list[dict[str, float]], unrelated: float) -> None:
    together = relevance(evidence(*chunks), HYBRID, unrelated=unrelated).tolist()
    assert together == [score(unrelated, **chunk) for chunk in chunks]


@pytest.mark.parametrize("part", sorted(COSINES))
@given(cosine=st.floats(-1, 1, width=32), unrelated=st.floats(0, 0.95))
def test_a_cosine_that_means_unrelated_counts_for_nothing_and_one_for_all(part: str, cosine: float, unrelated: float) -> None:
    alone = Weights(**{name: float(name == part) for name in PARTS})
    found = relevance(evidence({part: unrelated}, {part: 1.0}, {part: cosine}), alone, unrelated=unrelated)
    assert found.tolist() == pytest.approx([0.0, 1.0, (cosine - unrelated) / (1 - unrelated)], rel=1e-4, abs=1e-5)


def test_what_is_unrelated_is_the_mean_over_all_pairs() -> None:
    # Cosines of the three pairs: 0.6, 0.8 and 0.96.
    vectors = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32)
    assert unrelated_cosine(vectors) == pytest.approx(round((0.6 + 0.8 + 0.96) / 3, 3))


def test_an_encoder_that_sets_texts_against_one_another_counts_from_nothing() -> None:
    assert unrelated_cosine(np.array([[1, 0], [-1, 0]], np.float32)) == 0.0


def test_the_texts_have_little_in_common_for_the_default_encoder(embedder: OnnxEmbedder) -> None:
    vectors = embedder.embed_passages(UNRELATED)
    assert vectors.shape == (12, embedder.dimension)
    assert unrelated_cosine(vectors) == pytest.approx(0.03, abs=0.02)
