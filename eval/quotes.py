"""Where something stands in the text of a document. Pure.

All spans are character offsets, end exclusive.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from rag_service.normalise import document_text, normalise

Span = tuple[int, int]

_PLAIN = str.maketrans({**dict.fromkeys("‘’‚‛‹›′´", "'"), **dict.fromkeys("“”„‟«»″", '"'), **dict.fromkeys("‐‑‒–—―−", "-")})
"""Typographic quotation marks and dashes, one character for one."""
_WORD = re.compile(r"\S+")


def folded(text: str) -> str:
    """White space collapsed and quotation marks and dashes plain: how two editions of one text are compared."""
    return " ".join(text.translate(_PLAIN).split())


class DocumentText:
    """The text of one document, and where quotes stand in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded: tuple[str, list[int], list[int]] | None = None

    def find(self, quote: str) -> list[Span]:
        """Every place where `quote` stands, whatever white space divides its words; or, if it does so nowhere, with other quotation marks
        and dashes.

        Where it stands by itself at some places, those inside longer words do not count: `1` is not in `2010`.
        """
        wanted = " ".join(normalise(quote).split())
        found = list(self._find_folded(folded(wanted)))
        exact = [(start, end) for start, end in found if " ".join(self.text[start:end].split()) == wanted]
        return self._by_itself(exact or found)

    def nearest(self, quote: str, start: int) -> Span | None:
        """Of those places the one that begins nearest to `start`."""
        return min(self.find(quote), key=lambda span: abs(span[0] - start), default=None)

    def holds(self, quote: str, start: int, end: int) -> bool:
        """Whether `quote` is what stands from `start` to `end`."""
        return folded(self.text[start:end]) == folded(normalise(quote))

    def trimmed(self, start: int, end: int) -> Span | None:
        """Without white space at both ends; None where there is nothing else, or the end lies beyond the text."""
        part = self.text[start:end]
        if end > len(self.text) or not part.strip():
            return None
        return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))

    def _by_itself(self, spans: list[Span]) -> list[Span]:
        def cut(first: int, second: int) -> bool:
            return first >= 0 and second < len(self.text) and _is_word(self.text[first]) and _is_word(self.text[second])

        return [(start, end) for start, end in spans if not (cut(start - 1, start) or cut(end - 1, end))] or spans

    def _find_folded(self, wanted: str) -> Iterator[Span]:
        if self._folded is None:
            words = list(_WORD.finditer(self.text))
            lengths = [len(word.group()) + 1 for word in words]
            starts = list(accumulate(lengths, initial=0))
            self._folded = folded(self.text), starts, [word.start() for word in words]
        text, starts, originals = self._folded
        for start, end in _occurrences(wanted, text):
            first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
            yield originals[first] + start - starts[first], originals[last] + end - starts[last]


class RawText:
    """A text as somebody wrote it down, and how places in it become places in the document that is made of it.

    `document_text` removes what is invisible and composes letters with their accents, so offsets behind are no longer right. Words that
    are divided by spaces are normalised each for itself: nothing composes with a space.
    """

    def __init__(self, raw: str) -> None:
        self.text = document_text(raw)
        self._pieces = raw.split(" ") if self.text != raw else []
        self._starts = list(accumulate((len(piece) + 1 for piece in self._pieces), initial=0))
        self._normal = list(accumulate((len(normalise(piece)) + 1 for piece in self._pieces), initial=0))
        self._lead = len(normalise(raw).rstrip()) - len(self.text)
        """Characters of blank lines at its beginning, which the document does not have."""

    def span(self, start: int, end: int) -> Span:
        """`raw[start:end]` in `text`, as wide as it takes: an accent alone becomes its letter. Empty where the document has none of it."""
        if not self._pieces:
            return start, end
        low, high = self._at(start, -1), self._at(end, 1)
        return min(max(low, 0), len(self.text)), min(max(high, 0), len(self.text))

    def _at(self, offset: int, step: int) -> int:
        """Where `offset` is in `text`, moved by `step` until it divides nothing that belongs together."""
        number = min(bisect_right(self._starts, offset), len(self._pieces)) - 1
        piece, inside = self._pieces[number], offset - self._starts[number]
        whole = normalise(piece)
        while 0 < inside < len(piece) and normalise(piece[:inside]) + normalise(piece[inside:]) != whole:
            inside += step
        return self._normal[number] + len(normalise(piece[:inside])) - self._lead


def _occurrences(wanted: str, text: str) -> Iterator[Span]:
    start = text.find(wanted) if wanted else -1
    while start >= 0:
        yield start, start + len(wanted)
        start = text.find(wanted, start + len(wanted))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
