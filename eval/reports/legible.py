"""Texts of documents, models and users as they may stand in a report: nothing in them moves a cursor, hides, or turns the rest."""

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed; ESC begins what terminals obey
    "\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # line separators, and what turns the direction of writing
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # halves of pairs, and what XML forbids
)


def legible(text: str) -> str:
    """With what no reader sees written as `\\x1b` or `\\u202e`. Line feeds and tabs stay."""
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}" if found[0] <= "\xff" else f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, *, most_chars: int | None = None) -> str:
    """The same without line breaks; with `most_chars`, cut at a word where it is longer, and `…` at its end."""
    text = " ".join(legible(text).split())
    if most_chars is None or len(text) <= most_chars:
        return text
    cut = text[: most_chars - 1]
    at_word, _, rest = cut.rpartition(" ")
    return f"{at_word if at_word and len(rest) < most_chars // 3 else cut}…"
