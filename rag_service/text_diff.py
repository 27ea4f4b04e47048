"""What differs between two texts, by lines or by words. Pure.

Small inputs are matched by `difflib` (Ratcliff and Metzener 1988, "Pattern matching: the gestalt approach"). Its time grows with the
square of their length, and faster in texts that repeat themselves; so what is above `_MOST_WORK` is first cut at the units that stand
once in each text and in the same order (Bram Cohen's patience diff), and what is still above is shown as replaced as a whole. A
difference is then larger than it would have to be, and never wrong.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Op = Literal["same", "removed", "added"]

_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_MOST_WORK = 500_000
"""Steps of `difflib` in one difference, as `_work` counts them: tens of milliseconds."""


class Piece(NamedTuple):
    op: Op
    text: str


class _Block(NamedTuple):
    """Units `a` to `a + size` of the one text are units `b` to `b + size` of the other."""

    a: int
    b: int
    size: int


def text_diff(a: str, b: str, by: Literal["lines", "words"] = "lines") -> tuple[Piece, ...]:
    """How `a` becomes `b`: what is the same, removed and added, in order, with neighbours of one kind joined and what is removed
    before what is added in its place.

    The pieces that are not added make `a` again, and those that are not removed make `b`, character for character. Exchanging `a` and
    `b` exchanges removed and added and nothing else. A word has the space before it; a punctuation mark is a word.
    """
    units_a, units_b = (_lines(a), _lines(b)) if by == "lines" else (_WORD.findall(a), _WORD.findall(b))
    if a <= b:
        blocks = list(_matched(units_a, units_b))
    else:  # what is matched depends on which text comes first, so the order must not be the caller's
        blocks = [_Block(block.b, block.a, block.size) for block in _matched(units_b, units_a)]
    return tuple(_joined(_pieces(units_a, units_b, blocks)))


def _lines(text: str) -> list[str]:
    """With their ends. Only a line feed ends a line: `splitlines` would cut at form feeds and the like too."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _pieces(a: Sequence[str], b: Sequence[str], blocks: Sequence[_Block]) -> Iterator[Piece]:
    at_a = at_b = 0
    for block in [*blocks, _Block(len(a), len(b), 0)]:
        yield Piece("removed", "".join(a[at_a : block.a]))
        yield Piece("added", "".join(b[at_b : block.b]))
        yield Piece("same", "".join(a[block.a : block.a + block.size]))
        at_a, at_b = block.a + block.size, block.b + block.size


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    removed = added = same = ""
    for piece in pieces:
        if not piece.text:
            continue
        if piece.op == "same":
            yield from _change(removed, added)
            removed = added = ""
            same += piece.text
            continue
        if same:
            yield Piece("same", same)
            same = ""
        if piece.op == "removed":
            removed += piece.text
        else:
            added += piece.text
    yield from _change(removed, added)
    if same:
        yield Piece("same", same)


def _change(removed: str, added: str) -> Iterator[Piece]:
    if removed:
        yield Piece("removed", removed)
    if added:
        yield Piece("added", added)


def _matched(a: list[str], b: list[str]) -> Iterator[_Block]:
    """What is equal, in order. Common beginnings and ends cost nothing."""
    begin = _common(a, b)
    end = _common(a[begin:][::-1], b[begin:][::-1])
    yield _Block(0, 0, begin)
    left = _MOST_WORK
    for low_a, high_a, low_b, high_b in _gaps(a, b, begin, end):
        inner_a, inner_b = a[low_a:high_a], b[low_b:high_b]
        if not set(inner_a).isdisjoint(inner_b) and (work := _work(inner_a, inner_b)) <= left:
            left -= work
            for block in SequenceMatcher(None, inner_a, inner_b, autojunk=False).get_matching_blocks():
                yield _Block(low_a + block.a, low_b + block.b, block.size)
        if high_a < len(a) - end:  # the anchor that ends this gap
            yield _Block(high_a, high_b, 1)
    yield _Block(len(a) - end, len(b) - end, end)


def _gaps(a: Sequence[str], b: Sequence[str], begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """From and to, in `a` and in `b`: the whole of what lies between common beginning and end, or what lies between anchors in it."""
    stop_a, stop_b = len(a) - end, len(b) - end
    at_a = at_b = begin
    if _work(a[begin:stop_a], b[begin:stop_b]) > _MOST_WORK:
        for anchor_a, anchor_b in _anchors(a[begin:stop_a], b[begin:stop_b]):
            yield at_a, begin + anchor_a, at_b, begin + anchor_b
            at_a, at_b = begin + anchor_a + 1, begin + anchor_b + 1
    yield at_a, stop_a, at_b, stop_b


def _anchors(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Places of units that stand once in each: the most of them that are in the same order in both (a longest increasing subsequence,
    by patience sorting).
    """
    once_b, counts_b = {unit: place for place, unit in enumerate(b)}, Counter(b)
    counts_a = Counter(a)
    both = [(place, once_b[unit]) for place, unit in enumerate(a) if counts_a[unit] == 1 and counts_b[unit] == 1]
    tops: list[int] = []
    on_top: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(both):
        pile = bisect_left(tops, place)
        tops[pile : pile + 1] = [place]
        on_top[pile : pile + 1] = [number]
        before.append(on_top[pile - 1] if pile else -1)
    found: list[tuple[int, int]] = []
    number = on_top[-1] if on_top else -1
    while number >= 0:
        found.append(both[number])
        number = before[number]
    return found[::-1]


def _work(a: Sequence[str], b: Sequence[str]) -> int:
    """An estimate for `difflib`, which looks at all units for each block that it finds, and at each pair of equal ones about as often
    as blocks are halved.
    """
    counts_a, counts_b = Counter(a), Counter(b)
    blocks = sum(min(count, counts_b[unit]) for unit, count in counts_a.items())
    pairs = sum(count * counts_b[unit] for unit, count in counts_a.items())
    return blocks * (len(a) + len(b)) + 10 * pairs


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many units both begin with."""
    for place, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return place
    return min(len(a), len(b))
