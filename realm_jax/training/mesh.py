"""How parameters and batches lie on the devices: one mesh, one table of rules.

The axes: each part of `data` computes its own rows of a batch with parameters of its own; `fsdp` splits rows too, and
keeps of each parameter only a part on a device, put together where it is used; `tensor` splits the matrices of a layer,
so that several devices compute the same rows. A step is the same on every mesh, but for rounding.
"""

import functools
import importlib.util
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from realm_jax.config import ROW_AXES, Mesh, Training
from realm_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")
AUTO = (jax.sharding.AxisType.Auto,) * len(AXES)
"""The compiler finds the transfers from the places of parameters and rows."""
ROWS = PartitionSpec(ROW_AXES)
"""A batch: its rows over data and fsdp. The same for any other array with a row per query or passage."""
WHOLE = PartitionSpec()

RULES = (
    # Megatron's layout: the first matrix of a pair is split by columns, the second by rows, and one sum follows.
    (r"(query|key|value|intermediate)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"(query|key|value|intermediate)/bias$", PartitionSpec("tensor")),
    (r"layer_\d+/(attention/)?output/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"embeddings/word$", PartitionSpec("tensor", "fsdp")),
    (r"kernel$|embeddings/position$", PartitionSpec("fsdp")),
)
"""The first pattern found in a parameter's path says how its axes are split; a leaf that none fits is whole on each
device. An axis of the mesh that does not divide an axis of the parameter leaves it whole."""


def require(platform: str) -> None:
    """Makes sure that JAX runs on the device that a job must have (`mesh.platform`), and never silently on the CPU.

    Raises:
      UserError: it does not.
    """
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # the second where a plugin that JAX_PLATFORMS names is missing
        reason = str(error) or f"none of the platforms in JAX_PLATFORMS {jax.config.jax_platforms} is installed"
        raise UserError(f"mesh.platform: JAX finds no device to run on: {reason}") from None
    chosen = jax.config.jax_platforms or ""
    if platform == "auto" and found == "cpu" and "cpu" not in chosen.split(",") and accelerated():
        raise UserError(
            "mesh.platform: JAX is installed for an accelerator but finds only the CPU; see its messages above, or ask "
            "for the CPU with `--mesh.platform cpu` or JAX_PLATFORMS=cpu"
        )
    if platform not in ("auto", found):
        raise UserError(
            f"mesh.platform: {platform} is asked for, but JAX runs on {found}; see what it says above, if it does, "
            "and whether it is installed for that (ACCELERATOR=)"
        )


def accelerated() -> bool:
    """Whether JAX was installed for an accelerator; asked without starting it."""
    return any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def make_mesh(settings: Mesh, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """The mesh of all devices of all processes, or of those given.

    Raises:
      UserError: the sizes do not fit the number of devices, or these are not of the platform asked for.
    """
    require(settings.platform)
    devices = jax.devices() if devices is None else devices
    sizes = sizes_of(settings, len(devices), devices[0].platform)
    return jax.make_mesh(sizes, AXES, AUTO, devices=devices)


def sizes_of(settings: Mesh, count: int, platform: str) -> list[int]:
    """Sizes of the three axes for so many devices.

    Raises:
      UserError: none that fit.
    """
    sizes = [settings.data, settings.fsdp, settings.tensor]
    known = int(np.prod([size for size in sizes if size != -1]))
    if -1 in sizes and count % known == 0:
        sizes[sizes.index(-1)] = count // known
    if int(np.prod(sizes)) != count:
        asked = " x ".join(f"{axis} {size}" for axis, size in zip(AXES, sizes))
        raise UserError(
            f"mesh: {asked} does not fit {count} {platform} device{'s' * (count > 1)}; the product of the three sizes "
            f"must be {count}, and one of them may be -1 for what the others leave. A workdir keeps the sizes that its "
            "last job was given"
        )
    return sizes


def local_mesh() -> jax.sharding.Mesh:
    """The devices of this process alone, for its work without the others: rows over all of them."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices), 1, 1), AXES, AUTO, devices=devices)


def shards(mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh) -> int:
    """Parts that the rows of a batch are split into."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def shards_in_use() -> int:
    """`shards` of the mesh that is set (`jax.set_mesh`) while a program is traced; 1 without one."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else shards(mesh)


def check_batch(data: int, fsdp: int, stage: Training, name: str) -> None:
    """Raises UserError where the rows of a batch, in each of the parts it is computed in, cannot be split evenly."""
    rows, parts = stage.batch_size, stage.accumulate
    if rows % (data * fsdp * parts):
        raise UserError(
            f"{name}.batch_size: {rows} rows do not divide by mesh.data {data} x mesh.fsdp {fsdp} x {name}.accumulate "
            f"{parts} = {data * fsdp * parts}; it must be a multiple of that, or the job be given fewer devices "
            "(CUDA_VISIBLE_DEVICES)"
        )


def process_part(mesh: jax.sharding.Mesh) -> tuple[int, int]:
    """(i, n): this process makes part i of n of every batch. Processes that share rows, over `tensor`, make the same.

    Raises:
      UserError: two processes would share some of their rows and not others.
    """
    rows = NamedSharding(mesh, ROWS).devices_indices_map((shards(mesh),))
    of_process: dict[int, set[int]] = {}
    for device, (index,) in rows.items():
        of_process.setdefault(device.process_index, set()).add(index.start or 0)
    parts = sorted({tuple(sorted(part)) for part in of_process.values()})
    if sum(map(len, parts)) != shards(mesh) or len({len(part) for part in parts}) > 1:
        raise UserError(
            f"mesh.tensor: {mesh.shape['tensor']} devices that compute the same rows lie across processes unevenly; it "
            "must divide the devices of a process, or be a multiple of them"
        )
    return parts.index(tuple(sorted(of_process[jax.process_index()]))), len(parts)


def shardings(mesh: jax.sharding.Mesh, tree: Any) -> Any:
    """A sharding for every leaf of parameters, or of a tree that mirrors them, such as an optimiser's moments."""

    def of(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = next((spec for pattern, spec in RULES if re.search(pattern, name)), WHOLE)
        fits = [axis if axis and n % mesh.shape[axis] == 0 else None for axis, n in zip(spec, leaf.shape)]
        return NamedSharding(mesh, PartitionSpec(*fits))

    return jax.tree_util.tree_map_with_path(of, tree)


def put_params(mesh: jax.sharding.Mesh, tree: Any) -> Any:
    """Parameters that are whole in every process, laid out by the rules."""

    def put(leaf, sharding):
        if sharding.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(put, tree, shardings(mesh, tree))


def put_rows(mesh: jax.sharding.Mesh, batch: Any) -> Any:
    """This process's rows of a batch as arrays of the whole batch; numbers, which have no rows, are the same in all.

    Arrays on the devices stay as they are.
    """

    def put(leaf):
        if isinstance(leaf, jax.Array):
            return leaf
        leaf = np.asarray(leaf)
        return jax.make_array_from_process_local_data(NamedSharding(mesh, ROWS if leaf.ndim else WHOLE), leaf)

    return jax.tree.map(put, batch)


def local_rows(array: jax.Array) -> np.ndarray:
    """This process's rows of an array that `put_rows` laid out, or of one computed from it; waits for them."""
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def whole(tree: Any) -> Any:
    """A copy of parameters, whole on each device of this process. All processes must call this at the same time."""

    def of_process(leaf):
        return leaf.addressable_data(0)

    meshes = {leaf.sharding.mesh for leaf in jax.tree.leaves(tree) if not leaf.is_fully_addressable}
    for mesh in meshes:
        tree = jax.tree.map(of_process, _gather(mesh)(tree))
    return jax.device_put(tree, NamedSharding(local_mesh(), WHOLE))


@functools.cache
def _gather(mesh: jax.sharding.Mesh) -> Callable[[Any], Any]:
    """Compiled once for each mesh and tree."""
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, WHOLE))
