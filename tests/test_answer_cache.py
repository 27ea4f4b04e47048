"""Answers that are given again: only for exactly the same question, never for long, and never as if they were new."""

import dataclasses
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rag_service.answer_cache import AnswerCache
from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.errors import InvalidQuestion
from rag_service.filters import parse_filter
from rag_service.question import Question
from rag_service.record import Record
from rag_service.types import Notice, Sampling, Turn
from tests.doubles import HOLIDAYS, with_top_k

MIB = 2**20
LEAVE, TRAVEL = parse_filter({"source": "leave.md"}), parse_filter({"source": "travel.md"})
WHOLE = Question(
    HOLIDAYS,
    history=(Turn("user", "Hello?"), Turn("assistant", "Good morning.")),
    top_k=4,
    min_confidence=0.1,
    filters=LEAVE,
    access=TRAVEL,
    prompt="answer/1",
    sampling=Sampling(100, 0.5, 3),
)
DIFFERENT: Mapping[str, list[Any]] = {
    "text": ["How many days of holiday?", HOLIDAYS.lower()],
    "history": [(), WHOLE.history[:1], (Turn("assistant", "Hello?"), WHOLE.history[1])],
    "top_k": [None, 5],
    "min_confidence": [None, 0.2],
    "filters": [None, TRAVEL],
    "access": [None, LEAVE],
    "prompt": [None, "answer/2"],
    "sampling": [Sampling(), Sampling(101, 0.5, 3), Sampling(100, 0.6, 3), Sampling(100, 0.5, 4)],
}
"""Of every field that decides an answer, other values."""
DECIDES_NOTHING = {"request_id": "other", "deadline_s": 1e12, "cancellation": Cancellation()}


@pytest.fixture(scope="module")
def record(pipeline: Pipeline) -> Record:
    return pipeline.ask(Question(HOLIDAYS, request_id="first"))


@pytest.fixture
def cache() -> AnswerCache:
    return AnswerCache(MIB)


def kept(cache: AnswerCache, pipeline: Pipeline, question: Question, record: Record) -> Record | None:
    cache.keep(pipeline, question, record)
    return cache.recall(pipeline, question)


def test_what_was_not_asked_before_is_not_known(cache: AnswerCache, pipeline: Pipeline) -> None:
    assert cache.recall(pipeline, Question(HOLIDAYS)) is None


def test_every_field_of_a_question_is_known_to_decide_its_answer_or_not() -> None:
    assert {field.name for field in dataclasses.fields(Question)} == {*DIFFERENT, *DECIDES_NOTHING}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in DIFFERENT.items() for value in values])
def test_a_question_that_differs_in_anything_is_another_question(
    cache: AnswerCache, pipeline: Pipeline, record: Record, name: str, value: object
) -> None:
    assert kept(cache, pipeline, WHOLE, record) is not None
    assert cache.recall(pipeline, dataclasses.replace(WHOLE, **{name: value})) is None


@pytest.mark.parametrize("name", DECIDES_NOTHING)
def test_what_does_not_decide_an_answer_does_not_matter(cache: AnswerCache, pipeline: Pipeline, record: Record, name: str) -> None:
    cache.keep(pipeline, WHOLE, record)
    assert cache.recall(pipeline, dataclasses.replace(WHOLE, **{name: DECIDES_NOTHING[name]})) is not None


def test_an_answer_never_crosses_from_one_filter_to_what_the_same_words_mean_as_access(
    cache: AnswerCache, pipeline: Pipeline, record: Record
) -> None:
    cache.keep(pipeline, Question(HOLIDAYS, filters=LEAVE), record)
    assert cache.recall(pipeline, Question(HOLIDAYS, access=LEAVE)) is None


def test_true_and_1_are_two_filters(cache: AnswerCache, pipeline: Pipeline, record: Record) -> None:
    cache.keep(pipeline, Question(HOLIDAYS, access=parse_filter({"public": True})), record)
    assert cache.recall(pipeline, Question(HOLIDAYS, access=parse_filter({"public": 1}))) is None


def test_another_release_has_answers_of_its_own(cache: AnswerCache, pipeline: Pipeline, record: Record) -> None:
    cache.keep(pipeline, Question(HOLIDAYS), record)
    assert cache.recall(with_top_k(pipeline, 2), Question(HOLIDAYS)) is None
    assert cache.recall(dataclasses.replace(pipeline), Question(HOLIDAYS)) is not None, "the same release opened again"


def test_the_same_question_in_other_spelling_of_its_characters_is_the_same(cache: AnswerCache, pipeline: Pipeline, record: Record) -> None:
    cache.keep(pipeline, Question(HOLIDAYS), record)
    assert cache.recall(pipeline, Question(f"  {HOLIDAYS}\u200b\n")) is not None


def test_an_answer_that_is_given_again_says_so_and_is_a_record_of_its_own(cache: AnswerCache, pipeline: Pipeline, record: Record) -> None:
    cache.keep(pipeline, Question(HOLIDAYS, request_id="first"), record)
    again = cache.recall(pipeline, Question(HOLIDAYS, request_id="second"))
    assert again is not None
    assert again.repeats == record.answer_id
    assert re.fullmatch(r"ans_[0-9a-f]{32}", again.answer_id)
    assert again.answer_id != record.answer_id
    assert again.trace_id != record.trace_id
    assert again.attempt.trace_id == again.trace_id
    assert again.request_id == "second"
    assert again.created_at >= record.created_at
    assert set(again.timings_ms) == {"total"}
    assert (again.answer, again.citations, again.hits, again.stages) == (record.answer, record.citations, record.hits, record.stages)


def test_the_third_answer_names_the_first_and_not_the_second(cache: AnswerCache, pipeline: Pipeline, record: Record) -> None:
    cache.keep(pipeline, Question(HOLIDAYS), record)
    second, third = cache.recall(pipeline, Question(HOLIDAYS)), cache.recall(pipeline, Question(HOLIDAYS))
    assert second is not None
    assert third is not None
    assert second.repeats == third.repeats == record.answer_id
    assert second.answer_id != third.answer_id


def test_an_abstention_is_kept_too(cache: AnswerCache, pipeline: Pipeline) -> None:
    question = Question(HOLIDAYS, min_confidence=1.0)
    again = kept(cache, pipeline, question, pipeline.ask(question))
    assert again is not None
    assert again.abstain_reason == "low_confidence"


def test_an_answer_that_would_be_better_another_time_is_not_kept(cache: AnswerCache, pipeline: Pipeline, record: Record) -> None:
    transient = dataclasses.replace(record, notices=(Notice("follow_up_not_rewritten", "the generator failed"),))
    lasting = dataclasses.replace(record, notices=(Notice("citation_dropped", "marker 9 names no passage"),))
    assert kept(cache, pipeline, Question(HOLIDAYS), transient) is None
    assert cache.size_bytes == 0
    assert kept(cache, pipeline, Question(HOLIDAYS), lasting) is not None


def test_a_cache_of_no_bytes_is_off(pipeline: Pipeline, record: Record) -> None:
    off = AnswerCache(0)
    assert kept(off, pipeline, Question(HOLIDAYS), record) is None
    assert off.recall(pipeline, Question("")) is None  # not even looked at
    assert off.size_bytes == 0


def test_a_blank_question_is_refused_as_it_would_be_when_asked(cache: AnswerCache, pipeline: Pipeline) -> None:
    with pytest.raises(InvalidQuestion):
        cache.recall(pipeline, Question(" "))


def size_of(record: Record, pipeline: Pipeline) -> int:
    cache = AnswerCache(MIB)
    cache.keep(pipeline, Question(HOLIDAYS), record)
    return cache.size_bytes


def test_the_size_covers_the_texts_and_grows_with_them(pipeline: Pipeline, record: Record) -> None:
    texts = sum(len(hit.chunk.text.encode()) + len(hit.chunk.embedded_text.encode()) for hit in record.hits) + len(str(record.answer))
    assert size_of(record, pipeline) > texts
    longer = dataclasses.replace(record, answer="x" * 1000)
    assert size_of(longer, pipeline) - size_of(record, pipeline) >= 1000 - len(str(record.answer))


def test_the_least_recently_used_answer_goes_first_and_the_bound_holds(pipeline: Pipeline, record: Record) -> None:
    size_bytes = size_of(record, pipeline)
    cache = AnswerCache(3 * size_bytes)
    one, two, three, four = (Question(f"Question {number}?") for number in range(4))
    for question in (one, two, three):
        cache.keep(pipeline, question, record)
    assert cache.recall(pipeline, one) is not None
    cache.keep(pipeline, four, record)
    assert cache.size_bytes == 3 * size_bytes
    known = [cache.recall(pipeline, question) is not None for question in (one, two, three, four)]
    assert known == [True, False, True, True]


def test_an_answer_that_is_larger_than_the_cache_is_not_kept_and_drops_nothing(pipeline: Pipeline, record: Record) -> None:
    cache = AnswerCache(2 * size_of(record, pipeline))
    cache.keep(pipeline, Question(HOLIDAYS), record)
    huge = dataclasses.replace(record, answer="x" * MIB)
    assert kept(cache, pipeline, Question("Something huge?"), huge) is None
    assert cache.recall(pipeline, Question(HOLIDAYS)) is not None


def test_an_answer_that_is_kept_again_is_counted_once(pipeline: Pipeline, record: Record, cache: AnswerCache) -> None:
    for _ in range(5):
        cache.keep(pipeline, Question(HOLIDAYS), record)
    assert cache.size_bytes == size_of(record, pipeline)


def test_many_threads_leave_it_whole(pipeline: Pipeline, record: Record) -> None:
    size_bytes = size_of(record, pipeline)
    cache, together = AnswerCache(4 * size_bytes), threading.Barrier(8)

    def work(seed: int) -> None:
        together.wait(10)
        for turn in range(200):
            question = Question(f"Question {(seed * 7 + turn) % 12}?")
            if cache.recall(pipeline, question) is None:
                cache.keep(pipeline, question, record)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache.size_bytes == 4 * size_bytes
    assert sum(cache.recall(pipeline, Question(f"Question {number}?")) is not None for number in range(12)) == 4
