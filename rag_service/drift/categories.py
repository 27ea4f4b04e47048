"""Categories on two sides: how differently the questions fall into them. Pure.

chi²     what is tested; its p-value is that of the permutations, so that rare categories do no harm
JS       distance of Jensen and Shannon, the root of their divergence to base 2: 0 for the same shares, 1 for none in common
         (Endres and Schindelin 2003, doi 10.1109/TIT.2003.813506)
PSI      population stability index, Σ (q − p) ln(q/p), an empty category counted as 0.0001; by rule of thumb 0.1 is to be watched
         and 0.25 is a change, but it grows with categories and shrinks with questions (Yurdakul and Naranjo 2020,
         doi 10.21314/JRMV.2020.227)
moved    which share of the window falls into other categories, where there are so many of them (documents, say) that chance alone makes
         any distance large: 2 · (AUC − what chance gives), where AUC is how probably a question of the window is in a category that
         the window has more of than one of the reference is, each looked at without itself. Where a share s of the window is in
         categories that the reference has not, it is about s
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag_service.drift.permuting import Floats, Sides, p_value

EMPTY_SHARE = 0.0001
"""What PSI takes for a category without a question; evidently does the same."""
_DRAWS_OF_MEAN = 100
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class CategoryShift:
    labels: tuple[str, ...]
    """By name."""
    reference: tuple[float, ...]
    window: tuple[float, ...]
    """Shares, in the order of the labels."""
    chi2: float
    p_value: float
    """Of chi²."""
    js: float
    psi: float
    moved: float
    """At least 0."""


def category_shift(values: Sequence[str], sides: Sides) -> CategoryShift:
    """`values` are in the order of `sides`."""
    labels = sorted(set(values))
    places = {label: place for place, label in enumerate(labels)}
    one_hot = np.zeros((len(values), len(labels)), np.float32)
    one_hot[np.arange(len(values)), [places[value] for value in values]] = 1
    in_window = (sides.window.astype(np.float32) @ one_hot).astype(np.float64)  # exact: counts below 2**24
    in_reference = one_hot.sum(axis=0, dtype=np.float64) - in_window
    q, p = in_window / np.maximum(_total(in_window), 1), in_reference / np.maximum(_total(in_reference), 1)
    statistic = chi2(in_reference, in_window)
    return CategoryShift(
        labels=tuple(labels),
        reference=tuple(p[0].tolist()),
        window=tuple(q[0].tolist()),
        chi2=float(statistic[0]),
        p_value=p_value(statistic),
        js=js_distance(p[0], q[0]),
        psi=psi(p[0], q[0]),
        moved=_moved(in_reference, in_window),
    )


def share_shift(values: Sequence[bool], sides: Sides) -> tuple[float, float, float]:
    """The share of the reference, that of the window, and the two-sided p-value of no difference."""
    given = np.array(values, np.float32)
    labels = sides.window.astype(np.float32)
    in_window, of_window = (labels @ given).astype(np.float64), labels.sum(axis=1, dtype=np.float64)
    in_reference, of_reference = float(given.sum()) - in_window, len(given) - of_window
    p, q = in_reference / np.maximum(of_reference, 1), in_window / np.maximum(of_window, 1)
    return float(p[0]), float(q[0]), p_value(np.abs(q - p))


def chi2(reference: Floats, window: Floats) -> Floats:
    """(draws,): Pearson's statistic of homogeneity of the two rows of counts, each (draws, categories), every category in use."""
    n, m = _total(reference), _total(window)
    pooled = (reference + window) / (n + m)
    scatter: Floats = ((window - m * pooled) ** 2 / pooled).sum(axis=1) * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))[:, 0]
    return scatter


def js_distance(p: Floats, q: Floats) -> float:
    """Of two rows of shares."""
    middle = (p + q) / 2
    return float(np.sqrt(max(0.0, (_divergence(p, middle) + _divergence(q, middle)) / 2)))


def psi(p: Floats, q: Floats) -> float:
    """Of two rows of shares."""
    p, q = np.where(p == 0, EMPTY_SHARE, p), np.where(q == 0, EMPTY_SHARE, q)
    return float(((q - p) * np.log(q / p)).sum())


def _moved(reference: Floats, window: Floats) -> float:
    """Of (1 + draws, categories) counts, those that were seen in row 0. A hundred permutations are enough for their mean."""
    areas = [_area(p, q) for p, q in zip(reference[: 1 + _DRAWS_OF_MEAN], window[: 1 + _DRAWS_OF_MEAN], strict=True)]
    return max(0.0, 2 * (areas[0] - float(np.mean(areas[1:]))))


def _area(reference: Floats, window: Floats) -> float:
    """Of two rows of counts. How much more the window has of a category, in shares, is what a question there scores, itself left out."""
    n, m = float(reference.sum()), float(window.sum())
    if min(n, m) < 2:
        return 0.5
    of_window, of_reference = (window - 1) / (m - 1) - reference / n, window / m - (reference - 1) / (n - 1)
    order = np.argsort(of_reference, kind="stable")
    ordered, below = of_reference[order], np.concatenate([[0.0], reference[order].cumsum()])
    under = below[np.searchsorted(ordered, of_window - _TIE, side="left")]
    up_to = below[np.searchsorted(ordered, of_window + _TIE, side="right")]
    return float((window * (under + up_to) / 2).sum() / (n * m))


def _divergence(p: Floats, q: Floats) -> float:
    """Of Kullback and Leibler, in bits."""
    used = p > 0
    return float((p[used] * np.log2(p[used] / q[used])).sum())


def _total(counts: Floats) -> Floats:
    total: Floats = counts.sum(axis=1, keepdims=True)
    return total
