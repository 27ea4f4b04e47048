import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.questions import EvalQuestion, GoldPlace, read_questions
from eval.questions.beir import read_beir
from eval.questions.native import native_lines, native_question
from rag_service.errors import InvalidInput, NotFound

Write = Callable[[str], Path]
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def test_a_native_row_is_read_whole(question_file: Write) -> None:
    row = {
        "id": "q1",
        "question": "Where is the tower?",
        "answers": ["Paris", "in Paris", "Paris", " "],
        "relevant_ids": ["tower", "paris"],
        "answerable": True,
        "tags": ["places"],
        "facts": ["330 metres", ["1889", "in the year of the exhibition", " "], " "],
        "gold": [{"document": "tower", "quote": "stands in Paris"}],
        "group": "towers ",
        "split": "test",
        "page": 7,
    }
    read = read_questions(question_file(json.dumps(row) + "\n\n"))
    assert (read.form, read.name, read.split, read.left_out) == ("native", "questions.jsonl", None, 0)
    assert read.questions == (
        EvalQuestion(
            id="q1",
            question="Where is the tower?",
            answers=("Paris", "in Paris"),
            relevant={"tower": 1, "paris": 1},
            answerable=True,
            tags=("places",),
            places=((GoldPlace("tower", quote="stands in Paris"),),),
            facts=(("330 metres",), ("1889", "in the year of the exhibition")),
            group="towers",
            split="test",
        ),
    )
    assert read.read_from == {"q1": "questions.jsonl:1"}


def _places(question_file: Write, **fields: object) -> tuple[tuple[GoldPlace, ...], ...]:
    [question] = read_questions(question_file(json.dumps({"id": "a", "question": "q", **fields}))).questions
    return question.places


A, B, C = ({"document": name, "quote": name * 3} for name in "abc")
A_PLACE, B_PLACE, C_PLACE = (GoldPlace(name, quote=name * 3) for name in "abc")


@pytest.mark.parametrize(
    ("gold", "groups"),
    [
        ([[A, B], [C]], ((A_PLACE, B_PLACE), (C_PLACE,))),
        ([A, B], ((A_PLACE,), (B_PLACE,))),
        ([[A, B, A], C], ((A_PLACE, B_PLACE), (C_PLACE,))),
        ([], ()),
    ],
)
def test_lists_of_places_are_alternatives_and_a_place_by_itself_is_a_group_of_one(
    question_file: Write, gold: object, groups: object
) -> None:
    assert _places(question_file, gold=gold) == groups


def test_a_place_is_named_by_id_text_offsets_quote_or_whole(question_file: Write) -> None:
    gold = [{"document": "d", "start": 3, "end": 9, "quote": "answer"}, {"text": "A paragraph.", "start": 2, "end": 11}, {"document": "d"}]
    assert _places(question_file, gold=gold) == (
        (GoldPlace("d", start=3, end=9, quote="answer"),),
        (GoldPlace(text="A paragraph.", start=2, end=11),),
        (GoldPlace("d"),),
    )


def test_a_place_need_not_name_the_only_document_of_its_row(question_file: Write) -> None:
    quote = [{"quote": "x y"}]
    assert _places(question_file, gold=quote, relevant_ids=["d"]) == ((GoldPlace("d", quote="x y"),),)
    assert _places(question_file, gold=quote, gold_texts=["is x y"]) == ((GoldPlace(text="is x y", quote="x y"),),)
    assert _places(question_file, gold=quote, relevant_ids={"d": 1, "e": 0}) == ((GoldPlace("d", quote="x y"),),)
    assert _places(question_file, gold=quote, relevant_ids=["d", "e"]) == ((GoldPlace(quote="x y"),),)
    assert _places(question_file, gold=quote) == ((GoldPlace(quote="x y"),),)


def test_spans_are_places_of_the_only_document_that_must_all_be_found(question_file: Write) -> None:
    fields = {"relevant_ids": ["d"], "spans": [[0, 4], [10, 12]]}
    assert _places(question_file, **fields) == ((GoldPlace("d", start=0, end=4),), (GoldPlace("d", start=10, end=12),))
    assert _places(question_file, **fields, answers=["four", "three"]) == (
        (GoldPlace("d", start=0, end=4, quote="four"),),  # it is as long as its span: what stands there
        (GoldPlace("d", start=10, end=12),),
    )


def test_facts_make_a_question_answerable(question_file: Write) -> None:
    [question] = read_questions(question_file('{"id": "a", "question": "q", "facts": ["x"]}')).questions
    assert question.answerable is True


def test_graded_documents_keep_their_positive_grades(question_file: Write) -> None:
    [question] = read_questions(question_file('{"id": 7, "question": "q", "relevant_ids": {"a": 2, "b": 0, "c": -1}}')).questions
    assert (question.id, question.relevant) == ("7", {"a": 2})


def test_answerability_follows_from_answers_and_is_otherwise_not_invented(question_file: Write) -> None:
    rows = [{"id": "a", "question": "q", "answers": ["x"]}, {"id": "b", "question": "q"}]
    questions = read_questions(question_file("\n".join(map(json.dumps, rows)))).questions
    assert [question.answerable for question in questions] == [True, None]


def test_a_line_separator_inside_a_question_does_not_end_its_row(question_file: Write) -> None:
    [question] = read_questions(question_file('{"id": "a", "question": "one\u2028two"}\r\n')).questions
    assert question.question == "one\u2028two"


def _gold(place: str) -> str:
    return f'{{"id": "a", "question": "q", "gold": [{place}]}}'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "holds no question", "--help"),
        ('{"id": "a", "question": "q"}\n{"id": }', r"questions\.jsonl:2: not JSON", "one JSON object a line"),
        ("[1]", r"questions\.jsonl:1: a JSON object was expected, not list", "one JSON object a line"),
        ("[" * 100_000, r"questions\.jsonl:1: not usable JSON", "one JSON object a line"),
        ('{"id": "a"}', r"questions\.jsonl:1: question: Field required", "a row looks like"),
        ('{"question": "q"}', r"questions\.jsonl:1: id: Field required", "a row looks like"),
        ('{"id": "a", "question": "  "}', r"questions\.jsonl:1: question 'a' is blank", "delete the row"),
        ('{"id": " ", "question": "q"}', r"questions\.jsonl:1: the id is blank", "give every question an id"),
        (
            '{"id": "a", "question": "q"}\n\n{"id": "a", "question": "r"}',
            r"questions\.jsonl:3: the id 'a' is already that of questions\.jsonl:1",
            "its own id",
        ),
        (
            '{"id": "a", "question": "q", "answer": ["x"]}',
            r"questions\.jsonl:1: there is no key 'answer'",
            "did you mean 'answers'",
        ),
        ('{"id": "a", "question": "q", "relevant_id": []}', r"no key 'relevant_id'", "did you mean 'relevant_ids'"),
        ('{"id": "a", "question": "q", "answers": "x"}', r"questions\.jsonl:1: answers: ", "a row looks like"),
        ('{"id": "a", "question": "q", "answerable": "yes"}', r"questions\.jsonl:1: answerable: ", "a row looks like"),
        ('{"id": "a", "question": "q", "relevant_ids": [["a"]]}', r"relevant_ids: a list of document ids", "a row looks like"),
        ('{"id": "a", "question": "q", "relevant_ids": {"a": "much"}}', r"relevant_ids\.a: ", "a row looks like"),
        ('{"id": "a", "question": "\\ud800"}', r"questions\.jsonl:1: question 'a' cannot be reported", "surrogate"),
        ('{"id": "a", "question": "q", "answerable": false, "answers": ["x"]}', "is unanswerable and has answers", "mark it"),
        ('{"_id": "a", "text": "q"}', "a row of a BEIR file", "give the folder"),
        ('{"id": "a", "question": "q", "fact": ["x"]}', r"questions\.jsonl:1: there is no key 'fact'", "did you mean 'facts'"),
        ('{"id": "a", "question": "q", "split": "train"}', r"questions\.jsonl:1: split: ", "a row looks like"),
        ('{"id": "a", "question": "q", "answerable": false, "facts": ["x"]}', "is unanswerable and has facts", "mark it"),
        (_gold('{"docment": "d"}'), r"questions\.jsonl:1: gold\[0\]: there is no key 'docment'", "did you mean 'document'"),
        (_gold('[{"doc": "d", "quote": "x"}]'), r"gold\[0\]: there is no key 'doc'", "did you mean 'document'"),
        (_gold('{"document": "d", "quotes": "x"}'), "there is no key 'quotes'", "did you mean 'quote'"),
        (_gold('"d"'), r"gold\[0\]: a place was expected, not 'd'", "gold looks like"),
        (_gold("[]"), r"questions\.jsonl:1: gold\[0\] is empty", "each enough"),
        (_gold('{"document": "d", "start": 3}'), r"gold\[0\]: of start and end one is missing", "or a quote"),
        (_gold('{"document": "d", "start": 3, "end": 3}'), r"gold\[0\]: 3 to 3 is no span", "exclusive"),
        (_gold('{"document": "d", "start": "3", "end": 9}'), r"gold\[0\]\[0\]\.start: ", "a row looks like"),
        (_gold('{"document": "d", "quote": " "}'), r"gold\[0\]: the quote is blank", "quote words"),
        (_gold('{"document": "d", "text": "x"}'), r"gold\[0\]: a document is named twice", "its id"),
        (_gold('{"start": 3, "end": 9}'), r"gold\[0\]: it does not say in which document", "path below"),
        (_gold("{}"), r"gold\[0\]: it does not say in which document", "path below"),
        ('{"id": "a", "question": "q", "spans": [[0, 4]]}', "spans belong to one document", "name it in each place"),
        (
            '{"id": "a", "question": "q", "relevant_ids": ["d"], "spans": [[0, 4]], "gold": [{"document": "d"}]}',
            "there are gold and spans",
            "keep one",
        ),
    ],
)
def test_a_wrong_native_file_is_refused_with_its_place(question_file: Write, text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        read_questions(question_file(text))
    assert hint in refused.value.hint


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_questions(path)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read_questions(tmp_path / "questions.jsonl")


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Tower",
            "paragraphs": [
                {
                    "context": "The tower stands in Paris.",
                    "qas": [
                        {
                            "id": "a",
                            "question": "Where does it stand?",
                            "answers": [{"text": "Paris", "answer_start": 20}, {"text": "Paris", "answer_start": 20}],
                            "is_impossible": False,
                        },
                        {
                            "id": "b",
                            "question": "Who sold it?",
                            "answers": [],
                            "plausible_answers": [{"text": "Paris", "answer_start": 20}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        }
    ],
}


def _squad(tmp_path: Path, value: object, name: str = "dev.json") -> Path:
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1), "utf-8")
    return path


@pytest.mark.parametrize("name", ["dev.json", "dev"])
def test_squad_gives_paragraphs_and_places_as_gold_and_articles_as_groups(tmp_path: Path, name: str) -> None:
    read = read_questions(_squad(tmp_path, SQUAD, name))
    context = "The tower stands in Paris."
    assert read.form == "squad"
    assert read.questions == (
        EvalQuestion(
            "a",
            "Where does it stand?",
            ("Paris",),
            {},
            True,
            gold_texts=(context,),
            tags=("Tower",),
            places=((GoldPlace(text=context, start=20, end=25),),),
            group="Tower",
        ),
        EvalQuestion("b", "Who sold it?", (), {}, False, gold_texts=(context,), tags=("Tower",), group="Tower"),
    )
    assert read.read_from["b"] == f"{name}: data[0].paragraphs[0].qas[1]"


def test_answers_of_one_squad_question_are_alternatives(tmp_path: Path) -> None:
    answers = [{"text": "in Paris", "answer_start": 17}, {"text": "Paris", "answer_start": 20}, {"text": "Paris", "answer_start": 20}]
    [question, _] = read_questions(_squad(tmp_path, _with(answers=answers, context="The tower stands in Paris."))).questions
    [group] = question.places
    assert [(place.start, place.end) for place in group] == [(17, 25), (20, 25)]


@pytest.mark.parametrize("start", [None, 3, -6, 100])
def test_a_squad_answer_that_does_not_stand_where_it_should_is_looked_for_by_its_words(tmp_path: Path, start: int | None) -> None:
    answer = {"text": "Paris"} | ({} if start is None else {"answer_start": start})
    [question, _] = read_questions(_squad(tmp_path, _with(answers=[answer], context="The tower stands in Paris."))).questions
    assert question.places == ((GoldPlace(text="The tower stands in Paris.", quote="Paris"),),)


def test_squad_1_has_only_answerable_questions(tmp_path: Path) -> None:
    qas = [{"id": "a", "question": "q", "answers": [{"text": "x"}]}]
    read = read_questions(_squad(tmp_path, {"data": [{"paragraphs": [{"context": "x", "qas": qas}]}]}))
    assert [question.answerable for question in read.questions] == [True]


def _with(**changed: object) -> dict[str, object]:
    question = {"id": "a", "question": "q", "answers": []} | changed
    context = question.pop("context", "c")
    return {"data": [{"paragraphs": [{"context": context, "qas": [question, {"id": "z", "question": "q", "answers": []}]}]}]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"data":\n[', r"dev\.json:2: not JSON"),
        ('{"data": ' + "[" * 100_000, r"dev\.json: not usable JSON"),
        ("[]", r"dev\.json: Input should be"),
        ({"data": []}, "holds no question"),
        ({"version": "v2.0"}, r"dev\.json: data: Field required"),
        (_with(answers=None), r"dev\.json: data\[0\]\.paragraphs\[0\]\.qas\[0\]\.answers: "),
        (_with(question=""), r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: question 'a' is blank"),
        (_with(context=" "), r"data\[0\]\.paragraphs\[0\]: the context is blank"),
        (_with(id="z"), r"qas\[1\]: the id 'z' is already that of .*qas\[0\]"),
    ],
)
def test_a_wrong_squad_file_is_refused_with_its_place(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        read_questions(_squad(tmp_path, value))
    assert refused.value.hint


def test_a_split_is_only_for_beir(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no splits"):
        read_questions(_squad(tmp_path, SQUAD), split="dev")


HEADER = "query-id\tcorpus-id\tscore\n"
QUERIES = '{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two", "metadata": {}}\n{"_id": "3", "text": "three"}\n'


def _beir(tmp_path: Path, queries: str | None = QUERIES, **qrels: str) -> Path:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    if queries is not None:
        (folder / "queries.jsonl").write_text(queries, "utf-8")
    for split, text in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text(text, "utf-8")
    return folder


def test_beir_gives_graded_documents_and_counts_what_nobody_judged_relevant(tmp_path: Path) -> None:
    read = read_questions(_beir(tmp_path, test=f"{HEADER}1\ta\t2\n1\tb\t0\n1\tc\t-1\n2\ta\t0\n"))
    assert (read.form, read.name, read.split, read.left_out) == ("beir", "set", "test", 2)
    assert read.questions == (EvalQuestion("1", "one", relevant={"a": 2}),)


def test_queries_without_a_relevant_document_can_be_kept_but_not_those_of_other_splits(tmp_path: Path) -> None:
    folder = _beir(
        tmp_path, test=f"{HEADER}1\ta\t2\n2\ta\t0\n", dev=f"{HEADER}3\ta\t1\n", queries=QUERIES + '{"_id": "4", "text": "four"}\n'
    )
    read = read_beir(folder, "test", unjudged=True)
    assert read.questions == (
        EvalQuestion("1", "one", relevant={"a": 2}),
        EvalQuestion("2", "two", tags=("unjudged",)),
        EvalQuestion("4", "four", tags=("unjudged",)),
    )
    assert read.left_out == 1


def test_beir_judgements_may_lack_a_header(tmp_path: Path) -> None:
    assert len(read_questions(_beir(tmp_path, test="1\ta\t1\r\n2\tb\t1\r\n")).questions) == 2


def test_of_several_splits_one_must_be_chosen(tmp_path: Path) -> None:
    folder = _beir(tmp_path, dev=f"{HEADER}1\ta\t1\n", test=f"{HEADER}2\ta\t1\n")
    with pytest.raises(InvalidInput, match="several splits: dev, test") as refused:
        read_questions(folder)
    assert "--split" in refused.value.hint
    assert [question.id for question in read_questions(folder, split="test").questions] == ["2"]
    with pytest.raises(NotFound, match="no split 'train'") as missing:
        read_questions(folder, split="train")
    assert "dev, test" in missing.value.hint


@pytest.mark.parametrize(
    ("queries", "qrels", "message"),
    [
        (QUERIES, "1\ta\n", r"qrels/test\.tsv:1: 2 columns instead of 3"),
        (QUERIES, f"{HEADER}1\ta\thigh\n", r"qrels/test\.tsv:2: 'high' is not a whole number"),
        (QUERIES, f"{HEADER}9\ta\t1\n", r"qrels/test\.tsv:2: queries\.jsonl has no query '9'"),
        (QUERIES, f"{HEADER}1\ta\t1\n1\ta\t2\n", r"qrels/test\.tsv:3: '1' and 'a' were judged before"),
        (QUERIES, HEADER, "holds no question"),
        ('{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}', HEADER, r"queries\.jsonl:2: the id '1' is already that of"),
        ('{"_id": "1"}', HEADER, r"queries\.jsonl:1: text: Field required"),
        ('{"_id": "1", "text": ""}', "1\ta\t1\n", r"queries\.jsonl:1: question '1' is blank"),
    ],
)
def test_a_wrong_beir_folder_is_refused_with_its_place(tmp_path: Path, queries: str, qrels: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        read_questions(_beir(tmp_path, queries, test=qrels))
    assert refused.value.hint


def test_a_beir_folder_needs_both_halves(tmp_path: Path) -> None:
    folder = _beir(tmp_path, None)
    with pytest.raises(NotFound, match=r"no queries\.jsonl"):
        read_questions(folder)
    (folder / "queries.jsonl").write_text(QUERIES, "utf-8")
    with pytest.raises(NotFound, match="no qrels"):
        read_questions(folder)


def test_the_digest_is_of_the_questions_not_of_the_file(question_file: Write) -> None:
    one = read_questions(question_file('{"id": "a", "question": "q", "gold": [], "facts": [], "group": ""}')).digest
    same = read_questions(question_file('\n{"question":"q","id":"a"}\n')).digest
    other = read_questions(question_file('{"id": "a", "question": "Q"}')).digest
    assert one == same
    assert one != other


def test_a_set_without_places_facts_groups_and_splits_keeps_its_digest(question_file: Write) -> None:
    """Computed by the version before there were any."""
    text = (
        '{"id": "a", "question": "q", "answers": ["x"], "relevant_ids": {"d": 2}, "tags": ["t"]}\n'
        '{"id": "b", "question": "r", "answerable": false, "gold_texts": ["p"]}\n'
    )
    assert read_questions(question_file(text)).digest == "sha256:7f6ca1656793df027babe7cea09605a71f91b1980bc4591eb7a9abe8550f3841"


def test_every_field_counts_for_the_digest(question_file: Write) -> None:
    different: list[dict[str, object]] = [
        {},
        {"gold": [{"document": "d"}]},
        {"gold": [{"document": "d", "quote": "x"}]},
        {"gold": [{"document": "d", "start": 0, "end": 3}]},
        {"gold": [[{"document": "d"}, {"document": "e"}]]},
        {"gold": [{"document": "d"}, {"document": "e"}]},
        {"gold": [{"text": "d"}]},
        {"facts": ["x"]},
        {"facts": ["x", "y"]},
        {"facts": [["x", "y"]]},
        {"group": "g"},
        {"split": "dev"},
        {"split": "test"},
    ]
    rows = [json.dumps({"id": "a", "question": "q", "answerable": True, **fields}) for fields in different]
    assert len({read_questions(question_file(row)).digest for row in rows}) == len(different)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda text: text.strip() != "")
SPANS = st.tuples(st.integers(0, 50), st.integers(1, 50)).map(lambda span: {"start": span[0], "end": span[0] + span[1]})
WHERE = st.one_of(SPANS, st.builds(dict, quote=TEXTS), st.builds(lambda span, quote: {**span, "quote": quote}, SPANS, TEXTS), st.just({}))
PLACES = st.builds(lambda name, where, by_id: GoldPlace(**{"document" if by_id else "text": name}, **where), TEXTS, WHERE, st.booleans())
LISTED = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
QUESTIONS = st.builds(
    EvalQuestion,
    id=TEXTS,
    question=TEXTS,
    answers=LISTED,
    relevant=st.dictionaries(TEXTS, st.integers(1, 3), max_size=2),
    answerable=st.sampled_from([True, None, False]),
    gold_texts=LISTED,
    tags=LISTED,
    places=st.lists(st.lists(PLACES, min_size=1, max_size=3, unique=True).map(tuple), max_size=3).map(tuple),
    facts=st.lists(st.lists(TEXTS, min_size=1, max_size=2, unique=True).map(tuple), max_size=2).map(tuple),
    group=TEXTS.map(str.strip),
    split=st.sampled_from(["dev", "test", None]),
)


@given(QUESTIONS)
def test_what_is_written_in_our_own_form_is_read_back_as_it_was(question: EvalQuestion) -> None:
    if question.answers or question.facts:
        question = replace(question, answerable=True)
    [line] = native_lines([question])
    assert line.count(b"\n") == 1
    assert native_question(line.decode(), "place") == question


@pytest.mark.parametrize(
    ("name", "form", "questions", "unanswerable"),
    [
        ("anthropic-docs/questions.jsonl", "native", 100, 0),
        ("chunking-eval/questions.jsonl", "native", 472, 0),
        ("injection/questions.jsonl", "native", 50, 26),
        ("squad2/dev-visible.json", "squad", 2917, 1477),
        ("scifact", "beir", 809, 0),
    ],
)
def test_published_question_sets_are_read(name: str, form: str, questions: int, unanswerable: int) -> None:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the project, in shared/data")
    read = read_questions(path)
    assert (read.form, len(read.questions)) == (form, questions)
    assert sum(question.answerable is False for question in read.questions) == unanswerable
    assert all(question.relevant or question.gold_texts for question in read.questions)
