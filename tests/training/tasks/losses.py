"""What the tests of tasks share: the loss of a task and its gradient, checked; who learns; which passages are read."""

import functools

import jax
import numpy as np

B, K = 3, 4
SILENT = ("attention/key/bias",)
"""Softmax is blind to these: their gradient is rounding error."""


def key():
    return jax.random.key(11)


def never(*_):
    raise AssertionError("not to be called")


def leaves(tree):
    """{path: leaf}"""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in flat}


@functools.cache
def differentiated(task):
    return jax.value_and_grad(lambda params, batch: task.loss(params, batch, key()), has_aux=True)


@functools.cache
def compiled(task):
    """Once per task."""
    return jax.jit(differentiated(task))


def gradients(task, params, batch, step=compiled):
    """Loss, metrics and gradients, as the loop takes them; all checked to be finite.

    Args:
      step: `compiled`; or `differentiated`, operation by operation, which rounds alike whatever stands around it.
    """
    (loss, metrics), found = step(task)(params, batch)
    assert loss.shape == () and np.isfinite(loss) and all(np.isfinite(value) for value in metrics.values())
    assert all(np.shape(value) == () for value in metrics.values())
    found = leaves(found)
    assert all(np.isfinite(leaf).all() for leaf in found.values())
    return float(loss), {name: float(value) for name, value in metrics.items()}, found


def learns(found, part):
    """Whether every leaf of a part gets a gradient."""
    of_part = {name: leaf for name, leaf in found.items() if name.startswith(part)}
    assert of_part
    return [name for name, leaf in of_part.items() if not leaf.any() and not name.endswith(SILENT)] == []


def words_that_learn(found, part):
    return set(np.flatnonzero(found[f"{part}/trunk/embeddings/word"].any(1)).tolist())


def row_ids(experiment, passages):
    """Rows of the store that these token rows are."""
    ids = {row.tobytes(): i for i, row in enumerate(experiment.store.rows(slice(None)))}
    assert len(ids) == experiment.store.num_passages + 1
    return np.array([[ids[row.tobytes()] for row in rows] for rows in np.asarray(passages)])
