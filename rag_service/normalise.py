"""One spelling for every text, before anything is counted: all offsets in a `Document` are into the text made here.

What is invisible is removed because it can carry instructions that no reader sees (tag characters, bidirectional overrides), or
split a word that then is never found (zero-width space, soft hyphen). U+200C and U+200D stay: Persian, the scripts of India and
emoji are spelled with them.
"""

import re
import unicodedata
from functools import cache

_LINE_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")

_REMOVED = re.compile(
    "["
    "\x00-\x08\x0e-\x1f\x7f-\x9f"  # control characters; \n and \t stay
    "\u00ad\u200b\u2060\ufeff"  # soft hyphen, zero-width space, word joiner, byte order mark
    "\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    "\ufdd0-\ufdef\ufffe\uffff"  # noncharacters
    "]"
)

# Sets that reach beyond U+FFFF are searched ten times more slowly, so these stand alone and are used where they can matter.
_SUPPLEMENTARY = re.compile("[\U00010000-\U0010ffff]")
_REMOVED_SUPPLEMENTARY = re.compile(
    "[\U000e0000-\U000e007f"  # tag characters
    + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17))  # noncharacters
    + "]"
)
_MAY_BE_SUPPLEMENTARY_MARK = re.compile("[\U000101fd-\U0001e94a]")

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")

_MAX_MARK_RUN = 30
"""Combining marks in a row; UAX #15 §13 finds no real text with more."""

_MARKS_START = 0x300
_SUPPLEMENTARY_START = 0x10000
_MARKS_END = 0x1E94B
"""Just above the highest character of a non-zero combining class."""

MAX_TITLE_CHARS = 300


def normalise(text: str) -> str:
    """NFC, line breaks as `\\n`, no invisible or control characters, no lone surrogates. Idempotent, and linear in time.

    Removal comes first: NFC never makes a character that would be removed, while removal can bring two together that compose.
    """
    if "\r" in text or not text.isprintable():
        text = _LINE_BREAKS.sub("\n", text)
        text = _REMOVED.sub("", text)
        text = _LONE_SURROGATES.sub("\ufffd", text)
        if _SUPPLEMENTARY.search(text):
            text = _REMOVED_SUPPLEMENTARY.sub("", text)
    if text.isascii():
        return text
    # Sorting a run of combining marks is quadratic, so runs are cut before; and after, because NFC may lengthen them.
    return _without_long_mark_runs(unicodedata.normalize("NFC", _without_long_mark_runs(text)))


def document_text(raw: str) -> str:
    """Exactly what `Document.text` is for `raw`: normalised, without leading blank lines and trailing white space.

    The first line keeps its indentation, which means something in Markdown.
    """
    text = normalise(raw).rstrip()
    first_visible = len(text) - len(text.lstrip())
    return text[text.rfind("\n", 0, first_visible) + 1 :]


def one_line(raw: str) -> str:
    """For titles: normalised, white space collapsed, at most 300 characters."""
    return " ".join(normalise(raw).split())[:MAX_TITLE_CHARS].rstrip()


def _without_long_mark_runs(text: str) -> str:
    supplementary = _MAY_BE_SUPPLEMENTARY_MARK.search(text) is not None
    return _long_mark_run(_MARKS_END if supplementary else _SUPPLEMENTARY_START).sub(lambda run: run.group()[:_MAX_MARK_RUN], text)


@cache
def _long_mark_run(end: int) -> re.Pattern[str]:
    """Of marks below `end`. Built at the first use: asking for the class of each character takes some 10 ms."""
    marks = "".join(chr(point) for point in range(_MARKS_START, end) if unicodedata.combining(chr(point)))
    return re.compile(f"[{marks}]{{{_MAX_MARK_RUN + 1},}}")
