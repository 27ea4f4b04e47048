"""Where marks stand in the drawings of the page: pure geometry. Places across are per cent of the width, whatever that is, so that a
drawing fills a telephone and a wide screen and its letters keep their size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

_NEAR_ACROSS = 30.0
"""Per cent of the width that a label may take."""
_LINE_PX = 15.0


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` on a line from `begin` to `end`, in whatever unit those are."""

    low: float
    high: float
    begin: float = 0.0
    end: float = 100.0

    def at(self, value: float) -> float:
        """Where a value stands; what lies beyond an end stands at it."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + min(max(share, 0.0), 1.0) * (self.end - self.begin), 3)

    @property
    def ticks(self) -> tuple[float, ...]:
        return ticks(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Dot:
    name: str
    x: float
    """Per cent."""
    y: float
    """Pixels from above."""
    low_y: float
    """Lower end of its interval."""
    high_y: float
    label_y: float
    """Where its name stands: beside the dot, or moved so that names do not lie on each other."""

    @property
    def left(self) -> bool:
        """Whether its name stands left of it, where there is no room at its right."""
        return self.x > 100 - _NEAR_ACROSS


def ticks(low: float, high: float, *, about: int = 6) -> tuple[float, ...]:
    """Round numbers from `low` to `high`, some `about` of them: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def around_zero(values: Sequence[float], *, at_least: float = 0.05) -> Axis:
    """An axis of differences: zero in the middle, and room for all values."""
    reach = max([at_least, *(abs(value) for value in values if math.isfinite(value))])
    return Axis(-1.08 * reach, 1.08 * reach)


def from_zero(values: Sequence[float], *, at_least: float = 0.0) -> Axis:
    """An axis of bars: it begins at zero, or bars would lie."""
    highest = max([at_least, *(value for value in values if math.isfinite(value))])
    return Axis(0.0, highest or 1.0)


def around(values: Sequence[float], *, begin: float = 0.0, end: float = 100.0) -> Axis:
    """An axis of dots: from a little below the least value to a little above the largest."""
    low, high = min(values), max(values)
    room = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    return Axis(low - room, high + room, begin, end)


def apart(dots: Sequence[Dot], *, lowest: float) -> list[Dot]:
    """The same dots with labels that do not lie on each other, moved down as little as that takes, and not below `lowest` pixels."""
    placed: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: dot.y):
        near = [other.label_y for other in placed if abs(other.x - dot.x) < _NEAR_ACROSS]
        label_y = max([dot.y, *(y + _LINE_PX for y in near if y + _LINE_PX > dot.y)])
        placed.append(replace(dot, label_y=round(min(label_y, lowest), 2)))
    return placed


def steps(points: Sequence[tuple[float, float]], across: Axis, upwards: Axis) -> str:
    """The points of an SVG polyline."""
    return " ".join(f"{across.at(x):g},{upwards.at(y):g}" for x, y in points)


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` of them, evenly, with the first and the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]
