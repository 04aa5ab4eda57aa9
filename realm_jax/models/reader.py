"""The knowledge-augmented encoder: the wordpieces at the masks of a query, given a passage."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from realm_jax.config import Bert, Model
from realm_jax.models.bert import BertTrunk, Tokens, activation, dense, layer_norm


class Head(nn.Module):
    """The masked-LM head, its decoder tied to the word embeddings it is given."""

    bert: Bert
    model: Model

    @nn.compact
    def __call__(self, hidden: Float[Array, "R H"], word: Float[Tokens, "V H"]) -> Float[Array, "R V"]:
        x = activation(self.bert)(dense(self.model, self.bert.hidden_size, "transform")(hidden))
        x = layer_norm(self.model, self.bert.layer_norm_eps, "norm")(x)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.bert.vocab_size,))
        # Candidates differ by little in log p(y|z,x): what bfloat16 multiplies is summed, and left, in float32.
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        return jnp.matmul(x, word.astype(x.dtype).T, preferred_element_type=dtype) + bias[None]


class Reader(nn.Module):
    """Vocabulary logits at the masked positions only: at every position they would cost most of the step."""

    bert: Bert
    model: Model

    def setup(self) -> None:
        self.trunk = BertTrunk(self.bert, self.model)
        self.head = Head(self.bert, self.model)

    def __call__(
        self,
        tokens: Integer[Tokens, "B J"],
        segments: Integer[Tokens, "B J"],
        positions: Integer[Tokens, "B M"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B J"] | None = None,
    ) -> Float[Array, "B M V"]:
        hidden = self.trunk(tokens, segments, deterministic, valid)
        masked = jnp.take_along_axis(hidden, jnp.asarray(positions)[:, :, None], axis=1)
        word = jnp.asarray(self.trunk.embeddings.word)
        logits = self.head(masked.reshape(-1, self.bert.hidden_size), word)
        return logits.reshape(*positions.shape, -1)
