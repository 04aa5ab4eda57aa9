"""Probes cheap enough to run at every checkpoint, which decide which one is best.

Pre-training is probed for recall on freshly embedded passages: retrieval utility can rise while retrieval is destroyed.
Fine-tuning is probed for what it is for, right answers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from realm_jax.corpus.store import PassageStore
from realm_jax.index.base import Index
from realm_jax.index.embed_passages import Embed, embed_all
from realm_jax.qa.answers import exact_match
from realm_jax.training import open_qa
from realm_jax.training.mesh import whole
from realm_jax.training.open_run import OpenRun
from realm_jax.training.task import Metrics, Params, rng

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


class AnswerProbe:
    """Exact match and recall@5 of some questions of each dev set, with an index whose vectors stay."""

    def __init__(self, run: OpenRun, index: Index):
        self._run, self._index, self._sets = run, index, {}
        for suffix, dev in run.dev_sets().items():
            chosen = rng(run.config.seed, 8).permutation(len(dev))[: run.config.finetune.probe_questions]
            self._sets[suffix] = dev, run.labels(dev), np.sort(chosen)
        if not self._sets:
            print("finetune: no dev questions to probe answers with, so its last checkpoint is its result", flush=True)

    def __call__(self, params: Params) -> Metrics:
        """{"probe/exact_match...", "probe/recall@5..."}; ``probe/score`` is the mean exact match of the sets."""
        run, params = self._run, whole(params)
        matches, recalls = {}, {}
        for suffix, (dev, labels, chosen) in self._sets.items():
            queries = dev.queries[chosen]
            found = open_qa.answer(run.config, run.models, params, self._index, run.store, queries)
            said = open_qa.texts_of(found, run.tokenizer, run.texts)
            right = [
                exact_match(a, dev.answers[i], run.config.questions.match) for a, i in zip(said, chosen, strict=True)
            ]
            matches[f"probe/exact_match{suffix}"] = float(np.mean(right))
            _, rows = open_qa.retrieve(run.config, run.models, params["embedder"], self._index, queries, DEPTH)
            recalls[f"probe/recall@{DEPTH}{suffix}"] = float(labels(chosen, rows).any(1).mean())
        return {**matches, **recalls, "probe/score": float(np.mean(list(matches.values())))} if matches else {}
