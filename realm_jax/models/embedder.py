"""The dual encoder: one vector per row of tokens."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from realm_jax.config import Bert, Model
from realm_jax.models.bert import BertTrunk, Tokens, dense, layer_norm


class Embedder(nn.Module):
    """LN(projection(tanh(pooler([CLS])))). The same parameters embed queries and passages."""

    bert: Bert
    model: Model

    def setup(self) -> None:
        self.trunk = BertTrunk(self.bert, self.model)
        self.pooler = dense(self.model, self.bert.hidden_size)
        self.projection = dense(self.model, self.model.vector_size)
        self.norm = layer_norm(self.model, self.model.projection_eps)

    def __call__(
        self,
        tokens: Integer[Tokens, "B T"],
        segments: Integer[Tokens, "B T"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B T"] | None = None,
    ) -> Float[Array, "B E"]:
        vectors = self.norm(self.projection(self.pool(tokens, segments, deterministic, valid)))
        return vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))

    def pool(
        self,
        tokens: Integer[Tokens, "B T"],
        segments: Integer[Tokens, "B T"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B T"] | None = None,
    ) -> Float[Array, "B H"]:
        """What the projection sees."""
        return jnp.tanh(self.pooler(self.trunk(tokens, segments, deterministic, valid)[:, 0]))
