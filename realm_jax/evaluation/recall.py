"""Recall at the depths that every table has, and what the figures of each split of questions are called."""

import numpy as np
from jaxtyping import Bool

DEPTHS = (1, 5, 20, 100)
"""k of every recall@k."""
SUFFIXES = {"dev": "_dev", "dev_new_kinds": "_dev_new_kinds", "test": "", "test_new_kinds": "_new_kinds"}
"""{split: what the names of its figures end in}."""
TEST_SPLITS = ("test", "test_new_kinds")


def recalls(hits: Bool[np.ndarray, "B k"]) -> dict[int, float]:
    """Of each depth, the share of questions with a hit among so many best."""
    return {depth: float(hits[:, :depth].any(1).mean()) for depth in DEPTHS}
