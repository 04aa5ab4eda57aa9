"""The one training loop.

The order within a step is what keeps the device busy: the next batch's queries are embedded and step n is dispatched,
the host retrieves for batch n + 1 and reads the metrics of step n - 1, and only then waits. At a checkpoint the
pipeline is empty (the next batch is retrieved with the parameters just saved), so that a resumed run does the same
work with the same numbers as one that was never stopped.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from realm_jax.config import Stage
from realm_jax.errors import UserError
from realm_jax.training import checkpoints
from realm_jax.training.checkpoints import CheckpointWriter, State
from realm_jax.training.metrics import MetricsWriter
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.task import Batch, Metrics, Task
from realm_jax.workdir import StageDir, sole_owner, write_json


def train(task: Task, name: str, stage: Stage, directory: StageDir, seed: int, patience: int = 0) -> None:
    """Trains to the end, or to the point where `patience` probes brought nothing better; then writes `directory.done`.

    Raises:
      UserError: the loss is not finite (the last checkpoint stays), another trainer is at work in the folder, or the
        checkpoint there is of another architecture.
    """
    with sole_owner(directory.root, name):
        if not directory.done.exists():
            _train(task, name, stage, directory, seed, patience)


def _train(task: Task, name: str, stage: Stage, directory: StageDir, seed: int, patience: int) -> None:
    optimizer = bert_optimizer(stage)
    params = task.init(jax.random.key(seed))
    state = State(params, optimizer.init(params))
    batches = iter(task.batches())
    probes: list[tuple[int, float]] = []
    step, saved = 0, checkpoints.steps(directory.checkpoints)
    if saved:
        step = saved[-1]
        state, position = checkpoints.restore(directory.checkpoints, step, state)
        batches.set_state(position["data"])
        probes = [(at, score) for at, score in position["probes"]]
        print(f"{name}: going on from checkpoint {step}", flush=True)
    take_step = make_step(task, optimizer, jax.random.key(seed))
    writer = CheckpointWriter(directory.checkpoints, stage.keep)
    metrics = MetricsWriter(directory, name, stage.steps, stage.log_every, resume_at=step)
    window = _Window(name, metrics, stage.log_every)

    def save() -> None:
        figures = task.probe(state.params)
        if "probe/score" in figures:
            probes.append((step, float(figures["probe/score"])))
        if figures:
            metrics.write(step, figures)
        writer.save(step, state, {"data": batches.get_state(), "probes": probes}, _best(probes))

    with ThreadPoolExecutor(1, thread_name_prefix="retrieval") as background:

        def fetch(at: int) -> Future:
            """Starts the retrieval for the step after `at` steps."""
            batch = next(batches)
            embedded = task.embed(state.params, batch)
            return background.submit(task.retrieve, embedded, batch, at)

        try:
            if not saved:
                save()
            pending = fetch(step) if step < stage.steps else None
            while step < stage.steps and not _stale(probes, patience):
                try:
                    batch, retrieved = pending.result()
                except UserError:
                    window.flush()  # vectors that cannot be searched come from a loss that went wrong: say that first
                    raise
                boundary = (step + 1) % stage.checkpoint_every == 0 or step + 1 == stage.steps
                if not boundary:  # embedded before the step, whose donation ends the life of these parameters
                    pending = fetch(step + 1)
                state, figures = take_step(state, batch, np.int32(step))
                step += 1
                window.add(step, {**figures, **retrieved})
                if boundary:
                    window.flush()  # a step that went wrong is not saved
                    save()
                    if step < stage.steps:
                        pending = fetch(step)
            writer.wait()
            best = _best(probes)
            write_json(
                directory.done,
                {
                    "step": step if best is None else best,
                    "last_step": step,
                    "reason": "all steps done"
                    if step == stage.steps
                    else f"no better probe within {patience} checkpoints",
                    "probes": probes,
                },
            )
        finally:
            task.close()
            background.shutdown(cancel_futures=True)
            writer.close()
            metrics.close()


def make_step(task: Task, optimizer: Any, key: jax.Array):
    """A pure, jitted (state, batch, step) -> (state, metrics); the state given is used up."""

    def take_step(state: State, batch: Batch, step: jax.Array) -> tuple[State, Metrics]:
        def loss(params):
            return task.loss(params, batch, jax.random.fold_in(key, step))

        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, moments = optimizer.update(gradients, state.optimizer, state.params)
        params = jax.tree.map(lambda p, u: p + u, state.params, updates)
        return State(params, moments), {"loss/total": value, **metrics}

    return jax.jit(take_step, donate_argnums=0)


class _Window:
    """Metrics of the steps since the last line; reads a step's only when the next one has been dispatched."""

    def __init__(self, name: str, metrics: MetricsWriter, log_every: int):
        self._name, self._metrics, self._log_every = name, metrics, log_every
        self._unread: tuple[int, Metrics] | None = None
        self._read: list[dict[str, float]] = []

    def add(self, step: int, figures: Metrics) -> None:
        self._take()
        self._unread = (step, figures)

    def flush(self) -> None:
        """Reads what is outstanding and writes the line, whatever its length: a resumed run then cuts it here too."""
        self._take()
        if self._read:
            self._write(self._step)

    def _take(self) -> None:
        if self._unread is None:
            return
        self._step, figures = self._unread
        self._unread = None
        figures = {key: float(value) for key, value in jax.device_get(figures).items()}
        if not math.isfinite(figures["loss/total"]):
            raise UserError(
                f"{self._name}: the loss of step {self._step} is {figures['loss/total']}; the last checkpoint is kept. "
                f"Try a lower --{self._name}.learning-rate or another --seed, in another --workdir"
            )
        self._read.append(figures)
        if self._step % self._log_every == 0:
            self._write(self._step)

    def _write(self, step: int) -> None:
        def over_window(key: str) -> float:
            values = [figures[key] for figures in self._read]
            # An age or a wait shows its worst; what is learned shows its mean.
            return max(values) if key.startswith(("index/", "time/")) else sum(values) / len(values)

        self._metrics.write(step, {key: over_window(key) for key in self._read[-1]})
        self._read = []


def _best(probes: list[tuple[int, float]]) -> int | None:
    """Step of the best probe, the earliest among equals."""
    return max(probes, key=lambda probe: (probe[1], -probe[0]))[0] if probes else None


def _stale(probes: list[tuple[int, float]], patience: int) -> bool:
    """Whether the last `patience` probes were all worse than an earlier one."""
    best = _best(probes)
    return bool(patience) and best is not None and sum(step > best for step, _ in probes) >= patience
