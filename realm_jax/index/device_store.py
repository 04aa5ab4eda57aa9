"""The passage store's token rows in device memory, divided over the devices as the exact index is."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int, Integer

from realm_jax.index import placement


@jax.tree_util.register_pytree_node_class
class DeviceStore:
    """Gives the rows that a passage store gives, without the host. A pytree, so that it can be a jitted argument."""

    def __init__(self, tokens: Integer[np.ndarray, "rows P"], mesh: Mesh | None = None):
        """Copies the rows, in their own type (two bytes a token where the vocabulary allows), to all devices of `mesh`.

        Raises:
          UserError: they do not fit; nothing was allocated.
        """
        self._line = placement.in_a_line(mesh)
        size = placement.bytes_per_device(len(tokens), tokens.shape[1], tokens.dtype, mesh)
        placement.require_room(len(tokens), {"tokens": size}, mesh)
        self.tokens = placement.divide(tokens, -(-len(tokens) // self._line.size), tokens.dtype, self._line)

    def tree_flatten(self) -> tuple[tuple[Any], Mesh]:
        return (self.tokens,), self._line

    @classmethod
    def tree_unflatten(cls, line: Mesh, tokens: Any) -> "DeviceStore":
        store = cls.__new__(cls)
        (store.tokens,), store._line = tokens, line
        return store

    def rows(self, ids: Int[Array, "..."]) -> Int[Array, "... P"]:
        """int32 token rows of passages, the same on every device; usable under `jit`."""
        return _gather(self, ids)


@jax.jit
def _gather(store: DeviceStore, ids: jax.Array) -> jax.Array:
    """Each device gives the rows that it holds, and zeros for the others; the sum is the rows asked for."""
    everywhere = PartitionSpec()

    @functools.partial(
        jax.shard_map, mesh=store._line, in_specs=(PartitionSpec(placement.AXIS), everywhere), out_specs=everywhere
    )
    def gather(tokens: jax.Array, ids: jax.Array) -> jax.Array:
        here = ids - jax.lax.axis_index(placement.AXIS) * len(tokens)
        found = tokens[jnp.clip(here, 0, len(tokens) - 1)].astype(jnp.int32)
        mine = (here >= 0) & (here < len(tokens))
        return jax.lax.psum(jnp.where(mine[..., None], found, 0), placement.AXIS)

    return gather(store.tokens, ids)
