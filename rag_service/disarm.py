"""Text of documents as it is shown to a language model: what could pass for a mark of the prompt, or that no reader sees, is taken apart.

Pure, and linear in the length of the text. Only what is shown changes: chunks, quotes and offsets are of the text as it was indexed.
"""

import re

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e01ef]"  # tag characters, and the variation selectors that can carry any bytes
)
_JOINERS = re.compile("([\u200c\u200d\ufe0f]{2})[\u200c\u200d\ufe0f]++")
"""One or two are how Persian, the scripts of India and emoji are spelled; a longer run can carry bits."""

_TURN = (
    r"im_start|im_end|im_sep|system|user|assistant|observation|endoftext|end|eot_id|eom_id|start_header_id|end_header_id|begin_of_text"
    r"|end_of_text|finetune_right_pad_id|python_tag|start|channel|message|return|call|fim_\w{1,12}|tool\w{0,20}|python\w{0,12}|ipython"
)
_CONTROL = re.compile(
    rf"(?P<bars><[|｜])(?=[\w▁/-][ \w▁/-]{{0,39}}[|｜]>)"  # <|im_start|> and whatever else is written so
    rf"|(?P<angle><)(?=/?(?:{_TURN}|s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|think(?:ing)?|tool_calls?|tool_response"
    r"|function_calls?|function_results?|human|passages?|documents?|context|instructions?)>)"
    r"|(?P<sys><)(?=</?SYS>>)"
    r"|(?P<square>\[)(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|IMG)\])",
    re.IGNORECASE,
)
"""Tokens that end a turn or begin one in the chat formats of open models: ChatML, Llama 2 to 4, Mistral, Gemma, DeepSeek, Phi, Qwen. A
server that parses them in the text of a message would take a document's for its own."""
_SPEAKER = re.compile(
    r"(?m)^([ \t]*+(?:#{1,6}[ \t]*+)?(?:Human|Assistant|System|User|Instructions?|Response|Question|NO_ANSWER))(:)", re.IGNORECASE
)
_HEAD = re.compile(r"(?m)^([ \t]*+)\[(\d{1,3})\]")
"""At the beginning of a line, where the prompt numbers its passages."""


def disarmed(text: str) -> str:
    """`text` with a space where a control token, the name of a speaker or the number of a passage would otherwise be complete, in round
    brackets a number at the beginning of a line, and without characters that are invisible.
    """
    shown = _JOINERS.sub(r"\1", _INVISIBLE.sub("", text))
    shown = _CONTROL.sub(lambda found: f"{found[0]} ", shown)
    shown = _SPEAKER.sub(r"\1 \2", shown)
    return _HEAD.sub(r"\1(\2)", shown)
