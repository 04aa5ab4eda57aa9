"""The one training loop.

The order within a step keeps the device busy: the next batch's queries are embedded and step n is dispatched,
the host retrieves for batch n + 1 and reads the metrics of step n - 1, and only then waits. At a checkpoint the
pipeline is empty (the next batch is retrieved with the parameters just saved), so that a resumed run does the same
work with the same numbers as one that was never stopped.
"""

import contextlib
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from realm_jax.config import Mesh, Training
from realm_jax.errors import UserError
from realm_jax.locks import sole_owner
from realm_jax.training import checkpoints
from realm_jax.training.checkpoints import CheckpointWriter, State
from realm_jax.training.distributed import agree, everywhere, is_first, say
from realm_jax.training.mesh import WHOLE, make_mesh, put_params, put_rows, shardings
from realm_jax.training.metrics import MetricsWriter, NoMetrics
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.task import Batch, Metrics, Task
from realm_jax.workdir import StageDir, write_json

FINITE = {"loss/total": "loss", "optimizer/gradient_norm": "gradient's norm"}
"""Figures that must stay finite, and their names in messages."""


def train(
    task: Task,
    name: str,
    stage: Training,
    directory: StageDir,
    seed: int,
    mesh: jax.sharding.Mesh | None = None,
    passages: str = "",
) -> None:
    """Trains to the end, or until `task.patience` probes have brought nothing better; then writes `directory.done`.

    Args:
      mesh: by default one device does all.
      passages: the fingerprint of those that it learns from.

    Raises:
      UserError: the loss or its gradient is not finite (the last checkpoint stays), another trainer is at work in the
        folder, or the checkpoint there is of another architecture or other passages.
    """
    mesh = mesh or make_mesh(Mesh(), jax.local_devices()[:1])
    with sole_owner(directory.root, name) if is_first() else contextlib.nullcontext():
        if not agree(directory.done.exists()):
            _train(task, name, stage, directory, seed, mesh, passages)


def _train(
    task: Task,
    name: str,
    stage: Training,
    directory: StageDir,
    seed: int,
    mesh: jax.sharding.Mesh,
    passages: str,
) -> None:
    optimizer = bert_optimizer(stage)
    state = _first_state(task, optimizer, seed, mesh)
    batches = iter(task.batches())
    probes: list[tuple[int, float]] = []
    step, saved = 0, None
    if agree(max(checkpoints.steps(directory.checkpoints), default=None)) is not None:
        like = checkpoints.abstract(state)
        del state  # in whose place another is read
        if (found := _newest(task, name, directory, like)) is None:
            state = _first_state(task, optimizer, seed, mesh)
        else:
            saved, state, position = found
    if saved is not None:
        step = saved
        if position.get("passages", passages) != passages:  # the place in the data would be one in others
            raise UserError(
                f"{name}: {directory.root} was begun with other passages: documents have changed since. Delete that "
                "folder and those of the later stages, then give the same command again; or put the documents back "
                "as they were"
            )
        batches.set_state(position["data"])
        probes = [(at, score) for at, score in position["probes"]]
        task.set_memory(position.get("memory"))
        say(f"{name}: going on from checkpoint {step}")
    layout = (shardings(mesh, state), jax.sharding.NamedSharding(mesh, WHOLE))
    take_step = make_step(task, optimizer, jax.random.key(seed), stage.accumulate, layout)
    writer = CheckpointWriter(directory.checkpoints, stage.keep)
    settings = (directory, name, stage.steps, stage.log_every)
    metrics = MetricsWriter(*settings, resume_at=step) if is_first() else NoMetrics()
    window = _Window(name, metrics, stage.log_every, task.observe)

    def save() -> None:
        if not all_finite(state.params):
            raise UserError(
                f"{name}: parameters of step {step} are not finite, so no checkpoint is made of them; the last one is "
                f"kept. Try a lower --{name}.learning-rate or another --seed, in another --workdir"
            )
        figures = task.probe(step, state.params)
        if "probe/score" in figures:
            probes.append((step, float(figures["probe/score"])))
        if figures:
            metrics.write(step, figures)
        position = {"data": batches.get_state(), "probes": probes, "memory": task.memory(), "passages": passages}
        metrics.flush()
        writer.save(step, state, position, agree(_best(probes)))
        task.saved(step, state.params)

    with ThreadPoolExecutor(1, thread_name_prefix="retrieval") as background:

        def fetch(at: int) -> Future:
            """Starts the retrieval for the step after `at` steps."""
            batch = task.choose(next(batches), at)
            if not task.retrieves_on_host:
                batch = put_rows(mesh, batch)
            queries = put_rows(mesh, task.queries(batch))
            with jax.set_mesh(mesh):
                embedded = task.embed(state.params, queries)
            if task.retrieves_beside:
                return background.submit(task.retrieve, embedded, batch, at)
            retrieved: Future = Future()
            try:
                retrieved.set_result(task.retrieve(embedded, batch, at))
            except UserError as error:
                retrieved.set_exception(error)
            return retrieved

        try:
            if saved is None:
                save()
            else:
                task.saved(step, state.params)
            pending = fetch(step) if step < stage.steps else None
            ended = agree(_stale(probes, task.patience))
            while step < stage.steps and not ended:
                try:
                    batch, retrieved = pending.result()
                except UserError:
                    window.flush()  # vectors that cannot be searched come from a loss that went wrong: say that first
                    raise
                boundary = (step + 1) % stage.checkpoint_every == 0 or step + 1 == stage.steps
                if not boundary:  # embedded before the step, whose donation ends the life of these parameters
                    pending = fetch(step + 1)
                placed, at = put_rows(mesh, (batch, np.int32(step)))
                with jax.set_mesh(mesh):
                    state, figures = take_step(state, placed, at)
                step += 1
                window.add(step, {**figures, **retrieved})
                if boundary:
                    window.flush()  # a step that went wrong is not saved
                    save()
                    ended = agree(_stale(probes, task.patience))
                    if step < stage.steps:
                        pending = fetch(step)
            writer.wait()
            best, early = _best(probes), f"no better probe within {task.patience} checkpoints"
            result = {
                "step": step if best is None else best,
                "last_step": step,
                "reason": "all steps done" if step == stage.steps else early,
                "probes": probes,
            }
            if is_first():
                write_json(directory.done, result)
            if step < stage.steps:
                say(f"{name}: stopped at step {step}: {result['reason']}; its result is checkpoint {result['step']}")
        finally:
            task.close()
            background.shutdown(cancel_futures=True)
            writer.close()
            metrics.close()


def _newest(task: Task, name: str, directory: StageDir, like: State) -> tuple[int, State, dict[str, Any]] | None:
    """The newest checkpoint that is whole, and that training can go on from; newer ones are set aside, and named."""
    while (step := agree(max(checkpoints.steps(directory.checkpoints), default=None))) is not None:
        why = ""
        if is_first():
            why = checkpoints.damage(directory.checkpoints, step) or task.lacks(step)
        if agree(int(not why)):
            try:
                state, position = checkpoints.restore(directory.checkpoints, step, like)
                best = _best([(at, score) for at, score in position["probes"]])
                if agree(int(best in (None, *checkpoints.steps(directory.checkpoints)))):
                    return step, state, position
                why = f"checkpoint {best}, the best one by then, is not there any more"
            except checkpoints.DamagedError as error:
                why = str(error)
        say(f"{name}: warning: {why}; so checkpoint {step} is set aside, and training goes back to the one before")
        if is_first():
            checkpoints.set_aside(directory.checkpoints, step)
        everywhere(True)  # nobody looks again before that
    return None


def _first_state(task: Task, optimizer: Any, seed: int, mesh: jax.sharding.Mesh) -> State:
    params = put_params(mesh, task.init(jax.random.key(seed)))
    moments = shardings(mesh, jax.eval_shape(optimizer.init, params))
    return State(params, jax.jit(optimizer.init, out_shardings=moments)(params))


def make_step(task: Task, optimizer: Any, key: jax.Array, parts: int = 1, layout: Any = None):
    """A pure, jitted (state, batch, step) -> (state, metrics); the state given is used up.

    Args:
      parts: the parts that the batch is computed in, one after the other.
      layout: shardings of the state and of all metrics. Without them the compiler might lay a new state out in another
        way than the old one, and would compile again for the next step.
    """

    def take_step(state: State, batch: Batch, step: jax.Array) -> tuple[State, Metrics]:
        def loss(params):
            return task.loss(params, batch, jax.random.fold_in(key, step), parts)

        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, moments = optimizer.update(gradients, state.optimizer, state.params)
        params = jax.tree.map(lambda p, u: p + u, state.params, updates)
        norm = optax.tree.norm(gradients)  # clipping needs it, too
        return State(params, moments), {"loss/total": value, "optimizer/gradient_norm": norm, **metrics}

    return jax.jit(take_step, donate_argnums=0, out_shardings=layout)


@jax.jit
def all_finite(params: Any) -> jax.Array:
    """bool: whether every parameter is a number."""
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


class _Window:
    """Metrics of the steps since the last line; reads a step's only when the next one has been dispatched."""

    def __init__(
        self,
        name: str,
        metrics: MetricsWriter | NoMetrics,
        log_every: int,
        observe: Callable[[Metrics], Metrics],
    ):
        self._name, self._metrics, self._log_every, self._observe = name, metrics, log_every, observe
        self._unread: tuple[int, Metrics] | None = None
        self._read: list[dict[str, float]] = []

    def add(self, step: int, figures: Metrics) -> None:
        self._take()
        self._unread = (step, figures)

    def flush(self) -> None:
        """Reads the outstanding figures and writes the line, of any number of steps: a resumed run then cuts it here
        too."""
        self._take()
        if self._read:
            self._write(self._step)

    def _take(self) -> None:
        if self._unread is None:
            return
        self._step, figures = self._unread
        self._unread = None
        figures = jax.device_get(figures)
        # A loss can be finite whose gradient is not: the parameters behind that step would be saved as good ones.
        for name, what in FINITE.items():
            if not math.isfinite(figures[name]):
                raise UserError(
                    f"{self._name}: the {what} of step {self._step} is {figures[name]}; the last checkpoint is kept. "
                    f"Try a lower --{self._name}.learning-rate or another --seed, in another --workdir"
                )
        self._read.append({key: float(value) for key, value in self._observe(figures).items()})
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
    """Whether `patience` probes or more came after the best one."""
    best = _best(probes)
    return bool(patience) and best is not None and sum(step > best for step, _ in probes) >= patience
