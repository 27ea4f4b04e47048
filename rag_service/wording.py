"""How much of a claim's wording stands in passages, and where: terms, windows of sentences, shared runs of words. Pure and bounded.

A term is a stemmed word, a number's value, or, where nothing separates the words (Chinese, Japanese, Thai), a pair of neighbouring signs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rag_service.facts import STOP_WORDS, initials, is_german, speakers
from rag_service.numerals import chinese_in_digits, readings, single_value, speaks_of_percent
from rag_service.sentences import Span, sentences, stem, words
from rag_service.types import Passage

MAX_PASSAGE_CHARS = 20_000
MAX_PASSAGE_SENTENCES = 300
"""Of each passage; what comes after is not looked at."""
WINDOW_SENTENCES = 3
_LONG_CHARS = 5
"""Words that begin alike over this length count for `_ALIKE` of a match: `domesticated` and `domestication`."""
_ALIKE = 0.7
"""A cross-validation on the half of `benchmarks/answers/groundedness.py` that is for choosing could not tell 0.5, 0.7 and 1 apart; 0 was
worse."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_WRITTEN = re.compile(r"\w+(?:[.'’]\w+)*")
_MAX_ABSENT = 5
_FULL_WEIGHT_CHARS = 8
"""Words of this length and longer weigh 1, shorter ones less in proportion: in every language, rare words are long (G. K. Zipf, 1935)."""
_NUMBER_WEIGHT = 1.0
_PAIR_WEIGHT = 0.3
"""Of two neighbouring signs: a guess, from trying a few sentences, since no set in such a language was at hand."""


@dataclass(frozen=True, slots=True)
class Read:
    """A passage as it is compared. `sentences` have offsets into the chunk's text."""

    marker: int
    text: str
    sentences: tuple[Span, ...]
    places: Mapping[str, tuple[int, ...]]
    """Term, or beginning of a long word → the sentences that hold it."""
    context: frozenset[str]
    """Of its title and headings."""
    pairs: frozenset[tuple[str, ...]]
    """Two and three neighbouring terms, stop words and all."""
    words: str
    """All words, blanks between and around them."""
    known: frozenset[str]
    """Stems of its words, title and headings included."""
    initials: frozenset[str]
    numbers: frozenset[str]
    percent: bool
    speakers: frozenset[str]
    german: bool
    capped: bool


@dataclass(frozen=True, slots=True)
class Window:
    """Up to three neighbouring sentences of one passage. `coverage` is the weighted share of the claim's terms in it, in [0, 1]."""

    marker: int
    start: int
    end: int
    text: str
    coverage: float


@dataclass(frozen=True, slots=True)
class Overlap:
    windows: tuple[Window, ...]
    """The best ones, best first, from different places."""
    sentence: Window | None
    """The best one of a single sentence; None where no passage holds any."""
    coverage: float
    """Weighted share of the claim's terms in all passages together."""
    runs: float
    """Share of its runs of two and three words in the passages; 0 where it has none."""
    missing: float
    """Weight of its terms that are in no passage; what matches in part counts in part."""
    absent: tuple[str, ...]
    """The words of those, as they are written, at most `_MAX_ABSENT`."""
    length: int
    """How many terms it has, all counted."""
    empty: bool
    """It is made of stop words alone."""


def read(passage: Passage) -> Read:
    chunk = passage.chunk
    text = chunk.text[:MAX_PASSAGE_CHARS]
    found = sentences(text)
    above = " \n ".join(dict.fromkeys((chunk.title, *chunk.heading_path)))[:MAX_PASSAGE_CHARS]
    everything = f"{above}\n{text}"
    sequence = terms(text)
    return Read(
        marker=passage.marker,
        text=text,
        sentences=tuple(found[:MAX_PASSAGE_SENTENCES]),
        places=_places(found[:MAX_PASSAGE_SENTENCES]),
        context=_with_beginnings(terms(above)),
        pairs=frozenset(runs(sequence)),
        words=plain(text),
        known=frozenset(stem(word) for word in words(everything.replace("-", " ").replace("’", "'").replace("'s", ""))),
        initials=frozenset(initials(everything)),
        numbers=readings(everything),
        percent=speaks_of_percent(everything),
        speakers=speakers(text),
        german=is_german(text),
        capped=len(chunk.text) > MAX_PASSAGE_CHARS or len(found) > MAX_PASSAGE_SENTENCES,
    )


def plain(text: str) -> str:
    """The words of a text, lower case, with one blank between and around them, so that whole words are found in it."""
    return f" {' '.join(words(text.replace('’', chr(39))))} "


def terms(text: str) -> list[str]:
    """In order."""
    found: list[str] = []
    signs: list[str] = []
    spaced = _THOUSANDS.sub("", chinese_in_digits(text).replace("’", "'").replace("-", " "))
    for word in [*words(spaced), ""]:
        if _is_sign(word):
            signs.append(word)
            continue
        found.extend([one + other for one, other in pairwise(signs)] or signs)
        signs.clear()
        if word:
            found.append(_term(word))
    return found


def runs(sequence: Sequence[str]) -> list[tuple[str, ...]]:
    """Two and three neighbours."""
    return [*pairwise(sequence), *zip(sequence, sequence[1:], sequence[2:], strict=False)]


def weight(term: str) -> float:
    """What a term tells, in (0, 1]."""
    if term[0].isdigit():
        return _NUMBER_WEIGHT
    if _is_sign(term[0]):
        return _PAIR_WEIGHT
    return min(len(term), _FULL_WEIGHT_CHARS) / _FULL_WEIGHT_CHARS


def overlap(claim: str, passages: Sequence[Read], *, windows: int) -> Overlap:
    """At most `windows` of them, all from `passages`."""
    sequence = terms(claim)
    wanted = sorted(content(sequence))
    weights = np.array([weight(term) for term in wanted], np.float64)
    share = weights / (weights.sum() or 1.0)
    found: list[Window] = []
    single: list[Window] = []
    held = np.zeros(len(wanted), np.float64)
    for passage in passages:
        matches = _matches(wanted, passage)
        held = np.maximum(held, matches.max(axis=0, initial=0.0))
        found.extend(_best_windows(passage, matches, share, most=windows))
        if len(matches):
            coverages = matches @ share
            best = int(coverages.argmax())
            single.append(_window(passage, best, 1, float(coverages[best])))
    found.sort(key=lambda each: -each.coverage)
    claimed = runs(sequence)
    shared = sum(any(run in passage.pairs for passage in passages) for run in claimed)
    return Overlap(
        windows=tuple(found[:windows]),
        sentence=max(single, key=lambda each: each.coverage, default=None),
        coverage=float(held @ share),
        runs=shared / len(claimed) if claimed else 0.0,
        missing=float((1.0 - held) @ weights),
        absent=_written(claim, {term for term, value in zip(wanted, held, strict=True) if value == 0.0}),
        length=len(sequence),
        empty=not set(sequence) - _STOP_STEMS,
    )


def _written(claim: str, absent: set[str]) -> tuple[str, ...]:
    """The words of a text that these terms stand for, each once, in order; of signs, the runs that they cover."""
    found: dict[str, None] = {}
    for match in _WRITTEN.finditer(claim) if absent else ():
        word = match[0]
        if not _is_sign(word[0].lower()):
            found |= dict.fromkeys([word] if absent.intersection(terms(word)) else [])
            continue
        covered = [any(pair in absent for pair in (word[max(0, at - 1) : at + 1], word[at : at + 2])) for at in range(len(word))]
        found |= dict.fromkeys("".join(sign if is_absent else " " for sign, is_absent in zip(word, covered, strict=True)).split())
    return tuple(found)[:_MAX_ABSENT]


def content(sequence: Iterable[str]) -> set[str]:
    """Without stop words, unless there is nothing else."""
    kept = set(sequence)
    return kept - _STOP_STEMS or kept


def _matches(wanted: Sequence[str], passage: Read) -> npt.NDArray[np.float64]:
    """Shape (sentences, terms): how well a sentence, with the title and headings above it, holds a term, in [0, 1]."""
    matches = np.zeros((len(passage.sentences), len(wanted)), np.float64)
    for column, term in enumerate(wanted):
        for key, value in ((_beginning(term), _ALIKE), (term, 1.0)):
            if key in passage.context:
                matches[:, column] = value
            elif key in passage.places:
                matches[list(passage.places[key]), column] = value
    return matches


def _best_windows(passage: Read, matches: npt.NDArray[np.float64], share: npt.NDArray[np.float64], *, most: int) -> list[Window]:
    """Best first, without overlap; of equal ones the shortest, then the first."""
    ranked: list[tuple[float, int, int]] = []
    joined = matches
    for size in range(1, min(WINDOW_SENTENCES, len(matches)) + 1):
        if size > 1:
            joined = np.maximum(joined[:-1], matches[size - 1 :])
        ranked.extend((-round(float(coverage), 6), size, start) for start, coverage in enumerate(joined @ share))
    ranked.sort()
    chosen: list[tuple[float, int, int]] = []
    for coverage, size, start in ranked:
        if len(chosen) == most:
            break
        if all(start + size <= other or other + length <= start for _, length, other in chosen):
            chosen.append((coverage, size, start))
    return [_window(passage, start, size, -coverage) for coverage, size, start in chosen]


def _window(passage: Read, first: int, size: int, coverage: float) -> Window:
    start, end = passage.sentences[first].start, passage.sentences[first + size - 1].end
    return Window(passage.marker, start, end, passage.text[start:end], coverage)


def _places(found: Sequence[Span]) -> dict[str, tuple[int, ...]]:
    places: dict[str, list[int]] = {}
    for index, span in enumerate(found):
        for key in _with_beginnings(terms(span.text)):
            places.setdefault(key, []).append(index)
    return {key: tuple(held) for key, held in places.items()}


def _with_beginnings(sequence: Iterable[str]) -> frozenset[str]:
    kept = set(sequence)
    return frozenset(kept | {_beginning(term) for term in kept if len(term) >= _LONG_CHARS})


def _beginning(term: str) -> str:
    """No term holds the sign that it ends with."""
    return f"{term[:_LONG_CHARS]}…"


def _term(word: str) -> str:
    return single_value(word) or stem(word.removesuffix("'s"))


@lru_cache(maxsize=4096)
def _is_sign(word: str) -> bool:
    """Whether it is a character that `words` takes for a word of its own, whatever stands beside it."""
    return len(word) == 1 and len(words(word + word)) == 2


_STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS)
