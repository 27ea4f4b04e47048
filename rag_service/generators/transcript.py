"""What a model says, piece by piece: bounded, and clean enough to be stored, shown and put into JSON. Without I/O of its own."""

import re
from collections.abc import Callable

from rag_service.errors import GeneratorFailed

MAX_ANSWER_CHARS = 200_000
"""Longest reply of a model, in characters as they came. The most that settings can ask for, 32,768 tokens, is some 130,000 in English."""
MAX_PIECES = 50_000
"""More than one for each of these tokens. LangChain keeps every piece of a stream, about 2.5 kB each, with text in it or without."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Unicode's category Cc but for tab and line feed."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class Transcript:
    """Pieces are told to `tell` as they are added, and are a text when all have come. Used by one thread."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._said: list[str] = []
        self._room_chars = MAX_ANSWER_CHARS
        self._room_pieces = MAX_PIECES
        self._half = ""

    def add(self, piece: str) -> None:
        """Raises `GeneratorFailed` after more than `MAX_ANSWER_CHARS` or `MAX_PIECES`, and what `tell` raises."""
        self._room_chars -= len(piece)
        self._room_pieces -= 1
        if self._room_chars < 0 or self._room_pieces < 0:
            most = f"{MAX_ANSWER_CHARS:,} characters" if self._room_chars < 0 else f"{MAX_PIECES:,} pieces"
            raise GeneratorFailed(
                f"the model said more than {most} and was not heard out",
                hint="set max_tokens, and check that the provider keeps to it",
                stage="generate",
            )
        text, self._half = self._half + piece, ""
        if "\ud800" <= text[-1:] <= "\udbff":  # the first half of a pair: the second may come with the next piece
            text, self._half = text[:-1], text[-1]
        self._keep(cleaned(text))

    def end(self) -> str:
        """Everything that was said: the pieces told, joined."""
        self._keep(cleaned(self._half))
        self._half = ""
        return "".join(self._said)

    def _keep(self, text: str) -> None:
        if text:
            self._said.append(text)
            if self._tell is not None:
                self._tell(text)


def cleaned(text: str) -> str:
    """`text` without control characters other than tab and line feed. Halves of a surrogate pair that stand together become their
    character, a half that stands alone becomes U+FFFD.
    """
    if _SURROGATE.search(text):
        text = _paired(text)
    return _CONTROL.sub("", text)


def _paired(text: str) -> str:
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _SURROGATE.sub(_REPLACEMENT, joined)
