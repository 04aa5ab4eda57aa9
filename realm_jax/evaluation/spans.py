"""Held-out masked spans: does retrieval find what fills the mask, and is it worth reading?"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.index.base import Index
from realm_jax.index.build import embed_all
from realm_jax.index.candidates import NULL_CANDIDATE, search_candidates
from realm_jax.text import features
from realm_jax.training.models import Models
from realm_jax.training.task import padded
from realm_jax.training.tasks.pretrain import read_candidates

DEPTH = 5


class SpanFigures(NamedTuple):
    recall: float
    """Share of queries with a passage among the first 5, the origin left out, in which the hidden wordpieces stand."""
    utility: float
    """log p(y|x) - log p(y|null, x), mean over masks."""
    p_null: float
    """p(z|x) of the null passage, mean over queries."""


def measure(
    config: Config,
    models: Models,
    params: dict[str, Any],
    index: Index,
    store: PassageStore,
    queries: dict[str, np.ndarray],
) -> SpanFigures:
    """Searches `index`, which must hold the vectors of `params`' own embedder, and reads pretrain.candidates
    passages."""
    size = config.evaluation.batch_size
    vectors = embed_all(models.embed_with(params["embedder"]), queries["query"], config.index.rows_per_batch)
    depth = max(DEPTH + 1, config.pretrain.candidates)
    rows = search_candidates(index, vectors, queries["origin"][:, None], depth, store.null_id)
    hidden = np.where(queries["mask_weights"] > 0, queries["mask_targets"], features.PAD)
    hits = features.holds(store.rows(rows[:, 1 : DEPTH + 1]), hidden[:, None, None])

    utility, p_null, count = 0.0, [], min(config.evaluation.read_queries, len(rows))
    passages = store.rows(rows[:count, : config.pretrain.candidates])
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        real = len(passages[part])
        batch = {key: padded(value[part], size) for key, value in queries.items()}
        batch["mask_weights"] = batch["mask_weights"] * (np.arange(size) < real)[:, None]
        batch["passages"] = padded(passages[part], size)
        value, null = jax.device_get(_read(params, batch, store.null_row, config, models))
        utility += float(value)
        p_null.append(null[:real])
    masks = float(queries["mask_weights"][:count].sum())
    return SpanFigures(float(np.mean(np.asarray(hits).any(1))), utility / masks, float(np.concatenate(p_null).mean()))


@dataclasses.dataclass(frozen=True)
class Reading:
    """One query, and p(y|x) of all its hidden wordpieces together, as in table 3 of the paper."""

    row: int
    """The passage under which they are likeliest ..."""
    p_z: float
    """... its p(z|x) ..."""
    best: float
    """... and p(y|z,x)."""
    null: float
    """p(y|z,x) of the null passage."""
    marginal: float
    """The sum of p(y|z,x) p(z|x) over the passages read."""


def readings(
    config: Config,
    models: Models,
    params: dict[str, Any],
    index: Index,
    store: PassageStore,
    queries: dict[str, np.ndarray],
    count: int,
) -> list[Reading]:
    """Of the first `count` queries, but no more than evaluation.batch_size."""
    size = config.evaluation.batch_size
    batch = {key: padded(value[: min(count, size)], size) for key, value in queries.items()}
    vectors = embed_all(models.embed_with(params["embedder"]), batch["query"], config.index.rows_per_batch)
    rows = search_candidates(index, vectors, batch["origin"][:, None], config.pretrain.candidates, store.null_id)
    batch["passages"] = store.rows(rows)
    log_p_z, log_p_y = jax.device_get(_read_each(params, batch, store.null_row, config, models))
    log_p_y = (log_p_y * batch["mask_weights"][:, None]).sum(-1)
    marginal = np.exp(np.logaddexp.reduce(log_p_z + log_p_y, axis=-1))
    best = log_p_y[:, NULL_CANDIDATE + 1 :].argmax(-1) + NULL_CANDIDATE + 1
    return [
        Reading(int(rows[i, k]), *np.exp([log_p_z[i, k], log_p_y[i, k], log_p_y[i, NULL_CANDIDATE]]), marginal[i])
        for i, k in enumerate(best[: min(count, len(queries["query"]))])
    ]


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read_each(params, batch, null_row, config, models):
    """log p(z|x) [B,K] and log p(y|z,x) [B,K,M]."""
    scores, log_p_y = read_candidates(config, models, params, batch, null_row, None)
    return objectives.retrieval_log_probs(scores), log_p_y


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read(params, batch, null_row, config, models):
    """Utility summed over masks, and p(null) of each query [B]. Compiled once for all measurements."""
    scores, log_p_y = read_candidates(config, models, params, batch, null_row, None)
    log_p_z = objectives.retrieval_log_probs(scores)
    weights = batch["mask_weights"]
    utility = objectives.retrieval_utility(log_p_z, log_p_y, weights)
    return utility * weights.sum(), jax.numpy.exp(log_p_z[:, 0])
