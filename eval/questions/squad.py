"""SQuAD 1.1 and 2.0 (https://rajpurkar.github.io/SQuAD-explorer/): one JSON file of articles, paragraphs and their questions.

A question's gold is the paragraph it was written from, also where it is unanswerable: from that paragraph. Its answers are alternative
places in that paragraph. The article's title is its tag, and its group: questions of one article hang together.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from eval.questions.question import EvalQuestion, GoldPlace, QuestionSet, question_set
from eval.questions.rows import Incoming, validated
from rag_service.errors import InvalidInput

_HINT = 'SQuAD is {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers", "is_impossible"}]}]}]}'


class _Answer(Incoming):
    text: str
    answer_start: int | None = None


class _Question(Incoming):
    id: str
    question: str
    answers: list[_Answer]
    is_impossible: bool | None = None


class _Paragraph(Incoming):
    context: str
    qas: list[_Question]


class _Article(Incoming):
    title: str = ""
    paragraphs: list[_Paragraph]


class _File(Incoming):
    data: list[_Article]


def read_squad(text: str, path: Path) -> QuestionSet:
    """Raises `InvalidInput` naming the line where the file is not JSON, else article, paragraph and question."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path.name}:{error.lineno}: not JSON: {error.msg} at column {error.colno}", hint=_HINT) from error
    except (RecursionError, ValueError) as error:  # nested or numbered beyond what Python reads
        raise InvalidInput(f"{path.name}: not usable JSON: {error}", hint=_HINT) from error
    return question_set(path.name, "squad", _questions(validated(_File, value, path.name, hint=_HINT), path.name))


def _questions(file: _File, name: str) -> Iterator[tuple[str, EvalQuestion]]:
    for article_number, article in enumerate(file.data):
        for paragraph_number, paragraph in enumerate(article.paragraphs):
            place = f"{name}: data[{article_number}].paragraphs[{paragraph_number}]"
            if not paragraph.context.strip():
                raise InvalidInput(f"{place}: the context is blank", hint="a question's gold is its paragraph: restore the text")
            for number, question in enumerate(paragraph.qas):
                yield f"{place}.qas[{number}]", _question(question, paragraph.context, article.title)


def _question(question: _Question, context: str, title: str) -> EvalQuestion:
    given = [answer for answer in question.answers if answer.text.strip()]
    answers = tuple(dict.fromkeys(answer.text for answer in given))
    alternatives = tuple(dict.fromkeys(_place(answer, context) for answer in given))
    impossible = not answers if question.is_impossible is None else question.is_impossible
    return EvalQuestion(
        id=question.id,
        question=question.question,
        answers=answers,
        answerable=not impossible,
        gold_texts=(context,),
        tags=(title,) if title else (),
        places=(alternatives,) if alternatives else (),
        group=title,
    )


def _place(answer: _Answer, context: str) -> GoldPlace:
    """By the words alone where they do not stand at `answer_start`, as in a few rows of the published files."""
    start, end = answer.answer_start, (answer.answer_start or 0) + len(answer.text)
    if start is None or start < 0 or context[start:end] != answer.text:
        return GoldPlace(text=context, quote=answer.text)
    return GoldPlace(text=context, start=start, end=end)
