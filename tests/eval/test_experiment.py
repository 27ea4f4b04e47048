"""What is compared with what, as a file says it: every mistake is named with its line, and what was meant."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.candidate import BUILD_FIELDS, CANDIDATE_FIELDS, Candidate, candidate_of_file, changed
from eval.experiment import MOST_CANDIDATES, Experiment, read_experiment
from rag_service.errors import InvalidInput, InvalidSettings, NotFound, RagError
from rag_service.settings import Settings, load_settings

Read = Callable[..., Experiment]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read("questions: q.jsonl…", base="top_k = 4\\n")` reads an eval.yaml beside which base.toml lies."""

    def write_and_read(text: str, **files: str) -> Experiment:
        for name, content in files.items():
            (tmp_path / f"{name}.toml").write_text(content, "utf-8")
        (tmp_path / "eval.yaml").write_text(text, "utf-8")
        return read_experiment(tmp_path / "eval.yaml")

    return write_and_read


def test_a_file_becomes_an_experiment_and_paths_are_relative_to_it(read: Read, tmp_path: Path) -> None:
    found = read(
        "questions: {path: sets/q.jsonl, split: dev}\ncorpus: documents/*.md\nname: handbook\ncandidates:\n  base: base.toml\n"
        "  small: {from: base, chunk_tokens: 96}\n  now: {from: served}\nsplits: {test: 0.3, seed: 11}\npart: dev\n"
        "bounds: [oracle, exact_index]\ndepth: 50\ntimeout_s: 5\nlimit: 20\nanswers: false\ntiming: 4\njobs: 2\n",
        base="top_k = 4\n",
    )
    base, small, now = found.candidates
    assert found == Experiment(
        questions=tmp_path / "sets" / "q.jsonl",
        split="dev",
        corpus=str(tmp_path / "documents" / "*.md"),
        name="handbook",
        candidates=(base, small, now),
        part="dev",
        test_share=0.3,
        seed=11,
        bounds=("oracle", "exact_index"),
        depth=50,
        timeout_s=5.0,
        limit=20,
        answers=False,
        timing=4,
        jobs=2,
    )
    assert (base.name, base.origin, base.given, base.served) == ("base", str(tmp_path / "base.toml"), {"top_k": 4}, False)
    assert (small.name, small.origin, small.given) == ("small", "eval.yaml:6", {"top_k": 4, "chunk_tokens": 96})
    assert (now.given, now.served) == ({}, True)


def test_what_is_left_out_has_a_default(read: Read) -> None:
    found = read("questions: q.jsonl\ncandidates: {now: {from: served}}\n")
    assert found == Experiment(questions=found.questions, candidates=(Candidate("now", "eval.yaml:2", served=True),))


def test_a_grid_is_every_combination_that_is_not_excluded_and_the_last_axis_turns_first(read: Read) -> None:
    found = read(
        "questions: q.jsonl\ncorpus: d\ncandidates: {base: base.toml}\n"
        "grid:\n  from: base\n  axes: {chunk_tokens: [96, 192], top_k: [3, 5]}\n  exclude: [{chunk_tokens: 96, top_k: 3}]\n",
        base="per_document = 2\n",
    )
    assert [candidate.name for candidate in found.candidates] == [
        "base", "chunk_tokens=96,top_k=5", "chunk_tokens=192,top_k=3", "chunk_tokens=192,top_k=5",
    ]  # fmt: skip
    assert found.candidates[1].given == {"per_document": 2, "chunk_tokens": 96, "top_k": 5}
    assert found.candidates[1].origin == "eval.yaml:4"


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_grid_has_as_many_candidates_as_the_product_of_its_axes(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    axes = dict(zip(("top_k", "per_document", "rerank_depth"), ([*range(1, size + 1)] for size in sizes), strict=False))
    path = tmp_path_factory.mktemp("grid") / "eval.yaml"
    path.write_text(f"questions: q.jsonl\ncorpus: d\ngrid: {{axes: {axes}}}\n", "utf-8")
    names = [candidate.name for candidate in read_experiment(path).candidates]
    assert len(set(names)) == len(names) == math.prod(sizes)


HEAD = "questions: q.jsonl\ncorpus: d\n"


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("question: q.jsonl\n", "eval.yaml:1: there is no key 'question'", "did you mean 'questions'?"),
        (HEAD + "candidats: {a: {from: defaults}}\n", "eval.yaml:3: there is no key 'candidats'", "did you mean 'candidates'?"),
        (HEAD + "candidates:\n  a:\n    topk: 3\n", "eval.yaml:5: there is no setting 'topk'", "did you mean 'top_k'?"),
        (HEAD + "candidates:\n  a: {form: served}\n", "eval.yaml:4: there is no setting 'form'", "did you mean 'from'?"),
        (HEAD + "candidates:\n  a: {docs: no}\n", "eval.yaml:4: there is no setting 'docs' that can change", "settings here are"),
        (HEAD + "candidates:\n  base: {}\n  a: {from: bse}\n", "eval.yaml:5: there is no candidate 'bse' before", "did you mean 'base'?"),
        (HEAD + "candidates:\n  a: {from: b}\n  b: {}\n", "eval.yaml:4: there is no candidate 'b'", "served; a file ends in .toml"),
        (HEAD + "candidates:\n  a: missing.toml\n", "eval.yaml:4: there is no file", "relative to the file that names them"),
        (HEAD + "candidates:\n  a: {}\n  a: {top_k: 3}\n", "eval.yaml:5: the key 'a' stands in line 4 already", "delete one"),
        (HEAD + "candidates:\n  a:\n", "eval.yaml:4: candidates.a: nothing stands after the colon", "write a value"),
        (HEAD + "candidates:\n  a: {top_k: 0}\n", "top_k in eval.yaml:4 is 0", "Passages that reach the generator"),
        (HEAD + "candidates:\n  a: {trivial: echo}\n", "eval.yaml:4: candidates.a.trivial", ""),
        (HEAD + "candidates: {a: {}}\npart: tset\n", "eval.yaml:4: part:", ""),
        (HEAD + "candidates: {a: {}}\nbounds: [oracel]\n", "eval.yaml:4: bounds", ""),
        (HEAD + "candidates: {a: {}}\ndepth: 5\n", "eval.yaml:4: depth", ""),
        (HEAD + "candidates: {a: {}}\nsplits: {test: 2}\n", "eval.yaml:4: splits.test", ""),
        (HEAD, "eval.yaml: there is no candidate", "{base: {from: defaults}}"),
        ("questions: q.jsonl\ncandidates:\n  a: {}\n", "eval.yaml: the candidate 'a' needs an index, and no corpus", "write corpus:"),
        ("corpus: d\ncandidates: {a: {}}\n", "'questions' is missing", "write it: questions: …"),
        (HEAD + "grid: {axes: {top: [3]}}\n", "eval.yaml:3: there is no setting 'top'", "did you mean 'top_k'?"),
        (HEAD + "grid: {axes: {top_k: []}}\n", "eval.yaml:3: grid.axes.top_k", ""),
        (HEAD + "grid:\n  axes: {top_k: [3]}\n  exclude: [{topk: 3}]\n", "eval.yaml:5: 'topk' is no axis", "did you mean 'top_k'?"),
        (HEAD + "grid: {axes: {top_k: [3, 99]}}\n", "top_k in eval.yaml:3 is 99", ""),
        (HEAD + "grid: {axes: {top_k: [3, 3]}}\n", "eval.yaml:3: there are two candidates 'top_k=3'", "delete"),
        (HEAD + "candidates: {top_k=3: {}}\ngrid: {axes: {top_k: [3]}}\n", "eval.yaml:4: there are two candidates 'top_k=3'", "delete"),
        (HEAD + "grid: {axes: {top_k: [3]}, exclude: [{top_k: 3}]}\n", "eval.yaml: there is no candidate", ""),
        (HEAD + "candidates: [\n", "eval.yaml:", "this is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said_with_its_line_and_what_was_meant(read: Read, text: str, says: str, hint: str) -> None:
    with pytest.raises(RagError) as refused:
        read(text)
    assert isinstance(refused.value, InvalidInput | InvalidSettings)
    assert says in refused.value.message
    assert hint in f"{refused.value.message} {refused.value.hint}"


def test_a_grid_that_nobody_could_mean_is_refused_before_it_is_made(read: Read) -> None:
    axes = {"top_k": [*range(1, 51)], "per_document": [*range(1, 51)]}
    with pytest.raises(InvalidInput, match=f"2,500 candidates, at most {MOST_CANDIDATES:,}"):
        read(HEAD + f"grid: {{axes: {axes}}}\n")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"eval\.yaml"):
        read_experiment(tmp_path / "eval.yaml")


@pytest.mark.parametrize("setting", BUILD_FIELDS)
def test_a_setting_that_decides_the_index_is_refused_for_the_served_release(setting: str) -> None:
    value = getattr(Settings(), setting)
    candidate = Candidate("now", "eval.yaml:4", {setting: value}, served=True)
    with pytest.raises(InvalidSettings, match=f"eval.yaml:4: {setting} decides how an index is built") as refused:
        candidate.check()
    assert "corpus" in refused.value.hint


def test_a_grid_over_the_served_release_can_vary_how_it_answers_and_not_its_index(read: Read) -> None:
    answering = read("questions: q\ngrid: {from: served, axes: {top_k: [3, 5]}}\n")
    assert [(candidate.served, candidate.given) for candidate in answering.candidates] == [(True, {"top_k": 3}), (True, {"top_k": 5})]
    with pytest.raises(InvalidSettings, match=r"eval\.yaml:2: chunk_tokens decides how an index is built"):
        read("questions: q\ngrid: {from: served, axes: {chunk_tokens: [96]}}\n")


def test_a_candidate_of_a_file_has_the_settings_that_the_service_reads_from_it(tmp_path: Path) -> None:
    path = tmp_path / "candidate.toml"
    path.write_text('top_k = 7\nlanguages = ["en", "de"]\nseed = "none"\nport = 9000\nname = "other"\ntimeout_s = 12\n', "utf-8")
    mine, services = candidate_of_file(path).settings(tmp_path), load_settings({"RAG_CONFIG": str(path)}, indexes=tmp_path)
    assert {name: getattr(mine, name) for name in CANDIDATE_FIELDS} == {name: getattr(services, name) for name in CANDIDATE_FIELDS}
    assert (mine.top_k, mine.seed, mine.port, mine.name) == (7, None, Settings().port, Settings().name)


def test_a_candidate_never_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_TOP_K", "9")
    assert Candidate("a", "a test").settings(tmp_path).top_k == Settings().top_k


@pytest.mark.parametrize(
    ("content", "says", "hint"),
    [
        ("topk = 3\n", "there is no setting topk in candidate.toml", "did you mean top_k?"),
        ("top_k = 0\n", "is 0", "Passages"),
        ("top_k =\n", "candidate.toml is not TOML", "top_k = 5"),
    ],
)
def test_a_settings_file_is_refused_as_the_service_refuses_it(tmp_path: Path, content: str, says: str, hint: str) -> None:
    path = tmp_path / "candidate.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(InvalidSettings) as refused:
        candidate_of_file(path)
    with pytest.raises(InvalidSettings) as service:
        load_settings({"RAG_CONFIG": str(path)})
    assert says in refused.value.message
    assert hint in refused.value.hint
    assert says in service.value.message


def test_what_changed_between_two_candidates_is_named_with_the_new_value() -> None:
    first = Candidate("a", "x", {"top_k": 5, "seed": None, "languages": ["en"], "per_document": 2})
    other = Candidate("b", "x", {"seed": 3, "languages": ["en", "de"], "per_document": 2}, served=True, trivial="echo_context")
    assert changed(first, other) == {"languages": "en,de", "seed": "3", "from": "served", "trivial": "echo_context"}
    assert changed(other, first) == {"languages": "en", "seed": "none", "from": "settings", "trivial": "no"}
    assert changed(first, first) == {}
