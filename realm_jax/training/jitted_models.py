"""The Flax modules of an experiment, as jitted functions of plain parameters."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax import models
from realm_jax.config import Config, Model
from realm_jax.index.embed_passages import embed_all
from realm_jax.text import features
from realm_jax.training.mesh import local_mesh, put_params, put_rows, shards
from realm_jax.training.task import padded
from realm_jax.workdir import Workdir


class Models:
    """Embedder, reader and span reader. Dropout is on exactly where a key is given.

    embed(params, tokens [R,T], key=None) -> vectors [R,E]
    read(params, tokens [R,J], segments [R,J], positions [R,M], key=None) -> logits [R,M,V]
    score_spans(params, tokens [R,J], segments [R,J], key=None) -> logits [R,S]
    """

    def __init__(self, config: Config, workdir: Workdir):
        self._config = config
        self._weights: Path | None = models.resolve_weights(config.model)
        bert = models.bert_config(config.model, self._weights)
        self._embedder = models.Embedder(bert, config.model)
        self._reader = models.Reader(bert, config.model)
        self._span_reader = models.SpanReader(bert, config.model)
        self.embed = functools.partial(_embed, self._embedder)
        self.read = functools.partial(_read, self._reader)
        self.score_spans = functools.partial(_score_spans, self._span_reader)

    # Equal where the settings are: a run that is opened again is asked by the programs that are compiled.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Models) and self._equal_by == other._equal_by

    def __hash__(self) -> int:
        return hash(self._equal_by)

    @property
    def _equal_by(self) -> tuple[Model, Path | None]:
        return self._config.model, self._weights

    def embedder(self, key: jax.Array, rows: np.ndarray) -> Any:
        """Parameters of an embedder that starts from the weights, its projection fitted to `rows` [R,P] of text."""
        return models.embedder_params(key, self._config.model, self._weights, rows)

    def reader(self, key: jax.Array, rows: np.ndarray) -> Any:
        """Parameters of a reader that starts from the weights, a head that they lack fitted to `rows` [R,P] of text."""
        return models.reader_params(key, self._config.model, self._weights, rows)

    def span_reader(self, key: jax.Array, reader: Any) -> Any:
        """Parameters of a span reader on the trunk of a reader."""
        return models.span_reader_params(key, self._config.model, self._weights, reader["trunk"])

    def shapes(self, part: str) -> Any:
        """Shapes and types of a part's parameters, without making them."""
        return _shapes(getattr(self, f"_{part}"))

    def embed_many_with(self, params: Any) -> Callable[[Any], np.ndarray]:
        """tokens [R,T] -> vectors [R,E] of any number of rows, a part at a time."""
        embed = self.embed_with(params)
        return lambda tokens: embed_all(embed, tokens, self._config.index.rows_per_batch)

    def embed_with(self, params: Any, mesh: jax.sharding.Mesh | None = None) -> Callable[[Any], jax.Array]:
        """tokens [R,T] -> vectors [R,E], with these parameters, on a mesh of this process; by default all it has."""
        mesh = mesh or local_mesh()
        params, multiple = put_params(mesh, params), shards(mesh)

        def embed(tokens):
            count = len(tokens)
            rows = padded(np.asarray(tokens, np.int32), -(-count // multiple) * multiple)
            vectors = self.embed(params, put_rows(mesh, rows))
            return vectors[:count] if len(rows) > count else vectors

        return embed


def standing_or_live(own: jax.Array | None, scale: float, live: Callable[[], jax.Array]) -> jax.Array:
    """f(x, z): a retriever's own scores where these stand (`Retriever.own_scores`); else those of the moment."""
    return live() if own is None else scale * own


# Modules of equal settings are equal: what is compiled for one serves all.


@functools.partial(jax.jit, static_argnums=0)
def _embed(module, params, tokens, key=None):
    return _apply(module, params, key, tokens, features.segments(tokens))


@functools.partial(jax.jit, static_argnums=0)
def _read(module, params, tokens, segments, positions, key=None):
    return _apply(module, params, key, tokens, segments, positions)


@functools.partial(jax.jit, static_argnums=0)
def _score_spans(module, params, tokens, segments, key=None):
    return _apply(module, params, key, tokens, segments)


@functools.cache
def _shapes(module: Any) -> Any:
    tokens = jnp.zeros((1, 8), jnp.int32)
    arguments = (tokens, tokens, tokens[:, :1]) if isinstance(module, models.Reader) else (tokens, tokens)
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments)["params"])


def _apply(module: Any, params: Any, key: jax.Array | None, *arguments: jax.Array) -> jax.Array:
    rngs = {} if key is None else {"rngs": {"dropout": key}}
    return module.apply({"params": params}, *arguments, deterministic=key is None, **rngs)
