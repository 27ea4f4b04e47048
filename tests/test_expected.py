"""What kind of answer a question wants, and which sentences have something of that kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.expected import Expected, expected, gives


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When was the bridge built?", "time"),
        ("What year did the war end?", "time"),
        ("WHICH CENTURY was it?", "time"),
        ("How many rooms are there?", "number"),
        ("How long is the corridor?", "number"),
        ("What percentage of the vote did she get?", "number"),
        ("What is the population of Malta?", "number"),
        ("Who wrote the report?", "name"),
        ("Where is the reception?", "name"),
        ("Which city hosted the games?", "name"),
        ("Why is the sky blue?", "reason"),
        ("Wann beginnt die Sitzung?", "time"),
        ("Wie viele Tage Urlaub gibt es?", "number"),
        ("Wieviel kostet ein Zimmer?", "number"),
        ("Wie groß ist der Raum?", "number"),
        ("Wer hat das Buch geschrieben?", "name"),
        ("Warum ist das Tor zu?", "reason"),
        ("¿Cuándo empieza la reunión?", "time"),
        ("¿Cuántas habitaciones hay?", "number"),
        ("¿Quién firmó el contrato?", "name"),
        ("¿Por qué está cerrada la puerta?", "reason"),
        ("Quand le pont a-t-il été construit ?", "time"),
        ("Combien de jours de congé ?", "number"),
        ("Où est la réception ?", "name"),
        ("Pourquoi la porte est-elle fermée ?", "reason"),
        ("Когда построен мост?", "time"),
        ("Сколько дней отпуска?", "number"),
        ("Кто написал отчёт?", "name"),
        ("Почему закрыта дверь?", "reason"),
        ("متى بني الجسر؟", "time"),
        ("كم يوما؟", "number"),
        ("لماذا الباب مغلق؟", "reason"),
        ("什么时候开会？", "time"),
        ("有多少房间？", "number"),
        ("谁写了报告？", "name"),
        ("为什么门关着？", "reason"),
        ("会議はいつ始まりますか", "time"),
        ("なぜ扉が閉まっているのか", "reason"),
        ("受付はどこですか", "name"),
    ],
)
def test_the_question_word_says_what_is_wanted(question: str, kind: Expected) -> None:
    assert expected(question) == kind


@pytest.mark.parametrize(
    "question",
    ["", "?", "Describe the procedure.", "How do I reset a password?", "Is the whole show over?", "Wie geht das?", "12 + 30", "你好"],
)
def test_other_questions_want_nothing_in_particular(question: str) -> None:
    assert expected(question) is None


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many people know when the train leaves?", "time"),  # of several, in the order time, number, reason, name
        ("Who knows how many there are?", "number"),
        ("Where and why did it fail?", "reason"),
    ],
)
def test_of_several_question_words_one_decides(question: str, kind: Expected) -> None:
    assert expected(question) == kind


@pytest.mark.parametrize(
    ("kind", "question", "sentence"),
    [
        ("number", "How many days?", "Every employee has 28 days."),
        ("number", "How many doors?", "It has four of them."),
        ("number", "How much does it cost?", "It is 1,250.50 euros."),
        ("number", "Wie viele Tage?", "Es sind fünf."),
        ("number", "Combien de portes ?", "Il y en a sept."),
        ("number", "Сколько дней?", "Всего пять."),
        ("number", "有多少房间？", "三个房间。"),
        ("time", "When does it end?", "Unused days expire on 31 March."),
        ("time", "When does it end?", "It ends in March."),
        ("time", "When was it?", "It was a century ago."),
        ("time", "Wann ist das?", "Im Oktober."),
        ("time", "Quand ?", "En février."),
        ("time", "Когда?", "В начале марта."),
        ("name", "Who wrote it?", "It was written by Ada Lovelace."),
        ("name", "Where is it?", "The office is in Berlin."),
        ("name", "Кто это написал?", "Это написал Пушкин."),
        ("reason", "Why is it closed?", "It is closed because of the storm."),
        ("reason", "Warum ist es zu?", "Es ist zu, weil es stürmt."),
        ("reason", "为什么关门？", "因为刮风。"),
    ],
)
def test_a_sentence_that_has_something_of_the_kind_is_told(kind: Expected, question: str, sentence: str) -> None:
    assert gives(kind, question, sentence)


@pytest.mark.parametrize(
    ("kind", "question", "sentence"),
    [
        ("number", "How many days?", "Every employee has days of paid holiday."),
        ("time", "When does it end?", "Unused days expire at some point."),
        ("time", "When does it end?", "There are seven of them."),
        ("name", "Who wrote it?", "The report was written by somebody else."),  # a capital at the beginning says nothing
        ("reason", "Why is it closed?", "It is closed on the island."),
        (None, "Describe it.", "Ada Lovelace has 28 days because it is March."),
    ],
)
def test_a_sentence_without_it_is_not(kind: Expected | None, question: str, sentence: str) -> None:
    assert not gives(kind, question, sentence)


@pytest.mark.parametrize(
    ("kind", "question", "sentence"),
    [
        ("number", "How many of the 28 days may I carry over?", "Of the 28 days some may be carried over."),
        ("time", "When in March does it end?", "It ends in March."),
        ("name", "Where was Ada Lovelace born?", "It is known that Ada Lovelace was born."),
        ("name", "Where is Berlin's airport?", "It is the airport of Berlin."),
        ("number", "三个房间有多少张床？", "三张。"),
    ],
)
def test_what_the_question_holds_already_does_not_answer_it(kind: Expected, question: str, sentence: str) -> None:
    assert not gives(kind, question, sentence)


@pytest.mark.parametrize(
    ("kind", "question", "sentence"),
    [
        ("number", "How many of the 28 days are left?", "There are 8 left."),
        ("number", "How many phones does someone have?", "There is one."),
        ("time", "When did the mayor resign?", "It was in May."),
        ("name", "Who signs the annual report?", "It is signed by Ann."),
    ],
)
def test_what_is_a_part_of_a_word_of_the_question_is_new(kind: Expected, question: str, sentence: str) -> None:
    assert gives(kind, question, sentence)


@given(question=st.text(max_size=60), sentence=st.text(max_size=120))
def test_any_text_can_be_asked_and_searched(question: str, sentence: str) -> None:
    kind = expected(question)
    assert kind in (None, "time", "number", "reason", "name")
    assert isinstance(gives(kind, question, sentence), bool)
    assert not gives("number", sentence, sentence)
    assert not gives("time", sentence, sentence)


@given(question=st.text(max_size=40))
def test_case_does_not_change_what_is_wanted(question: str) -> None:
    assert expected(question) == expected(question.casefold())
