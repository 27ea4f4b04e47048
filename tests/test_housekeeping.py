"""Requests that a chat front end makes for itself are told from questions by their structure."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.housekeeping import housekeeping_reply

SQUAD = Path(__file__).resolve().parents[2] / "shared" / "data" / "squad2" / "dev-visible.json"
QUESTION = "How do I roll back to the previous release?"
ANSWER = "Run the command again with the older version [1]."
TRANSCRIPT = f"USER: {QUESTION}\nASSISTANT: {ANSWER}"
TITLE = "Roll back to the previous release"


def reply(*messages: tuple[str, str]) -> str | None:
    return housekeeping_reply(messages)


def task(instruction: str, output: str, history: str = TRANSCRIPT) -> tuple[str, str]:
    """A prompt with the conversation in tags, as the tasks of Open WebUI have it."""
    return (
        "user",
        f"### Task:\n{instruction}\n\n### Output:\nJSON: {output}\n\n### Chat History:\n<chat_history>\n{history}\n</chat_history>",
    )


@pytest.mark.parametrize(
    ("instruction", "output", "expected"),
    [
        ("Find a short heading for the chat.", '{ "title": "your heading" }', {"title": TITLE}),
        ("Name broad topics of the chat.", '{ "tags": ["one", "two"] }', {"tags": ["General"]}),
        ("Think of questions to ask next.", '{ "follow_ups": ["One?", "Two?"] }', {"follow_ups": []}),
        ("Think of searches, or return an empty list.", '{ "queries": ["one"] }', {"queries": []}),
        ("Complete what is being typed.", '{ "text": "…" }', {"text": ""}),
        ("Describe a picture.", '{ "prompt": "…" }', {"prompt": QUESTION}),
    ],
)
def test_a_task_with_the_conversation_in_tags_gets_the_json_it_asks_for(instruction: str, output: str, expected: object) -> None:
    found = reply(task(instruction, output))
    assert found is not None
    assert json.loads(found) == expected


def test_what_stands_in_the_conversation_does_not_decide_the_task() -> None:
    history = 'USER: Why does {"tags": []} fail? It says "queries": none.\nASSISTANT: "follow_ups": no idea.'
    assert reply(task("Find a heading.", '{ "title": "…" }', history)) == '{"title": "Why does {\\"tags\\": []} fail? It"}'


def test_text_that_is_being_typed_may_follow_the_conversation() -> None:
    role, prompt = task("Complete what is being typed.", '{ "text": "…" }')
    assert reply((role, prompt + "\n<type>General</type>\n<text>How do I</text>\n#### Output:\n")) == '{"text": ""}'


@pytest.mark.parametrize(
    "conversation",
    [f"User: {QUESTION}\nAI: {ANSWER}", f"Human: {QUESTION}\nAI: {ANSWER}", f"{QUESTION}\n\n{ANSWER}"],
)
def test_a_title_is_plain_text_where_no_json_is_asked_for(conversation: str) -> None:
    prompt = f"Write a title of at most 5 words for the conversation. Return only the title.\n\nConversation:\n{conversation}"
    assert reply(("user", prompt)) == TITLE


def test_a_title_that_is_only_named_in_quotes_is_not_json() -> None:
    order = 'Write a title for the conversation in 5 words, without the word "title".'
    assert reply(("user", f"{order}\n\nConversation:\nUser: {QUESTION}\nAI: {ANSWER}")) == TITLE


def test_the_conversation_may_follow_the_instruction_without_a_label() -> None:
    order = "Analyse this conversation and give:\n1. its language\n2. A title in that language (5 words or less)"
    assert reply(("user", f"{order}\n\nUser: {QUESTION}\nAI: {ANSWER}")) == TITLE


def test_the_conversation_may_stand_in_a_code_block() -> None:
    prompt = (
        "Look at the chat history and give this conversation a name.\nUse 30 characters. Just the name, nothing else.\n\n"
        f"Here is the conversation:\n\n```\n{QUESTION}\n\n---------\n\n{ANSWER}\n```\n\nThe name:"
    )
    assert reply(("user", prompt)) == TITLE


SYSTEM = "You write headings. Generate a title for the conversation.\n- Output ONLY the title\n- 10 words"


@pytest.mark.parametrize(
    "message",
    [
        QUESTION,
        f"user: {QUESTION}\nassistant: {ANSWER}",
        f"assistant: Hello!\nuser: {QUESTION}",
        f"<task>\nA title.\n</task>\n\n<conversation>\n<assistant>\nHi!\n</assistant>\n<user>\n{QUESTION}\n</user>\n</conversation>",
        f"---BEGIN MESSAGES---\n{QUESTION}\n---END MESSAGES---",
        f"<conversation><user>{QUESTION}</user><assistant>{ANSWER}</assistant></conversation>",
        json.dumps([{"role": "user", "mainText": QUESTION}, {"role": "assistant", "mainText": ANSWER}]),
        json.dumps({"messages": [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": QUESTION}]}),
    ],
)
def test_the_instruction_may_be_the_system_message(message: str) -> None:
    assert reply(("system", SYSTEM), ("user", message)) == TITLE
    as_json = SYSTEM.replace("Output ONLY the title", 'Return one JSON object with a single "title" string')
    assert reply(("developer", as_json), ("user", message)) == json.dumps({"title": TITLE})


def test_the_conversation_may_stand_in_the_system_message() -> None:
    system = (
        f"Write a title for this conversation in the given language, 5 words.\n||>User:\n{QUESTION}\nuser: {QUESTION}\nassistant: {ANSWER}"
    )
    assert reply(("system", system), ("user", "Language: English")) == TITLE


def test_the_instruction_may_be_the_last_message_of_the_conversation_itself() -> None:
    order = "Please generate a title of four to five words for our conversation, without punctuation or quotation marks."
    assert reply(("user", QUESTION), ("assistant", ANSWER), ("user", order)) == TITLE


def test_an_emoji_for_a_message_is_one_emoji() -> None:
    prompt = "Your task is to pick an emoji that fits the mood of the message (such as 😊 or 😢).\n\nMessage: ```I got the job```"
    assert reply(("user", prompt)) == "💬"
    system = "You choose emojis. Rules:\n- Output ONLY a single emoji\n- No explanations"
    assert reply(("system", system), ("user", "I write code"), ("assistant", "🧙"), ("user", "I got the job")) == "💬"


@pytest.mark.parametrize(
    ("first", "title"),
    [
        (QUESTION, TITLE),
        ("What is the capital of France?", "Capital of France"),
        ("What is RAG?", "What is RAG"),
        ("hi, can you tell me where is the canteen", "Where is the canteen"),
        ("Rollback", "Rollback"),
        ("# My *notes*\n\nPlease summarise.", "My *notes"),
        ("one two three four five six seven eight", "One two three four five six"),
        (
            "pneumonoultramicroscopicsilicovolcanoconiosis and electroencephalographically",
            "Pneumonoultramicroscopicsilicovolcanoconiosis and",
        ),
        ("如何回滚到以前的版本？", "如何回滚到以前的版本"),
        ("x" * 80, "X" + "x" * 49),
        ("```", "New chat"),
        ("", "New chat"),
    ],
)
def test_a_title_is_the_first_words_of_the_first_message(first: str, title: str) -> None:
    assert reply(("system", SYSTEM), ("user", first)) == title


QUESTIONS = [
    QUESTION,
    "What is the title of the first page?",
    "Generate a title for my report on leave in five words",
    "Give me only the name of the manager in the conversation with Ada",
    "How do I write a chat title of at most 10 words, and nothing else, in the front end?",
    "Which tags and follow-ups does the chat history have?",
    'What does {"title": "x", "tags": []} mean in the chat_history?',
    "Which emoji may I use in a message?",
    '### Task:\nAnswer from the context, with citations.\n\n<context>\n<source id="1">chat</source>\n</context>\n\nWhat is a title?',
    "Which queries does <chat_history> hold?",
    "User: what is a release?",
    "Summarise the conversation policy in two sentences",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_left_alone(question: str) -> None:
    assert reply(("user", question)) is None
    assert reply(("system", "You are a helpful assistant. Answer in 50 words only."), ("user", question)) is None
    assert reply(("user", "What is a chat?"), ("assistant", ANSWER), ("user", question)) is None


@pytest.mark.parametrize(
    "system",
    [
        "Always give the title of the document. Reply to messages in 50 words only.",
        "Write answers with one emoji. Only answer from the documents of the chat.",
        "Give the name of the document at the end of each message, and nothing else.",
        "Generate answers for this conversation only from the passages.",
    ],
)
def test_a_system_message_of_an_assistant_is_no_order_for_a_title(system: str) -> None:
    assert reply(("system", system), ("user", QUESTION)) is None


def test_a_conversation_goes_on_under_a_system_message_that_asks_for_titles() -> None:
    assert reply(("system", SYSTEM), ("user", QUESTION), ("assistant", ANSWER), ("user", "And the code?")) is None


def test_without_a_last_message_of_the_user_there_is_nothing_to_tell() -> None:
    assert housekeeping_reply([]) is None
    assert reply(("system", SYSTEM)) is None
    assert reply(("user", task("Find a heading.", '{ "title": "…" }')[1]), ("assistant", ANSWER)) is None


@pytest.mark.skipif(not SQUAD.is_file(), reason="needs SQuAD 2.0 in ../shared/data")
def test_no_real_question_is_taken_for_housekeeping() -> None:
    articles = json.loads(SQUAD.read_text("utf-8"))["data"]
    asked = [row for article in articles for paragraph in article["paragraphs"] for row in paragraph["qas"]]
    assert [row["question"] for row in asked if reply(("user", row["question"]))] == []
    paragraphs = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    assert [text for text in paragraphs if reply(("user", f"Which title has this text?\n\n{text}"))] == []


@pytest.mark.parametrize(
    "unit", ["\n", " ", "user:", "user:\n", "<chat_history>", "</chat_history><chat_history>", "[", "`", '"title":', "hi "]
)
def test_a_million_characters_are_no_trouble(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    for messages in ([("user", text)], [("system", SYSTEM), ("user", text)], [task("Find a heading.", '{ "title": "…" }', text)]):
        housekeeping_reply(messages)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["system", "user", "assistant"]),
            st.one_of(st.text(max_size=30), st.sampled_from([SYSTEM, QUESTION, TRANSCRIPT])),
        ),
        max_size=4,
    )
)
def test_any_messages_get_a_reply_of_one_line_or_none(messages: list[tuple[str, str]]) -> None:
    found = housekeeping_reply(messages)
    assert found is None or (found.strip() == found != "" and len(found) <= 60)
