"""The Open-QA reader: a score for every span of the body (Lee et al. 2019, section 6)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from realm_jax.config import Bert, Model
from realm_jax.models.bert import BertTrunk, Tokens, dense, layer_norm

OUTSIDE = -10_000.0
"""Added to the score of a span that leaves the body; finite, so that a row without a body gives no NaN."""


class SpanReader(nn.Module):
    """output(LN(relu(start[first] + end[last]))), listed width by width, starts ascending (`features.span_table`)."""

    bert: Bert
    model: Model

    def setup(self) -> None:
        self.trunk = BertTrunk(self.bert, self.model)
        self.ends = dense(self.model, 2 * self.model.span_hidden_size)
        self.norm = layer_norm(self.model, self.model.span_eps)
        self.output = dense(self.model, 1)

    def __call__(
        self,
        tokens: Integer[Tokens, "B J"],
        segments: Integer[Tokens, "B J"],
        deterministic: bool = True,
        valid: Bool[Tokens, "B J"] | None = None,
    ) -> Float[Array, "B S"]:
        hidden = self.trunk(tokens, segments, deterministic, valid)
        rows, length, size = hidden.shape
        ends = self.ends(hidden.reshape(-1, size)).reshape(rows, length, -1)
        start, end = jnp.split(ends, 2, axis=-1)
        inside = body_of(segments)
        logits = []
        for width in range(min(self.model.max_span_width, length)):
            count = length - width
            span = jax.nn.relu(start[:, :count] + end[:, width:])
            score = self.output(self.norm(span.reshape(rows * count, -1))).reshape(rows, count)
            score = score.astype(jnp.promote_types(score.dtype, jnp.float32))
            outside = score + OUTSIDE if self.model.outside_spans == "original" else jnp.finfo(score.dtype).min
            logits.append(jnp.where(inside[:, :count] & inside[:, width:], score, outside))
        return jnp.concatenate(logits, axis=1)


def body_of(segments: Integer[Tokens, "B J"]) -> Bool[Array, "B J"]:
    """Body tokens of joint rows: segment 1 without its last token, the final [SEP]."""
    second = jnp.asarray(segments) == 1
    return second & jnp.pad(second[:, 1:], ((0, 0), (0, 1)))
