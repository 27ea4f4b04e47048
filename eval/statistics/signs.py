"""The permutation test of a paired difference: under no effect, a cluster's difference is as likely to have the other sign."""

import numpy as np

from eval.statistics.grouped import Floats

EXACT_UP_TO = 14
"""Clusters with a difference up to which every pattern of signs is looked at: 2**14 of them."""
_TOLERANCE = 1e-12
"""Sums of the same numbers in another order differ by less, relative to the sum of their sizes."""


def sign_flip_p(sums: Floats, *, draws: int, seed: int) -> float:
    """Two-sided p-value, in (0, 1], of the differences summed by cluster: the share of sign patterns whose total is as far from 0 as the
    one seen. Exact where at most `EXACT_UP_TO` clusters differ; else (1 + hits) / (draws + 1) over random patterns (Phipson and Smyth
    2010, doi 10.2202/1544-6115.1585). Clusters without a difference change no total and are passed over. The order of `sums` is nothing.
    """
    moving = np.sort(np.abs(sums[sums != 0]))
    seen = abs(float(sums.sum())) - _TOLERANCE * float(moving.sum())
    if len(moving) <= EXACT_UP_TO:
        return float((np.abs(_signed_totals(moving)) >= seen).mean())
    hits = int((np.abs(_random_totals(moving, draws, seed)) >= seen).sum())
    return (1 + hits) / (draws + 1)


def _signed_totals(sizes: Floats) -> Floats:
    """(2**k,): the total of each pattern of signs of k sizes."""
    totals = np.zeros(1)
    for size in sizes:
        totals = np.concatenate([totals + size, totals - size])
    return totals


def _random_totals(sizes: Floats, draws: int, seed: int) -> Floats:
    """(draws,). A random byte chooses the signs of eight sizes at once from the table of all their totals."""
    random = np.random.default_rng(seed)
    totals = np.zeros(draws)
    for begin in range(0, len(sizes), 8):
        table = _signed_totals(sizes[begin : begin + 8])
        totals += table[random.integers(len(table), size=draws, dtype=np.uint8 if len(table) < 256 else np.uint16)]
    return totals
