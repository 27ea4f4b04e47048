"""What is said of a question set before anything is spent on it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from eval.cli.lint import lint as lint_command
from eval.duplicates import duplicates, similar
from eval.findings import Finding
from eval.lint import faults, lint
from eval.questions import EvalQuestion, GoldPlace, QuestionSet
from eval.questions.question import question_set
from tests.eval.cut_documents import CutDocuments

TOWER = "The Eiffel Tower stands in Paris. It was finished in 1889. It is 330 metres tall."
NAMES = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "knoll", "ledge"]


def _set(questions: Sequence[EvalQuestion], **fields: Any) -> QuestionSet:
    placed = ((f"set.jsonl:{number}", question) for number, question in enumerate(questions, start=1))
    return question_set("set.jsonl", "native", placed, **fields)


def _sound(n: int = 120) -> list[EvalQuestion]:
    """Nothing is wrong with them: of twelve documents, a third unanswerable."""
    return [
        EvalQuestion(
            f"q{number}",
            f"Which {NAMES[number % 12]} number {number} of {NAMES[number // 12]} was painted?",
            () if number % 3 == 0 else (f"answer{number}",),
            {f"page-{number % 12}.md": 1},
            number % 3 != 0,
        )
        for number in range(n)
    ]


def _found(questions: Sequence[EvalQuestion], **given: Any) -> list[Finding]:
    """Beside what is said of the set as a whole."""
    return [finding for finding in lint(_set(questions), **given) if finding.question is not None]


def _codes(questions: Sequence[EvalQuestion], **given: Any) -> list[str]:
    return [finding.code for finding in lint(_set(questions), **given)]


def test_nothing_is_said_of_a_sound_set() -> None:
    documents = {f"page-{number}.md": " ".join(f"answer{n}" for n in range(120)) for number in range(12)}
    chunks = CutDocuments(documents, size=100)
    assert lint(_set(_sound()), chunks=chunks, index="little", templates={"answer/1": "Answer."}, test_share=0.0) == []  # type: ignore[arg-type]


# Duplicates


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("Where does the tower stand?", "where does the Tower stand", [True]),
        ("What is the height of the old tower?", "What is the height of that old tower?", [False]),
        ("What is the height of the old tower?", "What height is the old tower of?", [False]),
        ("When was the old tower in the town built?", "When was the old bridge in the town built?", []),
        ("When was the tall tower in the old part of town built?", "When was the wide tower in the old part of town built?", [False]),
        ("When was the tall tower in the old part of Paris built?", "When was the tall tower in the old part of Rome built?", []),
        ("What did the people of the old town build in 1889?", "What did the people of the old town build in 1890?", []),
        ("Which of the old towers of the town are open?", "Which of the old towers of the town are not open?", []),
        ("Which of the old towers of the town were open?", "Which of the old towers of the town weren't open?", []),
        ("When did the people of the old town build it?", "Why did the people of the old town build it?", []),
        ("¿Dónde está la torre?", "dónde esta la torre", [True]),
        ("塔はどこにありますか", "塔はどこにありますか？", [True]),
    ],
)
def test_questions_that_ask_the_same_are_found_and_those_that_differ_in_what_matters_are_not(
    one: str, other: str, found: list[bool]
) -> None:
    assert [pair.same for pair in duplicates([EvalQuestion("a", one), EvalQuestion("b", other)])] == found


def test_questions_with_other_answers_are_not_nearly_the_same() -> None:
    one, other = "What is the height of the old tower?", "What is the height of that old tower?"
    pair = [EvalQuestion("a", one, ("330 m",)), EvalQuestion("b", other, ("The 330 m.",))]
    assert len(duplicates(pair)) == 1
    assert duplicates([pair[0], EvalQuestion("b", other, ("20 m",))]) == []
    assert duplicates([EvalQuestion("a", one, answerable=True), EvalQuestion("b", other, answerable=False)]) == []


@given(st.lists(st.frozensets(st.sampled_from("abcdefghij")), max_size=12), st.sampled_from([0.3, 0.5, 0.6, 0.75, 0.8, 1.0]))
def test_similar_sets_are_those_that_comparing_every_two_would_find(sets: list[frozenset[str]], least: float) -> None:
    every = {
        (first, second)
        for (first, one), (second, other) in combinations(enumerate(sets), 2)
        if one and other and len(one & other) / len(one | other) >= least - 1e-12
    }
    assert set(similar(sets, least)) == every


def test_a_question_that_is_asked_twice_is_a_warning_and_in_both_parts_an_error() -> None:
    one = EvalQuestion("a", "Where does the tower stand?", ("Paris",), group="one")
    other = EvalQuestion("b", "Where does the tower stand?", ("In Paris",), group="two")
    [warning] = _found([one, other])
    assert (warning.severity, warning.code, warning.place, warning.question) == ("warning", "same_question", "set.jsonl:2", "b")
    assert "question 'b' is the same as 'a'" in warning.message
    for first, second in (("dev", "test"), ("test", "dev")):
        [leak] = _found([replace(one, split=first), replace(other, split=second)])  # type: ignore[arg-type]
        assert (leak.severity, leak.code) == ("error", "in_both_parts")
        assert f"in the {first} part, and this in {second}" in leak.message


def test_a_cluster_that_is_in_both_parts_is_one_error() -> None:
    names = ("dev", "test", "test")
    questions = [EvalQuestion(str(n), f"Question {n}?", ("x",), group="page", split=s) for n, s in enumerate(names)]  # type: ignore[arg-type]
    [leak] = _found(questions)
    assert (leak.severity, leak.code, leak.question) == ("error", "in_both_parts", "1")
    assert "'page'" in leak.message


# Gold


def _in_tower(*places: GoldPlace, **fields: Any) -> list[Finding]:
    question = EvalQuestion("a", "Where is it?", places=(places,) if places else (), **fields)
    chunks = CutDocuments({"tower.md": TOWER}, size=30)
    return _found([question], chunks=chunks, index="little")


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        (_in_tower(GoldPlace("tower.md", quote="in London"), GoldPlace("tower.md")), "its quote does not stand in 'tower.md'"),
        (_in_tower(GoldPlace("bridge.md")), "there is no document 'bridge.md'"),
        (_in_tower(GoldPlace("tower.md", start=0, end=900)), "'tower.md' has no text there"),
        (_in_tower(GoldPlace("tower.md"), relevant={"bridge.md": 1, "tower.md": 1}), "there is no document 'bridge.md'"),
        (_in_tower(GoldPlace("tower.md"), gold_texts=("Foreign.",)), "its paragraph stands in no document of the index"),
    ],
)
def test_gold_that_the_index_does_not_have_is_an_error_that_says_what_is_missing(findings: list[Finding], message: str) -> None:
    [finding] = [one for one in findings if one.severity == "error"]
    assert (finding.code, finding.place, finding.question) == ("gold_not_found", "set.jsonl:1", "a")
    assert finding.message == f"gold of 'a' is not in index 'little': {message}"


def test_of_an_index_without_a_document_everything_is_missing() -> None:
    question = EvalQuestion("a", "Where is it?", ("Paris",), {"tower.md": 1}, True)
    assert [finding.code for finding in _found([question], chunks=CutDocuments({}), index="empty")] == ["gold_not_found"]


def test_gold_that_is_there_is_not_spoken_of() -> None:
    assert _in_tower(GoldPlace("tower.md", quote="stands in Paris"), answers=("Paris",), answerable=True) == []


def test_a_quote_that_moved_or_stands_everywhere_is_a_warning() -> None:
    [moved] = _in_tower(GoldPlace("tower.md", start=3, end=18, quote="stands in Paris"))
    assert (moved.severity, moved.code) == ("warning", "quote_moved")
    assert f"but at {TOWER.index('stands')}" in moved.message
    chunks = CutDocuments({"d": "No. " * 4})
    question = EvalQuestion("a", "Is it?", places=((GoldPlace("d", quote="No."),),))
    [ambiguous] = _found([question], chunks=chunks, index="little")
    assert (ambiguous.severity, ambiguous.code) == ("warning", "quote_ambiguous")
    assert "4 places" in ambiguous.message
    assert _found([question], chunks=CutDocuments({"d": "No. " * 3}), index="little") == []


def test_a_corpus_that_has_changed_is_said_once() -> None:
    questions = [EvalQuestion(str(n), f"Question {n}?", places=((GoldPlace("tower.md", start=3, end=18, quote=quote),),)) for n, quote in
                 enumerate(["stands in Paris", "finished in 1889", "330 metres tall"])]  # fmt: skip
    chunks = CutDocuments({"tower.md": TOWER})
    codes = _codes(questions, chunks=chunks, index="little")
    assert (codes.count("corpus_changed"), codes.count("quote_moved")) == (1, 3)


def test_an_answer_that_stands_neither_in_its_gold_nor_near_it_is_a_warning() -> None:
    far = f"{TOWER} {'word ' * 100}London."
    chunks = CutDocuments({"tower.md": far})
    place = ((GoldPlace("tower.md", quote="stands in Paris"),),)
    for answers, expected in (
        (("Paris",), []),
        (("1889",), []),  # near it
        (("London",), ["answer_not_in_gold"]),
        (("London", "Paris"), []),
        (("a sentence in many more words than any document would hold in this order",), []),
    ):
        question = EvalQuestion("a", "Where is it?", answers, answerable=True, places=place)
        assert [finding.code for finding in _found([question], chunks=chunks, index="little")] == expected
    facts = EvalQuestion("a", "Where is it?", answerable=True, places=place, facts=(("Paris", "London"), ("Rome",)))
    [finding] = _found([facts], chunks=chunks, index="little")
    assert "'Rome'" in finding.message


def test_without_an_index_answers_are_looked_for_in_paragraphs_alone() -> None:
    assert _codes(_sound()[:1]) != []
    paragraph = EvalQuestion("a", "Where is it?", ("London",), answerable=True, gold_texts=(TOWER,))
    assert [finding.code for finding in _found([paragraph])] == ["answer_not_in_gold"]
    assert _found([EvalQuestion("a", "Where is it?", ("Eiffel’s",), answerable=True, gold_texts=("“Eiffel's”",))]) == []
    by_quote = EvalQuestion("a", "Where is it?", ("London",), answerable=True, places=((GoldPlace("tower.md", quote="Paris"),),))
    assert _found([by_quote]) == []


# Leaks


def test_an_answer_that_stands_in_its_question_is_a_warning() -> None:
    [leak] = _found([EvalQuestion("a", "Does the tower of Paris stand in Paris?", ("in Paris.",))])
    assert (leak.severity, leak.code) == ("warning", "answer_in_question")
    assert _found([EvalQuestion("a", "Where does the Parisian tower stand?", ("Paris",))]) == []


def test_a_question_that_a_prompt_gives_as_an_example_is_found() -> None:
    templates = {
        "answer/9": "Answer briefly.\nFor example: Where does the Eiffel Tower stand? In Paris.\nWhat is the height of the old tower?"
    }
    asked = ["where does the eiffel tower stand", "What is the height of that old tower?", "Who built it?", "Answer briefly."]
    questions = [EvalQuestion(str(number), text, ("x",)) for number, text in enumerate(asked)]
    found = _found(questions, templates=templates)
    assert [(finding.severity, finding.code, finding.question) for finding in found] == [
        ("error", "in_prompt", "0"),
        ("warning", "in_prompt", "1"),
    ]
    assert "answer/9" in found[0].message


# Sizes


def test_few_clusters_and_few_questions_are_warnings_for_each_part() -> None:
    """2.80 · √0.1 / √n is more than 0.1 up to 78 questions, and the share of answers that change is then all that can differ."""
    sound = _sound(120)
    assert [code for code in _codes(sound[:78]) if code in ("too_small", "few_clusters")] == ["too_small"]
    assert [code for code in _codes(sound[:79]) if code in ("too_small", "few_clusters")] == []
    nine = [question for number, question in enumerate(sound) if number % 12 < 9]
    assert [code for code in _codes(nine) if code in ("too_small", "few_clusters")] == ["few_clusters"]
    ten = [question for number, question in enumerate(sound) if number % 12 < 10]
    assert [code for code in _codes(ten) if code in ("too_small", "few_clusters")] == []
    divided = [finding.message for finding in lint(_set(sound), test_share=0.5) if finding.code == "few_clusters"]
    assert [message.split(" has ")[0] for message in divided] == ["the dev part", "the test part"]


def test_a_part_that_holds_nothing_is_an_error() -> None:
    [empty] = [finding for finding in lint(_set(_sound()), test_share=1.0) if finding.severity == "error"]
    assert (empty.code, empty.message) == ("too_small", "the dev part holds no question")


def test_a_cluster_of_more_than_half_of_the_questions_is_a_warning() -> None:
    half = [EvalQuestion(str(n), f"Question {n}?", ("x",), group="one" if n < 5 else f"other {n}") for n in range(10)]
    assert "large_cluster" not in _codes(half)
    assert "large_cluster" in _codes(half[:9])


def test_a_group_of_one_that_is_nearly_called_like_another_is_a_warning() -> None:
    groups = ["Normans", "Normans", "Normns", "Warsaw", "chapter 1", "chapter 1", "chapter 2"]
    questions = [EvalQuestion(str(n), f"Question {n}?", ("x",), group=group) for n, group in enumerate(groups)]
    [finding] = _found(questions)
    assert (finding.code, finding.question, finding.hint) == ("lone_group", "2", "did you mean 'Normans'?")


def test_a_set_of_one_kind_alone_is_a_warning() -> None:
    assert "no_unanswerable" in _codes([EvalQuestion("a", "Where?", ("x",), answerable=True)])
    assert "no_answerable" in _codes([EvalQuestion("a", "Where?", answerable=False)])
    both = _codes([EvalQuestion("a", "Where?", ("x",), answerable=True), EvalQuestion("b", "Who?", answerable=False)])
    assert not {"no_unanswerable", "no_answerable"} & set(both)


def test_a_question_of_which_nothing_is_known_and_queries_left_out_are_said() -> None:
    assert [finding.code for finding in _found([EvalQuestion("a", "Where?")])] == ["nothing_known"]
    left_out = lint(_set([EvalQuestion("a", "Where?", relevant={"d": 1})], left_out=7))
    assert [finding.message for finding in left_out if finding.code == "left_out"] == ["7 queries have no judgement and are not asked"]


def test_errors_come_first_and_then_the_order_of_the_set() -> None:
    questions = [
        EvalQuestion(f"q{n}", f"Is number {n} the answer {n}?", (str(n),), relevant={"tower.md" if n else "no.md": 1}) for n in (2, 1, 0)
    ]
    chunks = CutDocuments({"tower.md": "0 1 2"})
    found = [(finding.severity, finding.question) for finding in _found(questions, chunks=chunks, index="little")]
    assert found == [("error", "q0"), ("warning", "q2"), ("warning", "q1"), ("warning", "q0")]


# Rows and the command


def test_every_row_that_cannot_be_read_is_found_and_not_the_first_alone() -> None:
    rows = ['{"id": "a", "question": "q"}', "[", '{"id": "a", "question": "r"}', '{"id": "b", "question": "q", "answer": ["x"]}', "",
            '{"id": "c", "question": " "}']  # fmt: skip
    found = faults("\n".join(rows), Path("set.jsonl"))
    assert [(finding.severity, finding.code, finding.place) for finding in found] == [
        ("error", "invalid_row", f"set.jsonl:{line}") for line in (2, 3, 4, 6)
    ]
    assert found[1].message == "the id 'a' is already that of set.jsonl:1"
    assert found[2].hint == "did you mean 'answers'?"


app = typer.Typer()
app.command("lint")(lint_command)


@app.command()
def other() -> None:
    """So that `lint` is a command of its own."""


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["lint", *map(str, arguments)])


def test_the_command_fits_80_columns_and_ends_in_an_error_only_for_errors(question_file: Callable[[str], Path]) -> None:
    rows = [{"id": f"question-{n}", "question": f"Is it {n}?", "answers": [str(n)]} for n in range(9)]
    path = question_file("\n".join(map(json.dumps, rows)))
    ran = _run(path)
    assert ran.exit_code == 0, ran.output
    assert "9 questions, 9 answerable, 0 unanswerable, 9 clusters" in ran.stdout
    assert "and 4 more of the kind answer_in_question" in ran.stdout
    assert "0 errors, 12 warnings in questions.jsonl" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    wrong = _run(question_file("[\n{"))
    assert wrong.exit_code == 1
    assert "2 errors, 0 warnings in questions.jsonl" in wrong.stdout
    assert "questions.jsonl:2" in wrong.stdout


def test_the_command_gives_all_findings_as_json(question_file: Callable[[str], Path]) -> None:
    path = question_file('{"id": "a", "question": "Is it x?", "answers": ["x"]}\n')
    shown = json.loads(_run(path, "--json").stdout)
    assert (shown["errors"], shown["warnings"]) == (0, len(shown["findings"]))
    [leak] = [finding for finding in shown["findings"] if finding["code"] == "answer_in_question"]
    assert leak == {
        "severity": "warning",
        "code": "answer_in_question",
        "place": "questions.jsonl:1",
        "message": "question 'a' holds its answer 'x': whoever repeats it is right",
        "hint": "ask so that the answer must be found",
        "question": "a",
    }


def test_the_command_names_what_it_cannot_open(question_file: Callable[[str], Path], tmp_path: Path) -> None:
    assert "there is no file" in _run(tmp_path / "nowhere.jsonl").stderr
    ran = _run(question_file('{"id": "a", "question": "q"}'), "--name", "nowhere", "--indexes", tmp_path)
    assert ran.exit_code == 1
    assert "there is no index 'nowhere'" in ran.stderr


def test_nothing_is_wrong_with_the_bundled_questions() -> None:
    ran = _run()
    assert ran.exit_code == 0
    assert "nothing wrong in docs.jsonl" in ran.stdout
