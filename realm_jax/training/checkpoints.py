"""Orbax checkpoints: every top-level part of the parameters is an item of its own, so that a reader takes only the
parts it needs.

A checkpoint of step s holds the state after s steps: the parts (``embedder``, ``reader``), ``optimizer``, and
``position``, a JSON object with the place in the data, which passages these are, the probes so far and the memory of
the task.
"""

import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from realm_jax import disk
from realm_jax.errors import UserError, refusal
from realm_jax.remote import AnyPath, is_remote, remove

COMMITTED = "commit_success.txt"
STAMP = "_CHECKPOINT_METADATA"
"""Has the time of the last of Orbax's own moves."""
DELETION_S = 1.0
"""Seconds within which a step that is being deleted is gone."""
Params = dict[str, Any]
_MATCHING: set[tuple[str, str]] = set()
"""Folders, with the parts and shapes that were compared there: once in a process, as TensorStore keeps for ever what it
told of an array."""


@dataclasses.dataclass
class State:
    """The state that a training step changes."""

    params: Params
    optimizer: Any


jax.tree_util.register_dataclass(State, ["params", "optimizer"], [])


class DamagedError(UserError):
    """A checkpoint that cannot be what was saved."""


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
        self._directory, self._saving = directory, 0
        self._manager = ocp.CheckpointManager(
            _absolute(directory),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._policy,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=lambda: _seal(self._directory, self._saving)),
            ),
        )

    def save(self, step: int, state: State, position: dict[str, Any], best: int | None) -> None:
        """Returns once the state is copied; the earlier ones are then written."""
        self.wait()
        self._policy.best, self._saving = best, step
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
    _seal(directory, step)


def _seal(directory: AnyPath, step: int) -> None:
    """Before Orbax renames what it has written, or else behind that. An object store has checksums of its own."""
    if not is_remote(directory) and jax.process_index() == 0:
        disk.seal(next(directory.glob(f"{step}.orbax-checkpoint-tmp*"), directory / str(step)), but=(STAMP,))


def damage(directory: AnyPath, step: int, parts: Collection[str] = ()) -> str:
    """What is wrong with the files of a checkpoint, or of some parts of it; "" where nothing is known to be."""
    return "" if is_remote(directory) else disk.damage(directory / str(step), parts)


def set_aside(directory: AnyPath, step: int) -> None:
    """Makes room for a checkpoint of the same step; of what was there the last is kept, under another name."""
    if is_remote(directory):
        remove(directory / str(step))
        return
    aside = directory / f"{step}.aside"
    remove(aside)
    disk.rename(directory / str(step), aside)


def steps(directory: AnyPath) -> list[int]:
    """Steps of the whole checkpoints in a folder, ascending; [] where there is no folder."""
    if not directory.is_dir():
        return []
    # Orbax writes under another name and renames, so that a plain number is a whole checkpoint; in an object store it
    # writes a file last.
    found = [path for path in directory.iterdir() if path.name.isdecimal()]
    return sorted(int(path.name) for path in found if not is_remote(path) or (path / COMMITTED).exists())


def restore(directory: AnyPath, step: int, like: State) -> tuple[State, dict[str, Any]]:
    """The whole state and position of a step.

    Raises:
      UserError: the checkpoint is of another architecture; both sides are listed.
      DamagedError: it cannot be read, and has no checksums that would say more (`damage`).
    """
    items = {**like.params, "optimizer": like.optimizer}
    restored = _restore(directory, step, items, position=ocp.args.JsonRestore())
    if not (isinstance(restored["position"], dict) and {"data", "probes"} <= restored["position"].keys()):
        raise DamagedError(f"{directory / str(step)}/position: damaged (it names no place in the data)")
    params = {name: restored[name] for name in like.params}
    return State(params, restored["optimizer"]), restored["position"]


def restore_part(directory: AnyPath, step: int, name: str, like: Any) -> Any:
    """One part of the parameters alone; nothing else of the checkpoint is read.

    Raises:
      UserError: the part is missing or of another architecture; both sides are listed.
      DamagedError: it is not what was saved.
      FileNotFoundError: the step was deleted meanwhile.
    """
    try:
        if problem := damage(directory, step, [name]):
            raise DamagedError(
                f"{problem}. Delete the checkpoint {step}, and done.json beside its folder if there is one, and give "
                "the command again that made it"
            )
        return _restore(directory, step, {name: like}, alone=True)[name]
    except (UserError, OSError, KeyError, ValueError) as error:
        if _is_gone(directory / str(step)):
            raise FileNotFoundError(f"{directory}: checkpoint {step} was deleted meanwhile") from error
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
    for name in items:
        if not (directory / str(step) / name).is_dir():
            raise UserError(f"{directory}/{step}: the checkpoint has no part {name!r}; it was written by another stage")
    asked = (str(directory), str({name: _flat(like) for name, like in items.items()}))
    if asked not in _MATCHING:
        _check_architecture(directory, step, items)
        _MATCHING.add(asked)
    with ocp.CheckpointManager(_absolute(directory), options=options) as manager:
        arguments = {name: ocp.args.StandardRestore(abstract(like)) for name, like in items.items()}
        try:
            return manager.restore(step, args=ocp.args.Composite(**arguments, **others))
        except (OSError, KeyError, ValueError, TypeError) as error:
            _check_architecture(directory, step, items)
            if isinstance(error, OSError) or refusal(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            if (directory / str(step) / disk.CHECKSUMS).exists():  # whole, so it is something else
                told = f"not as this version saves it ({reason}); use another --workdir"
                raise UserError(f"{directory / str(step)}: {told}") from error
            raise DamagedError(f"{directory / str(step)}: damaged, it cannot be read ({reason})") from error


def _check_architecture(directory: AnyPath, step: int, items: dict[str, Any]) -> None:
    """Raises UserError, with both sides, where a checkpoint is of another one."""
    for name, like in items.items():
        if name == "optimizer":  # its tree follows from the parameters'
            continue
        with contextlib.closing(ocp.StandardCheckpointHandler()) as shapes:
            try:
                stored = shapes.metadata(_absolute(directory) / str(step) / name).tree
            except (OSError, KeyError, ValueError, TypeError):
                return
        check_same_tree(_flat(stored), _flat(like), f"{directory}/{step}/{name}")


def abstract(tree: Any) -> Any:
    """Shapes, types and shardings in place of arrays; a leaf without a sharding goes to a device of this process."""
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
    """Raises UserError that lists the names that only one side has, and those that differ in shape."""

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
    """Orbax tells of its every move through absl, and of errors with their tracebacks, which it raises, too."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)


def digest(params: Any) -> str:
    """Hex digest of all numbers: equal for equal parameters alone."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        found.update(np.ascontiguousarray(leaf).view(np.uint8))
    return found.hexdigest()[:16]
