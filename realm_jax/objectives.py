"""REALM's objectives: pure functions of arrays.

B queries, K candidates, M masked positions, S spans, V vocabulary, E vector size, N passages. f are scores, `log_p_z`
is log p(z|x), `log_p_y` is log p(y|z,x) per masked wordpiece, `weights` is 1 at a mask and 0 at padding, `spans` says
to which span, numbered below M, a mask belongs (None: every wordpiece is summed over passages by itself, as in the
released code). Formulas: Guu et al. 2020, section 3 and appendix A; Lee et al. 2019, sections 5 to 7.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jaxtyping import Array, Bool, Float, Integer

AnyArray = Array | np.ndarray


def scores(
    queries: Float[AnyArray, "B E"], passages: Float[AnyArray, "B K E"], scale: float = 1.0
) -> Float[Array, "B K"]:
    """f(x, z): scaled inner products."""
    return scale * jnp.einsum("be,bke->bk", queries, passages)


def retrieval_log_probs(f: Float[AnyArray, "B K"]) -> Float[Array, "B K"]:
    """log p(z|x) over the candidates."""
    return jax.nn.log_softmax(f, axis=-1)


def target_log_probs(logits: Float[AnyArray, "*b M V"], targets: Integer[AnyArray, "*b M"]) -> Float[Array, "*b M"]:
    """log p of the hidden wordpieces."""
    chosen = jnp.take_along_axis(jnp.asarray(logits), jnp.asarray(targets)[..., None], axis=-1)[..., 0]
    return chosen - logsumexp(logits, axis=-1)


def masked_mean(values: Float[AnyArray, "*b"], weights: Float[AnyArray, "*b"]) -> Float[Array, ""]:
    """Mean over the masks of a batch; 0, with gradient 0, if there is none."""
    return jnp.where(jnp.asarray(weights) > 0, values, 0.0).sum() / _count(weights)


def marginal_log_likelihood(
    log_p_z: Float[AnyArray, "B K"],
    log_p_y: Float[AnyArray, "B K M"],
    weights: Float[AnyArray, "B M"],
    spans: Integer[AnyArray, "B M"] | None = None,
) -> Float[Array, "B M"]:
    """log p(y|x), in parts that add up to it.

    Finite, and with finite gradients, wherever its arguments are finite at masks: values at padding, NaN and infinities
    too, are left out before any sum.

    Returns:
      the parts: each mask's at its own place; or, given `spans`, that of span s at place s. Other places are 0.
    """
    log_p_y, present = _parts(log_p_y, weights, spans)
    marginal = logsumexp(jnp.asarray(log_p_z)[:, :, None] + log_p_y, axis=1)
    return jnp.where(present, marginal, 0.0)


def marginal_loss(
    log_p_z: Float[AnyArray, "B K"],
    log_p_y: Float[AnyArray, "B K M"],
    weights: Float[AnyArray, "B M"],
    spans: Integer[AnyArray, "B M"] | None = None,
) -> Float[Array, ""]:
    """-log p(y|x) per mask of the batch; 0, with gradient 0, if there is none."""
    return -marginal_log_likelihood(log_p_z, log_p_y, weights, spans).sum() / _count(weights)


def retrieval_utility(
    log_p_z: Float[AnyArray, "B K"],
    log_p_y: Float[AnyArray, "B K M"],
    weights: Float[AnyArray, "B M"],
    spans: Integer[AnyArray, "B M"] | None = None,
) -> Float[Array, ""]:
    """log p(y|x) - log p(y|null, x), mean over the masks of the batch. Candidate 0 is the null passage."""
    return _gains(log_p_z, log_p_y, weights, spans).sum() / _count(weights)


def query_utilities(
    log_p_z: Float[AnyArray, "B K"],
    log_p_y: Float[AnyArray, "B K M"],
    weights: Float[AnyArray, "B M"],
    spans: Integer[AnyArray, "B M"] | None = None,
) -> Float[Array, " B"]:
    """`retrieval_utility` of each query: mean over its own masks; 0 where it has none."""
    return _gains(log_p_z, log_p_y, weights, spans).sum(1) / jnp.maximum(jnp.asarray(weights).sum(1), 1.0)


def candidate_gain(
    log_p_z: Float[AnyArray, "B K"],
    log_p_y: Float[AnyArray, "B K M"],
    weights: Float[AnyArray, "B M"],
    spans: Integer[AnyArray, "B M"] | None = None,
) -> Float[Array, "B K"]:
    """r(z) = [p(y|z,x) / p(y|x) - 1] p(z|x), summed over masks (spans): the gradient of log p(y|x) with respect to f.

    A passage gains exactly when it predicts better than the mixture.
    """
    log_p_y, present = _parts(log_p_y, weights, spans)
    log_p_z = jnp.asarray(log_p_z)[:, :, None]
    gain = jax.nn.softmax(log_p_z + log_p_y, axis=1) - jnp.exp(log_p_z)
    return jnp.where(present[:, None], gain, 0.0).sum(-1)


def ict_loss(queries: Float[AnyArray, "B E"], passages: Float[AnyArray, "N E"], scale: float = 1.0) -> Float[Array, ""]:
    """Softmax cross-entropy of finding passage i for query i among all passages of the batch."""
    f = scale * jnp.einsum("be,ne->bn", queries, passages)
    own = jnp.arange(len(queries))[:, None]
    return -jnp.take_along_axis(jax.nn.log_softmax(f, axis=-1), own, axis=-1).mean()


def early_loss(f: Float[AnyArray, "B K"], hits: Bool[AnyArray, "B K"]) -> Float[Array, " B"]:
    """-log of the retrieval mass on passages that hold an answer, over the whole beam; 0 if none does."""
    return _mass_loss(f, hits)


def span_loss(logits: Float[AnyArray, "B K S"], labels: Bool[AnyArray, "B K S"]) -> Float[Array, " B"]:
    """-log of the mass on spans that equal an answer, over all passages read; 0 for a question with no such span.

    Args:
      logits: span scores with their passage's retrieval score added.
    """
    flat = (logits.shape[0], -1)
    return _mass_loss(logits.reshape(flat), labels.reshape(flat))


def _gains(
    log_p_z: Float[AnyArray, "B K"],
    log_p_y: Float[AnyArray, "B K M"],
    weights: Float[AnyArray, "B M"],
    spans: Integer[AnyArray, "B M"] | None,
) -> Float[Array, "B M"]:
    """log p(y|x) - log p(y|null, x) in the parts of `marginal_log_likelihood`."""
    null, present = _parts(log_p_y[:, :1], weights, spans)
    return marginal_log_likelihood(log_p_z, log_p_y, weights, spans) - jnp.where(present, null[:, 0], 0.0)


def _parts(
    log_p_y: Float[AnyArray, "B K M"], weights: Float[AnyArray, "B M"], spans: Integer[AnyArray, "B M"] | None
) -> tuple[Float[Array, "B K M"], Bool[Array, "B M"]]:
    """log p(y|z,x) of every mask, or of every span at the span's number; and which of them there are."""
    present = jnp.asarray(weights) > 0
    # Padding must not reach a sum or a gradient, not even as 0 x inf.
    log_p_y = jnp.where(present[:, None], log_p_y, 0.0)
    if spans is None:
        return log_p_y, present
    member = jax.nn.one_hot(spans, log_p_y.shape[-1], dtype=log_p_y.dtype) * present[:, :, None]
    # A sum, to full precision where matrix products are rounded by default.
    return jnp.einsum("bkm,bms->bks", log_p_y, member, precision=jax.lax.Precision.HIGHEST), member.any(1)


def _count(weights: Float[AnyArray, "*b"]) -> Float[Array, ""]:
    return jnp.maximum(jnp.asarray(weights).sum(), 1.0)


def _mass_loss(logits: Float[AnyArray, "B N"], hits: Bool[AnyArray, "B N"]) -> Float[Array, " B"]:
    """logsumexp of all minus logsumexp of the hits. No hit counts as all hits: the loss and its gradient are 0."""
    hits = jnp.asarray(hits)
    hits = hits | ~hits.any(-1, keepdims=True)
    return logsumexp(logits, axis=-1) - logsumexp(jnp.where(hits, logits, -jnp.inf), axis=-1)
