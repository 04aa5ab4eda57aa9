"""Exact search: a full scan on all devices, block by block, so that no [B, N] matrix of scores is ever whole.

Each device looks twice at its own rows. The first look keeps of every group of neighbouring rows the largest product
alone. The k best rows lie in the k best groups (a row in another group has k rows before it, one of each of those), so
the second look computes the products of these again. Both are a matrix product and a maximum; only a small part is
sorted.
"""

import functools
import inspect
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from realm_jax.config import Index as IndexConfig
from realm_jax.index import placement
from realm_jax.index.base import HostOrDevice, Index, Passages

LARGEST_GROUP = 128
BLOCK_ROWS, BLOCK_ROWS_OF_CPU = 65536, 8192
"""Rows whose products are computed at once: the size of a CPU's caches; elsewhere more, since each block costs time."""
QUERIES_AT_ONCE = 256
"""Of a search from the host, so that its memory does not grow with the batch."""
MEASURED_AT_ONCE = 1 << 20
"""Vectors on the device while recall is measured, which is asked of indexes past its memory."""
TPU_RECALL = 0.999
"""On a TPU a group is among those looked at again with this probability; elsewhere always."""


@jax.tree_util.register_pytree_node_class
class ExactIndex(Index):
    """All passage vectors in device memory. Ties go to the lower row. A pytree, so that it can be a jitted argument."""

    approximate = False

    def __init__(
        self,
        vectors: Float[HostOrDevice, "N E"],
        mesh: Mesh | None = None,
        dtype: str = "float32",
        block_rows: int | None = None,
    ):
        """Divides the vectors over all devices of `mesh`; without one, this process's first device has them all.

        Args:
          dtype: `float32`, or `bfloat16`: half the memory, and products of rounded vectors and queries, summed in
            float32.
          block_rows: rows scanned at once.

        Raises:
          UserError: they do not fit; nothing was allocated.
        """
        self.num_passages, self.dimension = vectors.shape
        self._line = placement.in_a_line(mesh)
        size = placement.bytes_per_device(self.num_passages, self.dimension, dtype, mesh)
        placement.require_room(self.num_passages, {"vectors": size}, mesh)
        # Blocks of one size, as even as can be: 9,000 rows become 2 blocks of 4,608 and not 8,192 + 808 and padding.
        share = max(1, -(-self.num_passages // self._line.size))
        on_cpu = self._line.devices.flat[0].platform == "cpu"
        block_rows = block_rows or (BLOCK_ROWS_OF_CPU if on_cpu else BLOCK_ROWS)
        blocks = -(-share // block_rows)
        self._block_rows = -(-share // (LARGEST_GROUP * blocks)) * LARGEST_GROUP
        self.vectors = placement.divide(vectors, blocks * self._block_rows, dtype, self._line)

    @classmethod
    def build(cls, passages: Passages, settings: IndexConfig) -> None:
        """Nothing: it is the snapshot's vectors, laid on the devices of whoever opens it."""

    @classmethod
    def open(cls, directory: Path, vectors: np.ndarray, settings: IndexConfig, mesh: Mesh | None) -> "ExactIndex":
        return cls(vectors, mesh, settings.dtype)

    def tree_flatten(self) -> tuple[tuple[Any], tuple[Any, ...]]:
        return (self.vectors,), (self.num_passages, self.dimension, self._line, self._block_rows)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], vectors: Any) -> "ExactIndex":
        index = cls.__new__(cls)
        (index.vectors,) = vectors
        index.num_passages, index.dimension, index._line, index._block_rows = static
        return index

    def search_device(self, queries: Float[Array, "B E"], k: int) -> tuple[Float[Array, "B {k}"], Int[Array, "B {k}"]]:
        """`search` with arrays that stay on the devices: no host round trip, usable under `jit`."""
        return _search(self, queries, k)

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        # Merged on the host: the devices need not meet, so that any thread may search while others train.
        everywhere, found = NamedSharding(self._line, PartitionSpec()), []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            part = jax.device_put(queries[start : start + QUERIES_AT_ONCE], everywhere)
            found.append(jax.device_get(_search_shards(self, part, k)))
        scores, ids = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)


@functools.partial(jax.jit, static_argnames="k")
def _search(index: ExactIndex, queries: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Each device's best, gathered and merged."""
    found = _search_shards(index, queries, k)
    scores, ids = jax.lax.with_sharding_constraint(found, NamedSharding(index._line, PartitionSpec()))
    scores, at = jax.lax.top_k(scores, k)
    return scores, jnp.take_along_axis(ids, at, axis=1)


@functools.partial(jax.jit, static_argnames="k")
def _search_shards(index: ExactIndex, queries: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Each device's best [B, devices * k], side by side; devices hold rows in order, so a stable sort merges them."""
    search = jax.shard_map(
        functools.partial(_search_shard, count=index.num_passages, block_rows=index._block_rows, k=k),
        mesh=index._line,
        in_specs=(PartitionSpec(placement.AXIS), PartitionSpec()),
        out_specs=PartitionSpec(None, placement.AXIS),
    )
    return search(index.vectors, queries.astype(index.vectors.dtype))


def _search_shard(
    vectors: Float[Array, "rows E"], queries: Float[Array, "B E"], count: int, block_rows: int, k: int
) -> tuple[Float[Array, "B k_here"], Int[Array, "B k_here"]]:
    """The `k` best of one device's rows, or all of them where it has fewer; rows from `count` on are padding."""
    number, size = vectors.shape
    first = jax.lax.axis_index(placement.AXIS) * number
    k = min(k, number)
    # As many maxima to sort as rows to look at again; a power of two, which divides the block.
    group = min(LARGEST_GROUP, 1 << int(math.log2(math.sqrt(number / k))))

    def products(equation: str, chosen: jax.Array, ids: jax.Array) -> jax.Array:
        # HIGHEST: TPUs and recent GPUs would otherwise multiply float32 in fewer bits, and the scan would not be exact.
        scores = jnp.einsum(
            equation, queries, chosen, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32
        )
        return jnp.where(ids < count, scores, -jnp.inf)

    def scan_block(_: None, numbered: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        block, chosen = numbered
        ids = first + block * block_rows + jnp.arange(block_rows, dtype=jnp.int32)
        scores = products("be,re->br", chosen, ids[None])
        return None, scores.reshape(len(queries), -1, group).max(axis=-1)

    blocks = vectors.reshape(-1, block_rows, size)
    _, maxima = jax.lax.scan(scan_block, None, (jnp.arange(len(blocks), dtype=jnp.int32), blocks))
    best = jnp.sort(_best_groups(maxima.swapaxes(0, 1).reshape(len(queries), -1), k), axis=1)
    members = group * best[:, :, None] + jnp.arange(group, dtype=jnp.int32)[None, None]
    scores = products("be,bkge->bkg", vectors.reshape(-1, group, size)[best], first + members)
    # Rows stand in their order, and top_k puts the first of equal scores first.
    scores, at = jax.lax.top_k(scores.reshape(len(queries), -1), k)
    return scores, first + jnp.take_along_axis(members.reshape(len(queries), -1), at, axis=1)


def _best_groups(maxima: Float[Array, "B groups"], k: int) -> Int[Array, "B {k}"]:
    """Places of the `k` largest maxima, by the fastest way that a device has.

    Where JAX offers a sort on the GPU that does not keep the order of equal values, it is taken: of groups with equal
    maxima at the k-th place any will do.
    """
    keeps_no_order = {"is_stable": False} if "is_stable" in inspect.signature(jax.lax.top_k).parameters else {}

    def approximate(maxima: jax.Array) -> jax.Array:
        return jax.lax.approx_max_k(maxima, k, recall_target=TPU_RECALL)[1]

    def unstable(maxima: jax.Array) -> jax.Array:
        return jax.lax.top_k(maxima, k, **keeps_no_order)[1]

    def stable(maxima: jax.Array) -> jax.Array:
        return jax.lax.top_k(maxima, k)[1]

    return jax.lax.platform_dependent(maxima, tpu=approximate, cuda=unstable, rocm=unstable, default=stable)


def recall_against_exact(
    index: Index, vectors: Float[np.ndarray, "N E"], queries: Float[HostOrDevice, "B E"], k: int
) -> float:
    """Share of the `k` found passages, mean over queries, that are among the `k` with the largest inner products."""
    return Recall(vectors, queries, k)(index)


class Recall:
    """`recall_against_exact` of any number of indexes, for the price of one exact search.

    Products are compared, not rows: of several passages with one vector, any will do.
    """

    def __init__(self, vectors: Float[np.ndarray, "N E"], queries: Float[HostOrDevice, "B E"], k: int):
        self._vectors, self._queries, self._k = vectors, np.asarray(queries, dtype=np.float32), k
        size, blocks = MEASURED_AT_ONCE, []
        for start in range(0, len(vectors), size):
            part = ExactIndex(vectors[start : start + size])
            blocks.append(part.search(self._queries, min(k, part.num_passages))[0])
        worst = -np.sort(-np.concatenate(blocks, axis=1))[:, :k][:, -1:]
        self._enough = worst - 1e-5 * np.maximum(1.0, np.abs(worst))  # less what rounding may take

    def __call__(self, index: Index) -> float:
        _, found = index.search(self._queries, self._k)
        products = np.einsum("be,bke->bk", self._queries, self._vectors[np.maximum(found, 0)])
        return float(np.mean((found >= 0) & (products >= self._enough)))
