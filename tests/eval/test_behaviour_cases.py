"""Behaviour cases: how they are written, and how replies to them are judged."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.behaviours import Case, Documents, Expected, Reply, read_cases, run_behaviours
from eval.behaviours.judging import Replies, alike, holds, judge, shortfalls
from eval.behaviours.running import Silent
from rag_service.errors import InvalidInput, NotFound

HANDBOOK = Path("handbook")
ANSWER = Reply(status="answered", answer="Employees have 28 days of holiday.", cites=("leave.md",))
ABSTENTION = Reply(status="abstained", code="low_confidence")


def a_case(**given: Any) -> Case:
    expected = {field.name: given.pop(field.name) for field in fields(Expected) if field.name in given}
    return Case(
        **{
            "id": "holidays",
            "kind": "paraphrase",
            "level": "must",
            "documents": Documents(HANDBOOK),
            "ask": "How many days?",
            "expected": Expected(**expected),
            "reason": "a test",
            "place": "cases.yaml:1",
            **given,
        }
    )


# what stands in an answer


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("28 days", "Employees have 28\n days."),
        ("INTERNS", "Interns may not."),
        ("28", "28, and no more."),
        ("28", "Of 30 days, 28."),
        ("deployctl revert", "run `deployctl revert --service NAME`"),
        ("huit", "« huit livres »"),
        ("有給", "年に28日の有給休暇"),
        ("€", "4€"),
    ],
)
def test_a_part_stands_in_a_text_whatever_its_case_and_white_space(part: str, text: str) -> None:
    assert holds(part, text)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("28", "128 days"),
        ("28", "280 days"),
        ("28", "1.28 days"),
        ("28", "28.5 days"),
        ("4,300", "14,300 euros"),
        ("4,300", "4,300,000 euros"),
        ("day", "days"),
        ("rent", "the current"),
    ],
)
def test_a_part_of_a_word_or_number_is_not_what_was_meant(part: str, text: str) -> None:
    assert not holds(part, text)


@given(st.text(max_size=40), st.text("abc 12.,", min_size=1, max_size=10), st.text(max_size=40))
def test_what_stands_between_white_space_is_found(before: str, part: str, after: str) -> None:
    if part.strip():
        assert holds(part, f"{before} | {part} | {after}")


# judging


@pytest.mark.parametrize(
    ("expected", "reply", "shortfall"),
    [
        (Expected(status="answered"), ABSTENTION, "answered was expected, not abstained"),
        (Expected(status="abstained"), ANSWER, "abstained was expected, not answered"),
        (Expected(status="abstained", code=("no_hits",)), ABSTENTION, "no_hits was expected, not low_confidence"),
        (Expected(contains=("28", "30")), ANSWER, "'30' was expected in the answer"),
        (Expected(contains_any=("30", "31")), ANSWER, "one of '30', '31' was expected in the answer"),
        (Expected(excludes=("holiday",)), ANSWER, "'holiday' was not expected in the answer"),
        (Expected(cites=("leave.md", "travel.md")), ANSWER, "travel.md was expected to be cited, not leave.md"),
        (Expected(cites_any=("a.md", "b.md")), ANSWER, "one of 'a.md', 'b.md' was expected to be cited, not leave.md"),
        (Expected(cites=("leave.md",)), replace(ANSWER, cites=()), "leave.md was expected to be cited, not nothing"),
        (Expected(warns=("question_truncated",)), ABSTENTION, "the warning question_truncated was expected"),
        (
            Expected(),
            Reply(status="error", code="internal", message="oh"),
            "an answer or an abstention was expected, not the error internal: oh",
        ),
        (Expected(), replace(ANSWER, faults=("the trace does not name index.version",)), "the trace does not name index.version"),
    ],
)
def test_what_did_not_come_is_said(expected: Expected, reply: Reply, shortfall: str) -> None:
    assert list(shortfalls(expected, reply)) == [shortfall]


@pytest.mark.parametrize(
    ("expected", "reply"),
    [
        (Expected(status="answered", contains=("28 days",), excludes=("30",), cites=("leave.md",), cites_any=("a.md", "leave.md")), ANSWER),
        (Expected(contains=("28",), cites=("leave.md",)), ABSTENTION),
        (Expected(status="error", code=("a", "b")), Reply(status="error", code="b")),
        (Expected(code=("a", "b")), Reply(status="error", code="b")),
        (Expected(code=("a", "b")), ABSTENTION),
        (Expected(warns=("x",)), replace(ABSTENTION, warnings=("y", "x"))),
    ],
)
def test_what_came_as_expected_has_no_shortfall(expected: Expected, reply: Reply) -> None:
    assert list(shortfalls(expected, reply)) == []


def test_two_replies_are_alike_by_their_words_or_by_a_document_in_common() -> None:
    other = Reply(status="answered", answer="Twenty-eight.", cites=("travel.md", "leave.md"))
    elsewhere = Reply(status="answered", answer="Twenty-eight.", cites=("travel.md",))
    assert alike(ANSWER, other)
    assert alike(ANSWER, replace(ANSWER, answer="employees have 28  days of holiday.", cites=()))
    assert alike(ABSTENTION, Reply(status="abstained", code="no_hits"))
    assert not alike(ANSWER, elsewhere)
    assert not alike(ANSWER, ABSTENTION)


def test_a_paraphrase_that_is_answered_from_elsewhere_fails_its_case() -> None:
    case = a_case(status="answered", same_as=("How long is the holiday?", "Holidays?"))
    verdict = judge(case, Replies(first=ANSWER, again=(ANSWER, ABSTENTION)))
    assert verdict.problems == ("asked 'Holidays?' it said nothing (low_confidence)",)
    assert not verdict.passed
    assert (verdict.name, verdict.must) == ("paraphrase/holidays", True)
    assert "28 days" in verdict.detail
    assert "Holidays?" in verdict.detail


def test_an_answer_without_its_document_fails_its_case() -> None:
    case = a_case(status="answered", remove=("leave.md",))
    assert judge(case, Replies(first=ANSWER, without=ABSTENTION)).passed
    assert judge(case, Replies(first=ANSWER, without=ANSWER)).problems[0].startswith("without leave.md an abstention was expected")
    assert not judge(case, Replies(first=ANSWER, without=Reply(status="error", code="internal"))).passed


def test_other_words_beside_other_documents_are_fine_where_the_expectations_hold() -> None:
    reworded = replace(ANSWER, answer="It is 28 days.")
    case = a_case(status="answered", contains=("28",), cites=("leave.md",), add=Path("elsewhere"))
    assert judge(case, Replies(first=ANSWER, beside=reworded)).passed
    assert not judge(case, Replies(first=ANSWER, beside=replace(reworded, cites=("noise.md",)))).passed
    assert not judge(case, Replies(first=ANSWER, beside=ABSTENTION)).passed
    assert not judge(a_case(status="answered", add=Path("elsewhere")), Replies(first=ANSWER, beside=reworded)).passed


def test_nothing_is_asked_twice_and_changed_documents_are_asked_as_such() -> None:
    asked: list[tuple[Documents, str]] = []

    def ask(documents: Documents, question: str) -> Reply:
        asked.append((documents, question))
        return ABSTENTION if documents.without else ANSWER

    cases = [
        a_case(status="answered", same_as=("Holidays?",)),
        a_case(id="again", status="answered", remove=("b.md", "a.md"), add=Path("elsewhere")),
    ]
    verdicts = run_behaviours(cases, ask, Silent())
    assert [verdict.passed for verdict in verdicts] == [True, True]
    assert asked == [
        (Documents(HANDBOOK), "How many days?"),
        (Documents(HANDBOOK), "Holidays?"),
        (Documents(HANDBOOK, without=("a.md", "b.md")), "How many days?"),
        (Documents(HANDBOOK, beside=Path("elsewhere")), "How many days?"),
    ]


# reading

CASE = """kind: {kind}
corpus: papers
cases:
  - id: holidays
    level: must
    ask: How many days?
    status: answered
    reason: a test
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file of cases, beside a corpus of two documents."""
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEmployees have 28 days of holiday.\n")
    (folder / "travel.md").write_text("# Travel\n\nBook second class.\n")

    def write_it(text: str) -> Path:
        path = tmp_path / "cases.yaml"
        path.write_text(text)
        return path

    return write_it


def test_a_case_is_read_as_it_is_written(write: Write) -> None:
    text = (
        CASE.format(kind="noise")
        + "    contains: [28 days, holiday]\n    cites: leave.md\n    metamorphic: {remove: leave.md, add: elsewhere}\n    repeat: 2\n"
    )
    (case,) = read_cases([write(text)])
    assert (case.id, case.kind, case.level, case.reason, case.place) == ("holidays", "noise", "must", "a test", "cases.yaml:4")
    assert case.ask == "How many days? How many days?"
    assert case.expected == Expected(status="answered", contains=("28 days", "holiday"), cites=("leave.md",))
    assert case.documents.folder.name == "papers"
    assert case.remove == ("leave.md",)
    assert case.add is not None
    assert {path.name for path in case.add.iterdir()} >= {"recipes.md"}


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            "reason: a test",
            "reason: a test\n    contians: 28",
            "cases.yaml:9: there is no key 'cases.0.contians'",
            "did you mean 'contains'?",
        ),
        ("kind: typo", "kind: typos", "cases.yaml:1: kind", ""),
        ("level: must", "level: shall", "cases.yaml:5: cases.0.level", ""),
        ("    level: must\n", "", "cases.yaml:4: 'cases.0.level' is missing", "level"),
        ("corpus: papers", "corpus: paper", "cases.yaml:2: there is no folder of documents 'paper'", "did you mean 'papers'?"),
        (
            "reason: a test",
            "reason: a test\n    contains: 28",
            "cases.yaml:9: cases.0.contains: text is expected",
            'write it in quotes: "28"',
        ),
        ("corpus: papers\n", "", "cases.yaml:3: the case 'holidays' has no corpus", "corpus: FOLDER"),
        (
            "reason: a test",
            "reason: a test\n    cites: leaves.md",
            "cases.yaml:9: there is no document 'leaves.md'",
            "did you mean 'leave.md'?",
        ),
        (
            "reason: a test",
            "reason: a test\n    metamorphic: {remove: travle.md}",
            "cases.yaml:9: there is no document 'travle.md'",
            "did you mean 'travel.md'?",
        ),
        (
            "status: answered",
            "status: abstained\n    contains: holiday",
            "expects an answer's words or documents where it expects none",
            "",
        ),
        ("status: answered", "status: answered\n    code: no_hits", "cases.yaml:8: only abstentions and errors have a code", ""),
        ("status: answered", "status: abstained\n    metamorphic: {remove: leave.md}", "needs no document", "status: answered"),
        ("    status: answered\n", "", "the case 'holidays' expects nothing", "write status"),
        ("kind: typo", "kind: live", "a live case has no corpus", "delete it"),
        ("cases:", "cases: []\nothers:", "there is no key 'others'", ""),
        (CASE[CASE.index("cases:") :], "cases: []\n", "cases.yaml:3: there is no case", "write one"),
    ],
)
def test_what_is_wrong_in_a_file_of_cases_is_named_with_its_line(write: Write, old: str, new: str, message: str, hint: str) -> None:
    text = CASE.format(kind="typo")
    assert old in text
    with pytest.raises(InvalidInput) as caught:
        read_cases([write(text.replace(old, new))])
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_two_cases_of_one_id_are_refused(write: Write) -> None:
    text = CASE.format(kind="typo")
    with pytest.raises(InvalidInput, match=r"cases.yaml:9: the id 'holidays' is already that of cases.yaml:4"):
        read_cases([write(text + text[text.index("  - id") :])])


def test_a_file_of_cases_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_cases([tmp_path / "none.yaml"])
