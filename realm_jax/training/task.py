"""What one stage of training does; the loop does the rest."""

import abc
from collections.abc import Callable
from typing import Any

import grain
import jax
import numpy as np

Batch = dict[str, Any]
Params = dict[str, Any]
Metrics = dict[str, Any]
READ_AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=32)
"""Elements made before they are asked for. Grain's own 500 cost a short stage more than its steps."""


class Task(abc.ABC):
    """ICT, reader warm-up, pre-training, fine-tuning and the closed-book rival differ in this."""

    def __init__(self, start: Callable[[jax.Array], Params], batches: Any):
        self._start, self._batches = start, batches

    def init(self, key: jax.Array) -> Params:
        """The parameters that the stage starts from, one top-level entry per model."""
        return self._start(key)

    def batches(self) -> Any:
        """An endless Grain iterator of batches of NumPy arrays, with `get_state` and `set_state`."""
        return self._batches

    def embed(self, params: Params, batch: Batch) -> Any:
        """The device work that retrieval needs, dispatched without waiting; None without retrieval."""
        return None

    def retrieve(self, embedded: Any, batch: Batch, step: int) -> tuple[Batch, Metrics]:
        """Adds what was retrieved for step `step`; runs in a background thread while the device works."""
        return batch, {}

    @abc.abstractmethod
    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """Scalar loss and scalar metrics; pure, under jit."""

    def probe(self, params: Params) -> Metrics:
        """Figures on held-out data, measured at every checkpoint; ``probe/score`` decides which one is the best."""
        return {}

    def close(self) -> None:  # noqa: B027  (most tasks have nothing to stop)
        """Stops what runs in the background."""


def rng(seed: int, *where: int) -> np.random.Generator:
    """A NumPy generator that depends on the seed and the place alone, so that a resumed run draws the same."""
    return np.random.default_rng((seed, *where))


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """At least one row made `size` rows by repeating the first, so that the last batch has the shape of the others."""
    return np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])
