"""The bundled questions fit the documentation that they are asked of: reword a page, and this says which question has to follow."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import eval as harness
from eval.metrics.answers import containment, tokens
from eval.questions import EvalQuestion, read_questions
from tests.conftest import PROJECT

DATASETS = Path(harness.__file__).parent / "datasets"
FILE = DATASETS / "docs.jsonl"
DOCS = PROJECT / "docs"
QUESTIONS = read_questions(FILE).questions
ROWS: dict[str, dict[str, Any]] = {row["id"]: row for row in map(json.loads, FILE.read_text("utf-8").splitlines())}
ANSWERABLE = [question for question in QUESTIONS if question.answerable]
UNANSWERABLE = [question for question in QUESTIONS if not question.answerable]
TEXTS = {page.name: page.read_text("utf-8") for page in DOCS.glob("*.md")}

every_answerable = pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question.id)


def places(question: EvalQuestion) -> list[tuple[str, str]]:
    """(document, quote) of all the gold of a question."""
    return [(place.document or "", place.quote or "") for group in question.places for place in group]


def test_there_are_at_least_sixty_and_a_third_of_them_is_not_answered() -> None:
    assert len(QUESTIONS) >= 60
    assert len(UNANSWERABLE) / len(QUESTIONS) >= 1 / 3


def test_every_line_of_the_file_is_a_question_of_its_own() -> None:
    lines = FILE.read_text("utf-8").splitlines()
    assert len({question.id for question in QUESTIONS}) == len(ROWS) == len(lines) == len(QUESTIONS)
    assert len({" ".join(tokens(question.question)) for question in QUESTIONS}) == len(lines)


def test_whether_a_question_is_answered_is_said_in_its_row() -> None:
    assert [row["id"] for row in ROWS.values() if not isinstance(row.get("answerable"), bool)] == []
    assert [question.id for question in UNANSWERABLE if question.places or question.answers or question.facts or question.relevant] == []


@every_answerable
def test_every_quote_stands_once_in_its_document_and_on_one_line(question: EvalQuestion) -> None:
    assert question.places
    wrong = [(document, quote) for document, quote in places(question) if "\n" in quote or TEXTS.get(document, "").count(quote) != 1]
    assert wrong == []


@every_answerable
def test_every_answer_stands_in_one_of_the_documents_that_answer(question: EvalQuestion) -> None:
    text = " ".join("\n".join(TEXTS[document] for document, _ in places(question)).split()).casefold()
    assert question.answers or question.facts
    wanted = [*question.answers, *(wording for fact in question.facts for wording in fact)]
    assert [answer for answer in wanted if " ".join(answer.split()).casefold() not in text] == []


@every_answerable
def test_no_answer_stands_in_its_own_question(question: EvalQuestion) -> None:
    wanted = [*question.answers, *(wording for fact in question.facts for wording in fact)]
    assert [answer for answer in wanted if containment(question.question, [answer]) == 1.0] == []


def test_questions_are_grouped_by_a_page_and_tagged_with_their_kind() -> None:
    assert [question.id for question in QUESTIONS if question.group and question.group not in TEXTS] == []
    assert [question.id for question in ANSWERABLE if not question.group] == []
    assert [question.id for question in QUESTIONS if len(question.tags) < 2] == []


def test_questions_are_as_varied_as_people_ask() -> None:
    kinds = Counter(tag for question in QUESTIONS for tag in question.tags)
    wanted = {
        "how",
        "what",
        "which",
        "why",
        "when",
        "how many",
        "yes-no",
        "error",
        "keywords",
        "typo",
        "long",
        "two places",
        "other language",
    }
    assert {kind for kind in wanted if kinds[kind] < 2} == set()
    assert kinds["neighbour"] >= 2 * kinds["foreign"]


def test_questions_are_asked_about_most_pages() -> None:
    asked = {document for question in ANSWERABLE for document, _ in places(question)}
    assert len(asked) >= 0.7 * len(TEXTS)


def test_questions_that_need_two_places_have_a_group_for_each() -> None:
    both = [question for question in ANSWERABLE if "two places" in question.tags]
    assert len(both) >= 3
    assert [question.id for question in both if len(question.places) != 2 or len(question.facts) != 2] == []
