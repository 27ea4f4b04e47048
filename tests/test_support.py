"""Support of the sentences of an answer: what is said of each, and that nothing breaks or outgrows its bounds."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.citations import CitedAnswer, cite
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import PassageTooLong
from rag_service.support import (
    MAX_ANSWER_CHARS,
    MAX_CLAIMS,
    MAX_EMBEDDED,
    MAX_PASSAGES,
    WITH_ENCODER,
    WITHOUT_ENCODER,
    Signals,
    Similar,
    assess,
)
from rag_service.types import NOT_COUNTED, Chunk, ChunkId, Completion, DocumentId, Hit, Matrix, Passage, SentenceSupport, Support
from rag_service.wording import MAX_PASSAGE_CHARS

LEAVE = "Every employee has 28 days of paid holiday a year. Unused days expire on 31 March. Ask your manager before you book a flight."
EXPORT = (
    "The `export` command writes 1,000 rows at a time. It does not support Parquet files. "
    "Run `tool export --all` to write everything. About 40 percent of all users need it. It asks for three passwords."
)
CURIE = "Marie Curie discovered polonium in 1898, together with Pierre. The Nobel Prize was given to her twice."
CODE = "Start the server:\n\n```sh\nexport PORT=8000\ntool serve --port $PORT\n```\n\nIt listens on all addresses."
INSTALL = "First create a virtual environment. Then activate the environment. Run pip install at the end."


def chunk(text: str, title: str = "") -> Chunk:
    return Chunk(ChunkId(text[:20]), DocumentId("d"), 0, 0, len(text), text, title, (), "d.txt", None, text, 1)


def checked(answer: str, *texts: str, similar: Similar | None = None, title: str = "") -> tuple[CitedAnswer, Support]:
    hits = [Hit(chunk(text, title), 0.5) for text in texts]
    cited = cite(Completion(answer, False, "stop", "m", NOT_COUNTED), hits)
    passages = [Passage(number, hit.chunk) for number, hit in enumerate(hits, start=1)]
    return cited, assess(cited.text, cited.citations, passages, similar)


def only(answer: str, *texts: str, title: str = "") -> SentenceSupport:
    [found] = checked(answer, *texts, title=title)[1].sentences
    return found


class Counting:
    """Embeds each text by its length, refuses those beyond `most`, and remembers what it was given."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.most = most
        self.given: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Matrix:
        self.given.extend(texts)
        if any(len(text) > self.most for text in texts):
            raise PassageTooLong("too long")
        angles = np.array([len(text) / 1000 for text in texts], np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def no_encoder(_: Sequence[str]) -> Matrix:
    raise AssertionError("nothing should be embedded")


@pytest.mark.parametrize(
    "answer",
    [
        "Unused days expire on 31 March [1].",
        "unused days expire on 31 March. [1]",
        "Unused days  expire\non 31 March[1].",
        "Every employee has 28 days of paid holiday a year[1].",
    ],
)
def test_what_stands_in_the_passage_word_for_word_is_supported_without_an_encoder(answer: str) -> None:
    _, support = checked(answer, LEAVE, similar=no_encoder)
    [found] = support.sentences
    assert (found.level, found.score, found.reasons, found.passages) == ("supported", 1.0, (), (1,))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Employees must ask their manager before booking flights [1].", LEAVE),
        ("The export command writes 1000 rows at a time [1].", EXPORT),
        ("The export command asks for 3 passwords [1].", EXPORT),
        ("40% of all users need it [1].", EXPORT),
        ("Polonium was discovered by Marie Curie in 1898 [1].", CURIE),
        ("Activate the environment after you create a virtual environment [1].", INSTALL),
        ("Die Lizenz kostet 3 Euro im Monat [1].", "Der Server ist alt. Die Lizenz kostet drei Euro im Monat."),
        ("Le serveur utilise 3 ports [1].", "Le serveur utilise trois ports. Il est lent."),
        ("公司总部位于北京市[1]。", "公司成立于2011年,总部位于北京市。员工很多。"),
        ("公司成立于2011年[1]。", "公司成立于二〇一一年，总部位于北京。"),
    ],
)
def test_the_same_in_other_words_is_supported(answer: str, text: str) -> None:
    assert only(answer, text).level == "supported"


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        ("Every employee has 30 days of paid holiday a year [1].", LEAVE, "the number 30 is in no cited passage"),
        ("Every employee has thirty days of paid holiday a year [1].", LEAVE, "the number thirty is in no cited passage"),
        ("The export command writes 1,000% rows at a time [1].", CODE + EXPORT.replace("percent", ""), "1,000 is no percentage in any"),
        ("公司成立于2012年[1]。", "公司成立于2011年，总部位于北京。", "the number 2012 is in no cited passage"),
        ("Polonium was discovered by Albert Einstein in 1898 [1].", CURIE, "'Albert Einstein' is not named"),
        ("Polonium was discovered in 1898 by NASA [1].", CURIE, "'NASA' is not named"),
        ('You run "tool export everything" to write everything [1].', EXPORT, "quoted words are not in the passage"),
        ("Run `tool export --none` to write everything [1].", EXPORT, "quoted words are not in the passage"),
        ("Unused days do not expire on 31 March [1].", LEAVE, "says not where the passage does not"),
        ("The export command does support Parquet files [1].", EXPORT, "leaves out a 'not' of the passage"),
        ("Der Server unterstützt Verschlüsselung [1].", "Der Server unterstützt keine Verschlüsselung.", "leaves out a 'not'"),
        (
            "Le serveur accepte les mots de passe vides [1].",
            "Le serveur n'est pas lent. Il ne accepte pas les mots de passe vides.",
            "leaves",
        ),
        ("这个系统支持日语[1]。", "这个系统支持三种语言,但不支持日语。", "leaves out a 'not' of the passage"),
        ("```sh\ntool serve --port 80\n```\n[1]", CODE, "the line `tool serve --port 80` is in no cited passage"),
    ],
)
def test_a_sentence_that_breaks_a_rule_is_never_supported_and_says_which(answer: str, text: str, reason: str) -> None:
    found = only(answer, text)
    assert found.level != "supported"
    assert any(each.startswith(reason) for each in found.reasons), found.reasons


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("The prize was given to her in May [1].", "On 2011-05-03 the prize was given to her."),
        ("NASA built the rocket engine [1].", "The National Aeronautics and Space Administration built the rocket engine."),
        ("It was founded in Spring Valley, by Curie [1].", "Curie founded it in spring in a valley: Spring Valley."),
        ("No, the days expire on 31 March [1].", LEAVE),
        ("Holidays that are not used expire on 31 March [1].", LEAVE),
        ("Der Preis ging an ihre Forschung mit der Physik [1].", "Der Preis ist für die Physik und nicht für die Chemie."),
    ],
)
def test_what_a_reader_finds_in_the_passage_breaks_no_rule(answer: str, text: str) -> None:
    assert not [each for each in only(answer, text).reasons if not each.startswith("in no cited passage")]


def test_what_the_passage_does_not_speak_of_is_unsupported_and_the_words_are_given() -> None:
    found = only("Bananas grow in warm countries [1].", LEAVE)
    assert found.level == "unsupported"
    assert found.reasons == ("in no cited passage: Bananas, grow, warm, countries",)


def test_title_and_headings_of_a_passage_count() -> None:
    assert only("Employees of Example Corp have 28 days of paid holiday a year [1].", LEAVE, title="Example Corp").level == "supported"
    assert "'Example Corp' is not named" in only("Employees of Example Corp have 28 days of paid holiday a year [1].", LEAVE).reasons


def test_a_sentence_is_compared_with_what_it_cites_and_not_with_other_passages() -> None:
    cited, support = checked("Unused days expire on 31 March [1]. Unused days expire on 31 March [2].", LEAVE, CURIE)
    right, wrong = support.sentences
    assert (right.level, right.passages, right.cited) == ("supported", (1,), True)
    assert (wrong.level, wrong.passages, wrong.cited) == ("unsupported", (2,), True)
    assert cited.text[slice(*wrong.span)] == "Unused days expire on 31 March [2]."


def test_a_sentence_without_a_marker_is_covered_by_the_next_one_of_its_paragraph() -> None:
    _, support = checked("Unused days expire on 31 March. Ask your manager before you book a flight [2].", CURIE, LEAVE)
    assert [each.passages for each in support.sentences] == [(2,), (2,)]


def test_a_sentence_that_cites_nothing_is_compared_with_all_passages_and_says_so() -> None:
    found = only("Unused days expire on 31 March.", CURIE, LEAVE)
    assert (found.level, found.passages, found.cited) == ("supported", (1, 2), False)
    assert found.reasons == ("no passage is cited",)


def test_two_passages_may_support_a_sentence_together() -> None:
    _, support = checked("Marie Curie discovered polonium in 1898, and unused days expire on 31 March [1, 2].", CURIE, LEAVE)
    assert support.sentences[0].level == "supported"
    assert support.sentences[0].passages == (1, 2)


def test_without_passages_nothing_is_supported() -> None:
    assert only("Unused days expire on 31 March.").reasons == ("there is no passage",)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Would you like to know more?", "asks, and claims nothing"),
        ("想知道更多吗？", "asks, and claims nothing"),
        ("Yes, it is.", "claims nothing that a passage could support"),
    ],
)
def test_what_claims_nothing_is_told_apart(answer: str, reason: str) -> None:
    found = only(answer, LEAVE)
    assert (found.level, found.score, found.claims) == ("unsupported", 0.0, False)
    assert reason in found.reasons


def test_list_items_and_code_are_judged_one_by_one_under_the_marker_that_follows_them() -> None:
    steps = "Do this:\n\n1. Create a virtual environment.\n2. Reboot the computer twice. Then wait.\n\n[1]"
    cited, support = checked(steps, INSTALL)
    assert [cited.text[slice(*each.span)] for each in support.sentences[1:]] == [
        "Create a virtual environment.",
        "Reboot the computer twice. Then wait.",
    ]
    assert [(each.level, each.passages) for each in support.sentences[1:]] == [("supported", (1,)), ("unsupported", (1,))]
    assert only("```\ntool serve --port $PORT\n```\n[1]", CODE).level == "supported"


def test_the_encoder_brings_a_paraphrase_closer_than_another_sentence_with_as_many_shared_words(embedder: OnnxEmbedder) -> None:
    answers = ("Holidays that nobody took lapse at the end of March [1].", "Rabbits that nobody fed sleep at the end of March [1].")
    close, far = (checked(answer, LEAVE, similar=embedder.embed_passages)[1].sentences[0] for answer in answers)
    assert close.score > far.score
    assert far.level == "unsupported"


def test_the_same_answer_is_judged_the_same_again(embedder: OnnxEmbedder) -> None:
    answer = "Employees get 28 days [1]. Polonium was found in 1898 [2]. It exports files [3]."
    one, other = (checked(answer, LEAVE, CURIE, EXPORT, similar=embedder.embed_passages)[1] for _ in range(2))
    assert one == other


def test_texts_beyond_the_window_of_the_encoder_are_judged_by_their_words() -> None:
    answer = f"{'Holidays of every kind and sort ' * 5} expire in March [1]. Holidays expire in March [1]."
    refusing = Counting(most=80)
    with_encoder, without = checked(answer, LEAVE, similar=refusing)[1], checked(answer, LEAVE)[1]
    assert with_encoder.sentences[0] == without.sentences[0]
    assert with_encoder.sentences[1].score != without.sentences[1].score


def test_no_more_texts_are_embedded_than_the_bound_says() -> None:
    counting = Counting()
    answer = " ".join(f"Holiday number word{index} ends [1]." for index in range(150))
    _, support = checked(answer, LEAVE, similar=counting)
    assert len(support.sentences) == 150
    assert len(set(counting.given)) == len(counting.given) <= MAX_EMBEDDED


@pytest.mark.parametrize(
    "pattern", ["a", "`", '"a b', "1", "1.", "not ", "- a\n", "| a |\n", "```\n", "two million ", "中不", "A. ", "[1] "]
)
def test_of_an_answer_of_ten_megabytes_a_beginning_is_looked_at_and_that_is_said(pattern: str) -> None:
    text = pattern * (10_000_000 // len(pattern))
    support = assess(text, [], [Passage(1, chunk(text[:200_000]))])
    assert support.looked_at_chars <= MAX_ANSWER_CHARS
    assert len(support.sentences) <= MAX_CLAIMS
    assert f"only the first {support.looked_at_chars:,} of {len(text):,} characters of the answer were checked" in support.notes


def test_the_beginning_of_a_long_passage_is_compared_and_that_is_said() -> None:
    _, support = checked("Ask your manager before you book a flight [1].", "x " * MAX_PASSAGE_CHARS + LEAVE)
    assert support.sentences[0].level == "unsupported"
    assert support.notes == ("only the beginning of passage 1 was compared",)


def test_cited_passages_come_before_others_when_there_are_too_many() -> None:
    many = [CURIE] * (MAX_PASSAGES + 5)
    _, support = checked(f"Unused days expire on 31 March [{len(many) + 1}].", *many, LEAVE)
    assert support.sentences[0].level == "supported"
    assert support.notes == ("6 passages that the answer does not cite were not compared",)


def test_every_weight_belongs_to_a_signal() -> None:
    names = {field.name for field in fields(Signals)} | {"intercept"}
    assert set(WITH_ENCODER) == names
    assert set(WITHOUT_ENCODER) == names - {"similarity"}


_PIECES = st.sampled_from(
    [
        "[1]",
        "[2, 3]",
        ". ",
        "\n\n",
        "- ",
        "| ",
        "```",
        "`",
        '"',
        "“",
        "no ",
        "not",
        "three ",
        "1,000",
        "40%",
        "Paris",
        "中国",
        "不",
        "? ",
        "# ",
        "’",
    ]
)


@settings(max_examples=150)
@given(answer=st.lists(_PIECES | st.text(max_size=5)).map("".join), texts=st.lists(st.text(max_size=60) | st.just(CURIE), max_size=3))
def test_whatever_stands_in_answer_and_passages_every_sentence_gets_a_verdict(answer: str, texts: list[str]) -> None:
    cited, support = checked(answer, *texts, similar=Counting(most=40))
    position = 0
    for each in support.sentences:
        assert position <= each.span[0] < each.span[1] <= len(cited.text)
        position = each.span[1]
        assert 0.0 <= each.score <= 1.0
        assert set(each.passages) <= set(range(1, len(texts) + 1))
        assert each.level == "supported" or each.reasons or each.passages
    assert support.looked_at_chars == len(cited.text)
