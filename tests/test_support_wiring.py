"""What becomes of the check of an answer's sentences: in the record, in the events, in the ledger, and where it is strict."""

import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from rag_service.ask import Pipeline
from rag_service.kept import Content, Kept
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.question import Question
from rag_service.record import Event, Found, Record
from rag_service.recording import Recorder
from rag_service.release import Checks
from rag_service.reply import reply_to
from rag_service.types import Completion
from tests.doubles import HOLIDAYS, Writes, completion, with_generator

TRUE = "Every employee has 28 days of paid holiday a year [1]."
INVENTED = "Penguins keep their eggs warm on their feet in Antarctica [1]."
QUESTIONS = (
    HOLIDAYS,
    "When do unused days expire?",
    "What is allowed on journeys of more than four hours?",
    "How long is a password?",
    "What do visitors wear?",
    "How do I send receipts to the finance office?",
    "How many seats has Curie?",
)


def writing(pipeline: Pipeline, *texts: str, checks: Literal["flag", "strict"] = "flag", pieces: int | None = None) -> Pipeline:
    """The pipeline with a generator that writes `texts`, and with these checks in its release."""
    written: list[Completion | Exception] = [completion(text) for text in texts]
    return checking(with_generator(pipeline, Writes(*written, pieces=pieces)), checks)


def checking(pipeline: Pipeline, checks: Literal["flag", "strict"]) -> Pipeline:
    lineage = pipeline.lineage
    release = lineage.release.model_copy(update={"checks": Checks(support=checks)})
    return dataclasses.replace(pipeline, lineage=dataclasses.replace(lineage, release=release))


def told(pipeline: Pipeline) -> tuple[list[Event], Record]:
    events: list[Event] = []
    record = pipeline.ask(Question(HOLIDAYS), events.append)
    return events, record


def levels(record: Record) -> list[str]:
    return [sentence.level for sentence in record.support]


def unsupported_notices(record: Record) -> list[str]:
    return [notice.detail for notice in record.notices if notice.code == "sentence_unsupported"]


# Flagged


def test_a_sentence_that_no_passage_supports_is_flagged_and_answered(pipeline: Pipeline) -> None:
    record = writing(pipeline, f"{TRUE} {INVENTED}").ask(Question(HOLIDAYS))
    assert record.status == "answered"
    assert record.answer == f"{TRUE} {INVENTED}"
    assert levels(record) == ["supported", "unsupported"]
    assert unsupported_notices(record) == ["1 of 2 sentences are not supported by what they cite"]
    assert [record.answer[slice(*sentence.span)] for sentence in record.support] == [TRUE, INVENTED]
    assert [(sentence.cited, sentence.claims, sentence.passages) for sentence in record.support] == [(True, True, (1,))] * 2
    assert any("penguins" in reason.casefold() for reason in record.support[1].reasons)


def test_an_answer_whose_sentences_are_all_supported_is_not_flagged(pipeline: Pipeline) -> None:
    record = writing(pipeline, TRUE).ask(Question(HOLIDAYS))
    assert levels(record) == ["supported"]
    assert unsupported_notices(record) == []


def test_a_sentence_with_a_number_that_no_passage_holds_is_never_supported(pipeline: Pipeline) -> None:
    record = writing(pipeline, TRUE.replace("28", "82")).ask(Question(HOLIDAYS))
    assert record.status == "answered"
    [sentence] = record.support
    assert sentence.level != "supported"
    assert "the number 82 is in no cited passage" in sentence.reasons


def test_spans_are_those_of_the_answer_and_not_of_what_was_written(pipeline: Pipeline) -> None:
    record = writing(pipeline, f"They say [99] so. {TRUE} {INVENTED}").ask(Question(HOLIDAYS))
    assert record.answer is not None
    assert record.raw_answer != record.answer
    assert [record.answer[slice(*sentence.span)] for sentence in record.support][1:] == [TRUE, INVENTED]


@pytest.mark.parametrize("question", QUESTIONS)
def test_everything_that_the_default_generator_quotes_is_supported(pipeline: Pipeline, question: str) -> None:
    record = checking(pipeline, "strict").ask(Question(question))
    assert record.status == "answered"
    assert set(levels(record)) == {"supported"}
    for sentence in record.support:
        said = (record.answer or "")[slice(*sentence.span)]
        assert sentence.score == 1.0 or said == "press Submit"  # two words may stand anywhere by chance
    assert unsupported_notices(record) == []


def test_an_answer_that_was_never_written_has_no_support(pipeline: Pipeline) -> None:
    declined = with_generator(pipeline, Writes(completion("", declined=True))).ask(Question(HOLIDAYS))
    early = pipeline.ask(Question(HOLIDAYS, min_confidence=1.0))
    assert (declined.abstain_reason, early.abstain_reason) == ("generator_declined", "low_confidence")
    assert declined.support == early.support == ()


def test_the_check_is_a_part_of_the_digest_of_its_stage(pipeline: Pipeline) -> None:
    def cited(text: str) -> str:
        [stage] = [stage for stage in writing(pipeline, text).ask(Question(HOLIDAYS)).stages if stage.name == "cite"]
        return stage.digest

    assert cited(TRUE) == cited(TRUE)
    assert cited(TRUE) != cited(TRUE.replace("28", "82"))


# Strict


def test_a_strict_release_withholds_an_answer_with_a_sentence_without_support(pipeline: Pipeline) -> None:
    record = writing(pipeline, f"{TRUE} {INVENTED}", checks="strict").ask(Question(HOLIDAYS))
    assert (record.status, record.abstain_reason) == ("abstained", "unsupported")
    assert record.answer is None
    assert record.citations == ()
    assert record.raw_answer == f"{TRUE} {INVENTED}"
    assert levels(record) == ["supported", "unsupported"]
    assert unsupported_notices(record) == ["1 of 2 sentences are not supported by what they cite"]


def test_a_strict_release_answers_what_is_supported_as_any_other_does(pipeline: Pipeline) -> None:
    strict, lenient = (writing(pipeline, TRUE, checks=checks).ask(Question(HOLIDAYS)) for checks in ("strict", "flag"))
    assert (strict.status, strict.answer, strict.citations) == (lenient.status, lenient.answer, lenient.citations)
    assert strict.answer == TRUE
    assert strict.lineage.release.id != lenient.lineage.release.id


def test_a_question_back_claims_nothing_and_is_not_withheld(pipeline: Pipeline) -> None:
    record = writing(pipeline, f"{TRUE} Do you also want to know about penguins?", checks="strict").ask(Question(HOLIDAYS))
    assert record.status == "answered"
    assert [sentence.claims for sentence in record.support] == [True, False]


@pytest.mark.parametrize("pieces", [1, 7, None])
def test_nothing_of_a_withheld_answer_is_told(pipeline: Pipeline, pieces: int | None) -> None:
    events, record = told(writing(pipeline, f"{TRUE} {INVENTED}", checks="strict", pieces=pieces))
    assert record.abstain_reason == "unsupported"
    [found] = events
    assert isinstance(found, Found)


@pytest.mark.parametrize("pieces", [1, 7, None])
def test_a_strict_release_tells_an_answer_when_it_was_checked(pipeline: Pipeline, pieces: int | None) -> None:
    generator = writing(pipeline, TRUE, checks="strict", pieces=pieces)
    at_once, _ = told(writing(pipeline, TRUE, checks="strict"))
    events, record = told(generator)
    assert record.answer == TRUE
    assert [event for event in events if not isinstance(event, Found)] == [event for event in at_once if not isinstance(event, Found)]
    assert "".join(getattr(event, "text", "") for event in events) == TRUE


def test_a_lenient_release_tells_what_it_flags(pipeline: Pipeline) -> None:
    events, record = told(writing(pipeline, INVENTED, pieces=5))
    assert levels(record) == ["unsupported"]
    assert "".join(getattr(event, "text", "") for event in events) == INVENTED


# Kept


Keep = Callable[[Record, Content], tuple[Kept, bytes]]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """What is read back of a record, and every byte of the file it was kept in."""

    def keep_it(record: Record, content: Content) -> tuple[Kept, bytes]:
        path = tmp_path / f"{content}.sqlite"
        recorder = Recorder(SqliteLedger(path), content=content)
        recorder.keep(record, key_id=None)
        recorder.close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        [kept] = SqliteLedger(path).find(record.answer_id)
        return kept, path.read_bytes()

    return keep_it


def test_a_record_is_read_back_with_its_support(pipeline: Pipeline, keep: Keep) -> None:
    record = writing(pipeline, f"{TRUE} {INVENTED}").ask(Question(HOLIDAYS))
    kept, _ = keep(record, "full")
    assert kept.record.support == record.support
    assert kept.record.confidence == record.confidence > 0
    assert kept.record.notices == record.notices


def test_a_withheld_answer_is_kept_with_what_was_written_and_why_it_was_withheld(pipeline: Pipeline, keep: Keep) -> None:
    record = writing(pipeline, f"{TRUE} {INVENTED}", checks="strict").ask(Question(HOLIDAYS))
    kept, _ = keep(record, "full")
    assert (kept.record.status, kept.record.abstain_reason) == ("abstained", "unsupported")
    assert (kept.record.answer, kept.record.raw_answer) == (None, f"{TRUE} {INVENTED}")
    assert kept.record.support == record.support


def test_a_record_of_digests_says_what_was_supported_but_no_word_of_why(pipeline: Pipeline, keep: Keep) -> None:
    record = writing(pipeline, f"{TRUE} {INVENTED}").ask(Question(HOLIDAYS))
    assert any("penguins" in reason.casefold() for sentence in record.support for reason in sentence.reasons)
    kept, written = keep(record, "digest")
    assert [sentence.reasons for sentence in kept.record.support] == [(), ()]
    assert kept.record.support == tuple(dataclasses.replace(sentence, reasons=()) for sentence in record.support)
    assert b"penguins" not in written.lower()
    assert b"antarctica" not in written.lower()


# Shown


def test_a_reply_shows_the_support_of_an_answer_but_not_of_one_that_was_withheld(pipeline: Pipeline) -> None:
    shown, withheld = (
        reply_to(writing(pipeline, f"{TRUE} {INVENTED}", checks=checks).ask(Question(HOLIDAYS))) for checks in ("flag", "strict")
    )
    assert [sentence.level for sentence in shown.support] == ["supported", "unsupported"]
    assert [warning.code for warning in shown.warnings] == ["sentence_unsupported"]
    assert (withheld.answer, withheld.abstain_reason, withheld.support) == (None, "unsupported", [])
    assert "Penguins" not in withheld.model_dump_json()
