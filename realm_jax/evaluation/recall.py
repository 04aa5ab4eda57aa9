"""Recall at the depths that every table has."""

import numpy as np
from jaxtyping import Bool

DEPTHS = (1, 5, 20, 100)
"""k of every recall@k."""


def recalls(hits: Bool[np.ndarray, "B k"]) -> dict[int, float]:
    """Of each depth, the share of questions with a hit among so many best."""
    return {depth: float(hits[:, :depth].any(1).mean()) for depth in DEPTHS}
