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
from realm_jax.errors import UserError
from realm_jax.index.embed_passages import embed_all
from realm_jax.text import features
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.mesh import local_mesh, put_params, put_rows, shards
from realm_jax.training.task import padded
from realm_jax.workdir import Workdir


class Models:
    """Embedder, reader and span reader. Dropout is on exactly where a key is given.

    embed(params, tokens [R,T], key=None) -> vectors [R,E] of queries
    embed_passages(params, tokens [R,T], key=None) -> vectors [R,E] of passages
    read(params, tokens [R,J], segments [R,J], positions [R,M], key=None) -> logits [R,M,V]
    score_spans(params, tokens [R,J], segments [R,J], key=None) -> logits [R,S]
    """

    def __init__(self, config: Config, workdir: Workdir):
        self._config = config
        self._weights: Path | None = models.resolve_weights(config.model)
        self.bert = bert = models.bert_config(config.model, self._weights)
        self.model = models.resolve_head(config.model, self._weights)
        """Its options, those of the embedder as the weights have them."""
        self._embedder = models.Embedder(bert, self.model)
        self._reading = models.reader_model(config.model)
        self._reader_weights = models.resolve_weights(self._reading)
        bert_of_reader = models.bert_config(self._reading, self._reader_weights)
        self._reader = models.Reader(bert_of_reader, self._reading)
        by_ends = models.has_answer_ends(self._reader_weights)
        self._span_reader = models.SpanReader(bert_of_reader, self._reading, by_ends)
        query, passage = _prefixes(config, self.model, bert.max_positions)
        self.embed = functools.partial(_embed, self._embedder, query)
        self.embed_passages = functools.partial(_embed, self._embedder, passage)
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
        return models.embedder_params(key, self.model, self._weights, rows)

    def reader(self, key: jax.Array, rows: np.ndarray) -> Any:
        """Parameters of a reader that starts from the weights, a head that they lack fitted to `rows` [R,P] of text."""
        return models.reader_params(key, self._reading, self._reader_weights, rows)

    def span_reader(self, key: jax.Array, reader: Any) -> Any:
        """Parameters of a span reader on the trunk of a reader."""
        return models.span_reader_params(key, self._reading, self._reader_weights, reader["trunk"])

    def shapes(self, part: str) -> Any:
        """Shapes and types of a part's parameters, without making them."""
        return _shapes(getattr(self, f"_{part}"))

    def embed_many_with(self, params: Any, by: Any = None) -> Callable[[Any], np.ndarray]:
        """tokens [R,T] -> vectors [R,E] of any number of rows, a part at a time; `by` is `embed` unless it is given."""
        embed = self.embed_with(params, by=by or self.embed)
        return lambda tokens: embed_all(embed, tokens, self._config.index.rows_per_batch)

    def embed_with(
        self, params: Any, mesh: jax.sharding.Mesh | None = None, by: Any = None
    ) -> Callable[[Any], jax.Array]:
        """tokens [R,T] -> vectors [R,E], with these parameters, on a mesh of this process; by default all it has. `by`
        is `embed_passages` unless it is given."""
        by = by or self.embed_passages
        mesh = mesh or local_mesh()
        params, multiple = put_params(mesh, params), shards(mesh)

        def embed(tokens):
            count = len(tokens)
            rows = padded(np.asarray(tokens, np.int32), -(-count // multiple) * multiple)
            vectors = by(params, put_rows(mesh, rows))
            return vectors[:count] if len(rows) > count else vectors

        return embed


def standing_or_live(own: jax.Array | None, scale: float, live: Callable[[], jax.Array]) -> jax.Array:
    """f(x, z): a retriever's own scores, if it has them (`Retriever.own_scores`); else those of the moment."""
    return live() if own is None else scale * own


# Modules of equal settings are equal: what is compiled for one serves all.


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(module, prefix, params, tokens, key=None):
    if prefix:
        before = jnp.broadcast_to(jnp.array(prefix, tokens.dtype), (len(tokens), len(prefix)))
        tokens = jnp.concatenate([tokens[:, :1], before, tokens[:, 1:]], axis=1)
    # Sentence encoders have seen one segment alone.
    segments = features.segments(tokens) if module.model.pooling == "realm" else jnp.zeros_like(tokens)
    return _apply(module, params, key, tokens, segments)


def _prefixes(config: Config, model: Model, most: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Wordpieces before queries, and before passages.

    Raises:
      UserError: with them rows are longer than the trunk has positions.
    """
    if not (model.query_prefix or model.passage_prefix):
        return (), ()
    tokenizer, found = Tokenizer.from_vocab(models.resolve_vocab(config.model)), []
    for name, prefix in (("query", model.query_prefix), ("passage", model.passage_prefix)):
        pieces, length = tokenizer.encode(prefix).ids.tolist(), getattr(config.data, f"{name}_length")
        if length + len(pieces) > most:
            raise UserError(
                f"data.{name}_length: {length} wordpieces and {len(pieces)} of model.{name}_prefix {prefix!r}, but the "
                f"trunk has only {most} positions; it must be at most {most - len(pieces)}"
            )
        found.append(tuple(pieces))
    return found[0], found[1]


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
