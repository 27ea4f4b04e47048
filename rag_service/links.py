"""Links of an answer that lead where no passage leads: taken out, at once or while the answer is being written. Pure.

A model that was told so by a document can put what it knows into the address of an image, which a front end then loads. So a link stays
only if its target stands in a passage that was shown. An image becomes its alternative text, a link its text, an address a note.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from rag_service.link_removal import LONG_CHARS, LinkRemover
from rag_service.link_syntax import BARE_START, targets_in
from rag_service.types import Completion, Hit, Marker, Notice

_WHITE = " \t\n\r\f\v"
_NOT_RUN = re.compile(r"[^!-;=-Z\\^-~]")
"""Ends a run of ASCII characters in which an address can begin."""
_PASSES = re.compile(r"[^!-~]+")


def unlinked(completion: Completion, hits: Sequence[Hit]) -> tuple[Completion, tuple[Notice, ...]]:
    """`completion` without the links that lead elsewhere than the passages `hits`, which were shown, and a notice if there were any."""
    stream = LinkStream(hits)
    if completion.markers is None:
        text = (stream.feed(completion.text) + stream.finish()).strip()
        markers = None
    else:
        text, markers = _between(completion.text, completion.markers, stream)
    return replace(completion, text=text, markers=markers), stream.notices()


def _between(text: str, markers: Sequence[Marker], stream: "LinkStream") -> tuple[str, tuple[Marker, ...]]:
    """What stands between given markers, each part alone, and the markers where they then stand."""
    done, moved, position = "", list[Marker](), 0
    for marker in markers:
        done += stream.feed(text[position : marker.start]) + stream.finish()
        shown = text[marker.start : marker.end]
        moved.append(Marker(len(done), len(done) + len(shown), marker.numbers))
        done, position = done + shown, marker.end
    return done + stream.feed(text[position:]) + stream.finish(), tuple(moved)


class LinkStream:
    """Text without links that lead elsewhere, while it is being written. Not for several threads.

    However the text is cut into pieces, what `feed` and `finish` give is, joined, the same. Plain text is given word by word, what may be
    a link when that is decided. The cost is linear in the text. After `finish` it can be fed another text.
    """

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = hits
        self._remover: LinkRemover | None = None
        self._held: list[str] = []
        self._region: _Region | None = None

    def feed(self, piece: str) -> str:
        """What the next piece makes certain."""
        given: list[str] = []
        position = 0
        while position < len(piece):
            if self._region is None:
                position = self._plain(piece, position, given)
            else:
                position = self._in_region(piece, position, given)
        return "".join(given)

    def finish(self) -> str:
        """What was held back."""
        text = "".join(self._held)
        if self._region is not None or BARE_START.search(text):
            text = self._cleaned(text)
        self._held, self._region = [], None
        return text

    def notices(self) -> tuple[Notice, ...]:
        """Says how many, and not which: whoever reads it must not be led there either."""
        count = self._remover.removed if self._remover else 0
        if not count:
            return ()
        what = "1 link was" if count == 1 else f"{count} links were"
        return (Notice("link_removed", f"{what} taken out of the answer: no passage that was shown leads there"),)

    def _plain(self, piece: str, position: int, given: list[str]) -> int:
        found = _NOT_RUN.search(piece, position)
        end = len(piece) if found is None else found.start()
        if end > position:
            self._held.append(piece[position:end])
        if found is None:
            return end
        run = "".join(self._held)
        if piece[end] in "[]<" or BARE_START.search(run):
            self._held = [run]
            self._region = _Region(addressed=BARE_START.search(run) is not None)
            self._region.scan(run, 0)
            return end
        given.append(run)
        self._held = []
        passes = _PASSES.match(piece, end)
        if passes is not None:
            given.append(passes[0])
            end = passes.end()
        return end

    def _in_region(self, piece: str, position: int, given: list[str]) -> int:
        assert self._region is not None
        end = self._region.scan(piece, position)
        self._held.append(piece[position : len(piece) if end is None else end])
        if end is None:
            return len(piece)
        text = "".join(self._held)
        if self._region.doubtful:
            self._region.doubtful = False
            if BARE_START.search(text, max(0, len(text) - self._region.tail_chars)):
                self._region.addressed = True
                self._held = [text]
                return end
        given.append(self._cleaned(text))
        self._held, self._region = [], None
        return end

    def _cleaned(self, text: str) -> str:
        if "](" not in text and "]:" not in text and "<" not in text and not BARE_START.search(text):
            return text  # a marker, say: most answers hold no link, and their passages need not be read
        if self._remover is None:
            self._remover = LinkRemover(targets_in(part for hit in self._hits for part in _shown(hit)))
        return self._remover(text)


def _shown(hit: Hit) -> tuple[str, ...]:
    return (hit.chunk.title, *hit.chunk.heading_path, hit.chunk.text)


class _Region:
    """Where what may be a link ends: before white space outside of all brackets. One too long costs time; one too short would let
    something through, so every doubt makes it longer.
    """

    def __init__(self, *, addressed: bool) -> None:
        self.addressed = addressed
        """An address goes on to the next white space; anything else ends before a character that is not ASCII, too."""
        self.doubtful = False
        """It ended at such a character, and whether it is an address is for the caller to say."""
        self.tail_chars = 0
        """Since the last bracket that closed."""
        self._square = self._round = self._chars = 0
        self._tag = False
        self._quote = ""
        self._before = self._solid = ""
        """The last character, and the last that is no white space."""
        self._blank = False
        self._defines = 0
        """1 after `]:`, 2 inside the target that follows."""

    def scan(self, text: str, start: int) -> int | None:
        """Where in `text` it ends; None if it goes on."""
        for index in range(start, len(text)):
            char = text[index]
            if self._ends_before(char):
                return index
            self._chars += 1
            self.tail_chars += 1
            self._take(char)
            self._blank = char == "\n" or (self._blank and char in _WHITE)
            self._before = char
            if char not in _WHITE:
                self._solid = char
        return None

    def _ends_before(self, char: str) -> bool:
        closed = not (self._square or self._round or self._tag or self._defines == 1)
        if char in _WHITE:
            new_paragraph = char == "\n" and self._blank and not self._tag
            return closed or new_paragraph or self._chars > LONG_CHARS
        if char > "~" and closed and not self.addressed and not self._defines:
            self.doubtful = True
            return True
        return False

    def _take(self, char: str) -> None:
        if self._quote:
            self._quote = "" if char == self._quote else self._quote
        elif self._tag:
            self._take_in_tag(char)
        elif self._before == "<" and (char.isalpha() or char == "/"):
            self._tag = True
        elif char == "[":
            self._square += 1
        elif char == "]":
            self._square = max(0, self._square - 1)
            self.tail_chars = 0
        elif char == "(" and (self._round or self._before == "]"):
            self._round += 1
        elif char == ")" and self._round:
            self._round -= 1
            self.tail_chars = 0
        elif char == ":" and self._before == "]":
            self._defines = 1
            return
        if self._defines and char not in _WHITE:
            self._defines = 2

    def _take_in_tag(self, char: str) -> None:
        if char == ">":
            self._tag = False
            self.tail_chars = 0
        elif char in "\"'" and self._solid == "=":
            self._quote = char
