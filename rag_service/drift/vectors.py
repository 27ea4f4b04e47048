"""Vectors on two sides: whether the questions are about other things, and how many of them are. Pure.

What is tested is the maximum mean discrepancy, MMD² (Gretton et al. 2012, JMLR 13), with the kernel exp(−‖x − y‖² / 2σ²), σ the median
distance (Garreau et al. 2018, arXiv 1707.07269). Its size means little to anybody, so the effect is another: a question is
given to the side whose questions it is more like, itself and its conversation left out, and AUC is how probably a question of the window
is more like the window than one of the reference is (a classifier two-sample test, Lopez-Paz and Oquab 2017, arXiv 1610.06545; the
classifier is the witness function of MMD). 0.5 is chance; where a share s of the window is about wholly other things, it is about
0.5 + s/2.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_service.drift.permuting import Floats, Sides, p_value

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class VectorShift:
    mmd2: float
    """Unbiased, so it may be a little below 0."""
    p_value: float
    """Of MMD²."""
    auc: float
    points: Floats
    """(n, 2): the vectors seen along the two directions in which they differ most, in units of the first one's greatest reach."""


def vector_shift(vectors: Vectors, sides: Sides) -> VectorShift:
    """`vectors` are (n, dimension), in the order of `sides`. Takes the square of n in memory and in time."""
    kernel = _kernel(vectors)
    own = sides.clusters[:, None] == sides.clusters[None, :]
    kernel[own] = 0
    statistics = _mmd2(kernel, sides)
    return VectorShift(mmd2=float(statistics[0]), p_value=p_value(statistics), auc=_auc(kernel, own, sides), points=_points(vectors))


def _kernel(vectors: Vectors) -> Vectors:
    squares = np.einsum("ij,ij->i", vectors, vectors)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * (vectors @ vectors.T), 0)
    median = float(np.median(distances[np.triu_indices(len(vectors), 1)]))
    kernel: Vectors = np.exp(-distances / (2 * median if median > 0 else 1)).astype(np.float32)
    return kernel


def _mmd2(kernel: Vectors, sides: Sides) -> Floats:
    """(draws,). `kernel` is 0 for pairs of one conversation, which are never on both sides: they are left out of either mean."""
    labels = sides.window.astype(np.float32)
    to_window = labels @ kernel
    within_window = np.einsum("ij,ij->i", to_window, labels, dtype=np.float64)
    across = to_window.sum(axis=1, dtype=np.float64) - within_window
    within_reference = float(kernel.sum(dtype=np.float64)) - within_window - 2 * across
    n, m = labels.shape[1] - labels.sum(axis=1, dtype=np.float64), labels.sum(axis=1, dtype=np.float64)
    own = np.bincount(sides.clusters)[sides.clusters].astype(np.float32)
    own_window = (labels @ own).astype(np.float64)
    window_pairs, reference_pairs = m * m - own_window, n * n - (float(own.sum()) - own_window)
    mmd2: Floats = within_window / np.maximum(window_pairs, 1) + within_reference / np.maximum(reference_pairs, 1)
    mmd2 -= 2 * across / np.maximum(n * m, 1)
    return mmd2


def _auc(kernel: Vectors, own: npt.NDArray[np.bool_], sides: Sides) -> float:
    seen = sides.seen
    others = ~own
    to_window = kernel[:, seen].sum(axis=1) / np.maximum(others[:, seen].sum(axis=1), 1)
    to_reference = kernel[:, ~seen].sum(axis=1) / np.maximum(others[:, ~seen].sum(axis=1), 1)
    return area(to_window - to_reference, seen)


def area(scores: Floats | Vectors, positive: npt.NDArray[np.bool_]) -> float:
    """Under the curve: how probably a positive has a higher score than a negative, ties counted half (Mann and Whitney)."""
    ranks = _mean_ranks(scores)
    count = int(positive.sum())
    others = len(scores) - count
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def _mean_ranks(scores: Floats | Vectors) -> Floats:
    """From 1; equal scores share the mean of their ranks."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    ranks: Floats = (ends - (counts - 1) / 2)[places]
    return ranks


def _points(vectors: Vectors) -> Floats:
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    axes = directions[:, :-3:-1] if directions.shape[1] > 1 else np.hstack([directions, np.zeros_like(directions)])
    axes = axes * np.where(
        np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0) < 0, -1, 1
    )  # a sign of its own, always the same
    points: Floats = centred @ axes
    reach = float(np.abs(points).max())
    return points / reach if reach > 0 else points
