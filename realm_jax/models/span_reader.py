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
    """output(LN(relu(start[first] + end[last]))), listed width by width, starts ascending (`features.span_table`).

    With `by_ends` start[first] + end[last], of one number each: BERT's scores on SQuAD (Devlin et al. 2019, section
    4.2).
    """

    bert: Bert
    model: Model
    by_ends: bool = False

    def setup(self) -> None:
        self.trunk = BertTrunk(self.bert, self.model)
        if self.by_ends:
            self.answer_ends = dense(self.model, 2)
        else:
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
        ends = (self.answer_ends if self.by_ends else self.ends)(hidden.reshape(-1, size)).reshape(rows, length, -1)
        start, end = jnp.split(ends, 2, axis=-1)
        inside = body_of(segments)
        logits = []
        for width in range(min(self.model.max_span_width, length)):
            count = length - width
            score = start[:, :count] + end[:, width:]
            if not self.by_ends:
                score = self.output(self.norm(jax.nn.relu(score).reshape(rows * count, -1)))
            score = score.reshape(rows, count)
            score = score.astype(jnp.promote_types(score.dtype, jnp.float32))
            outside = score + OUTSIDE if self.model.outside_spans == "original" else jnp.finfo(score.dtype).min
            logits.append(jnp.where(inside[:, :count] & inside[:, width:], score, outside))
        return jnp.concatenate(logits, axis=1)


def body_of(segments: Integer[Tokens, "B J"]) -> Bool[Array, "B J"]:
    """Body tokens of joint rows: segment 1 without its last token, the final [SEP]."""
    second = jnp.asarray(segments) == 1
    return second & jnp.pad(second[:, 1:], ((0, 0), (0, 1)))
