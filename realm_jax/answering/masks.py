"""Fills the [MASK] of sentences: one pass of the reader over all candidates tells all that is shown."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from realm_jax import objectives
from realm_jax.answering.learned import Learned
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.index.candidates import search_candidates
from realm_jax.training.jitted_models import Models
from realm_jax.training.open_qa import batch_size
from realm_jax.training.task import padded
from realm_jax.training.tasks.pretrain import candidate_logits

ALTERNATIVES = 5
"""Wordpieces told for each mask."""
MASKS = (8, 32)
"""Masks of a compiled program; more than the last are padded to the length of a query."""
MASKS_AT_ONCE = 128
"""Of all sentences of a batch: each has K scores of the whole vocabulary."""


@dataclasses.dataclass(frozen=True)
class Read:
    """The readings of one sentence: K candidates, the null passage first; M masks, of which M' are of the sentence
    and the others padding; W alternatives."""

    rows: Int[np.ndarray, " K"]
    scores: Float[np.ndarray, " K"]
    """f(x, z)."""
    log_p_z: Float[np.ndarray, " K"]
    """log p(z|x)."""
    best: Int[np.ndarray, " M"]
    """The likeliest wordpiece of each mask under all candidates together ..."""
    log_p_best: np.floating
    """... log p(y|x) of these ..."""
    log_p_best_z: Float[np.ndarray, " K"]
    """... log p(y|z,x) ..."""
    utility: np.floating
    """... and log p(y|x) - log p(y|null, x), mean over masks."""
    own: Int[np.ndarray, "K M"]
    """The likeliest wordpieces given one candidate."""
    words: Int[np.ndarray, "M W"]
    p_words: Float[np.ndarray, "M W"]
    """p(y|x) at each mask by itself, largest first."""
    log_p_truth: np.floating
    """log p(y|x) of the truth, its utility, and r(z) of each candidate; of padding, where there is no truth."""
    utility_of_truth: np.floating
    gains: Float[np.ndarray, " K"]


def read_masks(
    config: Config,
    models: Models,
    learned: Learned,
    store: PassageStore,
    queries: Int[np.ndarray, "B Q"],
    masks: list[np.ndarray],
    truths: list[np.ndarray],
) -> list[Read]:
    """Reads the null passage and the best `evaluation.read` passages for every sentence.

    Args:
      masks: positions in each row.
      truths: wordpieces at those; empty where none is known.
    """
    most = max(map(len, masks))
    room = next((room for room in MASKS if room >= most), queries.shape[1])
    size = batch_size(config, min(len(queries), max(1, MASKS_AT_ONCE // room)))
    # Neighbouring masks are one span, where training takes a span's wordpieces together.
    by_span = config.pretrain.marginalize == "span"
    found = []
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        count = len(queries[part])
        arrays = (queries[part], _filled(masks[part], room, 0), _filled(truths[part], room, 0))
        query, positions, targets = (padded(array, size) for array in arrays)
        weights = padded(_filled([np.ones(len(of)) for of in masks[part]], room, 0.0), size)
        spans = np.cumsum(np.diff(positions, prepend=positions[:, :1]) > 1, axis=1) if by_span else None
        encoded = learned.index.encode(functools.partial(models.embed, learned.embedder), query)
        nothing, read = np.full((size, 0), -1), min(config.evaluation.read, learned.index.num_passages)
        rows = search_candidates(learned.index, encoded, nothing, read + 1, store.null_id)
        standing = learned.index.own_scores(encoded, rows)
        batch = (query, store.rows(rows), positions, weights, targets, spans, standing)
        told = jax.device_get(_read(learned.params, batch, store.null_row, config, models))
        found += [Read(rows=rows[i], **{name: array[i] for name, array in told.items()}) for i in range(count)]
    return found


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read(params: Any, batch: tuple[Any, ...], null_row: Any, config: Config, models: Models) -> dict[str, jax.Array]:
    """Arrays [B, ...] of the fields of `Read`, but its rows."""
    query, passages, positions, weights, truths, spans, standing = batch
    scores, logits = candidate_logits(config, models, params, query, passages, positions, standing, null_row, None)
    b, k = scores.shape
    log_p_z = objectives.retrieval_log_probs(scores)
    log_p_words = jax.nn.log_softmax(logits).reshape(b, k, *logits.shape[1:])
    mixture = jax.nn.logsumexp(log_p_z[:, :, None, None] + log_p_words, axis=1)
    likeliest, words = jax.lax.top_k(mixture, ALTERNATIVES)
    best = words[..., 0]

    def of(pieces: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """log p(y|z,x) of wordpieces at the masks [B,K,M], log p(y|x) of all together [B] and their utility [B]."""
        log_p_y = jnp.take_along_axis(log_p_words, pieces[:, None, :, None], axis=-1)[..., 0]
        marginal = objectives.marginal_log_likelihood(log_p_z, log_p_y, weights, spans).sum(1)
        return log_p_y, marginal, objectives.query_utilities(log_p_z, log_p_y, weights, spans)

    log_p_best, marginal, utility = of(best)
    log_p_truth, marginal_of_truth, utility_of_truth = of(truths)
    return {
        "scores": scores,
        "log_p_z": log_p_z,
        "best": best,
        "log_p_best": marginal,
        "log_p_best_z": (log_p_best * weights[:, None]).sum(-1),
        "utility": utility,
        "own": log_p_words.argmax(-1),
        "words": words,
        "p_words": jnp.exp(likeliest),
        "log_p_truth": marginal_of_truth,
        "utility_of_truth": utility_of_truth,
        "gains": objectives.candidate_gain(log_p_z, log_p_truth, weights, spans),
    }


def _filled(rows: list[np.ndarray], room: int, fill: float) -> np.ndarray:
    """Rows of one length."""
    table = np.full((len(rows), room), fill, np.float32 if isinstance(fill, float) else np.int32)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table
