"""A tiny task for tests of the loop: a line is fitted to points; optionally slow, wrong at a step, or probed."""

import dataclasses
import time

import grain
import jax
import jax.numpy as jnp
import numpy as np

from realm_jax.training.task import Batch, Task


def _point(index, generator):
    x = generator.normal(size=3).astype(np.float32)
    return {"x": x, "y": np.float32(x @ np.array([1.0, -2.0, 0.5]) + 0.01 * index)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Points(Batch):
    x: np.ndarray
    y: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Shifted(Points):
    """With numbers for the whole batch, which have no rows."""

    bad: np.float32
    steep: np.float32
    shift: np.float32


class Toy(Task):
    """`scores` are what the probe says at each checkpoint; at step `nan_at` the loss is not a number, at `steep_at` its
    gradient alone."""

    retrieves_on_host = True

    def __init__(self, scores=(), nan_at=-1, seconds=0.0, steep_at=-1):
        self._scores, self._nan_at, self._seconds, self.closed = list(scores), nan_at, seconds, False
        self._steep_at = steep_at
        self.retrieved_with = []

    def init(self, key):
        return {"embedder": {"kernel": jnp.zeros((3, 1)), "bias": jnp.zeros(1)}}

    def batches(self):
        points = grain.MapDataset.range(64).seed(7).shuffle().repeat().random_map(_point).batch(4, batch_fn=Points.of)
        return points.to_iter_dataset()

    def embed(self, params, queries):
        return params["embedder"]["kernel"].sum()

    def retrieve(self, embedded, batch, step):
        time.sleep(self._seconds)
        self.retrieved_with.append((step, float(embedded)))
        bad, steep = np.float32(step == self._nan_at), np.float32(step == self._steep_at)
        return Shifted(**vars(batch), bad=bad, steep=steep, shift=np.float32(embedded)), {"index/at": step}

    def outputs(self, params, batch, key):
        y = (batch.x @ params["embedder"]["kernel"])[:, 0] + params["embedder"]["bias"] + 0.1 * batch.shift
        return {"y": y}

    def objective(self, batch, y):
        loss = ((y - batch.y) ** 2).mean()
        loss += jnp.sqrt(jnp.where(batch.steep > 0, 0.0 * y.sum(), 1.0)) - 1.0  # no slope at 0
        return jnp.where(batch.bad > 0, jnp.nan, loss), {"toy/shift": batch.shift}

    def probe(self, step, params):
        return {"probe/score": self._scores.pop(0)} if self._scores else {}

    def close(self):
        self.closed = True
