"""Orders and cuts scored rows. Pure.

FAISS leaves equal scores in no particular order and its scores differ in the last bits between builds, so scores are rounded first and
ties then broken by row. Rows are numbered by ascending chunk digest (see `build`): a tie is decided by content, not by history.
"""

import numpy as np

from rag_service.types import Positions, Vector

SCORE_DECIMALS = 5


def rounded(scores: Vector) -> Vector:
    """To 1e-5: coarser than the noise of summation order (about 2e-7), finer than any difference that means something."""
    return np.round(scores.astype(np.float64), SCORE_DECIMALS).astype(np.float32)


def ordered(positions: Positions, scores: Vector) -> tuple[Positions, Vector]:
    """By descending rounded score, then by ascending position. Both of shape (n,)."""
    scores = rounded(scores)
    order = np.lexsort((positions, -scores))
    return positions[order], scores[order]
