"""Candidates and questions to a run: the pipeline that is measured is the one that is served, and nothing is done twice."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from eval.candidate import Candidate, candidate_of_file
from eval.experiment import Experiment
from eval.planning import Bill, plan
from eval.preparing import Preparing
from eval.questions import read_questions
from eval.results import Measured, Run
from eval.running import Running, chosen
from eval.scores import Failed, Score, Undefined
from eval.stages.cache import StageCache, Use
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import GeneratorFailed, InvalidInput, InvalidSettings, Mismatch, NotFound, RagError
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.question import Question
from rag_service.settings import load_settings
from rag_service.types import Completion, Prompt
from rag_service.wiring.releases import make_release, open_release
from tests.conftest import Cli

HOLIDAYS = {"id": "holidays", "question": "How many days of paid holiday does an employee have?", "answers": ["28 days"],
            "answerable": True, "relevant_ids": ["leave.md"]}  # fmt: skip
BADGE = {"id": "badge", "question": "Which colour has the badge of a visitor?", "answers": ["yellow"], "answerable": True,
         "relevant_ids": ["visitors.txt"]}  # fmt: skip
PASSWORD = {"id": "password", "question": "How many characters has a password at least?", "answers": ["14"], "answerable": True,
            "relevant_ids": ["security/passwords.md"]}  # fmt: skip
MONGOLIA = {"id": "mongolia", "question": "What is the capital of Mongolia?", "answerable": False}
QUESTIONS = (HOLIDAYS, BADGE, PASSWORD, MONGOLIA)
N = len(QUESTIONS)

SERVED = Candidate("served", "a test", served=True)
DEFAULTS = Candidate("defaults", "a test")


def small(**given: object) -> Candidate:
    return Candidate(",".join(f"{name}={value}" for name, value in given.items()), "a test", given)


@dataclass
class Harness:
    """An experiment of the handbook in folders of its own. Every `run` is another process's, as far as what is remembered goes."""

    root: Path
    home: Path
    corpus: Path
    progress: Any
    asked: tuple[Mapping[str, object], ...] = QUESTIONS
    used: Mapping[str, Use] = field(default_factory=dict)

    def experiment(self, *candidates: Candidate, **changes: Any) -> Experiment:
        path = self.home / "questions.jsonl"
        self.home.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(question) + "\n" for question in self.asked), "utf-8")
        given = {"corpus": str(self.corpus), "name": "handbook", "bounds": (), **changes}
        return Experiment(questions=path, candidates=candidates, **given)

    def running(self, cache: StageCache, *candidates: Candidate, **changes: Any) -> Running:
        experiment = self.experiment(*candidates, **changes)
        return Running(experiment, read_questions(experiment.questions), Catalog(self.root), cache, self.progress)

    def run(self, *candidates: Candidate, only: str = "*", **changes: Any) -> Run:
        with StageCache.open(self.home) as cache:
            try:
                return self.running(cache, *candidates, **changes).run(command="a test", only=only)
            finally:
                self.used = cache.use()

    def measure(self, candidate: Candidate, **changes: Any) -> Measured:
        return self.run(candidate, **changes).candidates[0]

    def plan(self, *candidates: Candidate, only: str = "*") -> Bill:
        with StageCache.open(self.home) as cache:
            return plan(self.running(cache, *candidates), cache, only=only)

    def made(self, stage: str) -> int:
        """By the last run."""
        return self.used[stage].made if stage in self.used else 0


@pytest.fixture
def harness(own_indexes: Path, tmp_path: Path, handbook: Path, progress: Any) -> Harness:
    return Harness(own_indexes, tmp_path / "home", handbook, progress)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that a generator was really asked, in order."""
    asked: list[str] = []
    real = ExtractiveGenerator.generate

    def generate(self: ExtractiveGenerator, prompt: Prompt, **options: Any) -> Completion:
        asked.append(prompt.question)
        return real(self, prompt, **options)

    monkeypatch.setattr(ExtractiveGenerator, "generate", generate)
    return asked


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the candidates whose pipelines were opened."""
    names: list[str] = []
    real = Preparing.open

    def open_(self: Preparing, ready: Any) -> Pipeline:
        names.append(ready.candidate.name)
        return real(self, ready)

    monkeypatch.setattr(Preparing, "open", open_)
    return names


def texts(run_: Measured) -> list[tuple[str, str | None, list[str]]]:
    return [(row.sample.status, row.sample.answer, [hit.chunk_id for hit in row.sample.hits]) for row in run_.rows]


# What is measured is what is served


def test_the_served_release_is_measured_as_it_is_served(harness: Harness) -> None:
    settings, catalog = load_settings({}, indexes=harness.root), Catalog(harness.root)
    pipeline = open_release(settings, catalog, "handbook", catalog.release("handbook", catalog.active_id("handbook"))).pipeline
    measured = harness.measure(SERVED)
    assert measured.release.digest == pipeline.lineage.release.digest == measured.release.content.digest
    assert (measured.index.name, measured.index.version) == ("handbook", pipeline.lineage.index.version)
    records = [pipeline.ask(Question(str(question["question"]))) for question in QUESTIONS]
    assert texts(measured) == [(record.status, record.answer, [hit.chunk.id for hit in record.hits]) for record in records]
    assert [row.sample.confidence for row in measured.rows] == [record.confidence for record in records]
    assert [row.sample.status for row in measured.rows] == ["answered", "answered", "answered", "abstained"]


def test_one_settings_file_is_one_release_for_the_service_and_for_the_harness(harness: Harness, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "candidate.toml"
    path.write_text('chunk_tokens = 64\ntop_k = 3\nmin_confidence = 0.4\nport = 9000\nname = "other"\n', "utf-8")
    measured = harness.measure(candidate_of_file(path))
    built = cli("index", "build", harness.corpus, "--name", "served", "--activate", "--indexes", harness.root, RAG_CONFIG=str(path))
    assert built.code == 0, built.err
    catalog, settings = Catalog(harness.root), load_settings({"RAG_CONFIG": str(path)}, indexes=harness.root)
    release = catalog.release("served", catalog.active_id("served"))
    assert measured.release.digest == release.digest
    assert (measured.index.name, measured.index.version) == ("handbook-eval", release.index.version)
    served = open_release(settings, catalog, "served", release).pipeline
    records = [served.ask(Question(str(question["question"]))) for question in QUESTIONS]
    assert texts(measured) == [(record.status, record.answer, [hit.chunk.id for hit in record.hits]) for record in records]


def test_a_settings_file_of_a_provider_is_one_release_too(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_openai")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    path = tmp_path / "candidate.toml"
    path.write_text('generator = "openai:model"\ngenerator_base_url = "http://127.0.0.1:9/v1"\ntimeout_s = 12\n', "utf-8")
    with StageCache.open(harness.home) as cache:
        ready = harness.running(cache, candidate_of_file(path)).preparing.ready(candidate_of_file(path))
    settings = load_settings({"RAG_CONFIG": str(path)}, indexes=harness.root)
    assert ready.release.generator.options["timeout_s"] == 12
    assert ready.release == make_release(settings, Catalog(harness.root), "handbook-eval", ready.manifest.version)


def test_the_served_release_with_other_settings_is_another_release_over_the_same_index(harness: Harness) -> None:
    run = harness.run(SERVED, replace(SERVED, name="other", given={"top_k": 1, "min_confidence": 1.0, "support": "strict"}))
    served, other = run.candidates
    assert other.release.content.retrieval == served.release.content.retrieval.model_copy(update={"top_k": 1, "min_confidence": 1.0})
    assert other.release.content.checks.support == "strict"
    assert other.release.digest != served.release.digest
    assert other.index == served.index
    assert other.changed == {"top_k": "1", "min_confidence": "1.0", "support": "strict"}
    assert (other.counts.abstained, served.counts.abstained) == (N, 1)
    assert all(len(row.sample.hits) == 1 for row in other.rows)
    assert "build" not in harness.used


def test_a_part_of_a_served_generator_is_changed_and_the_rest_of_it_is_kept(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_openai")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    catalog = Catalog(harness.root)
    version = catalog.release("handbook", catalog.active_id("handbook")).index.version
    given: dict[str, object] = {"generator": "openai:model", "generator_base_url": "http://127.0.0.1:9/v1", "max_tokens": 99,
             "temperature": None, "timeout_s": 12.0, "generator_retries": 2}  # fmt: skip
    settings = load_settings({}, indexes=harness.root).model_copy(update=given)
    catalog.activate("handbook", make_release(settings, catalog, "handbook", version))
    changed = replace(SERVED, given={"seed": 5, "timeout_s": 9.0})
    with StageCache.open(harness.home) as cache:
        release = harness.running(cache, changed).preparing.ready(changed).release
    expected = make_release(settings.model_copy(update={"seed": 5, "timeout_s": 9.0}), catalog, "handbook", version)
    assert release.generator == expected.generator
    assert release.digest == expected.digest


def test_a_served_reranker_is_kept_where_only_its_depth_is_changed(harness: Harness, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from tests.rerankers.test_cross_encoder import saved  # loads torch

    catalog = Catalog(harness.root)
    version = catalog.release("handbook", catalog.active_id("handbook")).index.version
    settings = load_settings({}, indexes=harness.root, reranker=f"cross_encoder:{saved(tmp_path / 'tiny')}")
    release = make_release(settings, catalog, "handbook", version)
    catalog.activate("handbook", release)
    shallow = harness.measure(replace(SERVED, given={"rerank_depth": 3})).release.content
    assert release.reranker is not None
    assert shallow.reranker == release.reranker.model_copy(update={"depth": 3})
    assert shallow.model_copy(update={"reranker": release.reranker}).digest == release.digest


def test_indexes_of_candidates_leave_what_is_served_as_it_was(harness: Harness) -> None:
    def state() -> dict[str, bytes]:
        folder = harness.root / "handbook"
        files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "verified")  # a note of who looked when
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    before = state()
    harness.run(SERVED, DEFAULTS, small(chunk_tokens=64))
    assert state() == before
    assert "ACTIVE" in before
    catalog = Catalog(harness.root)
    assert len(catalog.versions("handbook")) == 1
    assert len(catalog.versions("handbook-eval")) == 2
    with pytest.raises(NotFound):
        catalog.active_id("handbook-eval")


# Nothing is done twice


def test_a_grid_builds_each_index_once_and_does_each_distinct_step_once(harness: Harness, counted: list[str]) -> None:
    grid = [small(chunk_tokens=tokens, top_k=k) for tokens in (64, 192) for k in (3, 5)]
    run = harness.run(*grid)
    versions = [candidate.index.version for candidate in run.candidates]
    assert versions[0] == versions[1] != versions[2] == versions[3]
    assert len(list((harness.root / "handbook-eval" / "versions").iterdir())) == 2
    assert harness.made("sample") == 4 * N
    assert harness.made("retrieve") == harness.made("pool") == 2 * N  # by index; `top_k` only cuts off
    assert len(counted) == harness.made("generate") <= 4 * (N - 1)  # nothing is generated for the question without an answer


def test_a_second_run_builds_asks_and_opens_nothing_and_says_the_same(harness: Harness, counted: list[str], opened: list[str]) -> None:
    first = harness.run(SERVED, DEFAULTS, small(chunk_tokens=64), bounds=("oracle",))
    counted.clear()
    opened.clear()
    second = harness.run(SERVED, DEFAULTS, small(chunk_tokens=64), bounds=("oracle",))
    assert (counted, opened) == ([], [])
    assert {stage: use.made for stage, use in harness.used.items() if use.made} == {}
    assert replace(second, created_at=first.created_at, duration_s=first.duration_s) == first


def test_a_candidate_that_is_the_same_release_as_another_asks_nothing(harness: Harness) -> None:
    run = harness.run(SERVED, replace(DEFAULTS, given={"port": 9000}))
    served, same = run.candidates
    assert served.release.digest == same.release.digest
    assert harness.made("sample") == N
    assert texts(served) == texts(same)


def test_editing_one_question_asks_one(harness: Harness) -> None:
    harness.run(SERVED)
    edited = {**BADGE, "question": "What colour is the badge that visitors wear?"}
    harness.asked = (HOLIDAYS, edited, PASSWORD, MONGOLIA)
    harness.run(SERVED)
    assert harness.made("sample") == 1


def test_editing_gold_alone_asks_nothing_and_scores_anew(harness: Harness) -> None:
    before = harness.measure(SERVED)
    harness.asked = (HOLIDAYS, {**BADGE, "answers": ["green"]}, PASSWORD, MONGOLIA)
    after = harness.measure(SERVED)
    assert harness.made("sample") == 0
    assert (before.rows[1].scores["contains"], after.rows[1].scores["contains"]) == (1.0, 0.0)


def test_adding_a_candidate_asks_only_that(harness: Harness, opened: list[str]) -> None:
    harness.run(SERVED)
    opened.clear()
    harness.run(SERVED, replace(SERVED, name="other", given={"top_k": 1}))
    assert harness.made("sample") == N
    assert opened == ["other"]


def test_a_changed_document_is_another_index_and_an_unchanged_one_is_not_built_again(harness: Harness, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "leave.md").write_text("# Leave\n\nEvery employee has 28 days of paid holiday a year.\n", "utf-8")
    harness.corpus, harness.asked = corpus, (HOLIDAYS,)
    first, again = harness.measure(DEFAULTS), harness.measure(DEFAULTS)
    (corpus / "leave.md").write_text("# Leave\n\nEvery employee has 30 days of paid holiday a year.\n", "utf-8")
    changed = harness.measure(DEFAULTS)
    assert first.index.version == again.index.version != changed.index.version
    assert "28 days" in (again.rows[0].sample.answer or "")
    assert "30 days" in (changed.rows[0].sample.answer or "")


def test_a_remembered_index_that_was_removed_is_built_again(harness: Harness) -> None:
    first = harness.measure(DEFAULTS)
    shutil.rmtree(harness.root / "handbook-eval")
    assert texts(harness.measure(DEFAULTS)) == texts(first)
    assert (harness.root / "handbook-eval").is_dir()


def test_a_run_that_was_cut_off_goes_on_where_it_was(harness: Harness, monkeypatch: pytest.MonkeyPatch, counted: list[str]) -> None:
    def cut_off(amount: int = 1) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(harness.progress, "advance", cut_off)
        with pytest.raises(KeyboardInterrupt):
            harness.run(SERVED)
    counted.clear()
    run = harness.run(SERVED)
    assert harness.made("sample") == N - 1
    assert HOLIDAYS["question"] not in counted
    assert run.candidates[0].counts.answered == 3


def test_several_jobs_give_what_one_gives(harness: Harness, tmp_path: Path) -> None:
    one = harness.measure(SERVED)
    harness.home = tmp_path / "another home"
    several = harness.measure(SERVED, jobs=4)
    assert harness.made("sample") == N
    assert replace(several, deployment=one.deployment) == one


# What cannot work is said before anything is asked


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"reranker": "cross_encoder:/nowhere/reranker"}, RagError, "there is no folder reranker"),
        ({"reranker": "bm25"}, InvalidSettings, "there is no reranker 'bm25'"),
        ({"generator": "llamacpp:/no/such/model.gguf"}, RagError, "model.gguf|llama"),
        ({"generator": "nothing"}, InvalidSettings, "there is no generator 'nothing'"),
        ({"prompt": "answer/99"}, RagError, "answer/99"),
    ],
)
@pytest.mark.parametrize("served", [True, False])
def test_a_candidate_that_cannot_load_is_said_before_the_first_question(
    harness: Harness, given: dict[str, object], error: type[RagError], says: str, served: bool
) -> None:
    with pytest.raises(error, match=says):
        harness.run(SERVED, Candidate("broken", "a test", given, served=served))
    assert harness.made("sample") == 0
    assert not [told for told in harness.progress.told if told[0].startswith("asking")]


def test_an_encoder_that_is_not_there_is_said_before_the_first_question(harness: Harness) -> None:
    with pytest.raises(RagError, match="no-such-encoder"):
        harness.run(SERVED, small(encoder="no-such-encoder"))
    assert harness.made("sample") == 0


def test_a_candidate_without_a_corpus_is_refused(harness: Harness) -> None:
    with pytest.raises(InvalidSettings, match=r"the candidate 'defaults' .* needs an index, and no corpus is named"):
        harness.run(DEFAULTS, corpus=None)


def test_a_corpus_that_is_not_there_is_refused(harness: Harness) -> None:
    with pytest.raises(RagError, match="nowhere"):
        harness.run(DEFAULTS, corpus=str(harness.home / "nowhere"))


def test_an_index_that_is_not_served_is_refused(harness: Harness) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        harness.run(SERVED, name="nowhere")


def test_a_question_set_of_other_documents_is_refused_before_anything_is_asked(harness: Harness) -> None:
    harness.asked = tuple(
        {"id": str(number), "question": "Where?", "gold": [[{"document": f"other-{number}.md", "quote": "Somewhere else."}]]}
        for number in range(3)
    )
    with pytest.raises(Mismatch):
        harness.run(SERVED)
    assert harness.made("sample") == 0


def test_a_part_that_holds_no_question_is_refused(harness: Harness) -> None:
    with pytest.raises(InvalidInput, match=r"the test part of questions\.jsonl holds no question") as refused:
        harness.run(SERVED, part="test")
    assert "splits: {test: 0.3}" in refused.value.hint


# Rows and scores of a run


def test_every_question_is_asked_in_order_and_progress_is_told(harness: Harness) -> None:
    measured = harness.measure(SERVED)
    assert [row.id for row in measured.rows] == [question["id"] for question in QUESTIONS]
    assert harness.progress.told[-1] == ("asking", N)
    assert harness.progress.done == N
    assert measured.metrics["retrieval"]["recall@5"] == Score(1.0, 3, 3)
    assert measured.metrics["abstention"]["coverage"].value == 1.0
    assert measured.rows[3].scores["correct"] == 1.0


def test_a_failure_at_one_question_is_a_row_and_stays_in_the_denominator_and_only_that_is_asked_again(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ExtractiveGenerator.generate

    def generate(self: ExtractiveGenerator, prompt: Prompt, **options: Any) -> Completion:
        if prompt.question == HOLIDAYS["question"]:
            raise GeneratorFailed("the provider is gone")
        return real(self, prompt, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ExtractiveGenerator, "generate", generate)
        measured = harness.measure(SERVED)
    holidays = measured.rows[0]
    [failure] = holidays.sample.failures
    assert (failure.during, failure.code, failure.stage, failure.message) == ("ask", "generator_error", "generate", "the provider is gone")
    assert holidays.scores["contains"] == Failed("generator_error")
    assert holidays.scores["recall@5"] == 1.0  # retrieval did not fail
    assert holidays.label == "infra_error"
    assert measured.metrics["answers"]["contains"] == Score(2 / 3, 3, 2, n_error=1)
    assert measured.metrics["answers"]["correct"] == Score(3 / 4, 4, 3, n_error=1)
    assert (measured.counts.errors, measured.error_codes) == (1, {"generator_error": 1})
    assert harness.measure(SERVED).counts.errors == 0
    assert harness.made("sample") == 1


def test_a_question_that_cannot_even_be_searched_for_fails_in_retrieval_too(harness: Harness) -> None:
    longest = len(str(PASSWORD["question"]))  # the question about holidays alone is longer
    measured = harness.measure(replace(SERVED, given={"max_question_chars": longest}))
    assert [bool(row.sample.failures) for row in measured.rows] == [True, False, False, False]
    assert [failure.during for failure in measured.rows[0].sample.failures] == ["ask", "search"]
    assert measured.counts.errors == 1
    assert measured.metrics["retrieval"]["recall@5"] == Score(2 / 3, 3, 2, n_error=1)


def test_an_answer_that_takes_too_long_is_an_error(harness: Harness) -> None:
    assert harness.measure(SERVED, timeout_s=1e-9).error_codes == {"deadline_exceeded": N}


def test_retrieval_alone_asks_for_no_answer(harness: Harness, counted: list[str]) -> None:
    measured = harness.measure(SERVED, answers=False, bounds=("oracle",), timing=2)
    assert counted == []
    assert {row.sample.status for row in measured.rows} == {"not_asked"}
    assert {group for group in measured.metrics} <= {"retrieval", "passages"}
    assert measured.metrics["retrieval"]["recall@5"] == Score(1.0, 3, 3)
    assert measured.headroom == {}


def test_a_limit_asks_the_first_questions_of_the_same_set(harness: Harness) -> None:
    whole, some = harness.run(SERVED), harness.run(SERVED, limit=2)
    assert [row.id for row in some.candidates[0].rows] == ["holidays", "badge"]
    assert (some.questions.n_asked, some.questions.n_questions) == (2, N)
    assert some.questions.digest == whole.questions.digest
    assert some.id != whole.id


def test_what_the_retrieval_loses_and_what_the_reader_loses_add_up_with_what_is_right(harness: Harness) -> None:
    measured = harness.measure(SERVED, bounds=("oracle", "closed_book", "exact_index"))
    assert measured.headroom["retrieval"].value == measured.headroom["reader"].value == 0.0  # all three are right
    assert measured.headroom["retrieval"].n_scored == 3
    assert isinstance(measured.headroom["parametric"].value, Undefined)
    assert measured.headroom["index"].value == Undefined("a flat index is exact")


def test_what_a_threshold_keeps_back_is_not_put_down_to_the_search(harness: Harness) -> None:
    headroom = harness.measure(replace(SERVED, given={"min_confidence": 1.0}), bounds=("oracle",)).headroom
    assert (headroom["retrieval"].value, headroom["threshold"].value, headroom["reader"].value) == (0.0, 1.0, 0.0)


def test_times_are_taken_of_as_many_questions_as_asked_for_by_a_pipeline_that_remembers_nothing(
    harness: Harness, counted: list[str]
) -> None:
    harness.run(SERVED)
    counted.clear()
    measured = harness.measure(SERVED, timing=2)
    assert [bool(row.sample.took_ms) for row in measured.rows] == [True, False, True, False]
    assert {HOLIDAYS["question"], PASSWORD["question"]} <= set(counted)


@pytest.mark.parametrize("kind", ["always_abstain", "echo_context", "copy_question", "random_retrieval"])
def test_what_must_lose_is_a_release_of_its_own_and_loses(harness: Harness, kind: Any) -> None:
    run = harness.run(SERVED, Candidate("trivial", "a test", served=True, trivial=kind))
    served, trivial = run.candidates
    assert trivial.release.digest != served.release.digest
    assert trivial.changed == {"trivial": kind}
    if kind == "random_retrieval":  # of nine chunks, chance finds some that are right
        assert [hits for _, _, hits in texts(trivial)] != [hits for _, _, hits in texts(served)]
    else:
        right, less = served.metrics["answers"]["f1"].value, trivial.metrics["answers"]["f1"].value
        assert isinstance(right, float)
        assert isinstance(less, Undefined) or less < right


def test_only_candidates_whose_name_fits_are_run(harness: Harness) -> None:
    other = replace(SERVED, name="top_k=1", given={"top_k": 1})
    assert [candidate.name for candidate in harness.run(SERVED, other, only="top_k=*").candidates] == ["top_k=1"]
    with pytest.raises(InvalidInput, match=r"no candidate is called 'topk\*'") as refused:
        chosen((SERVED, other), "topk*")
    assert refused.value.hint == "there are: served, top_k=1"


# What a run would do


def lines(bill: Bill) -> dict[str, tuple[int, int, int | None]]:
    return {line.what: (line.most, line.distinct, line.known) for line in bill.lines}


def test_the_plan_of_a_grid_says_what_is_shared_and_what_is_done(harness: Harness) -> None:
    grid = [small(chunk_tokens=tokens, top_k=k) for tokens in (64, 192) for k in (3, 5)]
    confident = small(chunk_tokens=64, top_k=3, min_confidence=0.1)
    first = harness.plan(*grid, confident)
    assert (first.candidates, first.questions, first.seconds) == (5, N, None)
    assert lines(first) == {
        "indexes": (5, 2, 0),
        "searches": (5 * N, 2 * N, None),
        "answers generated": (5 * N, 4 * N, None),  # min_confidence changes no answer
        "questions asked": (5 * N, 4 * N, 0),  # and shares the samples on one side of it
    }
    assert not (harness.root / "handbook-eval").exists()
    harness.run(*grid[:2])
    half = harness.plan(*grid, confident)
    assert lines(half)["indexes"] == (5, 2, 1)
    assert lines(half)["questions asked"] == (5 * N, 4 * N, 2 * N)
    assert half.seconds is not None
    assert half.seconds > 0
    harness.run(*grid, confident)
    done = harness.plan(*grid, confident)
    assert lines(done)["indexes"] == (5, 2, 2)
    assert lines(done)["questions asked"] == (5 * N, 4 * N, 4 * N)
    assert done.seconds == 0
    assert lines(harness.plan(*grid, only="chunk_tokens=64,*"))["indexes"] == (2, 1, 1)


def test_a_plan_of_served_releases_builds_no_index(harness: Harness) -> None:
    bill = harness.plan(SERVED, replace(SERVED, name="other", given={"top_k": 1}))
    assert lines(bill) == {
        "indexes": (0, 0, 0),
        "searches": (2 * N, N, None),
        "answers generated": (2 * N, 2 * N, None),
        "questions asked": (2 * N, 2 * N, 0),
    }
