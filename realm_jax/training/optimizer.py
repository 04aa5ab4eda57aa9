"""BERT's optimiser: AdamW without bias correction (unless asked for), linear warm-up and decay, clipping by global
norm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from realm_jax.config import Training

EPS = 1e-6
"""BERT's; Adam's own paper has 1e-8."""


class Moments(NamedTuple):
    mean: optax.Updates
    square: optax.Updates


def scale_by_bert_adam(b1: float = 0.9, b2: float = 0.999, eps: float = EPS) -> optax.GradientTransformation:
    """Adam's direction without bias correction, as in BERT's release (optimization.py); optax always corrects."""

    def init(params):
        return Moments(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(gradients, moments, params=None):
        del params
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments.mean, gradients)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, moments.square, gradients)
        direction = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square)
        return direction, Moments(mean, square)

    return optax.GradientTransformation(init, update)


def learning_rate(stage: Training) -> optax.Schedule:
    """Linear warm-up over `warmup_steps`, then a linear decay that would reach zero after `steps`."""
    warm_up = min(stage.warmup_steps, stage.steps)
    return optax.join_schedules(
        [
            # The first step already moves: step 0 has 1 / warmup_steps of the peak.
            optax.linear_schedule(stage.learning_rate / max(warm_up, 1), stage.learning_rate, max(warm_up - 1, 1)),
            optax.linear_schedule(stage.learning_rate, 0.0, max(stage.steps - warm_up, 1)),
        ],
        [warm_up],
    )


def bert_optimizer(stage: Training) -> optax.GradientTransformation:
    """Weight decay touches matrices alone: LayerNorm's weights and all biases are vectors."""
    embedder_rate = getattr(stage, "embedder_rate", 1.0)
    return optax.chain(
        optax.clip_by_global_norm(stage.clip_norm) if stage.clip_norm else optax.identity(),
        optax.scale_by_adam(eps=EPS) if stage.bias_correction else scale_by_bert_adam(),
        optax.add_decayed_weights(stage.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)),
        optax.scale_by_learning_rate(learning_rate(stage)),
        *([] if embedder_rate == 1.0 else [_scale_part("embedder", embedder_rate)]),
    )


def _scale_part(part: str, factor: float) -> optax.GradientTransformation:
    """Multiplies the updates of one top-level part of the parameters."""

    def scaled(updates, params=None):
        del params
        return {**updates, part: jax.tree.map(lambda update: factor * update, updates[part])}

    return optax.stateless(scaled)
