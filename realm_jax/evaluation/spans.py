"""Held-out masked spans: does retrieval find what fills the mask, and is it worth reading?"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.index.base import Index
from realm_jax.index.bm25 import Bm25Index
from realm_jax.index.candidates import search_candidates
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
    vectors = models.all_query_vectors(params["embedder"], queries["query"])
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
        if isinstance(index, Bm25Index):
            batch["scores"] = padded(index.scores(vectors[part], rows[part, : config.pretrain.candidates]), size)
        value, null = jax.device_get(_read(params, batch, store.null_row, config, models))
        utility += float(value)
        p_null.append(null[:real])
    masks = float(queries["mask_weights"][:count].sum())
    return SpanFigures(float(np.mean(np.asarray(hits).any(1))), utility / masks, float(np.concatenate(p_null).mean()))


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read(params, batch, null_row, config, models):
    """Utility summed over masks, and p(null) of each query [B]. Compiled once for all measurements."""
    scores, log_p_y = read_candidates(config, models, params, batch, null_row, None)
    log_p_z = objectives.retrieval_log_probs(scores)
    weights = batch["mask_weights"]
    utility = objectives.retrieval_utility(log_p_z, log_p_y, weights)
    return utility * weights.sum(), jax.numpy.exp(log_p_z[:, 0])
