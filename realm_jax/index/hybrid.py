"""Words and vectors together: passages that BM25 or exact search of vectors finds, by a weighted sum of both scores.

Both decide which passages are retrieved, and in which order; p(z|x) comes from the vectors alone, as it does with any
index of vectors. So training and answering differ in the passages that they are given, and in nothing else.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from realm_jax.config import Index as IndexConfig
from realm_jax.index.base import Embed, Found, HostOrDevice, Passages, Retriever
from realm_jax.index.bm25 import Bm25Index
from realm_jax.index.exact import ExactIndex

LEAST_DEPTH = 100
"""Passages that each of the two finds at least, of which the best together are taken."""


class HybridIndex(Retriever):
    """Both scores are first brought to [0, 1] over the passages that either finds: one weight fits any embedder."""

    def __init__(self, exact: ExactIndex, vectors: Float[np.ndarray, "N E"], bm25: Bm25Index, weight: float):
        """`weight` is that of BM25, 0 to 1; the vectors' is the rest."""
        self._exact, self._vectors, self._bm25, self._weight = exact, vectors, bm25, weight
        self.num_passages = exact.num_passages

    @classmethod
    def build(cls, passages: Passages, settings: IndexConfig) -> "HybridIndex":
        exact = ExactIndex(passages.vectors)
        return cls(exact, passages.vectors, Bm25Index.build(passages, settings), settings.bm25_weight)

    def save(self, directory: Path) -> None:
        self._bm25.save(directory)

    @classmethod
    def open(cls, directory: Path, vectors: np.ndarray, settings: IndexConfig, mesh: Mesh | None) -> "HybridIndex":
        exact = ExactIndex.open(directory, vectors, settings, mesh)
        return cls(exact, vectors, Bm25Index.open(directory, vectors, settings, mesh), settings.bm25_weight)

    def weighted(self, weight: float) -> "HybridIndex":
        """The same index with another weight of BM25."""
        other = copy.copy(self)
        other._weight = weight
        return other

    @staticmethod
    def encode(embed: Embed, queries: Int[HostOrDevice, "B Q"]) -> tuple[Any, Any]:
        return embed(queries), queries

    def _search(self, encoded: tuple[Any, Any], k: int) -> Found:
        """The products of the vectors, of passages in the order of the weighted sum."""
        embedded = np.asarray(encoded[0], np.float32)
        depth = min(max(2 * k, LEAST_DEPTH), self.num_passages)
        _, near = self._exact.search(embedded, depth)
        scores = np.empty((len(embedded), k), np.float32)
        rows = np.empty((len(embedded), k), np.int32)
        for i, (vector, words) in enumerate(zip(embedded, self._bm25.all_scores(encoded[1]), strict=True)):
            either = np.union1d(near[i], np.argsort(-words, kind="stable")[:depth])
            products = np.asarray(self._vectors[either], np.float32) @ vector
            both = (1 - self._weight) * _unit(products) + self._weight * _unit(words[either])
            best = np.argsort(-both, kind="stable")[:k]  # ties go to the lower row
            scores[i], rows[i] = products[best], either[best]
        return scores, rows


def _unit(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Brought to [0, 1]; all 0 where all are equal."""
    least = scores.min()
    return (scores - least) / ((scores.max() - least) or 1)
