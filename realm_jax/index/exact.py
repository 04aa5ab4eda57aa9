"""Exact search: a full scan on the device, block by block, so that no [B, N] matrix of scores is ever whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from realm_jax.index.base import HostOrDevice, Index

BLOCK_ROWS = 8192


class ExactIndex(Index):
    """All passage vectors in device memory. Ties go to the lower row."""

    def __init__(self, vectors: Float[HostOrDevice, "N E"], block_rows: int = BLOCK_ROWS):
        self.num_passages, self.dimension = vectors.shape
        # Blocks of one size, as even as can be: 9,000 rows become 2 blocks of 4,504 and not 8,192 + 808 and padding.
        number = max(1, -(-self.num_passages // block_rows))
        rows = max(1, -(-self.num_passages // (8 * number))) * 8
        padded = np.zeros((number * rows, self.dimension), np.float32)
        padded[: self.num_passages] = vectors
        self.blocks = jnp.asarray(padded.reshape(number, rows, self.dimension))
        self.count = jnp.asarray(self.num_passages, jnp.int32)

    def search_device(self, queries: Float[Array, "B E"], k: int) -> tuple[Float[Array, "B {k}"], Int[Array, "B {k}"]]:
        """`search` with arrays that stay on the device: no host round trip, usable under `jit`."""
        return search_blocks(self.blocks, self.count, queries, k)

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, ids = jax.device_get(self.search_device(jnp.asarray(queries), k))
        return scores, ids


@functools.partial(jax.jit, static_argnames="k")
def search_blocks(
    blocks: Float[Array, "blocks rows E"], count: Int[Array, ""], queries: Float[Array, "B E"], k: int
) -> tuple[Float[Array, "B {k}"], Int[Array, "B {k}"]]:
    """The `k` largest inner products among the first `count` rows of all blocks, and these rows."""
    rows = blocks.shape[1]

    def scan_block(best, block):
        best_scores, best_ids = best
        number, vectors = block
        # HIGHEST: TPUs and recent GPUs would otherwise multiply float32 in fewer bits, and the scan would not be exact.
        scores = jnp.einsum("be,re->br", queries, vectors, precision=jax.lax.Precision.HIGHEST)
        ids = number * rows + jnp.arange(rows, dtype=jnp.int32)
        scores = jnp.where((ids < count)[None, :], scores, -jnp.inf)
        block_scores, at = jax.lax.top_k(scores, min(k, rows))
        # top_k puts the first of equal scores first; earlier blocks stand first, so ties go to the lower row.
        scores = jnp.concatenate([best_scores, block_scores], axis=1)
        ids = jnp.concatenate([best_ids, ids[at]], axis=1)
        best_scores, at = jax.lax.top_k(scores, k)
        return (best_scores, jnp.take_along_axis(ids, at, axis=1)), None

    nothing = (jnp.full((queries.shape[0], k), -jnp.inf), jnp.full((queries.shape[0], k), -1, jnp.int32))
    numbers = jnp.arange(blocks.shape[0], dtype=jnp.int32)
    best, _ = jax.lax.scan(scan_block, nothing, (numbers, blocks))
    return best


def recall_against_exact(
    index: Index, vectors: Float[np.ndarray, "N E"], queries: Float[HostOrDevice, "B E"], k: int
) -> float:
    """Share of the `k` found passages, mean over queries, that are among the `k` with the largest inner products.

    Products are compared, not rows: of several passages with one vector, any will do.
    """
    queries = np.asarray(queries, dtype=np.float32)
    best, _ = ExactIndex(vectors).search(queries, k)
    _, found = index.search(queries, k)
    products = np.einsum("be,bke->bk", queries, vectors[np.maximum(found, 0)])
    rounding = 1e-5 * np.maximum(1.0, np.abs(best[:, -1:]))
    return float(np.mean((found >= 0) & (products >= best[:, -1:] - rounding)))
