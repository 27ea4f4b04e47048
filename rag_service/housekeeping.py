"""What chat front ends ask for themselves: a title for the conversation, tags, suggestions, search queries. Pure.

They send it to the same endpoint as questions, with a prompt of their own in which the conversation is embedded. Nothing in the
documents answers that, so it gets a plain reply without a search. Recognised is the structure, never a word alone: an instruction
together with a conversation that is set off from it.
"""

import json
import re
from collections.abc import Callable, Sequence

_HEAD_CHARS = 2000
"""An instruction stands at the beginning, of a message or of the system message."""

_TAGS = ("chat_history", "chatHistory", "conversation")
_KEY = re.compile(r'"(title|tags|follow_ups|queries|text|prompt)"\s*:')
"""The key of the JSON object that an instruction asks for."""

_ORDER = r"(?:generate|provide|write|create|give|suggest|produce|summari[sz]e|analy[sz]e)"
_ORDERS = re.compile(rf"\b{_ORDER}\b", re.IGNORECASE)
_CONVERSATION = r"\b(?:conversation|chat|dialogue|messages)\b"
_TITLE = r"\btitle\b(?! of (?:the|each|every|a) (?!conversation|chat))"
_TITLE_OF_CONVERSATION = re.compile(
    rf"{_TITLE}.{{0,80}}?{_CONVERSATION}|{_CONVERSATION}.{{0,80}}?{_TITLE}"
    r"|\b(?:conversation|chat) a (?:\w+ )?name\b|\bname (?:for|of) (?:this|the|our) (?:conversation|chat)\b",
    re.IGNORECASE | re.DOTALL,
)
_NO_LONGER_THAN = re.compile(
    r"\b(?:\d+|two|three|four|five|six|seven|eight|ten)[- ](?:words?|characters?)\b|\bonly\b|\bnothing else\b", re.IGNORECASE
)
_TITLE_OF_OURS = re.compile(
    rf"\A\s*(?:please )?{_ORDER}\b.{{0,200}}\b(?:our|this) (?:conversation|chat)\b",
    re.IGNORECASE | re.DOTALL,
)
_TITLE_AS_JSON = re.compile(r'"title" ?:|\btitle\b.{0,80}\bJSON\b|\bJSON\b.{0,80}\btitle\b', re.DOTALL)
_CONVERSATION_LABEL = re.compile(r"^[^\n.]{0,40}\b(?:conversation|chat history|messages) ?:[ \t]*\n", re.IGNORECASE | re.MULTILINE)
_LANGUAGE_LABEL = re.compile(r"\A\s*language ?: ?\S+(?: \S+)?\s*\Z", re.IGNORECASE)

_USER_LABEL = re.compile(r"^[^\w\n]{0,3}(?:user|human) ?:[ \t]*", re.IGNORECASE | re.MULTILINE)
_USER_TAG = re.compile(r"<user>\s*")
_NEXT_SPEAKER = re.compile(
    r"^[^\w\n]{0,3}(?:user|human|assistant|ai|response|system|tool) ?:|</?(?:user|assistant|system)>|^[ \t]*(?:---|```)",
    re.IGNORECASE | re.MULTILINE,
)
_OPENING_LINE = re.compile(r"\A\s*(?:```|---)[^\n]*\n")

_EMOJI_FOR_MESSAGE = re.compile(
    r"\A[^\n]{0,400}\bemojis?\b.{0,400}^message:\s*(?P<fence>```|\"\"\")", re.IGNORECASE | re.MULTILINE | re.DOTALL
)
_EMOJI_ALONE = re.compile(r"\b(?:output|reply|respond|return|answer)(?: with)? only (?:a |one )?(?:single )?emoji\b", re.IGNORECASE)
_EMOJI = "💬"

_TITLE_WORDS = 6
_TITLE_CHARS = 50
_NO_TITLE = "New chat"
_TITLE_OPENING = re.compile(
    r"(?:(?:hi|hello|hey|please)\b[,!.]? ?)*"
    r"(?:how (?:do|can|could|should|would) (?:i|we|you)|how to|(?:can|could|would) you(?: please)?(?: tell me)?"
    r"|what(?: is|['’]s| are)|where (?:is|are)|tell me(?: about)?|show me|i (?:want|need|would like) to)\s+(?:(?:the|a|an) )?",
    re.IGNORECASE,
)


def housekeeping_reply(messages: Sequence[tuple[str, str]]) -> str | None:
    """The reply to a request that a front end makes for itself, or None where the last message is a question.

    `messages` are (role, text), oldest first, with `system` or `developer` among the roles. Linear in the length of the text.
    """
    if not messages or messages[-1][0] != "user":
        return None
    last = messages[-1][1]
    instruction, embedded = _tagged(last)
    if embedded is not None and (key := _KEY.search(instruction)):
        return _KEYED[key[1]](embedded)
    system = "\n".join(text for role, text in messages if role in ("system", "developer"))
    if _asks_for_emoji(system, last):
        return _EMOJI
    return _title_reply(messages, system)


def _title_reply(messages: Sequence[tuple[str, str]], system: str) -> str | None:
    """In the three forms that are in use: one message with the conversation in it, an instruction as system message, or an
    instruction as the last message of the conversation itself.
    """
    asked = [text for role, text in messages if role == "user"]
    last = asked[-1]
    instruction, embedded = _split(last)
    if embedded is not None and _asks_for_title(instruction):
        return _title_as_asked(instruction, embedded)
    alone = len(asked) == 1 and all(role != "assistant" for role, _ in messages)
    if alone and _asks_for_title(system):
        instruction, in_system = _split(system)
        return _title_as_asked(instruction, in_system if in_system is not None and _LANGUAGE_LABEL.match(last) else last)
    if len(asked) > 1 and _TITLE_OF_OURS.match(last[:_HEAD_CHARS]) and _asks_for_title(last):
        return _title_as_asked(last, asked[0])
    return None


def _asks_for_title(instruction: str) -> bool:
    head = instruction[:_HEAD_CHARS]
    return all(pattern.search(head) for pattern in (_ORDERS, _TITLE_OF_CONVERSATION, _NO_LONGER_THAN))


def _asks_for_emoji(system: str, last: str) -> bool:
    match = _EMOJI_FOR_MESSAGE.match(last[:_HEAD_CHARS])
    return (match is not None and last.rstrip().endswith(match["fence"])) or _EMOJI_ALONE.search(system[:_HEAD_CHARS]) is not None


def _split(text: str) -> tuple[str, str | None]:
    """The instruction, and the conversation that is embedded below it, if one is."""
    instruction, embedded = _tagged(text)
    if embedded is not None:
        return instruction, embedded
    head = text[:_HEAD_CHARS]
    if match := _CONVERSATION_LABEL.search(head):
        return text[: match.start()], text[match.end() :]
    match = _USER_LABEL.search(head)
    return (text[: match.start()], text[match.start() :]) if match else (text, None)


def _tagged(text: str) -> tuple[str, str | None]:
    for tag in _TAGS:
        start, end = text.find(f"<{tag}>"), text.rfind(f"</{tag}>")
        if 0 <= start < end:
            return f"{text[:start]}\n{text[end:]}", text[start + len(tag) + 2 : end]
    return text, None


def _first_message(conversation: str) -> str:
    """What the user said first in a transcript; the beginning of a text that has no speakers."""
    begin = _USER_TAG.search(conversation) or _USER_LABEL.search(conversation) or _OPENING_LINE.match(conversation)
    text = conversation[begin.end() :] if begin else conversation
    end = _NEXT_SPEAKER.search(text)
    return _from_json(text[: end.start()] if end else text)


def _last_message(conversation: str) -> str:
    *_, last = [match.start() for match in _USER_LABEL.finditer(conversation)] or [0]
    return _first_message(conversation[last:])


def _from_json(text: str) -> str:
    """Some send the conversation as a JSON list of messages."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(listed, dict):
        listed = listed.get("messages")
    for message in listed if isinstance(listed, list) else []:
        if isinstance(message, dict) and message.get("role") == "user":
            return str(message.get("content") or message.get("mainText") or message.get("text") or "")
    return text


def _title(message: str) -> str:
    """The first words of the message, without the words that open a question."""
    line = next((line for line in message.splitlines() if line.strip(" \t#*>`-")), "")
    line = " ".join(line.split()).strip(" #*>`\"'“”-")
    rest = _TITLE_OPENING.sub("", line, count=1) if _TITLE_OPENING.match(line) else line
    words = (rest if len(rest.split()) > 1 else line).split()[:_TITLE_WORDS]
    while len(words) > 1 and len(" ".join(words)) > _TITLE_CHARS:
        words.pop()
    title = " ".join(words)[:_TITLE_CHARS].rstrip(" .,:;!?…。？！")
    return title[:1].upper() + title[1:] or _NO_TITLE


def _title_as_asked(instruction: str, conversation: str) -> str:
    title = _title(_first_message(conversation))
    return _json("title", title) if _TITLE_AS_JSON.search(instruction[:_HEAD_CHARS]) else title


def _json(key: str, value: str | list[str]) -> str:
    return json.dumps({key: value}, ensure_ascii=False)


_KEYED: dict[str, Callable[[str], str]] = {
    "title": lambda conversation: _json("title", _title(_first_message(conversation))),
    "tags": lambda _: _json("tags", ["General"]),
    "follow_ups": lambda _: _json("follow_ups", []),
    "queries": lambda _: _json("queries", []),
    "text": lambda _: _json("text", ""),
    "prompt": lambda conversation: _json("prompt", _last_message(conversation).strip()),
}
