"""Numbers on two sides: how far their distributions are apart, everywhere and at worst. Pure.

Kolmogorov and Smirnov's D is the greatest difference of the two shares below any one value, from 0 to 1. The first Wasserstein distance
is how far a value has to move on average, in its own unit; divided by the standard deviation of the reference, evidently compares it.
"""

from dataclasses import dataclass

import numpy as np

from rag_service.drift.permuting import Booleans, Floats, Sides, p_value

_AT_ONCE = 1 << 21
"""Numbers held at a time: some tens of megabytes."""


@dataclass(frozen=True, slots=True)
class NumberShift:
    ks: float
    p_value: float
    """Of D."""
    wasserstein: float
    wasserstein_sigma: float | None
    """None where the reference does not vary."""
    reference_median: float
    window_median: float


def number_shift(values: Floats, sides: Sides) -> NumberShift:
    """`values` are (n,), in the order of `sides`."""
    order = np.argsort(values, kind="stable")
    ordered, labels = values[order], sides.window[:, order]
    last_of_ties = np.append(ordered[1:] != ordered[:-1], True)
    step = max(_AT_ONCE // len(values), 1)
    worst = np.concatenate([np.abs(_gaps(labels[at : at + step])[:, last_of_ties]).max(axis=1) for at in range(0, len(labels), step)])
    wasserstein = float((np.abs(_gaps(labels[:1])[0, :-1]) * np.diff(ordered)).sum())
    reference, window = values[~sides.seen], values[sides.seen]
    sigma = float(reference.std())
    return NumberShift(
        ks=float(worst[0]),
        p_value=p_value(worst),
        wasserstein=wasserstein,
        wasserstein_sigma=wasserstein / sigma if sigma > 0 else None,
        reference_median=float(np.median(reference)),
        window_median=float(np.median(window)),
    )


def _gaps(labels: Booleans) -> Floats:
    """(draws, n): after each value, the share of the window up to it less that of the reference."""
    in_window = labels.cumsum(axis=1, dtype=np.float64)
    in_reference = (~labels).cumsum(axis=1, dtype=np.float64)
    gaps: Floats = in_window / np.maximum(in_window[:, -1:], 1) - in_reference / np.maximum(in_reference[:, -1:], 1)
    return gaps
