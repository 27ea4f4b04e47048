"""The default generator quotes: what it says stands in a passage, word for word."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.citations import cite
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import DeadlineExceeded
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.types import Chunk, ChunkId, Completion, DocumentId, Hit, Passage, Prompt

LEAVE = "## Holidays\n\nEvery employee has 28 days of paid holiday a year. Unused days expire on 31 March."
TRAVEL = "## Trains\n\nBook second class. First class is allowed on journeys of more than four hours."
EXPENSES = (
    "## Expenses\n\nSend receipts to the finance office within 30 days:\n\n- scan each receipt\n- name the cost centre\n- press Submit\n\n"
    "Ask the office when in doubt."
)
PASSWORDS = "To expire a password at once, run this command:\n\n```bash\npasswd --expire $USER\n\nexit\n```\n\nIt needs no restart."


def chunk(text: str, *heading_path: str) -> Chunk:
    return Chunk(
        id=ChunkId(text[:16]),
        document_id=DocumentId("d"),
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        title="",
        heading_path=heading_path,
        source="d.md",
        page=None,
        embedded_text=text,
        tokens=1,
    )


def prompt(question: str, *chunks: Chunk | str) -> Prompt:
    given_chunks = [chunk(given) if isinstance(given, str) else given for given in chunks]
    return Prompt("", "", question, tuple(Passage(marker, given) for marker, given in enumerate(given_chunks, start=1)))


@pytest.fixture(scope="module")
def generator(embedder: OnnxEmbedder) -> ExtractiveGenerator:
    return ExtractiveGenerator(embedder)


def quotes(completion: Completion) -> list[str]:
    """What stands before each marker."""
    assert completion.markers is not None
    found, start = [], 0
    for marker in completion.markers:
        found.append(completion.text[start : marker.start].strip())
        start = marker.end
    assert start == len(completion.text)
    return found


def test_the_sentence_that_answers_is_quoted_with_its_passages_number(generator: ExtractiveGenerator) -> None:
    completion = generator.generate(prompt("How many days of paid holiday does an employee have?", TRAVEL, LEAVE))
    assert completion.text == "Every employee has 28 days of paid holiday a year. [2]"
    assert not completion.declined


def test_a_list_comes_along_with_the_sentence_that_announces_it(generator: ExtractiveGenerator) -> None:
    completion = generator.generate(prompt("How do I send receipts to the finance office?", EXPENSES))
    assert "within 30 days:\n\n- scan each receipt\n- name the cost centre\n- press Submit\n\n[1]" in completion.text


def test_a_code_block_comes_along_with_the_sentence_that_announces_it_blank_lines_and_all(generator: ExtractiveGenerator) -> None:
    completion = generator.generate(prompt("Which command expires a password at once?", PASSWORDS))
    assert "run this command:\n\n```bash\npasswd --expire $USER\n\nexit\n```\n\n[1]" in completion.text


def test_code_that_no_sentence_announces_is_quoted_alone_and_whole(generator: ExtractiveGenerator) -> None:
    code = "```\n# expire a password\n\npasswd --expire $USER\n```"
    completion = generator.generate(prompt("How do I expire a password?", f"Visitors sign the book.\n\n{code}\n\nThey wear a badge."))
    assert completion.text == f"{code}\n\n[1]"


@pytest.mark.parametrize(
    "heading",
    ["# How do I book a train?", "How do I book a train?\n======================", "How do I book a train?\n---", "How do I book a train?"],
)
def test_headings_are_not_quoted(generator: ExtractiveGenerator, heading: str) -> None:
    passage = chunk(f"{heading}\n\nTo book a train ask the office.", "Travel", "How do I book a train?")
    completion = generator.generate(prompt("How do I book a train?", passage))
    assert completion.text == "To book a train ask the office. [1]"


def test_it_declines_when_nothing_is_close(generator: ExtractiveGenerator) -> None:
    completion = generator.generate(prompt("What is the boiling point of tungsten?", LEAVE, TRAVEL))
    assert completion.declined
    assert (completion.text, completion.markers) == ("", ())


@pytest.mark.parametrize("passages", [(), ("",), ("   \n ",), ("# Heading alone",), ("```\ncode\n```",), ("ok",)])
def test_it_declines_when_there_is_nothing_to_quote(generator: ExtractiveGenerator, passages: tuple[str, ...]) -> None:
    assert generator.generate(prompt("What is it?", *passages)).declined


def test_a_question_of_stop_words_alone_is_no_trouble(generator: ExtractiveGenerator) -> None:
    assert generator.generate(prompt("what is it?", LEAVE)).finish_reason == "stop"
    assert generator.generate(prompt("", LEAVE)).finish_reason == "stop"


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_sentences_are_quoted_than_allowed(embedder: OnnxEmbedder, most: int) -> None:
    passages = [f"The holiday of team {letter} lasts 28 days. Holiday days of team {letter} expire." for letter in "abcd"]
    completion = ExtractiveGenerator(embedder, max_sentences=most, margin=100.0).generate(prompt("How many days of holiday?", *passages))
    assert len(quotes(completion)) == most


def test_a_sentence_that_two_passages_hold_is_quoted_once(generator: ExtractiveGenerator) -> None:
    completion = generator.generate(prompt("How many days of paid holiday does an employee have?", LEAVE, "Note: see below.\n\n" + LEAVE))
    assert quotes(completion).count("Every employee has 28 days of paid holiday a year.") == 1
    assert "[1]" in completion.text


def test_two_sentences_of_one_passage_stay_in_the_order_in_which_they_were_written(embedder: OnnxEmbedder) -> None:
    generator = ExtractiveGenerator(embedder, margin=100.0)
    completion = generator.generate(prompt("When do unused holiday days expire?", LEAVE))
    assert quotes(completion) == ["Every employee has 28 days of paid holiday a year.", "Unused days expire on 31 March."]


def test_brackets_in_what_is_quoted_are_not_citations(generator: ExtractiveGenerator) -> None:
    passage = "The holiday of 28 days is explained in [7] and in days[1]."
    hits = [Hit(chunk(passage), 0.9)]
    completion = generator.generate(prompt("How many days of holiday?", passage))
    answer = cite(completion, hits)
    assert answer.text == passage + " [1]"
    assert [(citation.marker, citation.quote, citation.verbatim) for citation in answer.citations] == [(1, passage, True)]
    assert answer.notices == ()


LINES = st.sampled_from(
    [
        "Every employee has 28 days of holiday.", "Unused holiday days expire! Ask [3].", "Holiday rules:", "- 28 days of holiday",
        "1. ask",
        "```", "~~~", "holiday = days[28]", "# Holiday days", "Holiday days\n===", "| holiday | days |", "", "", "---",
        "<div>holiday</div>",
        "休日は28日です。", "holiday " * 30,
    ]
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.lists(LINES, max_size=8).map("\n".join), max_size=3))
def test_whatever_the_passages_hold_every_quote_stands_in_the_passage_it_cites(generator: ExtractiveGenerator, texts: list[str]) -> None:
    asked = prompt("How many days of holiday are there?", *texts)
    completion = generator.generate(asked)
    assert completion.markers is not None
    assert len(completion.markers) <= 2
    for quote, marker in zip(quotes(completion), completion.markers, strict=True):
        [number] = marker.numbers
        assert completion.text[marker.start : marker.end] == f"[{number}]"
        assert quote
        assert quote in asked.passages[number - 1].chunk.text
    answer = cite(completion, [Hit(passage.chunk, 0.5) for passage in asked.passages])
    assert all(citation.verbatim for citation in answer.citations)
    assert generator.generate(asked) == completion


def test_a_deadline_that_is_past_is_refused(generator: ExtractiveGenerator) -> None:
    with pytest.raises(DeadlineExceeded):
        generator.generate(prompt("How many days?", LEAVE), deadline_s=time.monotonic() - 1)
    assert generator.generate(prompt("How many days of holiday?", LEAVE), deadline_s=time.monotonic() + 60).text


def test_the_digest_changes_with_every_parameter(embedder: OnnxEmbedder) -> None:
    variants = [
        ExtractiveGenerator(embedder),
        ExtractiveGenerator(embedder, max_sentences=3),
        ExtractiveGenerator(embedder, margin=0.5),
        ExtractiveGenerator(embedder, least_score=0.1),
    ]
    assert len({generator.digest for generator in variants}) == 4
    assert variants[0].digest == ExtractiveGenerator(embedder).digest


def test_text_without_spaces_is_quoted_too(generator: ExtractiveGenerator) -> None:
    passage = "发布是指所有能改变答案的东西。如何回滚到上一个版本：激活它所服务的索引版本。访客要佩戴黄色徽章。"
    completion = generator.generate(prompt("如何回滚到上一个版本？", passage))
    assert quotes(completion)[0] == "如何回滚到上一个版本：激活它所服务的索引版本。"
