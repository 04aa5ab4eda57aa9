"""Recall at the depths that every table has, and the names of the figures of each split of questions."""

import numpy as np
from jaxtyping import Bool

from realm_jax.remote import AnyPath
from realm_jax.workdir import Workdir

DEPTHS = (1, 5, 20, 100)
"""k of every recall@k."""
SUFFIXES = {"dev": "_dev", "dev_new_kinds": "_dev_new_kinds", "test": "", "test_new_kinds": "_new_kinds"}
"""{split: the ending of its figures' names}."""
TEST_SPLITS = ("test", "test_new_kinds")


def ranks_file(workdir: Workdir, when: str = "") -> AnyPath:
    """{split: `ranks` of its questions}, of the fine-tuned retriever or one before."""
    return workdir.evaluation / f"ranks{when}.json"


def ranks(hits: Bool[np.ndarray, "B k"]) -> list[int]:
    """Of each question the place, from 1 on, of the first hit; 0 without any."""
    return np.where(hits.any(1), hits.argmax(1) + 1, 0).tolist()


def recalls(hits: Bool[np.ndarray, "B k"]) -> dict[int, float]:
    """Of each depth, the share of questions with a hit among so many best."""
    return {depth: float(hits[:, :depth].any(1).mean()) for depth in DEPTHS}
