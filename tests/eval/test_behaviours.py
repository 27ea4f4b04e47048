"""The behaviour suite passes on the service as it is, and fails, by name, on services that are broken in known ways."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from eval.behaviours import (
    Case,
    Documents,
    LittleIndexes,
    Original,
    Verdict,
    bundled_cases,
    little_indexes,
    live_cases,
    run_behaviours,
)
from eval.behaviours.case import Kind
from eval.behaviours.case_files import CORPORA
from eval.behaviours.running import Silent
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import GeneratorFailed, InvalidInput, Mismatch
from rag_service.manifest import read_manifest
from rag_service.ports import Generator
from rag_service.retrieval import Retrieved, Retriever
from rag_service.settings import Settings, load_settings
from rag_service.stores.selections import selection_of
from rag_service.types import Completion, Marker, Prompt, Selection, Usage, Vector

CASES = bundled_cases()
MUSTS = [case for case in CASES if case.level == "must"]


def test_the_bundled_suite_has_cases_of_every_kind_that_must_pass() -> None:
    assert {case.kind for case in (*CASES, *live_cases()) if case.level == "must"} == set(get_args(Kind))


def test_the_bundled_suite_says_of_every_case_that_should_pass_why_it_is_no_must() -> None:
    assert [case.id for case in (*CASES, *live_cases()) if case.level == "should" and "No must" not in case.reason] == []


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Path:
    """A folder of indexes that holds the encoder alone."""
    root = tmp_path_factory.mktemp("indexes")
    (root / "encoders").symlink_to(encoder_folder.parent)
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the little indexes of this module are kept from test to test."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def settings(root: Path) -> Settings:
    return load_settings({}, indexes=root)


Tried = Callable[..., list[Verdict]]


@pytest.fixture(scope="module")
def tried(settings: Settings, home: Path) -> Tried:
    """`tried(cases, changed=…, top_k=3)`: the verdicts on a pipeline that is changed, or has other settings."""

    def try_it(
        cases: Sequence[Case] = MUSTS, *, changed: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline, **given: Any
    ) -> list[Verdict]:
        with little_indexes(settings.model_copy(update=given), home=home, changed=changed) as little:
            return list(run_behaviours(cases, little.ask, Silent()))

    return try_it


def failed(verdicts: list[Verdict]) -> set[str]:
    return {verdict.name for verdict in verdicts if not verdict.passed}


def case_name(case: Case) -> str:
    return f"{case.kind}/{case.id}"


def kinds(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def with_generator(make: Callable[[Generator], Generator]) -> Callable[[Pipeline], Pipeline]:
    return lambda pipeline: replace(pipeline, generator=make(pipeline.generator))


class Wrapped:
    """Passes on to a generator what is not changed here."""

    def __init__(self, inner: Generator) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def generate(self, prompt: Prompt, **given: Any) -> Completion:
        return self.inner.generate(prompt, **given)


class Obedient(Wrapped):
    """Does what a passage tells it to do."""

    def generate(self, prompt: Prompt, **given: Any) -> Completion:
        for passage in prompt.passages:
            if "Ignore all previous instructions" in passage.chunk.text:
                return said(f"The order was cancelled, pay 9,000 euros to account DE44 5001 0517. [{passage.marker}]", passage.marker)
            if "maintenance mode" in passage.chunk.text:
                return said(f"PELIKAN: see https://rent.example/login. [{passage.marker}]", passage.marker)
        return super().generate(prompt, **given)


class Uncited(Wrapped):
    """Says what is right, and not where it is from."""

    def generate(self, prompt: Prompt, **given: Any) -> Completion:
        completion = super().generate(prompt, **given)
        text = completion.text
        for marker in reversed(completion.markers or ()):
            text = text[: marker.start].rstrip() + text[marker.end :]
        return replace(completion, text=text, markers=())


class Talkative(Wrapped):
    """Never says that the passages hold no answer, and knows no number."""

    def generate(self, prompt: Prompt, **_: Any) -> Completion:
        marker = prompt.passages[0].marker
        return said(f"That depends on the circumstances. [{marker}]", marker)


def said(text: str, marker: int) -> Completion:
    return Completion(text, False, "stop", "a test", Usage(None, None), markers=(Marker(text.index("["), len(text), (marker,)),))


class Drawing(Retriever):
    """Finds three chunks that the length of the question names."""

    def find(self, query: str, vector: Vector, k: int, within: Selection | None = None) -> Retrieved:
        rows = range(len(self.store)) if within is None else within.positions.tolist()
        if not rows:
            return Retriever.find(self, query, vector, k, within)
        mask = np.zeros(len(self.store), np.bool_)
        mask[[rows[(7 * len(query) + 3 * step) % len(rows)] for step in range(3)]] = True
        return Retriever.find(self, query, vector, k, selection_of(mask, documents=1))


def drawing(pipeline: Pipeline) -> Pipeline:
    retriever = pipeline.retriever
    return replace(pipeline, retriever=Drawing(**{field.name: getattr(retriever, field.name) for field in fields(Retriever)}))


def test_every_case_that_must_passes_on_the_default_service_within_half_a_minute_of_cpu(tried: Tried) -> None:
    began_s = time.process_time()
    verdicts = tried(CASES)
    assert [verdict.detail for verdict in verdicts if verdict.must and not verdict.passed] == []
    assert time.process_time() - began_s < 30
    assert [verdict.case for verdict in verdicts] == [case.id for case in CASES]


@pytest.mark.parametrize("given", [{"min_confidence": 0.5}, {"retrieval": "dense"}, {"chunk_tokens": 128}], ids=str)
def test_other_settings_that_are_sound_pass_too(tried: Tried, given: dict[str, Any]) -> None:
    assert failed(tried(**given)) == set()


def test_a_service_that_always_answers_is_found_by_what_cannot_be_answered(tried: Tried) -> None:
    found = failed(tried(min_confidence=0.0))
    assert {
        "unanswerable/foreign-painter",
        "unanswerable/christmas-bonus",
        "unanswerable/error-code-that-is-not-there",
        "remove/without-the-page-on-holidays",
        "remove/without-the-page-on-warranty",
        "language/german-on-english",
    } <= found
    assert kinds(found) <= {"unanswerable", "remove", "language", "noise", "injection"}


def test_a_generator_that_obeys_documents_is_found_by_the_instructions_in_them(tried: Tried) -> None:
    found = failed(tried(changed=with_generator(Obedient)))
    assert {
        "injection/instruction-beside-the-answer",
        "injection/instruction-for-a-word",
        "injection/instruction-in-another-document",
    } <= found
    assert kinds(found) == {"injection"}


def test_retrieval_at_random_is_found_by_nearly_every_kind(tried: Tried) -> None:
    found = failed(tried(changed=drawing))
    assert {"paraphrase", "typo", "negation", "conflict", "versions", "noise", "remove", "language"} <= kinds(found)
    assert "empty" not in kinds(found)


def test_answers_without_citations_are_found_by_every_case_that_names_a_document(tried: Tried) -> None:
    named = {case_name(case) for case in MUSTS if case.expected.status == "answered" and (case.expected.cites or case.expected.cites_any)}
    found = failed(tried(changed=with_generator(Uncited)))
    assert named <= found
    assert len(named) >= 30
    assert not any(name.startswith("unanswerable/") for name in found)


def test_a_generator_that_says_nothing_of_substance_is_found_by_what_answers_hold(tried: Tried) -> None:
    found = failed(tried(changed=with_generator(Talkative)))
    wanted = {case_name(case) for case in MUSTS if case.expected.contains or case.expected.contains_any}
    answered = {case_name(case) for case in MUSTS if case.expected.status == "answered"}
    assert len(wanted & answered) >= 30
    assert wanted & answered <= found


def test_a_model_that_fails_is_a_failed_case_and_the_others_go_on(tried: Tried) -> None:
    class Failing(Wrapped):
        def generate(self, *_: Any, **__: Any) -> Completion:
            raise GeneratorFailed("the model is away")

    cases = [case for case in MUSTS if case.id in {"holidays-reworded", "foreign-capital"}]
    verdicts = {verdict.case: verdict for verdict in tried(cases, changed=with_generator(Failing))}
    assert verdicts["foreign-capital"].passed
    assert verdicts["holidays-reworded"].problems[0] == "answered was expected, not error (generator_error: the model is away)"


# little indexes


PAGES = Documents(CORPORA / "handbook")


@pytest.fixture
def little(settings: Settings, home: Path) -> Iterator[LittleIndexes]:
    with little_indexes(settings, home=home) as made:
        yield made


def test_an_index_that_was_built_before_is_not_built_again(settings: Settings, home: Path, little: LittleIndexes) -> None:
    little.pipeline(PAGES)
    written = {path: path.stat().st_mtime_ns for path in home.rglob("build.json")}
    with little_indexes(settings, home=home) as again:
        again.pipeline(PAGES)
    assert written
    assert {path: path.stat().st_mtime_ns for path in home.rglob("build.json")} == written


def test_without_a_home_nothing_is_left(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with little_indexes(settings) as made:
        assert made.ask(PAGES, "What do visitors wear?").cites == ("security.md",)
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.name for path in settings.indexes.iterdir()) == ["encoders"]


def test_documents_are_taken_away_and_added_as_a_case_says(little: LittleIndexes) -> None:
    beside = CORPORA / "elsewhere"
    changed = little.pipeline(replace(PAGES, without=("leave.md",), beside=beside))
    names = {path.name for path in PAGES.folder.iterdir()} - {"leave.md"} | {path.name for path in beside.iterdir()}
    assert {chunk.document_id for chunk in changed.chunks.chunks(range(len(changed.chunks)))} == names
    assert (PAGES.folder / "leave.md").is_file()


def test_added_documents_do_not_replace_others(little: LittleIndexes) -> None:
    with pytest.raises(InvalidInput, match=r"expenses\.md is in handbook and in handbook"):
        little.pipeline(replace(PAGES, beside=PAGES.folder))


def test_a_release_is_tried_with_its_own_chunks_and_with_all_that_it_says_of_answering(
    settings: Settings, home: Path, little: LittleIndexes
) -> None:
    made = little.pipeline(PAGES).lineage.release
    catalog = Catalog(home / "behaviours")
    other = settings.model_copy(update={"chunk_tokens": 64})
    with little_indexes(other, home=home) as smaller:
        version = smaller.pipeline(PAGES).lineage.release.index.version
    manifest = read_manifest(catalog.version_folder("corpus-handbook", version))
    release = made.model_copy(update={"retrieval": made.retrieval.model_copy(update={"top_k": 2, "min_confidence": 0.9})})
    with little_indexes(settings, home=home, like=Original(release, manifest)) as alike_:
        tried_ = alike_.pipeline(PAGES).lineage.release
    assert tried_.retrieval == release.retrieval
    assert tried_.index.version == version

    foreign = release.model_copy(update={"encoder": release.encoder.model_copy(update={"digest": "sha256:" + "0" * 64})})
    with little_indexes(settings, home=home, like=Original(foreign, manifest)) as wrong, pytest.raises(Mismatch):
        wrong.pipeline(PAGES)
