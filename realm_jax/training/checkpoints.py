"""Orbax checkpoints: every top-level part of the parameters is an item of its own, so that a reader takes what it
needs.

A checkpoint of step s holds the state after s steps: the parts (``embedder``, ``reader``), ``optimizer``, and
``position``, a JSON object with the place in the data, which passages these are, the probes so far and what the task
remembers.
"""

import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from realm_jax.errors import UserError
from realm_jax.remote import AnyPath, is_remote

COMMITTED = "commit_success.txt"
DELETION_S = 1.0
"""Seconds within which a step that is being deleted is gone."""
Params = dict[str, Any]


@dataclasses.dataclass
class State:
    """What a training step changes."""

    params: Params
    optimizer: Any


jax.tree_util.register_dataclass(State, ["params", "optimizer"], [])


class _KeepNewestAndBest:
    """Orbax's preservation policy. `best` is set by the trainer, which knows the probes of earlier runs too."""

    def __init__(self, newest: int):
        self.newest = newest
        self.best: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        first_kept = len(checkpoints) - self.newest
        return [i >= first_kept or checkpoint.step == self.best for i, checkpoint in enumerate(checkpoints)]


class CheckpointWriter:
    """Saves in the background; a checkpoint is visible only when it is whole. One writer a folder."""

    def __init__(self, directory: AnyPath, keep: int):
        _quiet()
        self._policy = _KeepNewestAndBest(keep)
        self._manager = ocp.CheckpointManager(
            _absolute(directory),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._policy, cleanup_tmp_directories=True, enable_async_checkpointing=True
            ),
        )

    def save(self, step: int, state: State, position: dict[str, Any], best: int | None) -> None:
        """Returns once the state is copied; what was asked for before is then written."""
        self._policy.best = best
        self._manager.save(
            step,
            args=ocp.args.Composite(
                **{name: ocp.args.StandardSave(part) for name, part in state.params.items()},
                optimizer=ocp.args.StandardSave(state.optimizer),
                position=ocp.args.JsonSave(position),
            ),
        )

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def write_params(directory: AnyPath, step: int, params: Params) -> None:
    """A checkpoint of parameters alone, from which nothing can be resumed; visible only when it is whole."""
    _quiet()
    with ocp.CheckpointManager(_absolute(directory)) as manager:
        manager.save(
            step, args=ocp.args.Composite(**{name: ocp.args.StandardSave(part) for name, part in params.items()})
        )
        manager.wait_until_finished()


def steps(directory: AnyPath) -> list[int]:
    """Steps of the whole checkpoints in a folder, ascending; [] where there is no folder."""
    if not directory.is_dir():
        return []
    # Orbax writes under another name and renames, so that a plain number is a whole checkpoint; in an object store it
    # writes a file last.
    found = [path for path in directory.iterdir() if path.name.isdigit()]
    return sorted(int(path.name) for path in found if not is_remote(path) or (path / COMMITTED).exists())


def restore(directory: AnyPath, step: int, like: State) -> tuple[State, dict[str, Any]]:
    """The whole state and position of a step.

    Raises:
      UserError: the checkpoint is of another architecture; both sides are listed.
    """
    items = {**like.params, "optimizer": like.optimizer}
    restored = _restore(directory, step, items, position=ocp.args.JsonRestore())
    params = {name: restored[name] for name in like.params}
    return State(params, restored["optimizer"]), restored["position"]


def restore_part(directory: AnyPath, step: int, name: str, like: Any) -> Any:
    """One part of the parameters alone; nothing else of the checkpoint is read.

    Raises:
      UserError: the part is missing or of another architecture; both sides are listed.
      FileNotFoundError: the step was deleted meanwhile.
    """
    try:
        return _restore(directory, step, {name: like}, alone=True)[name]
    except (UserError, OSError, KeyError, ValueError) as error:
        if _is_gone(directory / str(step)):
            raise FileNotFoundError(f"{directory}: checkpoint {step} was deleted meanwhile") from error
        if isinstance(error, FileNotFoundError):
            raise UserError(f"{directory}/{step}: incomplete ({error}); delete it") from error
        raise


def _absolute(directory: AnyPath) -> AnyPath:
    return directory if is_remote(directory) else directory.absolute()


def _is_gone(folder: AnyPath) -> bool:
    """Half deleted, a step looks like a broken one; so this waits a moment."""
    end = time.monotonic() + DELETION_S
    while folder.is_dir() and time.monotonic() < end:
        time.sleep(0.05)
    return not folder.is_dir()


def _restore(directory: AnyPath, step: int, items: dict[str, Any], alone: bool = False, **others: Any) -> Any:
    """Read by all processes together, or by this one `alone`, which then waits for no other."""
    _quiet()
    me = jax.process_index()
    together = ocp.options.MultiprocessingOptions()
    single = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )
    options = ocp.CheckpointManagerOptions(read_only=True, multiprocessing_options=single if alone else together)
    if not (directory / str(step)).is_dir():
        raise FileNotFoundError(f"{directory}: checkpoint {step} is gone")
    shapes = ocp.StandardCheckpointHandler()
    with contextlib.closing(shapes), ocp.CheckpointManager(_absolute(directory), options=options) as manager:
        for name, like in items.items():
            if not (directory / str(step) / name).is_dir():
                raise UserError(
                    f"{directory}/{step}: the checkpoint has no part {name!r}; it was written by another stage"
                )
            if name != "optimizer":  # the optimiser's tree follows from the parameters'
                stored = shapes.metadata(_absolute(directory) / str(step) / name).tree
                check_same_tree(_flat(stored), _flat(like), f"{directory}/{step}/{name}")
        arguments = {name: ocp.args.StandardRestore(abstract(like)) for name, like in items.items()}
        return manager.restore(step, args=ocp.args.Composite(**arguments, **others))


def abstract(tree: Any) -> Any:
    """Shapes, types and shardings in place of arrays; what has no sharding goes to a device of this process."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def of(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or here)

    return jax.tree.map(of, tree)


def _flat(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def check_same_shapes(params: Any, like: Any, where: str) -> None:
    """Raises UserError, with both sides, where parameters are not those of a model."""
    check_same_tree(_flat(params), _flat(like), where)


def check_same_tree(stored: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], where: str) -> None:
    """Raises UserError that lists what only one side has, and what differs in shape."""

    def listed(rows: Iterable[str]) -> str:
        rows = list(rows)
        return ", ".join(rows[:5]) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")

    differences = []
    if only := sorted(set(stored) - set(expected)):
        differences.append(f"only in the checkpoint: {listed(only)}")
    if only := sorted(set(expected) - set(stored)):
        differences.append(f"only in the model: {listed(only)}")
    shapes = (
        f"{n} {stored[n]} here, {expected[n]} in the model"
        for n in sorted(set(stored) & set(expected))
        if stored[n] != expected[n]
    )
    if text := listed(shapes):
        differences.append(f"other shapes: {text}")
    if differences:
        raise UserError(
            f"{where}: checkpoint of another architecture; {'; '.join(differences)}. "
            "Use the model settings it was trained with, or another --workdir"
        )


def _quiet() -> None:
    """Orbax tells of its every move through absl; errors alone matter here."""
    logging.getLogger("absl").setLevel(logging.ERROR)


def digest(params: Any) -> str:
    """Hex digest of all numbers: equal for equal parameters alone."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        found.update(np.ascontiguousarray(leaf).view(np.uint8))
    return found.hexdigest()[:16]
