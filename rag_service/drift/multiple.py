"""Several tests at once: the more are made, the surer one of them is to look like something."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given (Holm 1979, Scandinavian Journal of Statistics 6): to reject those at most alpha keeps the
    chance of any wrong rejection at alpha, whatever depends on what. Raises `ValueError` for what is no probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"not all of {list(p_values)} are probabilities")
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted
