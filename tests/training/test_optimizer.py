"""BERT's optimiser against NumPy, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.config import Pretrain, Training
from realm_jax.training.optimizer import EPS, bert_optimizer, learning_rate, scale_by_bert_adam

B1, B2 = 0.9, 0.999


def params():
    draw = np.random.default_rng(0)
    kernel, bias, scale = draw.normal(size=(3, 2)), draw.normal(size=2), draw.normal(size=5)
    tree = {"layer": {"kernel": kernel, "bias": bias}, "norm": {"scale": scale}}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def gradients(step, size=1.0):
    draw = np.random.default_rng(step)
    return jax.tree.map(lambda leaf: jnp.asarray(size * draw.normal(size=leaf.shape), jnp.float32), params())


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def is_matrix():
    return flat(jax.tree.map(lambda leaf: jnp.full(leaf.shape, leaf.ndim > 1), params())) > 0


def by_numpy(stage, steps, size):
    """Parameters after each step, from the formulas of BERT's optimization.py."""
    p = flat(params())
    m, v = np.zeros_like(p), np.zeros_like(p)
    for step in range(steps):
        g = flat(gradients(step, size))
        if stage.clip_norm:
            g *= min(1.0, stage.clip_norm / np.linalg.norm(g))
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        m_hat, v_hat = (m / (1 - B1 ** (step + 1)), v / (1 - B2 ** (step + 1))) if stage.bias_correction else (m, v)
        update = m_hat / (np.sqrt(v_hat) + EPS) + stage.weight_decay * p * is_matrix()
        p = p - float(learning_rate(stage)(step)) * update
        yield p


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_steps_equal_numpys(bias_correction, size, clip_norm):
    stage = Training(steps=9, warmup_steps=3, learning_rate=0.1, bias_correction=bias_correction, clip_norm=clip_norm)
    optimizer = bert_optimizer(stage)
    now, state = params(), optimizer.init(params())
    for step, expected in enumerate(by_numpy(stage, 9, size)):
        updates, state = optimizer.update(gradients(step, size), state, now)
        now = jax.tree.map(jnp.add, now, updates)
        np.testing.assert_allclose(flat(now), expected, rtol=2e-5, atol=2e-5)  # float32: 1 - 0.999 has five digits


def test_without_bias_correction_the_first_step_is_longer():
    """(1 - b1) / sqrt(1 - b2) = 3.2 times the length, and the direction the same."""
    g = gradients(0)
    plain = scale_by_bert_adam()
    first, _ = plain.update(g, plain.init(params()), params())
    np.testing.assert_allclose(flat(first), np.sign(flat(g)) * (1 - B1) / np.sqrt(1 - B2), rtol=1e-2)


def test_weight_decay_shrinks_matrices_and_no_vector():
    stage = Training(steps=5, warmup_steps=0, learning_rate=0.1, weight_decay=0.5, clip_norm=1.0)
    optimizer, start = bert_optimizer(stage), params()
    zero = jax.tree.map(jnp.zeros_like, start)
    updates, _ = optimizer.update(zero, optimizer.init(start), start)
    np.testing.assert_allclose(updates["layer"]["kernel"], -0.1 * 0.5 * start["layer"]["kernel"], rtol=1e-6)
    assert not updates["layer"]["bias"].any() and not updates["norm"]["scale"].any()


@pytest.mark.parametrize("factor", [0.0, 0.1, 1.0])
def test_the_embedders_own_rate_scales_all_of_its_updates_and_no_other(factor):
    """Weight decay too: at 0 the embedder stays bit for bit as it is."""
    settings = {"steps": 9, "warmup_steps": 0, "learning_rate": 0.1, "weight_decay": 0.5}
    both, found = {"embedder": params(), "reader": params()}, {}
    for rate in (factor, 1.0):
        optimizer = bert_optimizer(Pretrain(**settings, embedder_rate=rate))
        g = {"embedder": gradients(1), "reader": gradients(2)}
        found[rate], _ = optimizer.update(g, optimizer.init(both), both)
    plain, scaled = found[1.0], found[factor]
    np.testing.assert_allclose(flat(scaled["embedder"]), factor * flat(plain["embedder"]), rtol=1e-6)
    np.testing.assert_array_equal(flat(scaled["reader"]), flat(plain["reader"]))


@given(steps=st.integers(1, 60), warm_up=st.integers(0, 70), peak=st.floats(1e-6, 1.0))
def test_schedule_rises_to_the_peak_and_falls_to_zero(steps, warm_up, peak):
    stage = Training(steps=steps, warmup_steps=warm_up, learning_rate=peak)
    rates = np.array([float(learning_rate(stage)(step)) for step in range(steps + 1)])
    top = min(warm_up, steps)
    for step in range(steps + 1):
        expected = peak * (step + 1) / top if step < top else peak * (1 - (step - top) / max(steps - top, 1))
        assert rates[step] == pytest.approx(expected, rel=1e-4, abs=1e-6 * peak)
    assert (rates[:steps] > 0).all() and rates.max() == pytest.approx(peak, rel=1e-5)


@pytest.mark.parametrize("norm, kept", [(0.25, True), (4.0, False)])
def test_gradients_are_clipped_together(norm, kept):
    """Clipping keeps the direction of the whole gradient, and leaves a small one alone."""
    stage = Training(steps=3, warmup_steps=0, learning_rate=1.0, weight_decay=0.0, clip_norm=1.0)
    optimizer, g = bert_optimizer(stage), gradients(1)
    g = jax.tree.map(lambda leaf: leaf * norm / np.linalg.norm(flat(g)), g)
    _, state = optimizer.update(g, optimizer.init(params()), params())
    (mean,) = [part.mean for part in state if hasattr(part, "mean")]
    np.testing.assert_allclose(flat(mean), (1 - B1) * flat(g) / (1.0 if kept else norm), rtol=1e-5)
