"""Markers of an answer resolved to places in the passages, at once or while the answer is being written. Pure.

The server, not the generator, decides what a citation is: a marker that names no passage is removed and reported, and every quote is
located in its chunk by offsets.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag_service.errors import GeneratorFailed
from rag_service.languages import LANGUAGES
from rag_service.record import Delta
from rag_service.sentences import sentences, words
from rag_service.terms import terms
from rag_service.types import Citation, Completion, Hit, Marker, Notice

_NUMBERS = r"\[\d{1,3}(?:\s*,\s*\d{1,3})*\]"
# `x[1]=2` holds an index and `[1](url)` is a link; neither cites. `Paris[1][2].` and `巴黎[1]。` do.
_MARKER = rf"(?<![\w\]]){_NUMBERS}(?!\()|(?<=[\w\]]){_NUMBERS}(?=[\s.,;:!?…。、，；：！？]|\[\d|$)(?!\s*=)"
_CODE = r"```(?s:.*?)(?:```|\Z)|`[^`\n]*`"
# No marker holds a backtick, so what is found first decides, and one pass finds both.
_CODE_OR_MARKER = re.compile(rf"(?P<code>{_CODE})|(?P<marker>{_MARKER})")
# At the end of a text that goes on: what may become code or a marker, or a marker that what follows may make an index or a link.
_OPEN = "|".join(
    (
        r"``?\Z",
        r"`(?!``)[^`\n]*\Z",
        r"\[(?:\d{1,3}\s*,\s*)*(?:\d{1,3}\s*)?\Z",
        rf"(?<![\w\]]){_NUMBERS}\Z",
        rf"(?<=[\w\]]){_NUMBERS}(?:\s*|\[)\Z",
    )
)
_OPEN_CODE_OR_MARKER = re.compile(rf"(?P<open>{_OPEN})|{_CODE_OR_MARKER.pattern}")
_FENCE = "```"

# What is open for long is looked at again only when a character comes that may decide it, so that the cost stays linear.
_LONG_CHARS = 64
_DECIDES_CODE = re.compile(r"[`\n]")
_DECIDES_MARKER = re.compile(r"[^\d\s,]")


@dataclass(frozen=True, slots=True)
class CitedAnswer:
    text: str
    citations: tuple[Citation, ...]
    notices: tuple[Notice, ...]


def find_markers(text: str) -> tuple[Marker, ...]:
    """`[1]` and `[1, 2]`, but not a subscript or a link, nor anything inside code."""
    return tuple(
        Marker(match.start(), match.end(), _numbers(match["marker"])) for match in _CODE_OR_MARKER.finditer(text) if match["marker"]
    )


def cite(completion: Completion, hits: Sequence[Hit]) -> CitedAnswer:
    """`hits[n - 1]` is what marker n names. Markers that name nothing are taken out of the text, with the space before them."""
    text = completion.text
    answer = _Answer(hits)
    position = 0
    for marker in find_markers(text) if completion.markers is None else completion.markers:
        answer.write(text[position : marker.start])
        answer.mark(text[marker.start : marker.end], marker.numbers)
        position = marker.end
    answer.write(text[position:])
    events = answer.events()
    citations = tuple(event for event in events if isinstance(event, Citation))
    notices = [Notice("citation_dropped", f"marker {number} names no passage") for number in answer.dropped]
    if not citations:
        notices.append(Notice("citation_missing", "the answer cites no passage"))
    return CitedAnswer("".join(event.text for event in events if isinstance(event, Delta)), citations, tuple(notices))


def events_of(cited: CitedAnswer) -> list[Delta | Citation]:
    """The whole answer, cut after each marker, so that every citation follows the delta that holds its marker."""
    return _events(cited.text, cited.citations, 0)


class CitingStream:
    """The checked answer, told while a generator writes it. Not for several threads.

    However the text is cut into pieces, the deltas joined are what `cite` makes of the whole text without white space around it, and
    the citations are the same, each after the delta that holds its marker. What cannot change any more is given at once; held back is
    white space at the end, code that is open on the last line, and what may be part of a marker. The cost is linear in the text.
    """

    def __init__(self, hits: Sequence[Hit], may_still_be_refusal: Callable[[str], bool]) -> None:
        """`may_still_be_refusal` says of the beginning of a text whether the whole may turn out to be a refusal, which is never
        told. Once it says no, it is not asked again.
        """
        self._answer = _Answer(hits)
        self._may_still_be_refusal: Callable[[str], bool] | None = may_still_be_refusal
        self._ask_at_chars = 0
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._text = ""
        self._position = 0
        """Where in `_text` the undecided begins. One character before it is kept, because a marker depends on it."""
        self._fenced = False
        self._decides: re.Pattern[str] | None = None
        self._told: list[str] = []
        self._cited: list[Citation] = []

    def feed(self, piece: str) -> list[Delta | Citation]:
        """What the next piece of the generator's text makes certain."""
        if not (self._waiting or self._text):
            piece = piece.lstrip()
        if not piece:
            return []
        self._waiting.append(piece)
        self._waiting_chars += len(piece)
        if self._wait(piece):
            return []
        self._text += "".join(self._waiting)
        self._waiting.clear()
        self._waiting_chars = 0
        self._settle()
        events = self._answer.events()
        self._told.extend(event.text for event in events if isinstance(event, Delta))
        self._cited.extend(event for event in events if isinstance(event, Citation))
        return events

    def finish(self, cited: CitedAnswer) -> list[Delta | Citation]:
        """What is left of `cited`, which is what `cite` made of the whole; all of it, if nothing was fed.

        Raises `GeneratorFailed` when it does not begin with what has been told: the generator wrote one text and returned another.
        """
        told = "".join(self._told)
        if not cited.text.startswith(told) or cited.citations[: len(self._cited)] != tuple(self._cited):
            raise GeneratorFailed("the generator returned another text than it wrote", stage="cite")
        return _events(cited.text, cited.citations[len(self._cited) :], len(told))

    def _wait(self, piece: str) -> bool:
        """Whether nothing can be decided yet."""
        if self._may_still_be_refusal is not None:
            if self._waiting_chars < self._ask_at_chars:
                return True
            if self._may_still_be_refusal("".join(self._waiting).rstrip()):
                # Each question reads the whole text: at least an eighth more makes their sum linear.
                self._ask_at_chars = self._waiting_chars + self._waiting_chars // 8
                return True
            self._may_still_be_refusal = None
        return self._decides is not None and self._decides.search(piece) is None

    def _settle(self) -> None:
        """Hand on everything that no further text can change."""
        self._decides = None
        text, position = self._text, self._position
        while position < len(text):
            if self._fenced:
                position = self._settle_fenced(position)
                if self._fenced:
                    break
            match = _OPEN_CODE_OR_MARKER.search(text, position)
            if match is None:
                self._answer.write(text[position:])
                position = len(text)
            elif match["marker"]:
                self._answer.write(text[position : match.start()])
                self._answer.mark(match["marker"], _numbers(match["marker"]))
                position = match.end()
            elif match["code"]:
                self._fenced = match["code"].startswith(_FENCE)
                end = match.start() + len(_FENCE) if self._fenced else match.end()
                self._answer.write(text[position:end])
                position = end
            else:
                self._answer.write(text[position : match.start()])
                position = match.start()
                if len(text) - position > _LONG_CHARS:
                    self._decides = _DECIDES_CODE if text[position] == "`" else _DECIDES_MARKER
                break
        start = max(0, position - 1)
        self._text, self._position = text[start:], position - start

    def _settle_fenced(self, position: int) -> int:
        """Where the fence ends; without an end, where what may be a part of it begins."""
        end = self._text.find(_FENCE, position)
        if end >= 0:
            self._fenced = False
            end += len(_FENCE)
        else:
            end = max(position, len(self._text.rstrip("`")))
        self._answer.write(self._text[position:end])
        return end


class _Answer:
    """The checked answer, written from left to right, as events. White space at the end is told when something follows it."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self.dropped: list[int] = []
        self._hits = hits
        self._events: list[Delta | Citation] = []
        self._untold: list[str] = []
        self._space: list[str] = []
        self._chars = 0
        """Without the white space at the end."""
        self._since_marker: list[str] = []
        self._claim = ""
        self._quotes: dict[int, tuple[tuple[int, int], bool]] = {}
        """Of the claim, by passage: a model that repeats itself cites the same words over and over."""

    def write(self, part: str) -> None:
        """Text in which nothing cites."""
        shown = part.rstrip()
        if shown:
            for text in (*self._space, shown):
                self._untold.append(text)
                self._since_marker.append(text)
                self._chars += len(text)
            self._space.clear()
        if len(shown) < len(part):
            self._space.append(part[len(shown) :])

    def mark(self, marker: str, numbers: tuple[int, ...]) -> None:
        known = tuple(number for number in numbers if 1 <= number <= len(self._hits))
        self.dropped.extend(number for number in numbers if number not in known)
        if not known:
            self._drop_spaces()
            return
        between = "".join(self._since_marker).strip()
        if words(between):  # in `… text [1], [2]` both cite the same claim
            self._claim = between
            self._quotes.clear()
        shown = marker if known == numbers else f"[{', '.join(map(str, known))}]"
        self.write(shown)
        self._since_marker.clear()
        self._tell()
        span = (self._chars - len(shown), self._chars)
        self._events.extend(self._citation(number, span) for number in known)

    def events(self) -> list[Delta | Citation]:
        """What is new since the last call."""
        self._tell()
        events, self._events = self._events, []
        return events

    def _tell(self) -> None:
        if self._untold:
            self._events.append(Delta("".join(self._untold)))
            self._untold.clear()

    def _drop_spaces(self) -> None:
        while self._space:
            kept = self._space.pop().rstrip(" ")
            if kept:
                self._space.append(kept)
                return

    def _citation(self, number: int, answer_span: tuple[int, int]) -> Citation:
        hit = self._hits[number - 1]
        if number not in self._quotes:
            self._quotes[number] = locate_quote(self._claim, hit.chunk.text)
        (start, end), verbatim = self._quotes[number]
        return Citation(
            marker=number,
            chunk=hit.chunk,
            score=hit.score,
            answer_span=answer_span,
            quote=hit.chunk.text[start:end],
            quote_span=(start, end),
            document_span=(hit.chunk.start + start, hit.chunk.start + end),
            verbatim=verbatim,
        )


def _events(text: str, citations: Sequence[Citation], position: int) -> list[Delta | Citation]:
    """From `position` on, where the markers of `citations` stand."""
    events: list[Delta | Citation] = []
    for citation in citations:
        end = citation.answer_span[1]
        if end > position:
            events.append(Delta(text[position:end]))
            position = end
        events.append(citation)
    if position < len(text):
        events.append(Delta(text[position:]))
    return events


def _numbers(marker: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", marker))


def locate_quote(claim: str, text: str) -> tuple[tuple[int, int], bool]:
    """Where in `text` the claim stands word for word; otherwise the sentence that shares most of its words, and False."""
    last = sentences(claim)[-1:]
    for wanted in (claim, *(span.text for span in last)):
        for form in (wanted, wanted.rstrip(".!?:; ")):
            if form and (start := text.find(form)) >= 0:
                return (start, start + len(form)), True
    claimed = set(terms(claim, LANGUAGES))
    best, best_shared = (0, len(text)), -1.0
    for sentence in sentences(text):
        found = set(terms(sentence.text, LANGUAGES))
        shared = len(claimed & found) / (len(found) ** 0.5 or 1.0)
        if shared > best_shared:
            best, best_shared = (sentence.start, sentence.end), shared
    return best, False
