"""Held-out masked spans: does retrieval find what fills the mask, and is it worth reading?"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.index.base import Retriever
from realm_jax.index.candidates import NULL_CANDIDATE, search_candidates
from realm_jax.text import features
from realm_jax.training.jitted_models import Models
from realm_jax.training.masked_queries import MaskedBatch, ReadBatch
from realm_jax.training.task import padded
from realm_jax.training.tasks.pretrain import read_candidates

DEPTH = 5


class Reading(NamedTuple):
    """One query: p(y|x) of all its hidden wordpieces together, as in table 3 of the paper."""

    query: int
    row: int
    """The passage, not the null one, under which they are likeliest ..."""
    p_z: float
    """... its p(z|x) ..."""
    best: float
    """... and p(y|z,x)."""
    null: float
    """p(y|z,x) of the null passage."""
    marginal: float
    """The sum of p(y|z,x) p(z|x) over the passages read."""


class SpanFigures(NamedTuple):
    recall: float
    """Share of queries with a passage among the first 5, the origin left out, that has the hidden wordpieces."""
    utility: float
    """log p(y|x) - log p(y|null, x), mean over masks."""
    p_null: float
    """p(z|x) of the null passage, mean over queries."""
    readings: list[Reading]
    """Of each query that was read."""


def measure(
    config: Config,
    models: Models,
    params: dict[str, Any],
    index: Retriever,
    store: PassageStore,
    queries: MaskedBatch,
) -> SpanFigures:
    """Searches `index`, which must hold the vectors of `params`' own embedder, and reads pretrain.candidates
    passages."""
    size = config.evaluation.batch_size
    encoded = index.encode(models.embed_many_with(params["embedder"]), queries.query)
    # No deeper than there are passages beside the origin; the null passage is one more.
    depth = min(max(DEPTH + 1, config.pretrain.candidates), max(store.num_passages, 1))
    rows = search_candidates(index, encoded, queries.origin[:, None], depth, store.null_id)
    hidden = np.where(queries.mask_weights > 0, queries.mask_targets, features.PAD)
    hits = features.holds(store.rows(rows[:, 1 : DEPTH + 1]), hidden[:, None, None])

    utility, p_null, readings, count = 0.0, [], [], min(config.evaluation.read_queries, len(rows))
    read = rows[:count, : config.pretrain.candidates]
    scores = index.own_scores(jax.tree.map(lambda a: a[:count], encoded), read)
    queries = ReadBatch(**vars(queries[:count]), passages=store.rows(read), scores=scores)
    for start in range(0, count, size):
        real = min(size, count - start)
        batch = jax.tree.map(lambda a, first=start: padded(a[first : first + size], size), queries)
        batch = dataclasses.replace(batch, mask_weights=batch.mask_weights * (np.arange(size) < real)[:, None])
        value, log_p_z, log_p_y = jax.device_get(_read(params, batch, store.null_row, config, models))
        utility += float(value)
        p_null.append(np.exp(log_p_z[:real, NULL_CANDIDATE]))
        readings += [_reading(start + i, rows[start + i], log_p_z[i], log_p_y[i]) for i in range(real)]
    masks = float(queries.mask_weights[:count].sum())
    recall, null = float(np.mean(np.asarray(hits).any(1))), float(np.concatenate(p_null).mean())
    return SpanFigures(recall, utility / masks, null, readings)


def _reading(query: int, rows: np.ndarray, log_p_z: np.ndarray, log_p_y: np.ndarray) -> Reading:
    """Of one query, from [K] of each."""
    passages = np.arange(len(log_p_y)) != NULL_CANDIDATE
    best = int(np.where(passages, log_p_y, -np.inf).argmax())
    marginal = np.logaddexp.reduce(log_p_z + log_p_y)
    p = np.exp([log_p_z[best], log_p_y[best], log_p_y[NULL_CANDIDATE], marginal]).tolist()
    return Reading(query, int(rows[best]), *p)


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read(params, batch, null_row, config, models):
    """Utility summed over masks; log p(z|x) and log p(y|z,x) of all masks together, [B,K]. Compiled once for all
    measurements."""
    scores, log_p_y = read_candidates(config, models, params, batch, null_row, None)
    log_p_z = objectives.retrieval_log_probs(scores)
    utility = objectives.retrieval_utility(log_p_z, log_p_y, batch.mask_weights)
    return utility * batch.mask_weights.sum(), log_p_z, (log_p_y * batch.mask_weights[:, None]).sum(-1)
