"""What one question may ask of a language model, and what the answer says of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.ask import Pipeline
from rag_service.question import Question
from rag_service.sampling import as_parameters, fitted
from rag_service.trace import trace_of
from rag_service.types import NO_SAMPLING, Sampling
from tests.doubles import HOLIDAYS, Writes, completion, with_generator

OWN = {"max_tokens": 100, "temperature": 0.0, "seed": None}


@pytest.mark.parametrize(
    ("asked", "kept", "said"),
    [
        (Sampling(), Sampling(), []),
        (Sampling(max_tokens=40, temperature=0.7, seed=5), Sampling(max_tokens=40, temperature=0.7, seed=5), []),
        (Sampling(max_tokens=100), Sampling(max_tokens=100), []),
        (Sampling(max_tokens=101, seed=0), Sampling(seed=0), ["max_tokens is 100, the most that this release allows, instead of 101"]),
    ],
)
def test_what_the_release_allows_is_kept_and_more_is_brought_down(asked: Sampling, kept: Sampling, said: list[str]) -> None:
    found, notices = fitted(asked, OWN)
    assert found == kept
    assert [notice.detail for notice in notices] == said
    assert {notice.code for notice in notices} <= {"parameter_adjusted"}


def test_what_the_generator_does_not_have_is_left_out_and_each_is_said() -> None:
    found, notices = fitted(Sampling(max_tokens=1, temperature=0.5, seed=1), {"seed": 7})
    assert found == Sampling(seed=1)
    assert [notice.detail.partition(" ")[0] for notice in notices] == ["max_tokens", "temperature"]


@given(
    st.builds(
        Sampling,
        max_tokens=st.none() | st.integers(1, 1000),
        temperature=st.none() | st.floats(0, 2),
        seed=st.none() | st.integers(0, 99),
    ),
    st.dictionaries(st.sampled_from(["max_tokens", "temperature", "seed"]), st.none() | st.integers(1, 500)),
)
def test_a_generator_is_asked_for_nothing_that_it_does_not_have(asked: Sampling, parameters: dict[str, int | None]) -> None:
    found, notices = fitted(asked, parameters)
    kept = as_parameters(found)
    assert kept.keys() <= parameters.keys()
    assert kept.items() <= as_parameters(asked).items()
    assert len(kept) + len(notices) == len(as_parameters(asked))
    most = parameters.get("max_tokens")
    assert most is None or kept.get("max_tokens", 0) <= most


def test_the_generator_gets_what_was_asked_and_the_trace_shows_it_as_an_override(pipeline: Pipeline) -> None:
    generator = Writes(completion("28 days [1]."), parameters=OWN)
    record = with_generator(pipeline, generator).ask(Question(HOLIDAYS, sampling=Sampling(max_tokens=40, temperature=0.7)))
    assert generator.samplings == [Sampling(max_tokens=40, temperature=0.7)]
    trace = trace_of(record.attempt)
    assert trace.generator.parameters == {"max_tokens": 40, "temperature": 0.7, "seed": None}
    assert trace.overrides == ["max_tokens", "temperature"]
    assert record.notices == ()
    assert trace.release.id == with_generator(pipeline, generator).lineage.release.id


def test_asking_for_what_the_release_says_anyway_overrides_nothing(pipeline: Pipeline) -> None:
    generator = Writes(completion("28 days [1]."), parameters=OWN)
    record = with_generator(pipeline, generator).ask(Question(HOLIDAYS, sampling=Sampling(max_tokens=100, temperature=0.0)))
    assert trace_of(record.attempt).overrides == []


def test_too_many_tokens_are_brought_down_with_a_warning(pipeline: Pipeline) -> None:
    generator = Writes(completion("28 days [1]."), parameters=OWN)
    record = with_generator(pipeline, generator).ask(Question(HOLIDAYS, sampling=Sampling(max_tokens=5000)))
    assert generator.samplings == [NO_SAMPLING]
    assert [(notice.code, "5000" in notice.detail) for notice in record.notices] == [("parameter_adjusted", True)]
    assert trace_of(record.attempt).generator.parameters["max_tokens"] == 100


def test_a_generator_without_a_model_answers_the_same_and_says_what_it_left_out(pipeline: Pipeline) -> None:
    record = pipeline.ask(Question(HOLIDAYS, sampling=Sampling(temperature=1.0, seed=3)))
    assert record.answer == pipeline.ask(Question(HOLIDAYS)).answer
    assert [notice.code for notice in record.notices] == ["parameter_adjusted"] * 2
    assert trace_of(record.attempt).overrides == []
