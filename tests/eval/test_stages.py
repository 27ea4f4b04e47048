"""What was done before is not done again, and what is remembered is what would have come out."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.stages import code
from eval.stages.cache import StageCache
from eval.stages.code import code_digest
from eval.stages.remembered import RememberedGenerator, remembering
from eval.trivial import trivial_pipeline
from rag_service.ask import Pipeline
from rag_service.errors import GeneratorFailed, RagError
from rag_service.question import Question
from rag_service.record import Record
from rag_service.release import Retrieval
from rag_service.stores.selections import selection_of
from rag_service.types import Completion, Marker, Matrix, Notice, Passage, Prompt, Sampling, Sentence, Usage, Vector
from tests.doubles import Writes

WORDS = re.findall(r"\w+", "Eiffel Tower Paris finished metres Danube Vienna Tungsten melts arctic tern pole zzyzx where when how tall")
QUESTIONS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[StageCache]:
    with StageCache.open(tmp_path / "home") as opened:
        yield opened


class Counting:
    """Passes everything on, and counts the calls of some methods."""

    def __init__(self, inner: Any, counted: Counter[str], *names: str) -> None:
        self._inner, self._counted, self._names = inner, counted, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        def called(*arguments: Any, **options: Any) -> Any:
            self._counted[name] += 1
            return found(*arguments, **options)

        return called

    def __len__(self) -> int:
        return len(self._inner)


def counted(pipeline: Pipeline) -> tuple[Pipeline, Counter[str]]:
    calls: Counter[str] = Counter()
    searching = replace(pipeline.retriever, store=Counting(pipeline.store, calls, "search"))
    embedder, generator = Counting(pipeline.embedder, calls, "embed_query"), Counting(pipeline.generator, calls, "generate")
    return replace(pipeline, retriever=searching, embedder=embedder, generator=generator), calls


def with_retrieval(pipeline: Pipeline, **changes: Any) -> Pipeline:
    release = pipeline.lineage.release
    changed = release.model_copy(update={"retrieval": release.retrieval.model_copy(update=changes)})
    return replace(pipeline, lineage=replace(pipeline.lineage, release=changed))


def told(record: Record) -> list[object]:
    """All of a record but ids and times."""
    apart = {"answer_id", "attempt", "created_at", "timings_ms", "query_vector"}
    values = [getattr(record, field.name) for field in fields(Record) if field.name not in apart]
    sentences = [hit.sentences for hit in record.hits]
    return [*values, sentences, record.query_vector.tobytes(), [(stage.name, stage.digest) for stage in record.stages]]


# Pipelines that remember


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=QUESTIONS, top_k=st.integers(1, 20), least=st.sampled_from([0.0, 0.2, 0.9]))
def test_a_pipeline_that_remembers_answers_what_the_plain_one_answers(
    question: str, top_k: int, least: float, pipeline: Pipeline, cache: StageCache
) -> None:
    asked = Question(question, top_k=top_k, min_confidence=least)
    plain = pipeline.ask(asked)
    remembers = remembering(pipeline, cache)
    for _ in range(2):  # as it is made, and as it is remembered
        assert told(remembers.ask(asked)) == told(plain)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=QUESTIONS, top_k=st.integers(1, 40))
def test_a_search_of_many_alike_chunks_is_remembered_as_it_is(
    question: str, top_k: int, make_pipeline: Callable[..., Pipeline], cache: StageCache
) -> None:
    documents = {
        f"d{number}": [
            f"The {WORDS[number % 7]} and the {WORDS[number % 5]} have the number {number}.",
            f"The {WORDS[number % 9]} is tall.",
        ]
        for number in range(30)
    }
    pipeline = make_pipeline(documents)
    asked = Question(question, top_k=top_k)
    plain = pipeline.search(asked)
    for _ in range(2):
        found = remembering(pipeline, cache).search(asked)
        assert [(hit, hit.sentences) for hit in found.hits] == [(hit, hit.sentences) for hit in plain.hits]
        assert found.confidence == plain.confidence


def test_a_search_that_is_remembered_looks_at_as_many_chunks_as_the_plain_one(
    make_pipeline: Callable[..., Pipeline], cache: StageCache
) -> None:
    """More of them would be found better than they are served."""
    pipeline = make_pipeline({f"d{number}": [f"The Danube has the number {number}."] for number in range(90)})
    looked_at: list[int] = []

    class Looking:
        def match(self, positions: Any, *rest: Any) -> Any:
            looked_at.append(len(positions))
            return pipeline.retriever.sentences.match(positions, *rest)

    looking = replace(pipeline, retriever=replace(pipeline.retriever, sentences=Looking()))
    for top_k in (1, 12, 13, 30):
        for asked in (looking, remembering(looking, cache)):
            asked.search(Question("Where does the Danube flow?", top_k=top_k))
    assert looked_at == [24, 24, 24, 26, 26, 60, 60]  # the search for 12 is the one that was made for 1


def test_a_search_that_draws_by_how_many_are_wanted_is_not_taken_for_one_of_fewer(
    make_pipeline: Callable[..., Pipeline], cache: StageCache
) -> None:
    pipeline = trivial_pipeline(make_pipeline({f"d{number}": [f"The Danube {number}."] for number in range(40)}), "random_retrieval")
    remembers = remembering(pipeline, cache)
    for top_k in (1, 3, 8):
        asked = Question("Where does the Danube flow?", top_k=top_k)
        for _ in range(2):
            assert remembers.search(asked).hits == pipeline.search(asked).hits


def test_a_filter_finds_its_own_hits(pipeline: Pipeline, cache: StageCache) -> None:
    remembers = remembering(pipeline, cache)
    question, vector = "Eiffel Danube", pipeline.embedder.embed_query("Eiffel Danube")
    anywhere = remembers.retriever.find(question, vector, 3)
    rows = selection_of(np.array([False, False, True, False, False]), documents=1)
    for _ in range(2):
        assert [hit.chunk.id for hit in remembers.retriever.find(question, vector, 3, rows).hits] == ["river-0"]
        assert remembers.retriever.find(question, vector, 3) == anywhere
    assert len(anywhere.hits) == 3


def test_nothing_is_embedded_searched_or_generated_twice(pipeline: Pipeline, cache: StageCache) -> None:
    counting, calls = counted(pipeline)
    remembers = remembering(counting, cache)
    for _ in range(3):
        remembers.ask(Question("Where does the Eiffel Tower stand?"))
    assert calls == {"embed_query": 1, "search": 1, "generate": 1}


def test_candidates_that_take_fewer_passages_or_abstain_sooner_share_one_search(pipeline: Pipeline, cache: StageCache) -> None:
    counting, calls = counted(pipeline)
    for top_k in (8, 3, 1):
        for least in (0.0, 0.2, 1.0):
            candidate = with_retrieval(counting, top_k=top_k, min_confidence=least)
            remembering(candidate, cache).ask(Question("Where does the Eiffel Tower stand?"))
    assert calls["search"] == calls["embed_query"] == 1
    assert 1 <= calls["generate"] <= 3  # one for each number of passages that are shown


def test_another_way_to_search_is_searched_anew(make_pipeline: Callable[..., Pipeline], cache: StageCache) -> None:
    answers = []
    for mode in ("hybrid", "dense"):
        pipeline = make_pipeline(retrieval=Retrieval(mode=mode, top_k=3, min_confidence=0.0))
        counting, calls = counted(pipeline)
        answers.append(remembering(counting, cache).ask(Question("When was the Tower finished?")))
        assert calls["search"] == 1
    assert [hit.score for hit in answers[0].hits] != [hit.score for hit in answers[1].hits]


class Failing:
    """Fails once, then answers."""

    context_tokens, follows_instructions, name = 1_000_000, False, "failing"

    def __init__(self, inner: Any) -> None:
        self._inner, self.digest, self.parameters, self.calls = inner, inner.digest, inner.parameters, 0

    def count_tokens(self, text: str) -> int:
        return len(text)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        self.calls += 1
        if self.calls == 1:
            raise GeneratorFailed("the provider is gone")
        return self._inner.generate(prompt, **options)  # type: ignore[no-any-return]


def test_a_failure_is_not_remembered(pipeline: Pipeline, cache: StageCache) -> None:
    generator = Failing(pipeline.generator)
    remembers = remembering(replace(pipeline, generator=generator), cache)
    question = Question("Where does the Eiffel Tower stand?")
    with pytest.raises(RagError, match="the provider is gone"):
        remembers.ask(question)
    assert remembers.ask(question).status == "answered"
    remembers.ask(question)
    assert generator.calls == 2


def test_a_text_has_one_vector_for_each_encoder(pipeline: Pipeline, cache: StageCache) -> None:
    class Other:
        digest = "another encoder"

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def embed_query(self, text: str) -> Vector:
            return -self._inner.embed_query(text)

        def embed_passages(self, texts: Sequence[str]) -> Matrix:
            return -self._inner.embed_passages(texts)

    one = remembering(pipeline, cache).embedder
    other = remembering(replace(pipeline, embedder=Other(pipeline.embedder)), cache).embedder
    assert (one.embed_query("Paris") == -other.embed_query("Paris")).all()
    assert (one.embed_passages(["Paris", "Vienna"]) == -other.embed_passages(["Paris", "Vienna"])).all()


COMPLETIONS = [
    Completion("It is so [1].", False, "stop", "a model", Usage(7, 3), (Marker(9, 12, (1,)), Marker(0, 2, (1, 3)))),
    Completion("", True, "stop", "a model", Usage(None, None), ()),
    Completion("cut \U0001f5fc", False, "length", "another", Usage(0, None), None, (Notice("generator_retried", "twice"),)),
]


@pytest.mark.parametrize("written", COMPLETIONS)
def test_a_completion_is_remembered_whole_and_written_at_once(cache: StageCache, written: Completion) -> None:
    inner = Writes(written)
    generator = RememberedGenerator(inner, cache)
    heard: list[str] = []
    prompt = Prompt("system", "user", "question", ())
    assert generator.generate(prompt) == written
    assert generator.generate(prompt, write=heard.append) == written
    assert (heard, len(inner.prompts)) == ([written.text], 1)


def test_other_prompts_and_other_sampling_are_generated_anew(cache: StageCache) -> None:
    inner = Writes(COMPLETIONS[0])
    generator = RememberedGenerator(inner, cache)
    prompt = Prompt("system", "user", "question", ())
    for other in (prompt, replace(prompt, system="s"), replace(prompt, user="u"), replace(prompt, question="q")):
        for sampling in (Sampling(), Sampling(temperature=0.5), Sampling(seed=1)):
            generator.generate(other, sampling=sampling)
    assert len(inner.prompts) == 12


def test_what_a_generator_reads_of_a_passage_belongs_to_its_prompt(pipeline: Pipeline, cache: StageCache) -> None:
    """One that quotes reads passages, not what is rendered of them."""
    inner = Writes(COMPLETIONS[0])
    generator = RememberedGenerator(inner, cache)
    chunk = pipeline.chunks.chunks([0])[0]
    passage = Passage(1, chunk, 0.5, (Sentence(0, 5, 0.1, 0.2),))
    others = [
        passage,
        replace(passage, marker=2),
        replace(passage, score=0.6),
        replace(passage, sentences=()),
        replace(passage, sentences=(Sentence(0, 5, 0.1, 0.3),)),
        replace(passage, chunk=replace(chunk, text="Other words.")),
        replace(passage, chunk=replace(chunk, heading_path=("Paris",))),
    ]
    for _ in range(2):
        for other in others:
            generator.generate(Prompt("system", "user", "question", (other,)))
    assert len(inner.prompts) == len(others)


# Code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of its own in the place of the service: `stage` imports `near`, and `far` within a function; nobody imports `apart`."""
    folder = tmp_path / "made_up_service"
    (folder / "inner").mkdir(parents=True)
    sources = {
        "__init__.py": "",
        "stage.py": "import json\nfrom made_up_service.near import Thing\n\ndef late():\n    from made_up_service.inner import far\n",
        "near.py": "import made_up_service.ring\n\nclass Thing: ...\n",
        "ring.py": "import made_up_service.stage\n",
        "inner/__init__.py": "",
        "inner/far.py": "import numpy\n",
        "apart.py": "",
    }
    for name, source in sources.items():
        (folder / name).write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code, "_ROOT", folder.name)

    def forget() -> None:
        for function in (code._imported, code._is_ours, code.code_digest):
            function.cache_clear()

    forget()
    yield folder
    forget()
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


def test_what_is_imported_is_found_wherever_the_import_stands(package: Path) -> None:
    names = {"", ".stage", ".near", ".ring", ".inner", ".inner.far"}
    assert code._closure((f"{package.name}.stage",)) == {package.name + name for name in names}
    assert code._closure(("numpy.linalg", "json")) == set()


@pytest.mark.parametrize(
    ("file", "matters"),
    [("stage.py", True), ("near.py", True), ("ring.py", True), ("inner/far.py", True), ("__init__.py", True), ("apart.py", False)],
)
def test_a_changed_source_changes_the_stages_that_run_it_and_no_others(package: Path, file: str, matters: bool) -> None:
    before = code_digest.__wrapped__(f"{package.name}.stage")
    path = package / file
    path.write_text(path.read_text("utf-8") + "# changed\n", "utf-8")
    assert (code_digest.__wrapped__(f"{package.name}.stage") != before) == matters


def test_changed_code_is_searched_anew(pipeline: Pipeline, cache: StageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, calls = counted(pipeline)
    for digest in ("one", "one", "two"):
        monkeypatch.setattr("eval.stages.remembered.code_digest", lambda *_, digest=digest: digest)
        remembering(counting, cache).ask(Question("Where does the Eiffel Tower stand?"))
    assert calls == {"embed_query": 2, "search": 2, "generate": 2}


def test_the_code_of_a_stage_holds_what_it_imports_also_inside_functions() -> None:
    building = code._closure(("rag_service.wiring.building",))
    assert {"rag_service.chunking", "rag_service.loading.pdf", "rag_service.embedders.onnx"} <= building
    searching = code._closure(("rag_service.retrieval",))
    assert "rag_service.ranking" in searching
    assert not {"rag_service.support", "rag_service.generators.extractive", "rag_service.wiring.building"} & searching


def test_the_code_of_a_stage_changes_with_its_sources_and_with_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = code._path

    def changed(name: str) -> Callable[[str], Path]:
        path = tmp_path / f"{name}.py"
        path.write_text(where(name).read_text("utf-8") + "\n# changed\n", "utf-8")
        return lambda asked: path if asked == name else where(asked)

    before = code_digest.__wrapped__("rag_service.retrieval")
    monkeypatch.setattr(code, "_path", changed("rag_service.ranking"))
    assert code_digest.__wrapped__("rag_service.retrieval") != before
    monkeypatch.setattr(code, "_path", changed("rag_service.support"))
    assert code_digest.__wrapped__("rag_service.retrieval") == before
