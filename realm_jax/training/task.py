"""One stage of training; the loop does the rest."""

import abc
import enum
import functools
from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from realm_jax.index.base import HostOrDevice

Params = dict[str, Any]
Metrics = dict[str, Any]
Row = dict[str, Any]
"""One row of a batch: arrays and numbers by the names of its fields."""
Outputs = dict[str, jax.Array]
"""The models' outputs for each row of a batch, by their names in the objective."""
READ_AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=32)
"""Elements made before they are asked for. Grain's own 500 cost a short stage more than its steps."""


class Batch:
    """Queries, and the labels of each. Every task has its own: a frozen dataclass of arrays with a row per query,
    registered with JAX. Where one is made, under jit too, the shapes of its fields are checked (under pytest alone)."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Batch":
        """A batch of single rows."""
        return cls(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})

    def __getitem__(self, rows: Any) -> "Batch":
        """A batch of these rows of it."""
        return jax.tree.map(lambda array: array[rows], self)


class Task(abc.ABC):
    """How one stage differs from another."""

    retrieves_on_host = False
    """Whether `retrieve` is given arrays of NumPy; else they lie on the devices already, and it leaves them there."""
    retrieves_beside = True
    """Whether `retrieve` may run in a thread beside the step. Not where it computes on several devices: programs that
    two threads send to them could each wait for the other's turn."""

    patience = 0
    """Probes without a better one after which training stops; 0 never stops early."""

    def __init__(self, start: Callable[[jax.Array], Params], batches: Any):
        self._start, self._batches = start, batches

    def init(self, key: jax.Array) -> Params:
        """The parameters that the stage starts from, one top-level entry per model."""
        return self._start(key)

    def batches(self) -> Any:
        """An endless Grain iterator of batches of NumPy arrays, with `get_state` and `set_state`."""
        return self._batches

    def queries(self, batch: Batch) -> HostOrDevice | None:
        """The token rows [B,Q] that retrieval asks with; None where it asks with none."""
        return None

    def embed(self, params: Params, queries: HostOrDevice | None) -> Any:
        """The device work that retrieval needs, dispatched without waiting; None without retrieval."""
        return None

    def retrieve(self, embedded: Any, batch: Batch, step: int) -> tuple[Batch, Metrics]:
        """Adds the passages retrieved for step `step`; runs in a background thread while the device works, if it
        may."""
        return batch, {}

    @abc.abstractmethod
    def outputs(self, params: Params, batch: Batch, key: jax.Array) -> Outputs:
        """The models' outputs for each row of a batch, apart from the others: arrays [B, ...]; pure, under jit."""

    @abc.abstractmethod
    def objective(self, batch: Batch, **outputs: jax.Array) -> tuple[jax.Array, Metrics]:
        """Scalar loss and scalar metrics of a whole batch, in however many parts its outputs were computed."""

    def loss(self, params: Params, batch: Batch, key: jax.Array, parts: int = 1) -> tuple[jax.Array, Metrics]:
        """Loss and metrics; the activations of one part of the rows are in memory at a time, forwards and backwards."""
        if parts == 1:
            return self.objective(batch, **self.outputs(params, batch, key))
        leaves, structure = jax.tree.flatten(batch)

        def split(value):
            # Rows i, i + parts, ...: of every device's rows, each part takes as many.
            return jnp.asarray(value).reshape(-1, parts, *value.shape[1:]).swapaxes(0, 1)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def of_part(number, rows):
            rows = iter(rows)
            part = structure.unflatten([next(rows) if jnp.ndim(leaf) else leaf for leaf in leaves])
            return number + 1, self.outputs(params, part, jax.random.fold_in(key, number))

        _, outputs = jax.lax.scan(of_part, 0, [split(leaf) for leaf in leaves if jnp.ndim(leaf)])
        outputs = jax.tree.map(lambda value: value.swapaxes(0, 1).reshape(-1, *value.shape[2:]), outputs)
        return self.objective(batch, **outputs)

    def choose(self, batch: Batch, step: int) -> Batch:
        """The queries of a drawn batch that step `step` works with; called in the order of steps, before `embed`."""
        return batch

    def observe(self, figures: Metrics) -> Metrics:
        """Takes out of the figures of one step those that the task itself keeps; the rest are scalars. Called in the
        order of steps; before a checkpoint for all steps that it follows."""
        return figures

    def memory(self) -> Any:
        """The memory that `choose` goes by, as JSON; part of every checkpoint."""
        return None

    def set_memory(self, memory: Any) -> None:  # noqa: B027
        """Goes on with the memory of a checkpoint."""

    def probe(self, step: int, params: Params) -> Metrics:
        """Figures on held-out data, measured at every checkpoint before it is saved; ``probe/score`` decides which one
        is the best."""
        return {}

    def lacks(self, step: int) -> str:
        """What, beside checkpoint `step`, is not there any more without which training cannot go on from it."""
        return ""

    def saved(self, step: int, params: Params) -> None:  # noqa: B027
        """Called once checkpoint `step` is saved, or training goes on from it, before anything is retrieved for it."""

    def close(self) -> None:  # noqa: B027  (most tasks have nothing to stop)
        """Stops the work in the background."""


class Stream(enum.IntEnum):
    """Uses of random numbers, each of which draws from a stream of its own."""

    WARM_UP_PASSAGES = 1
    PROBED_PASSAGES = 2
    QUESTION_ORDER = 3
    PROBED_SENTENCES = 4
    PROBED_MASKS = 5
    SALIENCE = 6
    LABELLED_QUESTIONS = 7
    PROBED_QUESTIONS = 8


def rng(seed: int, stream: Stream, *where: int) -> np.random.Generator:
    """A NumPy generator that depends on seed, stream and place alone, so that a resumed run draws the same."""
    return np.random.default_rng((seed, stream, *where))


def in_batches(
    rows: grain.MapDataset, kind: type[Batch], batch_size: int, part: tuple[int, int] = (0, 1)
) -> grain.IterDataset:
    """Batches of endless `rows`, of which a process makes `part` (i, n): it reads no others, and the place in the data,
    counted in batches, is the same in all."""
    index, count = part
    batches = rows.batch(batch_size // count, drop_remainder=True, batch_fn=kind.of)
    return (batches if count == 1 else batches[index::count]).to_iter_dataset(READ_AHEAD)


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """At least one row made `size` rows by repeating the first, so that the last batch has the shape of the others."""
    return np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])
