"""Probes cheap enough to run at every checkpoint, which decide which one is best.

Pre-training is probed for recall on freshly embedded passages: retrieval utility can rise while retrieval is destroyed.
Fine-tuning is probed for its purpose, right answers.
"""

import math
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
from realm_jax.training.question_arrays import BeamLabels
from realm_jax.training.task import Metrics, Params, Stream, rng

DEPTH = 5


def probe_pool(holders: list[np.ndarray], size: int, num_passages: int, seed: int) -> np.ndarray:
    """Passage rows [R]: every holder of an answer, filled up to `size` with others drawn at random; ascending."""
    needed = np.unique(np.concatenate([*holders, np.empty(0, np.int64)])).astype(np.int64)
    others = np.setdiff1d(np.arange(num_passages), needed)
    fill = rng(seed, Stream.PROBED_PASSAGES).choice(others, min(max(size - len(needed), 0), len(others)), replace=False)
    return np.sort(np.concatenate([needed, fill]))


class RecallProbe:
    """Recall@5 of fixed queries among a fixed pool of passages, both embedded with the parameters given.

    Args:
      query_sets: name -> (token rows [B,Q], rows of the passages that count as found, per query, banned rows [B]).
      embedder: parameters -> the function that embeds the token rows of passages.
      query_embedder: the same of queries; by default that of passages.
    """

    def __init__(
        self,
        query_sets: dict[str, tuple[np.ndarray, list[np.ndarray], np.ndarray]],
        store: PassageStore,
        size: int,
        seed: int,
        rows_per_batch: int,
        embedder: Callable[[Any], Embed],
        query_embedder: Callable[[Any], Embed] | None = None,
    ):
        self._sets, self._embedder, self._rows_per_batch = query_sets, embedder, rows_per_batch
        self._query_embedder = query_embedder or embedder
        wanted = [rows for _, holders, _ in query_sets.values() for rows in holders]
        self._pool = probe_pool(wanted, size, store.num_passages, seed)
        self._passages = store.rows(self._pool)

    def __call__(self, params: Any) -> Metrics:
        """{"probe/<name>_recall@5": ...}; ``probe/score`` is the first set's."""
        passages = embed_all(self._embedder(params), self._passages, self._rows_per_batch)
        embed = self._query_embedder(params)
        figures = {}
        for name, (queries, holders, banned) in self._sets.items():
            scores = embed_all(embed, queries, self._rows_per_batch) @ passages.T
            scores[self._pool[None, :] == banned[:, None]] = -np.inf
            best = self._pool[np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]]
            hits = [np.isin(found, rows).any() for found, rows in zip(best, holders, strict=True)]
            figures[f"probe/{name}_recall@5"] = float(np.mean(hits))
        return {**figures, "probe/score": next(iter(figures.values()))}


class AnswerProbe:
    """Exact match and recall@5 of some questions of each dev set."""

    def __init__(self, run: OpenRun):
        self._run, self._sets = run, {}
        self._least: dict[str, float] = {}
        for suffix, dev in run.dev_sets().items():
            order = rng(run.config.seed, Stream.PROBED_QUESTIONS).permutation(len(dev))
            self._sets[suffix] = dev, run.labels(dev), np.sort(order[: run.config.finetune.probe_questions])
        if not self._sets:
            print("finetune: no dev questions to probe answers with, so its last checkpoint is its result", flush=True)

    def begin(self, params: Params, index: Index) -> None:
        """Takes the recall of parameters to start from, less its standard error, as the least that may go on."""
        for suffix, (dev, labels, chosen) in self._sets.items():
            recall = self._recall(params, index, dev.queries[chosen], labels, chosen)
            self._least[suffix] = recall - math.sqrt(recall * (1 - recall) / len(chosen))

    def __call__(self, params: Params, index: Index) -> Metrics:
        """{"probe/exact_match...", "probe/recall@5..."}; ``probe/score`` is the mean exact match of the sets, less 1
        where retrieval has been harmed: its recall is below that at the start by more than its standard error."""
        run, params = self._run, whole(params)
        matches, recalls = {}, {}
        for suffix, (dev, labels, chosen) in self._sets.items():
            queries = dev.queries[chosen]
            found = open_qa.answer(run.config, run.models, params, index, run.store, queries)
            said = open_qa.texts_of(found, run.tokenizer, run.texts)
            right = [
                exact_match(a, dev.answers[i], run.config.questions.match) for a, i in zip(said, chosen, strict=True)
            ]
            matches[f"probe/exact_match{suffix}"] = float(np.mean(right))
            recalls[suffix] = self._recall(params, index, queries, labels, chosen)
        if not matches:
            return {}
        harmed = any(recalls[suffix] < least for suffix, least in self._least.items())
        figures = matches | {f"probe/recall@{DEPTH}{suffix}": recall for suffix, recall in recalls.items()}
        return figures | {"probe/score": float(np.mean(list(matches.values()))) - harmed}

    def _recall(
        self, params: Params, index: Index, queries: np.ndarray, labels: BeamLabels, chosen: np.ndarray
    ) -> float:
        run = self._run
        _, rows = open_qa.retrieve(run.config, run.models, params["embedder"], index, queries, DEPTH)
        return float(labels(chosen, rows).any(1).mean())
