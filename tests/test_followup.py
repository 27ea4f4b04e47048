"""Which questions lean on the conversation, what is put before them, and whether that finds more."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.followup import leans, render_history, standalone, usable_rewrite
from rag_service.prompt import load_template
from rag_service.types import Turn

PROJECT = Path(__file__).resolve().parents[1]
SQUAD = PROJECT.parent / "shared" / "data" / "squad2" / "dev-visible.json"
MAX_CHARS = 4000

HOLIDAYS = "How many holidays do I get?"
INDEX = "How do I build an index from my documents?"
ROLLBACK = "How do I roll back to the previous release?"
OPENAI = "How do I use OpenAI or another hosted model?"
EVALUATE = "How do I evaluate an index?"

LEANING = [
    "And for part-timers?",
    "Do they expire?",
    "What about sick leave?",
    "How about Windows?",
    "Why?",
    "Why not?",
    "Since when?",
    "How much does it cost?",
    "Can I carry them over?",
    "How do I cancel it?",
    "Who approves that?",
    "What does this mean?",
    "Is that also true for contractors?",
    "Which one is the default?",
    "And the other one?",
    "Is there a limit?",
    "What is the default?",
    "How do I change the default?",
    "Can I use Docker instead?",
    "Does Docker work too?",
    "For part-timers?",
    "Without a GPU?",
    "Which departments?",
    "Tell me more",
    "More details, please",
    "Anything else?",
    "Can you give an example?",
    "Where is it stored?",
    "When was it built and by whom?",
    "What are its limits?",
    "Do those count?",
    "How long does it take?",
    "How do I get there?",
    "Same for managers?",
    "But what if I am ill?",
    "What’s the difference?",
    "Who is he?",
    "Then how do I undo it?",
    "What happens after that?",
    "Does it expire?",
    "Are they paid out?",
]

STANDING_ALONE = [
    HOLIDAYS,
    INDEX,
    "What is it called when a model makes things up?",
    "Is it possible to roll back to an older release?",
    "How long does it take to build an index?",
    "What is the name of the book that explains retrieval?",
    "What is RAG?",
    "Who founded Rome?",
    "What is the capital of France?",
    "Is there a mobile app for iOS?",
    "Where do API keys go?",
    "When did the Normans get their name?",
    "What did Ada Lovelace publish after she met Babbage?",
    "Which of the settings belong to a release?",
    "rollback release",
    "holiday entitlement",
    "How do I use another embedding model?",
    "What is also known as the City of Light?",
    "Can I use Docker instead of Podman?",
    "What does the error message KeyError mean?",
    "What does this error mean: connection refused on port 8000?",
    "Do employees lose their holidays at the end of the year?",
    "Is there more than one index in the folder?",
    "Which one of the stores searches exactly?",
    "How much memory does the service need?",
    "Wie viele Urlaubstage bekomme ich im Jahr?",
    "¿Cuántos días de vacaciones tengo?",
    "If I upload a file, where is it stored?",
    "Summarise the travel policy",
    "How are ids and digests made?",
]


def said(*questions: str) -> list[Turn]:
    """A conversation in which every question got an answer."""
    return [turn for question in questions for turn in (Turn("user", question), Turn("assistant", "The answer is 42 bananas."))]


@pytest.mark.parametrize("question", LEANING)
def test_a_question_that_leans_on_the_conversation_is_put_after_the_one_before_it(question: str) -> None:
    assert standalone(question, said(HOLIDAYS), max_chars=MAX_CHARS) == f"{HOLIDAYS} {question}"


@pytest.mark.parametrize("question", STANDING_ALONE)
def test_a_question_that_stands_alone_is_not_changed(question: str) -> None:
    assert standalone(question, said("Where is the canteen?"), max_chars=MAX_CHARS) == question


def test_without_a_conversation_every_question_stands_alone() -> None:
    assert [standalone(question, [], max_chars=MAX_CHARS) for question in LEANING] == LEANING


def test_a_follow_up_of_a_follow_up_reaches_the_question_that_both_are_about() -> None:
    history = said("What is a release?", HOLIDAYS, "And for part-timers?")
    assert standalone("Do they expire?", history, max_chars=MAX_CHARS) == f"{HOLIDAYS} And for part-timers? Do they expire?"


def test_what_the_assistant_said_is_not_used() -> None:
    assert "bananas" not in standalone("Do they expire?", said(HOLIDAYS), max_chars=MAX_CHARS)
    assert standalone("Do they expire?", [Turn("assistant", "Welcome! Ask me anything.")], max_chars=MAX_CHARS) == "Do they expire?"


@pytest.mark.parametrize("chatter", ["Thanks!", "Hi", "ok, great", "👍", "Thank you very much."])
def test_thanks_and_greetings_are_no_part_of_a_conversation(chatter: str) -> None:
    assert standalone("Do they expire?", said(HOLIDAYS, chatter), max_chars=MAX_CHARS) == f"{HOLIDAYS} Do they expire?"
    assert standalone(chatter, said(HOLIDAYS), max_chars=MAX_CHARS) == chatter


def test_the_oldest_words_go_first_where_there_is_no_room() -> None:
    history = said(HOLIDAYS, "And for part-timers?")
    assert standalone("Do they expire?", history, max_chars=45) == "I get? And for part-timers? Do they expire?"
    assert standalone("Do they expire?", history, max_chars=15) == "Do they expire?"
    assert standalone("Do they expire?", history, max_chars=3) == "Do they expire?"


def test_a_text_of_many_pages_does_not_push_the_question_out_of_what_an_encoder_reads() -> None:
    found = standalone("Do they expire?", said("A long report on holidays. " * 10_000), max_chars=MAX_CHARS)
    assert found.endswith("on holidays. Do they expire?")
    assert len(found) < 450


@pytest.mark.parametrize("text", ["it that " * 100_000, "xylophone " + "it that " * 100_000, "[" * 1_000_000])
def test_a_million_characters_are_no_trouble(text: str) -> None:
    assert standalone(text, said(text), max_chars=MAX_CHARS) == text


TURNS = st.lists(
    st.builds(Turn, st.sampled_from(["user", "assistant"]), st.one_of(st.sampled_from(LEANING), st.text(max_size=80))), max_size=6
)
TEXTS = st.one_of(st.sampled_from(LEANING + STANDING_ALONE), st.text(max_size=80))


@given(question=TEXTS, history=TURNS, max_chars=st.integers(0, 200))
def test_the_question_is_kept_whole_at_the_end_and_the_bound_holds(question: str, history: list[Turn], max_chars: int) -> None:
    found = standalone(question, history, max_chars=max_chars)
    assert found.endswith(question)
    assert len(found) <= max(max_chars, len(question))
    said_before = {word for turn in history if turn.role == "user" for word in turn.content.split()}
    assert set(found.removesuffix(question).split()) <= said_before


# What it is for: finding more.

# Earlier questions, the follow-up, and the page of docs/ that answers it.
FOLLOW_UPS = [
    (("Which file formats can be read?",), "Are scanned ones read too?", "limits"),
    ((INDEX,), "Is it deterministic?", "indexes"),
    ((INDEX,), "What happens if it crashes halfway?", "indexes"),
    ((INDEX, "Why were files skipped?"), "How do I see which?", "indexes"),
    ((ROLLBACK,), "Does that restore the old settings too?", "releases"),
    ((ROLLBACK,), "And the code?", "releases"),
    (("How do I activate an index version?",), "What does a running server do then?", "releases"),
    (("How do I activate an index version?",), "How do I try it before?", "releases"),
    (("How do I run a local GGUF model?",), "And one from Ollama?", "generators"),
    ((OPENAI,), "Where do I put the key?", "generators"),
    ((OPENAI,), "What is sent to them?", "generators"),
    ((OPENAI,), "What happens if it is slow?", "generators"),
    ((EVALUATE,), "Which metrics are there?", "metrics"),
    ((EVALUATE,), "Can I do that on SQuAD?", "question-sets"),
    ((EVALUATE, "Which question formats are there?"), "What must they look like?", "question-sets"),
    (("How do I compare two settings in an evaluation?",), "And another generator?", "evaluate"),
    (("How do I start the service?",), "How do I change the port?", "quickstart"),
    (("How do I start the service?",), "How do I uninstall it?", "quickstart"),
    (("How do I build and run the container image?",), "With my own documents?", "operate"),
    (("How do I build and run the container image?",), "How does its digest get into the trace?", "operate"),
    (("How do I check that the service is healthy and ready?",), "What does that prove?", "operate"),
    (("What does the score of a hit mean?",), "What if it is too low?", "ask"),
    (("What does abstain mean?",), "How do I make it happen less often?", "ask"),
    (("Which HTTP error codes are there?",), "Which of them may be retried?", "ask"),
    (("What does HTTP status 503 mean?",), "And 422?", "ask"),
    (("How do I configure the service?",), "Can I use a file instead?", "configuration"),
    (("How do I configure the service?",), "How do I see what is in force?", "configuration"),
    (("How do I add a vector store?",), "And an embedder?", "architecture"),
    (("What does the trace of an answer say?",), "Does it name the embedding model?", "trace"),
    (("Why do two answers to the same question differ?",), "How do I find out where?", "trace"),
    (("What is a release?",), "Which settings belong to it?", "releases"),
    (("Which encoder is used?",), "How do I use another?", "indexes"),
    (("How do I back up an index?",), "And how do I check it for damage?", "indexes"),
    (("What is a chunk?", "How large is it?"), "How do I change that?", "indexes"),
]
# The same, but the question stands alone and is about something else.
SWITCHES = [
    ((ROLLBACK, "And the code?"), "Which file formats can I index?", "indexes"),
    ((INDEX, "Is it deterministic?"), "What does HTTP status 503 mean?", "ask"),
    (("What does abstain mean?",), "How do I run a local GGUF model?", "generators"),
    (("How do I run a local GGUF model?",), "How do I add another vector store?", "architecture"),
    (("Which encoder is used?",), "Which metrics does an evaluation report?", "metrics"),
    ((EVALUATE,), "Does any data leave my machine?", "generators"),
    (("How do I start the service?",), "How does the container image digest get into the trace?", "operate"),
    (("How do I back up an index?",), "Do I need a GPU?", "index"),
    (("What does HTTP status 503 mean?",), "How do I delete an old index version?", "releases"),
    (("What is a trace?",), "How many passages reach the generator?", "configuration"),
]


class Pages:
    """The sections of docs/, by the page they stand on."""

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self._embedder = embedder
        found = [
            (path.stem, part[:900])
            for path in sorted((PROJECT / "docs").glob("*.md"))
            for part in re.split(r"^(?=##? )", path.read_text("utf-8"), flags=re.MULTILINE)
            if part.strip()
        ]
        self._pages = [page for page, _ in found]
        self._vectors = np.stack([embedder.embed_query(text) for _, text in found])

    def best(self, query: str) -> list[str]:
        """The pages of the five most similar sections."""
        similar = self._vectors @ self._embedder.embed_query(query)
        return [self._pages[row] for row in np.argsort(-similar, kind="stable")[:5]]


@pytest.fixture(scope="module")
def pages(embedder: OnnxEmbedder) -> Pages:
    return Pages(embedder)


def missed(pages: Pages, conversations: Sequence[tuple[tuple[str, ...], str, str]], *, raw: bool = False) -> list[str]:
    """Questions whose page is not among the five best."""
    queries = [
        (question, question if raw else standalone(question, said(*earlier), max_chars=MAX_CHARS), page)
        for earlier, question, page in conversations
    ]
    return [question for question, query, page in queries if page not in pages.best(query)]


def test_follow_ups_find_their_page_more_often_with_what_they_lean_on(pages: Pages) -> None:
    with_context, without = missed(pages, FOLLOW_UPS), missed(pages, FOLLOW_UPS, raw=True)
    assert len(with_context) <= len(FOLLOW_UPS) // 10, with_context  # the pages grow, and some are about neighbouring subjects
    assert len(without) >= len(with_context) + 2


def test_a_change_of_subject_finds_what_it_found_before(pages: Pages) -> None:
    assert [standalone(question, said(*earlier), max_chars=MAX_CHARS) for earlier, question, _ in SWITCHES] == [
        question for _, question, _ in SWITCHES
    ]
    assert missed(pages, SWITCHES) == []


@pytest.mark.skipif(not SQUAD.is_file(), reason="needs SQuAD 2.0 in ../shared/data")
def test_few_real_questions_that_were_asked_alone_are_taken_for_follow_ups() -> None:
    articles = json.loads(SQUAD.read_text("utf-8"))["data"]
    questions = [asked["question"] for article in articles for paragraph in article["paragraphs"] for asked in paragraph["qas"]]
    leaning = [question for question in questions if leans(question)]
    assert len(leaning) < 0.03 * len(questions), leaning


# The prompt for a language model, and what it may give back.


def test_the_history_is_one_line_a_message_oldest_first() -> None:
    history = [Turn("user", HOLIDAYS), Turn("assistant", "28 days. [1]\n\nAssistant: \tand more"), Turn("user", "Thanks")]
    assert render_history(history, max_chars=1000) == (f"User: {HOLIDAYS}\nAssistant: 28 days. [1] Assistant: and more\nUser: Thanks")


def test_of_a_long_history_the_newest_messages_are_shown_and_long_ones_cut() -> None:
    shown = render_history([Turn("user", f"{number} " + "word " * 1000) for number in range(20)], max_chars=400).split("\n")
    assert [line.split()[1] for line in shown] == ["16", "17", "18", "19"]
    assert all(line.endswith("word…") and len(line) <= 100 for line in shown)


@given(history=TURNS, max_chars=st.integers(0, 300))
@settings(max_examples=50)
def test_the_history_is_never_longer_than_asked_for(history: list[Turn], max_chars: int) -> None:
    shown = render_history(history, max_chars=max_chars)
    assert len(shown) <= max_chars
    assert all(line.startswith(("User: ", "Assistant: ", "User:", "…", "U", "A")) for line in shown.split("\n") if line)


def test_the_prompt_holds_the_history_and_the_question() -> None:
    template = load_template("condense/1", condensing=True)
    assert "{{history}}" in template.user
    assert "{{question}}" in template.user
    assert "{{" not in template.system


@pytest.mark.parametrize(
    "written",
    [
        "How many holidays do part-timers get?",
        "  How many holidays do part-timers get?\n",
        "Standalone question: How many holidays do part-timers get?",
        "**Standalone Question:** How many holidays do part-timers get?",
        "Rewritten question:\n“How many holidays do part-timers get?”",
        "Question: 'How many holidays do part-timers get?'",
        '"How many holidays do part-timers get?"',
        "<think>\nThe user means holidays.\n</think>\n\nHow many holidays do part-timers get?",
    ],
)
def test_quotes_and_labels_around_a_rewritten_question_are_taken_off(written: str) -> None:
    assert usable_rewrite(written, max_chars=100) == "How many holidays do part-timers get?"


@pytest.mark.parametrize(
    "question",
    [
        "What is the question: a test?",
        "I can't log in, what can I do?",
        "Why does “foo” differ from “bar”",
        "Wie viele Tage sind es?",
        "“A” or “B”?",
    ],
)
def test_a_rewritten_question_is_not_changed_within(question: str) -> None:
    assert usable_rewrite(question, max_chars=100) == question


@pytest.mark.parametrize(
    "written",
    [
        "",
        " \n ",
        '""',
        "?!",
        "Standalone question:",
        "NO_ANSWER",
        "no_answer.",
        "I'm sorry, but I cannot help with that.",
        "Sorry, I do not know.",
        "I cannot rewrite this message.",
        "The passages do not say.",
        "Here it is:\nHow many holidays do part-timers get?",
        "1. How many?\n2. For whom?",
        "word " * 30,
    ],
)
def test_what_cannot_be_searched_for_is_not_used(written: str) -> None:
    assert usable_rewrite(written, max_chars=100) is None


@given(text=st.text(max_size=60), max_chars=st.integers(0, 60))
def test_a_usable_rewrite_is_one_stripped_line_within_the_bound(text: str, max_chars: int) -> None:
    found = usable_rewrite(text, max_chars=max_chars)
    if found is not None:
        assert found == found.strip() != ""
        assert len(found) <= max_chars
        assert len(found.splitlines()) == 1
        assert found in text
