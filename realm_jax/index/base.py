"""The one interface of all indexes."""

import abc

import jax
import numpy as np
from jaxtyping import Float, Int

from realm_jax.errors import UserError

HostOrDevice = np.ndarray | jax.Array


class Index(abc.ABC):
    """Finds the passages whose vectors have the largest inner products with a query's.

    An index holds the real passages, rows 0 to N - 1 of the passage store; never the null passage.
    """

    num_passages: int
    dimension: int | None
    """Size of vectors; None where queries are searched by their wordpieces."""

    def search(
        self, queries: Float[HostOrDevice, "B E"], k: int
    ) -> tuple[Float[np.ndarray, "B {k}"], Int[np.ndarray, "B {k}"]]:
        """Inner products, largest first, and the passages' rows; row -1 and product -inf where nothing was found.

        Raises:
          UserError: the index has fewer than `k` passages, or a query is not finite.
        """
        if not 1 <= k <= self.num_passages:
            raise UserError(f"search for {k} passages: the index holds {self.num_passages}; ask for 1 to that many")
        if self.dimension is not None and queries.shape[1] != self.dimension:
            raise ValueError(f"queries of size {queries.shape[1]} do not fit vectors of size {self.dimension}")
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if bad := int((~np.isfinite(queries).all(axis=1)).sum()):
            raise UserError(f"{bad} of {len(queries)} query vectors are not finite: training has diverged")
        return self._search(queries, k)

    @abc.abstractmethod
    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """`search`, of float32 queries that fit."""
