"""Tables of one row a passage, divided over the devices, and whether they fit there."""

from typing import Any

import jax
import numpy as np
import psutil
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from realm_jax.errors import UserError
from realm_jax.index.base import HostOrDevice

AXIS = "rows"
"""The one axis of the mesh that tables are divided over."""
ALTERNATIVES = {
    "vectors": "--index.dtype bfloat16 halves the vectors, --index.kind scann keeps them in host memory",
    "tokens": "--index.store host leaves the tokens on disk",
}


def in_a_line(mesh: Mesh | None) -> Mesh:
    """All devices of a mesh along one axis; without a mesh, this process's first device alone."""
    devices = np.array(jax.local_devices()[:1]) if mesh is None else mesh.devices.reshape(-1)
    return Mesh(devices, (AXIS,))


def bytes_per_device(rows: int, width: int, dtype: np.dtype | str, mesh: Mesh | None) -> int:
    """The rows of a table that one device holds."""
    return -(-rows // in_a_line(mesh).size) * width * np.dtype(dtype).itemsize


def require_room(passages: int, tables: dict[str, int], mesh: Mesh | None) -> None:
    """Refuses, before anything is allocated, tables that will not fit.

    Args:
      passages: rows of the tables, for the message.
      tables: name ("vectors", "tokens", ...) -> bytes per device.

    Raises:
      UserError: a device of this process has too little memory free; the message names it, and the ways out.
    """
    needed, line = sum(tables.values()), in_a_line(mesh)
    device = min(line.local_devices, key=free)
    if needed > (there := free(device)):
        parts = ", ".join(f"{name} {gb(size)}" for name, size in tables.items())
        remedies = "; ".join(ALTERNATIVES[name] for name in tables if name in ALTERNATIVES)
        raise UserError(
            f"index: {passages:,} passages over {line.size} devices need {gb(needed)} on each ({parts}), but {device} "
            f"has {gb(there)} free. Take more devices; {remedies}"
        )


def divide(
    table: Shaped[HostOrDevice, "rows width"], rows_per_device: int, dtype: np.dtype | str, line: Mesh
) -> Shaped[Array, "placed width"]:
    """The table with its rows over the devices of a line, in order, and zeros behind; shape [devices * rows, width].

    The host holds one device's rows at a time, so that the table may be a memory-mapped file.
    """
    shape, sharding = (rows_per_device * line.size, table.shape[1]), NamedSharding(line, PartitionSpec(AXIS))
    parts = []
    for device, place in sharding.addressable_devices_indices_map(shape).items():
        part = np.zeros((rows_per_device, shape[1]), dtype)
        chosen = table[place]
        part[: len(chosen)] = chosen
        parts.append(jax.device_put(part, device).block_until_ready())
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)


def free(device: Any) -> int:
    """Bytes that may still be allocated; of a device that cannot say, its share of the host's memory."""
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return psutil.virtual_memory().available // len(jax.local_devices())


def gb(size: int) -> str:
    """For messages."""
    """For messages."""
    return f"{size / 1e9:.2f} GB ({size:,} bytes)"
