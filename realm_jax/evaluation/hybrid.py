"""Vectors alone and with BM25: the passages that `index.kind hybrid` finds or would find, its weight chosen on dev
questions."""

from typing import Any

import numpy as np

from realm_jax.evaluation.bm25 import Hits
from realm_jax.evaluation.recall import DEPTHS, SUFFIXES, recalls
from realm_jax.index.base import Embed, Passages
from realm_jax.index.hybrid import HybridIndex
from realm_jax.training.open_run import OpenRun

WEIGHTS = tuple(np.linspace(0, 1, 21).round(2).tolist())
"""Of BM25; 0 is vectors alone."""
TUNED_AT = (1, 5)
"""The best weight has the largest sum of these recalls; of equal ones the one nearest the middle of their range."""


def measure(run: OpenRun, vectors: np.ndarray, embed: Embed, questions: dict[str, Any], hits: Hits) -> dict[str, Any]:
    """Metrics under their names in reports: `hybrid/*` with the best weight on dev, `vectors/*`, and that weight.

    Args:
      vectors: of all passages but the null passage.
      embed: query rows -> vectors, by the embedder that made them.
      questions: of each split, dev among them.
    """
    passages = Passages(vectors, np.asarray(run.store.tokens[:-1]), run.tokenizer.vocabulary)
    index = HybridIndex.build(passages, run.config.index)
    encoded = {split: index.encode(embed, asked.queries) for split, asked in questions.items()}

    def found(split: str, weight: float, depth: int) -> np.ndarray:
        return hits(split, index.weighted(weight).search(encoded[split], min(depth, index.num_passages))[1])

    def worth(weight: float) -> float:
        of_depths = recalls(found("dev", weight, max(DEPTHS)))
        return sum(of_depths[depth] for depth in TUNED_AT)

    best = chosen(WEIGHTS, [worth(weight) for weight in WEIGHTS])
    figures: dict[str, Any] = {"hybrid/bm25_weight": best}
    for split in questions:
        for name, weight in (("vectors", 0.0), ("hybrid", best)):
            of_depths = recalls(found(split, weight, max(DEPTHS)))
            figures |= {f"{name}/recall@{depth}{SUFFIXES[split]}": share for depth, share in of_depths.items()}
    return figures


def chosen(weights: tuple[float, ...], worths: list[float]) -> float:
    """The weight of the largest worth; in the middle of a range of equals, which few questions give."""
    largest = max(worths)
    equal = [weight for weight, worth in zip(weights, worths, strict=True) if worth >= largest - 1e-9]
    return equal[len(equal) // 2]
