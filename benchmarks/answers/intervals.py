"""How figures are written: with the interval that drawing whole clusters gives."""

from collections.abc import Sequence
from statistics import fmean

from eval.statistics.clustered import bootstrap


def shown(values: Sequence[float], clusters: Sequence[str], *, decimals: int = 3) -> str:
    """`0.921 (0.902–0.938)`: the mean and its 95 % percentile interval. With fewer than 20 clusters the interval is too narrow."""
    low, high = bootstrap(values, clusters, widen=False)
    return f"{fmean(values):.{decimals}f} ({low:.{decimals}f}–{high:.{decimals}f})"
