"""The permutation test of two samples: were the questions of the window drawn from where those of the reference were?

If they were, any split of the conversations into so many of the one and so many of the other is as likely as the split that was seen.
Whole conversations change sides: their questions are alike, and to treat them as independent would cry wolf (see docs/drift.md, where
that is measured). Valid for any number of questions and whatever the distribution, which is why no table of a statistic is needed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]

_TOLERANCE = 1e-9
"""Relative: sums of the same numbers in another order differ by less."""


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Which questions are in the window: as it was seen in row 0, as a permutation has it in every other."""

    window: Booleans
    """(1 + draws, n)."""
    clusters: Positions
    """(n,): the conversation of each question. No conversation is on both sides."""

    @property
    def seen(self) -> Booleans:
        seen: Booleans = self.window[0]
        return seen

    def of(self, chosen: Booleans) -> "Sides":
        """Those of some questions: what is undefined for a question is so on either side."""
        return Sides(self.window[:, chosen], self.clusters[chosen])


def permuted_sides(reference: Sequence[str], window: Sequence[str], *, draws: int, seed: int) -> Sides:
    """`reference` and `window` name the conversation of each question; the same name on both sides is two conversations. The questions
    of the reference come first. Raises `ValueError` for an empty side or no draws.
    """
    if not reference or not window or draws < 1:
        raise ValueError(f"{len(reference)} and {len(window)} questions in {draws} draws: nothing can change sides")
    names = [*(("reference", name) for name in reference), *(("window", name) for name in window)]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    clusters = np.array([places[name] for name in names], np.intp)
    in_window = np.array([side == "window" for side, _ in places])
    labels = np.tile(in_window, (draws + 1, 1))
    np.random.default_rng(seed).permuted(labels[1:], axis=1, out=labels[1:])
    return Sides(labels[:, clusters], clusters)


def p_value(statistics: Floats) -> float:
    """In (0, 1]: how often a permutation gives at least what was seen, which is `statistics[0]` and counts itself (Phipson and Smyth
    2010, doi 10.2202/1544-6115.1585).
    """
    seen = float(statistics[0])
    return float((statistics >= seen - _TOLERANCE * max(abs(seen), 1e-12)).mean())
