"""Parameters to start from: published weights where there are any, random ones elsewhere."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from realm_jax import published
from realm_jax.config import Bert, Model
from realm_jax.models.bert import INIT_STD, PAD, BertTrunk, Tokens
from realm_jax.models.embedder import Embedder
from realm_jax.models.reader import Reader
from realm_jax.models.span_reader import SpanReader
from realm_jax.models.token_classifier import TokenClassifier
from realm_jax.models.weights import bert_config

Params = dict[str, Any]
Rows = Integer[Tokens, "R T"]
LINEAR_GELU = 8.0
"""Added before a gelu whose input has size 1, so that it acts linearly; the LayerNorm behind takes it away again."""
MASKED_SHARE = 0.15
RIDGE = 0.01
ROWS_AT_ONCE = 32


def embedder_params(rng: Array, model: Model, directory: Path | None, rows: Rows | None = None) -> Params:
    """An embedder whose projection, if it has one, is orthonormal: it keeps inner products as well as E numbers can.

    Args:
      model: as `resolve_head` gives it.
      directory: the weights' folder (`resolve_weights`); None for random ones.
      rows: text, a few hundred rows of tokens, whose principal components become the projection of loaded weights;
        without it the directions are random.
    """
    bert, model = bert_config(model, directory), dataclasses.replace(model, compute_dtype="float32")
    if directory is None:
        params = _random(Embedder, bert, model, rng)
    else:
        weights = _weights(directory, bert)
        params = _random(Embedder, _without_trunk(bert), model, rng)
        params |= {part: weights[part] for part in ("trunk", "pooler") if part in weights and part in params}
    if "projection" not in params:
        return jax.tree.map(jnp.asarray, params)
    left, _, right = np.linalg.svd(params["projection"]["kernel"], full_matrices=False)
    params = jax.tree.map(jnp.asarray, params | {"projection": params["projection"] | {"kernel": left @ right}})
    if directory is not None and rows is not None and model.vector_size <= bert.hidden_size:
        embedder = Embedder(bert, model)
        pooled = _over_rows(lambda *row: embedder.apply({"params": params}, *row, method="pool"), np.asarray(rows))
        # Cosines are kept of vectors as they are; a LayerNorm has its own centre.
        mean = pooled.mean(0) * (model.pooling == "realm")
        kernel = np.linalg.svd(pooled - mean, full_matrices=True)[2][: model.vector_size].T
        params["projection"] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(-mean @ kernel)}
    return params


def reader_params(
    rng: Array,
    model: Model,
    directory: Path | None,
    rows: Rows | None = None,
    mask_id: int = 103,
) -> Params:
    """A reader with the weights' masked-LM head; where they have none, with one fitted to their word embeddings.

    Args:
      rows: text to fit that head to, a few hundred rows of tokens; without it the head is the identity.
    """
    bert, model = bert_config(model, directory), dataclasses.replace(model, compute_dtype="float32")
    if directory is None:
        return _random(Reader, bert, model, rng)
    weights = _weights(directory, bert)
    head = weights.get("head")
    if head is None:
        kernel, bias = np.eye(bert.hidden_size), np.zeros(bert.hidden_size)
        if rows is not None:
            kernel, bias = _fit(rng, bert, model, weights["trunk"], np.asarray(rows), mask_id)
        ones, zeros = np.ones(bert.hidden_size), np.zeros(bert.hidden_size)
        head = {"transform": {"kernel": kernel, "bias": bias + LINEAR_GELU}, "norm": {"scale": ones, "bias": zeros}}
        head |= {"bias": np.zeros(bert.vocab_size)}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), {"trunk": weights["trunk"], "head": head})


def span_reader_params(rng: Array, model: Model, directory: Path | None, trunk: Params | None = None) -> Params:
    """A span reader over `trunk` (a trained reader's), or over the weights' trunk: with the weights' scorer, where they
    have one (`has_answer_ends`), else with a random one."""
    bert = bert_config(model, directory)
    weights = {} if directory is None else _weights(directory, bert)
    if trunk is None:
        if directory is None:
            return _random(SpanReader, bert, model, rng)
        trunk = weights["trunk"]
    if "answer_ends" in weights:
        return jax.tree.map(jnp.asarray, {"trunk": trunk, "answer_ends": weights["answer_ends"]})
    return jax.tree.map(jnp.asarray, _random(SpanReader, _without_trunk(bert), model, rng) | {"trunk": trunk})


def token_classifier_params(rng: Array, model: Model, directory: Path | None, labels: int) -> Params:
    """A classifier of wordpieces with a random layer for `labels` labels over the weights' trunk."""
    bert, kind = bert_config(model, directory), functools.partial(TokenClassifier, labels=labels)
    if directory is None:
        return _random(kind, bert, model, rng)
    trunk = _weights(directory, bert)["trunk"]
    return jax.tree.map(jnp.asarray, _random(kind, _without_trunk(bert), model, rng) | {"trunk": trunk})


def _random(kind: Callable[..., Any], bert: Bert, model: Model, rng: Array) -> Params:
    """BERT's initialisation. All leaves are cut from one draw: a draw for each takes long to compile."""
    row = jnp.zeros((1, 1), jnp.int32)
    inputs = (row,) * (3 if kind is Reader else 2)
    shapes = jax.eval_shape(kind(bert, model).init, rng, *inputs)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    draw = np.asarray(INIT_STD * jax.random.truncated_normal(rng, -2.0, 2.0, (count,)))
    taken = 0

    def leaf_of(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> Array:
        nonlocal taken
        taken += leaf.size
        if path[-1].key in ("bias", "scale"):
            return jnp.full(leaf.shape, path[-1].key == "scale", leaf.dtype)
        return jnp.asarray(draw[taken - leaf.size : taken].reshape(leaf.shape))

    return jax.tree_util.tree_map_with_path(leaf_of, shapes)


def _weights(directory: Path, bert: Bert) -> Params:
    """The parts of the weights, with the layers that the trunk keeps: a head above others would not fit it."""
    weights = published.load(directory).params
    layers = {f"layer_{i}" for i in range(bert.num_layers)}
    cut = {name for name in weights["trunk"] if name.startswith("layer_")} - layers
    trunk = {name: part for name, part in weights["trunk"].items() if name not in cut}
    above = {"head", "answer_ends"} if cut else set()
    return {name: part for name, part in weights.items() if name not in above} | {"trunk": trunk}


def _without_trunk(bert: Bert) -> Bert:
    """For initialising the layers above a trunk that is put in afterwards."""
    return dataclasses.replace(bert, num_layers=0, vocab_size=1, max_positions=1)


def _over_rows(run: Callable[[Array, Array], Any], rows: np.ndarray) -> np.ndarray:
    """`run(tokens, segments)` of all rows, a few at a time."""
    padded = jnp.asarray(np.pad(rows, ((0, -len(rows) % ROWS_AT_ONCE), (0, 0))), jnp.int32)
    blocks = [padded[i : i + ROWS_AT_ONCE] for i in range(0, len(padded), ROWS_AT_ONCE)]
    run = jax.jit(run)
    return np.concatenate([run(block, jnp.zeros_like(block)) for block in blocks])[: len(rows)]


def _fit(
    rng: Array, bert: Bert, model: Model, trunk: Params, rows: Integer[np.ndarray, "R T"], mask_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression from hidden vectors to the word embeddings of the tokens that are, or were, there.

    Most tokens are left visible: a reader must first learn to repeat its input.
    """
    masked = np.asarray(jax.random.bernoulli(rng, MASKED_SHARE, rows.shape)) & (rows != PAD)
    x = _over_rows(lambda *row: BertTrunk(bert, model).apply({"params": trunk}, *row), np.where(masked, mask_id, rows))
    x = x[rows != PAD].astype(np.float64)
    y = np.asarray(trunk["embeddings"]["word"], np.float64)[rows[rows != PAD]]
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    kernel = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ y)
    size = (x @ kernel + y_mean).std(-1).mean()  # The LayerNorm behind is blind to the scale; training is not.
    return kernel / size, (y_mean - x_mean @ kernel) / size
