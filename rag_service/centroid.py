"""The centre of an index, as a place to measure questions from. Pure.

A question about something else than the documents lies further from the mean of their vectors, and so does one in another language or of
another kind. Vectors of two encoders have nothing to do with one another, so a distance counts for one encoder alone. It is a cheap
number to watch over time, not a test: questions may change and stay as far away as they were.
"""

import numpy as np

from rag_service.ports import VectorStore
from rag_service.types import Vector

SAMPLED_ROWS = 512
"""Evenly over the index. A cold disk reads them in a fraction of a second, and the same version always gives the same."""


def centroid_of(store: VectorStore) -> Vector | None:
    """The direction of the mean vector, of unit length. None for an empty index, or where the vectors cancel out."""
    rows = len(store)
    if not rows:
        return None
    sampled = np.linspace(0, rows - 1, num=min(rows, SAMPLED_ROWS), dtype=np.int64)
    mean = store.vectors(sampled.tolist()).mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    return (mean / length).astype(np.float32) if length > 1e-6 else None


def distance(query: Vector, centroid: Vector) -> float:
    """1 less the cosine of two unit vectors, in [0, 2]."""
    return min(max(1.0 - float(query @ centroid), 0.0), 2.0)
