"""The BERT trunk: post-LN, masks derived from padding.

Matrix products are flattened to R = B * T rows: on CPUs that is up to twice as fast as batched [B, T, H] ones.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Integer

from realm_jax.config import ROW_AXES, Bert, Model
from realm_jax.errors import UserError

PAD = 0
NEVER = -1e9
"""Score of a key that is padding. Finite, so that a row of nothing but padding attends evenly instead of to NaN."""

Tokens = Array | np.ndarray
INIT_STD = 0.02
kernel_init = nn.initializers.truncated_normal(INIT_STD)


def activation(bert: Bert) -> Callable[[Array], Array]:
    return functools.partial(jax.nn.gelu, approximate=bert.activation == "gelu_new")


def compute_dtype(model: Model) -> Any:
    """None computes in the type of the parameters, so that float64 parameters give float64 results."""
    on_cpu = model.compute_dtype == "auto" and jax.default_backend() == "cpu"
    return None if on_cpu or model.compute_dtype == "float32" else jnp.bfloat16


def dense(model: Model, features: int, name: str | None = None) -> nn.Dense:
    return nn.Dense(features, dtype=compute_dtype(model), kernel_init=kernel_init, name=name)


def layer_norm(model: Model, epsilon: float, name: str | None = None) -> nn.LayerNorm:
    # The fast variance, mean(x^2) - mean(x)^2, cancels where the mean is large.
    return nn.LayerNorm(epsilon, dtype=compute_dtype(model), use_fast_variance=False, name=name)


def over_devices(rows: Float[Array, "R ..."]) -> Float[Array, "R ..."]:
    """Rows divided over the devices of the mesh that is set, if one is. Else the compiler, to whom a parameter that is
    divided by columns suggests to divide results computed from it so too, moves activations in place of parameters."""
    return _placed(rows, PartitionSpec(ROW_AXES))


def everywhere(table: Float[Array, "..."]) -> Float[Array, "..."]:
    """A table whole on each device that looks its rows up in it."""
    return _placed(table, PartitionSpec())


def _placed(array: jax.Array, spec: PartitionSpec) -> jax.Array:
    return array if jax.sharding.get_abstract_mesh().empty else jax.lax.with_sharding_constraint(array, spec)


def fused(query: Float[Array, "B T heads size"]) -> bool:
    """Whether the device has fused attention for such queries: cuDNN's, which knows no dropout of probabilities."""
    size = query.shape[-1]
    return jax.default_backend() == "gpu" and query.dtype == jnp.bfloat16 and size % 8 == 0 and size <= 128


class Embeddings(nn.Module):
    """LN(word + segment + position)."""

    bert: Bert
    model: Model

    def setup(self) -> None:
        size = self.bert.hidden_size
        self.word = self.param("word", kernel_init, (self.bert.vocab_size, size))
        self.position = self.param("position", kernel_init, (self.bert.max_positions, size))
        self.segment = self.param("segment", kernel_init, (2, size))
        self.norm = layer_norm(self.model, self.bert.layer_norm_eps)

    def __call__(self, tokens: Integer[Tokens, "B T"], segments: Integer[Tokens, "B T"]) -> Float[Array, "B T H"]:
        rows, length = tokens.shape
        if length > self.bert.max_positions:
            raise UserError(
                f"rows of {length} tokens, but the trunk has only {self.bert.max_positions} positions; passage_length, "
                "query_length and joint_length (data, finetune) must be at most as many"
            )
        word, segment, position = (everywhere(jnp.asarray(table)) for table in (self.word, self.segment, self.position))
        position = jnp.broadcast_to(position[:length], (rows, length, self.bert.hidden_size))
        return self.norm(word[tokens] + segment[segments] + position)


class Attention(nn.Module):
    """LN(x + output(attention(x)))."""

    bert: Bert
    model: Model

    @nn.compact
    def __call__(self, x: Float[Array, "R H"], valid: Bool[Array, "B T"], deterministic: bool) -> Float[Array, "R H"]:
        heads, size = self.bert.num_heads, self.bert.hidden_size // self.bert.num_heads
        query, key, value = (
            dense(self.model, heads * size, name)(x).reshape(*valid.shape, heads, size)
            for name in ("query", "key", "value")
        )
        if fused(query) and (deterministic or not self.bert.dropout):
            # Padding stands behind: a row's length says which keys there are. A row of padding alone keeps one.
            lengths = valid.sum(axis=1, dtype=jnp.int32).clip(1)
            mixed = jax.nn.dot_product_attention(
                query, key, value, key_value_seq_lengths=lengths, implementation="cudnn"
            )
        else:
            scores = jnp.einsum("bqnd,bknd->bnqk", query, key) * size**-0.5
            scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
            probabilities = jax.nn.softmax(jnp.where(valid[:, None, None, :], scores, NEVER), axis=-1)
            probabilities = probabilities.astype(value.dtype)
            probabilities = nn.Dropout(self.bert.dropout)(probabilities, deterministic=deterministic)
            mixed = jnp.einsum("bnqk,bknd->bqnd", probabilities, value)
        out = dense(self.model, heads * size, "output")(mixed.reshape(x.shape))
        out = nn.Dropout(self.bert.dropout)(out, deterministic=deterministic)
        return layer_norm(self.model, self.bert.layer_norm_eps, "norm")(x + out)


class Layer(nn.Module):
    """Attention, then LN(x + output(gelu(intermediate(x))))."""

    bert: Bert
    model: Model

    @nn.compact
    def __call__(self, x: Float[Array, "R H"], valid: Bool[Array, "B T"], deterministic: bool) -> Float[Array, "R H"]:
        x = Attention(self.bert, self.model, name="attention")(x, valid, deterministic)
        inner = activation(self.bert)(dense(self.model, self.bert.intermediate_size, "intermediate")(x))
        out = dense(self.model, self.bert.hidden_size, "output")(inner)
        out = nn.Dropout(self.bert.dropout)(out, deterministic=deterministic)
        return layer_norm(self.model, self.bert.layer_norm_eps, "norm")(x + out)


class BertTrunk(nn.Module):
    """Hidden vectors of every token. `valid` says which positions are attended to; without it, all but padding."""

    bert: Bert
    model: Model

    def setup(self) -> None:
        self.embeddings = Embeddings(self.bert, self.model)
        self.dropout = nn.Dropout(self.bert.dropout)
        kind = nn.remat(Layer, static_argnums=(3,)) if self.model.remat else Layer  # 3: deterministic
        self.layer = [kind(self.bert, self.model) for _ in range(self.bert.num_layers)]

    def __call__(
        self,
        tokens: Integer[Tokens, "B T"],
        segments: Integer[Tokens, "B T"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B T"] | None = None,
    ) -> Float[Array, "B T H"]:
        valid = jnp.asarray(tokens) != PAD if valid is None else jnp.asarray(valid)
        x = self.dropout(over_devices(self.embeddings(tokens, segments)), deterministic=deterministic)
        x = x.reshape(-1, self.bert.hidden_size)
        for layer in self.layer:
            x = over_devices(layer(x, valid, deterministic))
        return x.reshape(*tokens.shape, -1)
