"""A question becomes a sample once; later runs read the sample."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.asking import Subject, Way, _packed, _unpacked, answered, sample_of, searched
from eval.bounds import with_oracle
from eval.sample import Cited, Failure, Judged, Ranked, Sample
from eval.stages.cache import FILE, StageCache, Use
from rag_service.ask import Pipeline
from rag_service.digests import digest_text
from rag_service.errors import GeneratorFailed
from rag_service.question import Question
from rag_service.record import Record
from rag_service.release import NamedDigest, Retrieval
from rag_service.types import Matrix, Notice, Vector
from tests.doubles import Writes, completion, with_generator
from tests.eval.damaged_cache import alter

STANDS = "Where does the Eiffel Tower stand?"
MELTS = "At how many degrees Celsius melts Tungsten?"
NOBODY = "zzyzx qwxv jkjk"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def cache(home: Path) -> Iterator[StageCache]:
    with StageCache.open(home) as opened:
        yield opened


@dataclass
class Opening:
    """Opens a pipeline, and counts how often."""

    pipeline: Pipeline
    times: int = 0

    def __call__(self) -> Pipeline:
        self.times += 1
        return self.pipeline


@dataclass
class Generating:
    """Counts the questions that came as far as the generator."""

    inner: Any
    questions: list[str]

    def __getattr__(self, name: str) -> Any:
        if name == "generate":
            return self._generate
        return getattr(self.inner, name)

    def _generate(self, prompt: Any, **options: Any) -> Any:
        self.questions.append(prompt.question)
        return self.inner.generate(prompt, **options)


def subject(
    opening: Opening, cache: StageCache, *, chunker: str = "paragraphs", threshold: float = 0.2, max_question_chars: int = 4000, **way: Any
) -> Subject:
    release = opening.pipeline.lineage.release
    retrieval = release.retrieval.model_copy(update={"min_confidence": threshold})
    named = release.model_copy(update={"chunker": NamedDigest(name=chunker, digest=digest_text(chunker)), "retrieval": retrieval})
    return Subject(named, opening, cache, Way(**{"depth": 4, **way}), max_question_chars)


# Once and again


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("question", [STANDS, MELTS, NOBODY])
def test_a_sample_that_is_read_again_is_the_one_that_was_made(
    pipeline: Pipeline, cache: StageCache, home: Path, question: str, answers: bool
) -> None:
    made = subject(Opening(pipeline), cache, answers=answers).sample(question)
    with StageCache.open(home) as later:  # another connection: only what was kept is there
        opening = Opening(pipeline)
        read = subject(opening, later, answers=answers)
        assert read.knows(question)
        assert read.sample(question) == made
        assert opening.times == 0


def test_a_sample_has_what_the_service_gives_and_what_the_index_gives(pipeline: Pipeline, cache: StageCache) -> None:
    record = pipeline.ask(Question(STANDS))
    found = subject(Opening(pipeline), cache).sample(STANDS)
    assert replace(found, pool=()) == sample_of(record)
    assert (found.status, found.answer) == ("answered", record.answer)
    deep = pipeline.retriever.find(STANDS, pipeline.embedder.embed_query(STANDS), 4).hits
    assert [each.chunk_id for each in found.pool] == [hit.chunk.id for hit in deep]
    assert len(found.pool) == 4 > len(found.hits) == 3


def test_without_answers_nothing_is_generated_and_the_ranking_is_the_same(pipeline: Pipeline, cache: StageCache) -> None:
    generating = Generating(pipeline.generator, [])
    found = subject(Opening(replace(pipeline, generator=generating)), cache, answers=False).sample(STANDS)
    record = pipeline.ask(Question(STANDS))
    assert generating.questions == []
    assert (found.status, found.answer, found.confidence) == ("not_asked", None, record.confidence)
    assert found.hits == sample_of(record).hits
    assert found == replace(searched(pipeline, STANDS), pool=found.pool)


def test_a_changed_question_asks_that_one_alone(pipeline: Pipeline, cache: StageCache) -> None:
    generating = Generating(pipeline.generator, [])
    opening = Opening(replace(pipeline, generator=generating))
    for question in (STANDS, MELTS):
        subject(opening, cache).sample(question)
    generating.questions.clear()
    changed = "Where does the Eiffel Tower stand today?"
    for question in (changed, MELTS):
        subject(opening, cache).sample(question)
    assert generating.questions == [changed]


@pytest.mark.parametrize("change", [{"chunker": "another"}, {"depth": 5}, {"answers": False}, {"max_question_chars": 500}])
def test_another_release_depth_or_limit_of_questions_and_no_answers_are_other_samples(
    pipeline: Pipeline, cache: StageCache, change: dict[str, Any]
) -> None:
    subject(Opening(pipeline), cache).sample(STANDS)
    other = subject(Opening(pipeline), cache, **change)
    assert not other.knows(STANDS)
    other.sample(STANDS)
    assert cache.use()["sample"] == Use(found=0, made=2, damaged=0)


def test_a_bound_is_not_taken_for_what_is_served(pipeline: Pipeline, cache: StageCache) -> None:
    served = subject(Opening(pipeline), cache)
    oracle = replace(served, asked_as="oracle", texts={}, _opened=None)
    first = served.sample(MELTS)
    ids = {row: pipeline.chunks.chunks([row])[0].id for row in (0, 3)}
    for _ in range(2):
        for row, identifier in ids.items():
            found = oracle.sample(MELTS, only=str(row), narrowed=with_oracle([row]))
            assert [hit.chunk_id for hit in found.hits] == [identifier]
    assert served.sample(MELTS) == first
    assert cache.use()["sample"] == Use(found=3, made=3, damaged=0)


def test_releases_that_differ_in_the_threshold_share_the_samples_on_one_side_of_it(
    make_pipeline: Callable[..., Pipeline], cache: StageCache
) -> None:
    sure = make_pipeline().ask(Question(STANDS)).confidence
    assert 0.1 < sure < 1.0
    made: dict[float, Sample] = {}
    for threshold in (0.0, 0.1, sure, sure + 1e-9, 1.0, 0.05):
        opening = Opening(make_pipeline(retrieval=Retrieval(top_k=3, min_confidence=threshold)))
        made[threshold] = subject(opening, cache, threshold=threshold).sample(STANDS)
        assert replace(made[threshold], pool=()) == sample_of(opening.pipeline.ask(Question(STANDS)))
    assert [sample.status for sample in made.values()] == ["answered"] * 3 + ["abstained"] * 2 + ["answered"]
    assert cache.use()["sample"] == Use(found=4, made=2, damaged=0)


def test_candidates_of_one_index_share_the_ranking_of_the_index(make_pipeline: Callable[..., Pipeline], cache: StageCache) -> None:
    pools = []
    for number, top_k in enumerate((1, 3)):
        opening = Opening(make_pipeline(retrieval=Retrieval(top_k=top_k, min_confidence=0.2)))
        pools.append(subject(opening, cache, chunker=f"of release {number}").sample(STANDS).pool)
    assert pools[0] == pools[1]
    assert cache.stored()["pool"].outputs == 1


def test_an_encoder_that_gives_other_vectors_gives_another_ranking_of_the_same_index(pipeline: Pipeline, cache: StageCache) -> None:
    class Backwards:
        digest = "another encoder"

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def embed_query(self, _: str) -> Vector:
            return self._inner.embed_query("The Danube flows through Vienna and Budapest.")  # type: ignore[no-any-return]

        def embed_passages(self, texts: list[str]) -> Matrix:
            return self._inner.embed_passages(texts)  # type: ignore[no-any-return]

    dense = replace(pipeline, retriever=replace(pipeline.retriever, mode="dense"))
    other = replace(dense, embedder=Backwards(pipeline.embedder))
    first = subject(Opening(dense), cache, chunker="one").sample(STANDS).pool[0]
    second = subject(Opening(other), cache, chunker="two").sample(STANDS).pool[0]
    assert (first.document_id, second.document_id) == ("tower", "river")


# What goes wrong


def test_a_failure_is_tried_again_and_a_refusal_is_not(pipeline: Pipeline, cache: StageCache) -> None:
    generator = Writes(GeneratorFailed("the provider is gone"), completion("", declined=True))
    opening = Opening(with_generator(pipeline, generator))
    asked = subject(opening, cache)
    failed = asked.sample(STANDS)
    assert (failed.status, failed.failures) == ("error", (Failure("ask", GeneratorFailed.code, "the provider is gone", "generate"),))
    assert len(failed.pool) == 4
    assert not asked.knows(STANDS)
    for again in (asked, asked, subject(opening, cache)):
        found = again.sample(STANDS)
        assert (found.status, found.abstain_reason, found.failures) == ("abstained", "generator_declined", ())
    assert len(generator.prompts) == 2


def test_a_question_that_cannot_be_asked_is_a_failure_of_search_and_answer(pipeline: Pipeline, cache: StageCache) -> None:
    for question in (" ", "x" * 201):
        asked = subject(Opening(pipeline), cache)
        found = asked.sample(question)
        assert [(failure.during, failure.code) for failure in found.failures] == [
            ("ask", "invalid_question"),
            ("search", "invalid_question"),
        ]
        assert (found.status, found.pool) == ("error", ())
        assert not asked.knows(question)


def test_time_that_is_over_is_a_failure_and_not_remembered(pipeline: Pipeline, cache: StageCache) -> None:
    late = subject(Opening(pipeline), cache, timeout_s=-1.0)
    found = late.sample(STANDS)
    assert [failure.code for failure in found.failures] == ["deadline_exceeded"]
    assert subject(Opening(pipeline), cache, timeout_s=60.0).sample(STANDS).status == "answered"


def test_outcomes_are_records_or_failures(pipeline: Pipeline) -> None:
    assert isinstance(answered(pipeline, STANDS, None), Record)
    outcome = answered(pipeline, "", None)
    assert isinstance(outcome, Failure)
    assert outcome.during == "ask"
    assert searched(pipeline, "").failures[0].during == "search"


@pytest.mark.parametrize("stage", ["sample", "pool", "text"])
def test_what_was_altered_is_made_anew_and_counted(pipeline: Pipeline, home: Path, stage: str) -> None:
    with StageCache.open(home) as cache:
        made = subject(Opening(pipeline), cache).sample(STANDS)
    assert made.in_prompt
    altered = alter(home / FILE, stage)
    opening = Opening(pipeline)
    with StageCache.open(home) as cache:
        asked = subject(opening, cache)
        assert asked.sample(STANDS) == made
        assert opening.times == 1
        assert 1 <= cache.use()[stage].damaged <= altered
        assert set(asked.texts) >= {hit.chunk_id for hit in made.in_prompt}
    with StageCache.open(home) as cache:
        assert subject(opening, cache).sample(STANDS) == made
        assert opening.times == 1


# Texts


def test_texts_of_shown_chunks_are_known_also_when_all_is_remembered(pipeline: Pipeline, cache: StageCache) -> None:
    asked = subject(Opening(pipeline), cache)
    found = asked.sample(STANDS)
    assert found.cited
    again = subject(Opening(pipeline), cache)
    again.sample(STANDS)
    assert again.texts == asked.texts
    assert set(again.texts) == {hit.chunk_id for hit in found.in_prompt}
    chunks = [pipeline.chunks.chunk(identifier) for identifier in again.texts]  # type: ignore[arg-type]
    assert [chunk.text for chunk in chunks if chunk] == list(again.texts.values())


def test_what_forgets_asks_again_and_gives_the_same(pipeline: Pipeline, cache: StageCache) -> None:
    generating = Generating(pipeline.generator, [])
    opening = Opening(replace(pipeline, generator=generating))
    first = subject(opening, cache).sample(STANDS)
    assert subject(opening, cache.forgetful()).sample(STANDS) == first
    assert generating.questions == [STANDS, STANDS]


def test_threads_open_a_release_once(pipeline: Pipeline, cache: StageCache) -> None:
    class Slowly(Opening):
        def __call__(self) -> Pipeline:
            time.sleep(0.05)
            return super().__call__()

    opening = Slowly(pipeline)
    asked = subject(opening, cache)
    questions = [STANDS, MELTS, NOBODY, "Danube", "arctic tern"]
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(asked.sample, questions))
    assert opening.times == 1
    assert found == [subject(Opening(pipeline), cache).sample(question) for question in questions]


# Samples as data

RANKED = st.builds(
    Ranked, st.text(), st.text(), st.integers(0, 9**9), st.integers(0, 9**9), st.floats(allow_nan=False, allow_infinity=False)
)
SAMPLES = st.builds(
    Sample,
    status=st.sampled_from(["answered", "abstained", "not_asked"]),
    abstain_reason=st.sampled_from([None, "no_hits", "low_confidence"]),
    answer=st.none() | st.text(),
    plain=st.none() | st.text(),
    confidence=st.none() | st.floats(0, 1),
    hits=st.lists(RANKED, max_size=3).map(tuple),
    shown=st.integers(0, 3),
    cited=st.lists(
        st.builds(Cited, st.integers(1, 9), st.text(), st.text(), st.integers(0, 9**9), st.integers(0, 9**9), st.booleans()), max_size=2
    ).map(tuple),
    sentences=st.lists(
        st.builds(Judged, st.sampled_from(["supported", "partly", "unsupported"]), st.booleans(), st.booleans()), max_size=2
    ).map(tuple),
    notices=st.lists(st.builds(Notice, st.just("answer_truncated"), st.text()), max_size=2).map(tuple),
    prompt_digest=st.none() | st.text(),
    prompt_tokens=st.none() | st.integers(0, 9**9),
    completion_tokens=st.none() | st.integers(0, 9**9),
)


@given(sample=SAMPLES)
def test_a_sample_comes_back_as_it_was_packed(sample: Sample) -> None:
    assert _unpacked(orjson.loads(orjson.dumps(_packed(sample)))) == sample


def test_every_field_of_a_sample_is_packed_but_those_that_are_kept_elsewhere() -> None:
    apart = {"pool", "failures", "took_ms"}
    assert len(_packed(Sample(status="answered"))) == len(fields(Sample)) - len(apart)
