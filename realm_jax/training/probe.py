"""A recall probe on freshly embedded passages, cheap enough to run at every checkpoint.

Retrieval utility can rise while retrieval is destroyed, so this, and not utility, decides which checkpoint is best.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from realm_jax.corpus.store import PassageStore
from realm_jax.index.embed_passages import Embed, embed_all
from realm_jax.training.task import Metrics, rng

DEPTH = 5


def probe_pool(holders: list[np.ndarray], size: int, num_passages: int, seed: int) -> np.ndarray:
    """Passage rows [R]: every holder of an answer, filled up to `size` with others drawn at random; ascending."""
    needed = np.unique(np.concatenate([*holders, np.empty(0, np.int64)])).astype(np.int64)
    others = np.setdiff1d(np.arange(num_passages), needed)
    fill = rng(seed, 2).choice(others, min(max(size - len(needed), 0), len(others)), replace=False)
    return np.sort(np.concatenate([needed, fill]))


class RecallProbe:
    """Recall@5 of fixed queries among a fixed pool of passages, both embedded with the parameters given.

    Args:
      query_sets: name -> (token rows [B,Q], rows of the passages that count as found, per query, banned rows [B]).
      embedder: parameters -> the function that embeds token rows.
    """

    def __init__(
        self,
        query_sets: dict[str, tuple[np.ndarray, list[np.ndarray], np.ndarray]],
        store: PassageStore,
        size: int,
        seed: int,
        rows_per_batch: int,
        embedder: Callable[[Any], Embed],
    ):
        self._sets, self._embedder, self._rows_per_batch = query_sets, embedder, rows_per_batch
        wanted = [rows for _, holders, _ in query_sets.values() for rows in holders]
        self._pool = probe_pool(wanted, size, store.num_passages, seed)
        self._passages = store.rows(self._pool)

    def __call__(self, params: Any) -> Metrics:
        """{"probe/<name>_recall@5": ...}; ``probe/score`` is the first set's."""
        embed = self._embedder(params)
        passages = embed_all(embed, self._passages, self._rows_per_batch)
        figures = {}
        for name, (queries, holders, banned) in self._sets.items():
            scores = embed_all(embed, queries, self._rows_per_batch) @ passages.T
            scores[self._pool[None, :] == banned[:, None]] = -np.inf
            best = self._pool[np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]]
            hits = [np.isin(found, rows).any() for found, rows in zip(best, holders, strict=True)]
            figures[f"probe/{name}_recall@5"] = float(np.mean(hits))
        return {**figures, "probe/score": next(iter(figures.values()))}
