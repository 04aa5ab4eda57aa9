"""The dual encoder: one vector per row of tokens."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from realm_jax.config import Bert, Model
from realm_jax.models.bert import PAD, BertTrunk, Tokens, dense, layer_norm

NO_LENGTH = 1e-24
"""Added to a squared length: a row of padding alone has a gradient, too."""


class Embedder(nn.Module):
    """A row's vector, as `model` has it made (`models/head.py: resolve_head`). The same parameters embed queries and
    passages. Pooling `realm`: LN(projection(tanh(pooler([CLS])))); `cls`, `mean`: [CLS], or the mean of all but
    padding, projected where E is less than H."""

    bert: Bert
    model: Model

    def setup(self) -> None:
        self.trunk = BertTrunk(self.bert, self.model)
        if self.model.pooling == "realm":
            self.pooler = dense(self.model, self.bert.hidden_size)
            self.norm = layer_norm(self.model, self.model.projection_eps)
        if self.model.pooling == "realm" or self.model.vector_size < self.bert.hidden_size:
            self.projection = dense(self.model, self.model.vector_size)

    def __call__(
        self,
        tokens: Integer[Tokens, "B T"],
        segments: Integer[Tokens, "B T"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B T"] | None = None,
    ) -> Float[Array, "B E"]:
        vectors = self.pool(tokens, segments, deterministic, valid)
        if self.model.pooling == "realm":
            vectors = self.norm(self.projection(vectors))
        elif self.model.vector_size < self.bert.hidden_size:
            vectors = self.projection(vectors)
        vectors = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
        if self.model.normalize == "cosine":
            vectors /= jnp.sqrt(jnp.square(vectors).sum(-1, keepdims=True) + NO_LENGTH)
        return vectors

    def pool(
        self,
        tokens: Integer[Tokens, "B T"],
        segments: Integer[Tokens, "B T"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B T"] | None = None,
    ) -> Float[Array, "B H"]:
        """The input of the projection."""
        hidden = self.trunk(tokens, segments, deterministic, valid)
        if self.model.pooling == "realm":
            return jnp.tanh(self.pooler(hidden[:, 0]))
        if self.model.pooling == "cls":
            return hidden[:, 0]
        kept = (jnp.asarray(tokens) != PAD if valid is None else jnp.asarray(valid))[..., None]
        hidden = hidden.astype(jnp.promote_types(hidden.dtype, jnp.float32))
        return (hidden * kept).sum(1) / kept.sum(1).clip(1)
