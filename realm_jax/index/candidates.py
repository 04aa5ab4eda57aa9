"""From search results to the passages that are read for a query: the null passage, and the best that are not banned."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from realm_jax.errors import UserError
from realm_jax.index.base import Retriever
from realm_jax.index.exact import ExactIndex

NULL_CANDIDATE = 0
"""Place of the null passage among the candidates."""
REMEDY = "take a larger corpus, or less of what asks for most of them: pretrain.candidates or pretrain.answer_within"


def search_candidates(
    index: Retriever, encoded: Any, banned: Int[np.ndarray, "B X"], k: int, null_id: int
) -> Int[np.ndarray, "B {k}"]:
    """Rows of `k` passages per query: the null passage, then the best k - 1 that are not banned.

    Where too many of the best are banned the search goes deeper: a banned passage never comes back.

    Args:
      encoded: the search input that the index made of the query rows (`Retriever.encode`).
      banned: rows that must not be read, the query's origin above all; -1 bans nothing.
      null_id: the null passage's row.

    Raises:
      UserError: fewer than k - 1 passages are left.
    """
    depth = min(k - 1 + banned.shape[1], index.num_passages)
    while True:
        _, found = index.search(encoded, depth)
        allowed = (found >= 0) & ~(found[:, :, None] == banned[:, None, :]).any(axis=-1)
        if (allowed.sum(axis=1) >= k - 1).all():
            best = np.argsort(~allowed, axis=1, kind="stable")[:, : k - 1]
            null = np.full((len(found), 1), null_id, np.int32)
            return np.concatenate([null, np.take_along_axis(found, best, axis=1)], axis=1)
        if depth == index.num_passages:
            row = int(allowed.sum(axis=1).argmin())
            raise UserError(
                f"query {row} of a batch: only {allowed[row].sum()} of {depth} passages may be read, but {k - 1} are "
                f"asked for beside the null passage; {REMEDY}"
            )
        depth = min(2 * depth, index.num_passages)


def search_candidates_device(
    index: ExactIndex, queries: Float[Array, "B E"], banned: Int[Array, "B X"], k: int, null_id: int
) -> Int[Array, "B {k}"]:
    """`search_candidates` with arrays that stay on the device, usable under `jit`.

    The exact index needs no second look: of the best k - 1 + X passages at most X are banned.

    Raises:
      UserError: the index has fewer than k - 1 + X passages.
    """
    depth = k - 1 + banned.shape[1]
    if depth > index.num_passages:
        raise UserError(
            f"{k - 1} passages beside up to {banned.shape[1]} banned ones cannot be taken from {index.num_passages}; "
            f"{REMEDY}"
        )
    _, found = index.search_device(queries, depth)
    forbidden = (found[:, :, None] == banned[:, None, :]).any(axis=-1)
    best = jnp.argsort(forbidden, axis=1, stable=True)[:, : k - 1]
    null = jnp.full((found.shape[0], 1), null_id, jnp.int32)
    return jnp.concatenate([null, jnp.take_along_axis(found, best, axis=1)], axis=1)
