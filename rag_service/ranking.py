"""Orders, thins out and cuts what was scored. Pure.

FAISS leaves equal scores in no particular order and its scores differ in the last bits between builds, so scores are rounded first and
ties then broken by row. Rows are numbered by ascending chunk digest (see `build`): a tie is decided by content, not by history.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from rag_service.types import Hit, Positions, Vector

SCORE_DECIMALS = 5

_NEARLY = 0.9
_ALIKE = 0.05
_SHARED_RUNS = 0.9
_DIGIT = re.compile(r"\d")


def rounded(scores: Vector) -> Vector:
    """To 1e-5: coarser than the noise of summation order (about 2e-7), finer than any difference that means something."""
    return np.round(scores.astype(np.float64), SCORE_DECIMALS).astype(np.float32)


def ordered(positions: Positions, scores: Vector) -> tuple[Positions, Vector]:
    """By descending rounded score, then by ascending position. Both of shape (n,)."""
    scores = rounded(scores)
    order = np.lexsort((positions, -scores))
    return positions[order], scores[order]


def thinned(hits: Iterable[Hit], k: int, *, per_document: int) -> list[Hit]:
    """At most `k` of `hits`, which come best first, in their order, without those that say the same as a better one. Takes no more of
    `hits` than it needs.

    A document that has had `per_document` hits makes room for others whose score is at least `_NEARLY` of its next one's; where there are
    none, it goes on.
    """
    rest = iter(hits)
    waiting: list[Hit] = []
    chosen: list[_Said] = []
    taken: Counter[str] = Counter()
    while len(chosen) < k and (waiting or _one_more(waiting, rest)):
        place = 0
        while taken[waiting[place].chunk.document_id] >= per_document:
            place += 1
            if (place == len(waiting) and not _one_more(waiting, rest)) or waiting[place].score < _NEARLY * waiting[0].score:
                place = 0
                break
        said = _Said(waiting.pop(place))
        if not any(said.same_as(other) for other in chosen):
            chosen.append(said)
            taken[said.hit.chunk.document_id] += 1
    return [said.hit for said in chosen]


def _one_more(waiting: list[Hit], rest: Iterator[Hit]) -> bool:
    """Whether there was one."""
    before = len(waiting)
    waiting.extend(islice(rest, 1))
    return len(waiting) > before


class _Said:
    """A hit among others, and what its text says, worked out once and only where it is asked for: most texts are compared with none."""

    __slots__ = ("_numbers", "_runs", "_words", "hit")

    def __init__(self, hit: Hit) -> None:
        self.hit = hit
        self._words: list[str] | None = None
        self._numbers: list[str] | None = None
        self._runs: set[tuple[str, str, str]] | None = None

    def same_as(self, other: "_Said") -> bool:
        """Whether two chunks say the same in the same words: 90 % of the runs of three words are common (Jaccard), and all numbers."""
        one, two = self.hit, other.hit
        if abs(one.cosine - two.cosine) > _ALIKE or abs(one.keywords - two.keywords) > _ALIKE:  # texts that are alike score alike
            return False
        if self.words == other.words:
            return True
        if self.numbers != other.numbers:
            return False
        return len(self.runs & other.runs) >= _SHARED_RUNS * len(self.runs | other.runs) > 0

    @property
    def words(self) -> list[str]:
        if self._words is None:
            self._words = self.hit.chunk.text.split()
        return self._words

    @property
    def numbers(self) -> list[str]:
        """The words that hold a digit, in order."""
        if self._numbers is None:
            self._numbers = [word for word in self.words if not word.isalpha() and _DIGIT.search(word)]
        return self._numbers

    @property
    def runs(self) -> set[tuple[str, str, str]]:
        if self._runs is None:
            words = self.words
            self._runs = set(zip(words, words[1:], words[2:], strict=False))
        return self._runs
