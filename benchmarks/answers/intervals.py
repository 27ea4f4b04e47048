"""Intervals of means and medians over questions that come in clusters."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

DRAWS = 2000
_SEED = 20261126


def interval(
    values: Sequence[float], clusters: Sequence[str], *, of: Callable[[npt.NDArray[np.float64]], float] = lambda found: float(found.mean())
) -> tuple[float, float, float]:
    """`of(values)`, and its 95 % percentile interval from drawing whole clusters with replacement (Field and Welsh 2007, doi
    10.1111/j.1467-9868.2007.00593.x). With fewer than 20 clusters the interval is too narrow; nothing can be done about that here.
    """
    found = np.asarray(values, np.float64)
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    members: list[list[int]] = [[] for _ in names]
    for place, cluster in enumerate(clusters):
        members[names[cluster]].append(place)
    groups = [np.array(group) for group in members]
    random = np.random.default_rng(_SEED)
    drawn = [of(found[np.concatenate([groups[g] for g in random.integers(0, len(groups), len(groups))])]) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return of(found), float(low), float(high)


def shown(values: Sequence[float], clusters: Sequence[str], *, decimals: int = 3) -> str:
    """`0.921 (0.902–0.938)`."""
    mean, low, high = interval(values, clusters)
    return f"{mean:.{decimals}f} ({low:.{decimals}f}–{high:.{decimals}f})"
