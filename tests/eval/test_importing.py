"""Questions of other tools and of the service's own records, as ours: what comes over, and what is said of the rest."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from eval.cli.importing import import_
from eval.importing import SOURCES, Source, import_questions, write_questions
from eval.questions import EvalQuestion, GoldPlace, read_questions
from eval.questions.cells import texts
from eval.questions.table import made_id
from rag_service.errors import Damaged, InvalidInput, NotFound
from rag_service.stored_record import entry_of
from tests.recorded import abstained, answer_id, cited, feedback, ledger_at, record

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str | object) -> Path:
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text), "utf-8")
        return path

    return written


def _imported(source: Source, *paths: Path, **given: Any) -> tuple[tuple[EvalQuestion, ...], Mapping[str, int]]:
    found = import_questions(source, paths, **given)
    return found.questions.questions, found.left_out


# Tables


def test_usual_columns_are_known_by_their_names(write: Write) -> None:
    path = write(
        "faq.csv",
        "ID,Query,Expected Answer,facts,document-id,answerable,tags,notes\n"
        'q1,"Where, then?",In Paris,"[""1889"", [""330 m"", ""330 metres""]]",tower.md,yes,"places\nparis",seen\n'
        "\n"
        ",,,,,,,\n"
        'q2,"Who?\nReally?",,,,no,,\n',
    )
    questions, left_out = _imported("csv", path)
    assert questions == (
        EvalQuestion(
            "q1", "Where, then?", ("In Paris",), {"tower.md": 1}, True, tags=("places", "paris"), facts=(("1889",), ("330 m", "330 metres"))
        ),
        EvalQuestion("q2", "Who?\nReally?", answerable=False),
    )
    assert left_out == {"column 'notes'": 1}


def test_columns_can_be_told_and_then_no_other_takes_their_place(write: Write) -> None:
    path = write("faq.tsv", "question\tFrage\tAntwort\tZitat\tSeite\nx\tWo?\tIn Paris\tsteht in Paris\tturm.md\n")
    told = {"Frage": "question", "Antwort": "answers", "Zitat": "quotes", "Seite": "relevant_ids"}
    [question], left_out = _imported("tsv", path, told=told)
    assert (question.question, question.answers) == ("Wo?", ("In Paris",))
    assert question.places == ((GoldPlace("turm.md", quote="steht in Paris"),),)
    assert left_out == {"column 'question'": 1}


def test_fields_of_objects_are_columns_too(write: Write) -> None:
    row = {
        "inputs": {"question": "Where?"},
        "expectations": {"expected_response": "Paris", "expected_facts": ["1889", ["a", "b"]]},
        "trace": 1,
    }
    told = {"inputs.question": "question", "expectations.expected_response": "answers", "expectations.expected_facts": "facts"}
    [question], left_out = _imported("jsonl", write("rows.jsonl", json.dumps(row) + "\n"), told=told)
    assert (question.question, question.answers, question.facts) == ("Where?", ("Paris",), (("1889",), ("a", "b")))
    assert left_out == {"column 'trace'": 1}


def test_a_row_without_an_id_keeps_the_one_made_of_its_question_when_others_come_before_it(write: Write) -> None:
    [first], _ = _imported("csv", write("one.csv", "question\nWhere?\n"))
    again, _ = _imported("csv", write("two.csv", "question\nWho?\nWhere?\nWhere?\n"))
    assert again[1].id == first.id
    assert again[2].id == f"{first.id}-2"
    assert made_id("Where?", {first.id}) == again[2].id


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        ("one", ["one"]),
        ('["one", "two"]', ["one", "two"]),
        ("['one', 'it\\'s']", ["one", "it's"]),
        ("[not a list", ["[not a list"]),
        ("[1] is cited", ["[1] is cited"]),
        ("", []),
        (None, []),
        (["a", None, " "], ["a"]),
        (7, ["7"]),
    ],
)
def test_a_cell_may_hold_a_list_as_json_or_python_writes_it(value: object, listed: list[str]) -> None:
    assert texts(value) == listed


@pytest.mark.parametrize("header", ["question;answers\nWhere?;Paris", "question\tanswers\nWhere?\tParis", "question|answers\nWhere?|Paris"])
def test_the_delimiter_of_a_csv_is_found_in_its_header(write: Write, header: str) -> None:
    [question], _ = _imported("csv", write("faq.csv", header))
    assert question.answers == ("Paris",)


@pytest.mark.parametrize(
    ("source", "name", "text", "told", "message", "hint"),
    [
        ("csv", "a.csv", "q,answer\nx,y\n", {}, r"a\.csv: no column is known to hold questions", "there are: q, answer"),
        ("csv", "a.csv", "question\nx\n", {"quetsion": "answers"}, r"a\.csv: there is no column 'quetsion'", "did you mean 'question'"),
        ("csv", "a.csv", "query\nx\n", {"query": "qestion"}, "there is no field 'qestion'", "did you mean 'question'"),
        ("csv", "a.csv", "query\nx\n", {"question": "query"}, "the column comes first", "write --map query=question"),
        ("csv", "a.csv", "question,answers\nx,y,z\n", {}, r"a\.csv:2: 3 cells under 2 column names", "in quotes"),
        ("csv", "a.csv", 'question\n"x\n', {}, r"a\.csv:2: not a row of a table", "double the quotation marks"),
        ("csv", "a.csv", "question,question\nx,y\n", {}, r"a\.csv:1: two columns are called 'question'", "its own name"),
        ("csv", "a.csv", "question,answers\n,y\n", {}, r"a\.csv:2: question .* is blank", "write the question"),
        ("csv", "a.csv", "question,answerable\nx,perhaps\n", {}, r"a\.csv:2: answerable: ", "a row looks like"),
        ("csv", "a.csv", "question\n", {}, r"a\.csv holds no question", "--help"),
        ("csv", "a.csv", "id,question\n1,x\n1,y\n", {}, r"a\.csv:3: the id '1' is already that of a\.csv:2", "its own id"),
        ("jsonl", "a.jsonl", '{"question": "x"}\n[]\n', {}, r"a\.jsonl:2: a JSON object was expected", "one JSON object"),
        ("jsonl", "a.json", "[1]", {}, r"a\.json: \[0\]: an object was expected", "list of objects"),
        ("jsonl", "a.json", '[\n{"question": }', {}, r"a\.json:2: not JSON", "\\.jsonl"),
        ("ragas", "a.csv", "q\nx\n", {}, r"a\.csv:2: there is neither user_input nor question", "--map"),
        ("trec", "a.tsv", "1 where\n", {}, r"a\.tsv:1: there is no tab", "query id, tab, query"),
        ("promptfoo", "a.yaml", "tests: 7\n", {}, r"a\.yaml:1: tests are expected", "vars and assert"),
        ("promptfoo", "a.yaml", "tests:\n  - vars: {a: x, b: y}\n", {}, r"a\.yaml:2: no variable is known", "there are: a, b"),
        ("promptfoo", "a.yaml", "tests:\n  - vars: {a: x}\n", {"b": "question"}, r"a\.yaml:2: there is no variable 'b'", "there are: a"),
        ("promptfoo", "a.yaml", "tests: [x\n", {}, r"a\.yaml:\d: this is not YAML", "key: value"),
        ("promptfoo", "a.yaml", "tests: []\n", {"a": "answers"}, "only one variable can be told", "VARIABLE=question"),
        ("ragas", "a.csv", "question\nx\n", {"a": "question"}, "the fields of ragas are known", "leave --map out"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_what_to_do(
    write: Write, source: Source, name: str, text: str, told: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        import_questions(source, [write(name, text)], told=told)
    assert hint.replace("\\", "") in refused.value.hint


@pytest.mark.parametrize("source", SOURCES)
def test_a_path_that_is_not_there_is_said_to_be_missing(tmp_path: Path, source: Source) -> None:
    ending = {"csv": "csv", "tsv": "tsv", "promptfoo": "yaml"}.get(source, "jsonl")
    with pytest.raises(NotFound):
        import_questions(source, [tmp_path / f"nowhere.{ending}"])
    with pytest.raises(InvalidInput, match="nothing to import"):
        import_questions(source, [])


def test_several_files_become_one_set(write: Write) -> None:
    questions, _ = _imported("csv", write("a.csv", "id,question\n1,x\n"), write("b.csv", "id,question\n2,y\n"))
    assert [question.id for question in questions] == ["1", "2"]


# TREC and BEIR


def test_trec_gives_graded_documents_and_keeps_topics_without_any(write: Write) -> None:
    topics = write("topics.tsv", "301\tInternational organised crime\r\n302\tPoliomyelitis\n303\tHubble\n")
    qrels = write("qrels.txt", "301 0 FT-1 2\n301 0 FT-2 0\n302 0 FT-1 -1\n999 0 FT-1 1\n998\t0\tFT-1\t1\n")
    questions, left_out = _imported("trec", topics, qrels)
    assert questions == (
        EvalQuestion("301", "International organised crime", relevant={"FT-1": 2}),
        EvalQuestion("302", "Poliomyelitis", tags=("unjudged",)),
        EvalQuestion("303", "Hubble", tags=("unjudged",)),
    )
    assert left_out == {"judgements of queries that no topic has": 2}


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("1 0 a\n", r"qrels\.txt:1: 3 columns instead of 4"),
        ("1 0 a high\n", r"qrels\.txt:1: 'high' is not a whole number"),
        ("1 0 a 1\n1 0 a 2\n", r"qrels\.txt:2: '1' and 'a' were judged before, otherwise"),
    ],
)
def test_wrong_judgements_are_refused_with_their_place(write: Write, qrels: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        import_questions("trec", [write("topics.tsv", "1\tx\n"), write("qrels.txt", qrels)])
    with pytest.raises(InvalidInput, match="takes two files"):
        import_questions("trec", [write("topics.tsv", "1\tx\n")] * 3)


def test_beir_keeps_queries_of_no_split_and_counts_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    (tmp_path / "set" / "queries.jsonl").write_text("".join(f'{{"_id": "{n}", "text": "q{n}"}}\n' for n in (1, 2, 3)), "utf-8")
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("1\ta\t2\n", "utf-8")
    (tmp_path / "set" / "qrels" / "dev.tsv").write_text("2\ta\t1\n", "utf-8")
    questions, left_out = _imported("beir", tmp_path / "set", split="test")
    assert [(question.id, question.relevant, question.tags) for question in questions] == [("1", {"a": 2}, ()), ("3", {}, ("unjudged",))]
    assert left_out == {"query of another split": 1}
    with pytest.raises(InvalidInput, match="squad has no splits"):
        import_questions("squad", [tmp_path], split="test")


# Ragas


def test_a_ragas_test_set_gives_references_and_the_contexts_it_was_made_from(write: Write) -> None:
    rows = [
        {
            "user_input": "Where?",
            "reference": "In Paris.",
            "reference_contexts": ["<1-hop>\n\nThe tower stands in Paris.", "<2-hop>\n\nParis is in France."],
            "reference_context_ids": ["c1", "c2"],
            "synthesizer_name": "multi_hop",
            "retrieved_contexts": ["x"],
            "response": "y",
        },
        {"user_input": "By id?", "reference_context_ids": ["tower.md"]},
        {"user_input": [{"content": "Hello", "type": "human"}], "reference": "x"},
    ]
    questions, left_out = _imported("ragas", write("set.jsonl", "\n".join(map(json.dumps, rows))))
    assert [replace(question, id="") for question in questions] == [
        EvalQuestion("", "Where?", ("In Paris.",), {}, True, ("The tower stands in Paris.", "Paris is in France."), tags=("multi_hop",)),
        EvalQuestion("", "By id?", relevant={"tower.md": 1}),
    ]
    assert left_out == {
        "column 'reference_context_ids'": 1,
        "column 'retrieved_contexts'": 1,
        "column 'response'": 1,
        "conversations of several turns": 1,
    }


def test_old_ragas_contexts_are_gold_only_where_no_system_answered(write: Write) -> None:
    text = "question,contexts,ground_truth,answer\nWhere?,\"['Here.', 'There.']\",Paris,\nWho?,\"['Here.']\",Eiffel,He did\n"
    [made, answered], left_out = _imported("ragas", write("set.csv", text))
    assert (made.answers, made.gold_texts) == (("Paris",), ("Here.", "There."))
    assert (answered.answers, answered.gold_texts) == (("Eiffel",), ())
    assert left_out == {"column 'contexts'": 1, "column 'answer'": 1}


# promptfoo

PROMPTFOO = """
prompts: ["Answer: {{question}}"]
defaultTest:
  vars: {city: Paris}
  assert:
    - {type: not-contains, value: sorry}
tests:
  - description: the tower
    vars: {question: "Which tower stands in {{city}}?"}
    assert:
      - {type: icontains, value: Eiffel}
      - {type: contains-any, value: [330 m, 330 metres]}
      - {type: contains-all, value: "1889, {{ city }}"}
      - {type: equals, value: The Eiffel Tower}
      - {type: llm-rubric, value: is polite}
      - {type: contains, value: "{{ env.SECRET }}"}
      - {type: contains, value: file://answer.txt}
      - {type: assert-set, assert: [{type: contains, value: iron}]}
      - {type: assert-set, threshold: 0.5, assert: [{type: contains, value: iron}]}
      - $ref: "#/x"
  - vars: {question: ["One?", "Two?"]}
  - vars: {question: file://question.txt}
  - more.csv
  - file://other.py
scenarios: [{config: []}]
"""


def test_promptfoo_assertions_become_answers_and_facts_and_the_rest_is_counted(write: Write) -> None:
    write(
        "more.csv",
        "question,__expected,__expected1,__description\n"
        'Where?,Paris,icontains: France,x\nWho?,"contains-any: Eiffel, Gustave",\nHow?,not-contains: no,\nSo?,Note: this,is-json\n',
    )
    questions, left_out = _imported("promptfoo", write("config.yaml", PROMPTFOO))
    assert [(q.question, q.answers, q.facts, q.answerable) for q in questions] == [
        (
            "Which tower stands in Paris?",
            ("The Eiffel Tower",),
            (("Eiffel",), ("330 m", "330 metres"), ("1889",), ("Paris",), ("iron",)),
            True,
        ),
        ("One?", (), (), None),
        ("Two?", (), (), None),
        ("Where?", ("Paris",), (("France",),), True),
        ("Who?", (), (("Eiffel", "Gustave"),), True),
        ("How?", (), (), None),
        ("So?", ("Note: this", "is-json"), (), True),
    ]
    assert left_out == {
        "assertion not-contains": 4,
        "variable 'city'": 3,
        "assertion contains without plain text": 2,
        "assertion llm-rubric": 1,
        "assertion assert-set": 1,
        "assertion of another form": 1,
        "questions from files or templates": 1,
        "tests from file://other.py": 1,
        "scenarios": 1,
    }


def test_a_promptfoo_variable_can_be_told_and_the_only_one_need_not_be(write: Write) -> None:
    path = write("config.yaml", "tests:\n  - vars: {topic: Where, question: x}\n  - vars: {topic: Who}\n")
    questions, _ = _imported("promptfoo", path, told={"topic": "question"})
    assert [question.question for question in questions] == ["Where", "Who"]
    [only], _ = _imported("promptfoo", write("only.yaml", "- vars: {topic: Who}\n"))
    assert only.question == "Who"


# Records


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Liked, disliked, corrected, an abstention that was liked, one without a rating, one that was erased, and one without texts."""
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as store:
        rated = {
            1: [feedback("up")],
            2: [feedback("down", comment="wrong")],
            3: [feedback(None, expected="30 days")],
            4: [feedback("up")],
            5: [],
            6: [feedback("up")],
            7: [feedback("up")],
        }
        for number, said in rated.items():
            made = abstained(number) if number == 4 else record(number)
            store.add(entry_of(made, content="digest" if number == 7 else "full", key_id=None)).result(timeout=10)
            for one in said:
                store.rate(made.answer_id, one)
        store.erase_answers([answer_id(6)])
    return path


def test_rated_records_become_questions_and_what_was_erased_does_not(ledger: Path) -> None:
    questions, left_out = _imported("records", ledger)
    assert [question.id for question in questions] == [answer_id(number) for number in (1, 2, 3, 4)]
    liked, disliked, corrected, unanswerable = questions
    quote = "Every employee has 28 days of paid holiday"
    assert liked.answers == ("Employee 1 has 28 days.",)
    assert liked.relevant == {"page1.md": 1}
    assert liked.places == ((GoldPlace("page1.md", start=100, end=100 + len(quote), quote=quote),),)
    assert (disliked.answers, disliked.relevant, disliked.places, disliked.answerable) == ((), {}, (), None)
    assert "rated:down" in disliked.tags
    assert (corrected.answers, corrected.answerable, corrected.places) == (("30 days",), True, ())
    assert (unanswerable.answerable, unanswerable.answers) == (False, ())
    assert left_out == {"records without the text of their question": 1}
    assert "employee 6" not in "".join(question.question for question in questions)


def test_of_several_answers_to_one_question_the_last_that_says_what_is_right_counts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as store:
        for number, (asked, said) in enumerate(
            [("How many days?", feedback("up")), ("how many  days?", feedback("up")), ("How many days?", feedback("down"))]
        ):
            made = record(number, question=asked)
            store.add(entry_of(made, content="full", key_id=None)).result(timeout=10)
            store.rate(made.answer_id, said)
    [question], left_out = _imported("records", path)
    assert question.id == answer_id(1)
    assert left_out == {"answers to a question that was asked again": 2}


def test_what_was_masked_in_an_answer_is_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    made = record(1, answer="Ask joe.doe@example.com. [1]")
    made = replace(made, citations=(cited(made.hits[0], made.answer or "", quote_span=(0, 5)),))
    with ledger_at(path) as store:
        store.add(entry_of(made, content="full", key_id=None)).result(timeout=10)
        store.rate(made.answer_id, feedback("up"))
    [question], _ = _imported("records", path)
    assert question.answers == ()
    assert question.relevant == {"page1.md": 1}


# The command

app = typer.Typer()
app.command("import")(import_)


@app.command()
def other() -> None:
    """So that `import` is a command of its own."""


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_the_command_writes_what_the_harness_reads_and_says_what_is_missing(write: Write, tmp_path: Path) -> None:
    to = tmp_path / "out.jsonl"
    ran = _run("csv", write("faq.csv", "Frage,answers,notes\nWo?,Paris,x\n"), "--map", "Frage=question", "-o", to)
    assert ran.exit_code == 0, ran.output
    assert "1 questions, 1 answerable, 0 unanswerable, 0 with gold" in ran.stdout
    assert "left out 1 × column 'notes'" in ran.stderr
    assert "python -m eval lint" in ran.stderr
    [question] = read_questions(to).questions
    assert (question.question, question.answers) == ("Wo?", ("Paris",))


def test_a_squad_file_is_the_same_set_when_it_was_imported(write: Write, tmp_path: Path) -> None:
    answers = [{"text": "Paris", "answer_start": 20}, {"text": "in Paris", "answer_start": 17}]
    qas = [{"id": "a", "question": "Where?", "answers": answers}, {"id": "b", "question": "Who?", "answers": [], "is_impossible": True}]
    path = write("dev.json", {"data": [{"title": "Tower", "paragraphs": [{"context": "The tower stands in Paris.", "qas": qas}]}]})
    read = read_questions(path)
    write_questions(tmp_path / "out.jsonl", import_questions("squad", [path]).questions.questions)
    written = read_questions(tmp_path / "out.jsonl")
    assert (written.questions, written.digest) == (read.questions, read.digest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["csv", "{file}", "-o", "{file}"], "is there already"),
        (["csv", "{file}", "-o", "."], "is a folder"),
        (["csv", "{file}", "-o", "no/such/out.jsonl"], "does not exist"),
        (["csv", "{file}", "-o", "out.jsonl", "--map", "question"], "is not COLUMN=FIELD"),
        (["csv", "{file}", "-o", "out.jsonl", "--map", "a=answers", "--map", "b=answers"], "answers is told already"),
        (["records", "nowhere.sqlite", "-o", "out.jsonl"], "there is no ledger nowhere.sqlite"),
    ],
)
def test_a_wrong_call_writes_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write("faq.csv", "question\nx\n")
    ran = _run(*[argument.format(file=file) for argument in arguments])
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert file.read_text() == "question\nx\n"
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_is_replaced_only_when_that_is_meant(write: Write) -> None:
    to = write("out.jsonl", "old")
    assert _run("csv", write("faq.csv", "question\nx\n"), "-o", to, "--force").exit_code == 0
    assert to.read_text() != "old"


def test_the_ledger_of_the_service_is_taken_where_none_is_named(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = _run("records", "-o", "rated.jsonl", "--indexes", ledger.parent)
    assert ran.exit_code == 0, ran.output
    assert "4 questions, 2 answerable, 1 unanswerable, 1 with gold" in ran.stdout
    assert len(read_questions(tmp_path / "rated.jsonl").questions) == 4


def test_a_file_that_is_no_ledger_is_refused(write: Write) -> None:
    with pytest.raises(Damaged):
        import_questions("records", [write("ledger.sqlite", "no database " * 100)])
