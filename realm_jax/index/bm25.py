"""BM25 over wordpieces: retrieval without learning and without vectors, from an inverted index in host memory."""

import logging
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int, Integer

from realm_jax.index.base import HostOrDevice, Index

K1, B = 1.2, 0.75
"""Lucene's."""
SPECIAL = (0, 102)
"""[PAD] and [SEP]; [CLS] opens every row, and [MASK] stands in no passage."""


class Bm25Index(Index):
    """Passages by the wordpieces that they share with a query, its title included.

    In the place of a query's vector it takes the query's row of wordpieces, as numbers.
    """

    dimension = None

    def __init__(self, tokens: Integer[np.ndarray, "N P"]):
        """`tokens` are the rows of all passages but the null passage."""
        passages = [_pieces(row) for row in tokens]
        vocabulary = {str(i): i for i in range(max((max(row, default=0) for row in passages), default=0) + 1)}
        self._index = library().BM25(k1=K1, b=B, backend="numpy")
        self._index.index((passages, vocabulary), create_empty_token=False, show_progress=False)
        self.num_passages = len(passages)

    def save(self, directory: Path) -> None:
        """Writes the inverted index into a folder that may be moved afterwards."""
        self._index.save(directory, show_progress=False)

    @classmethod
    def load(cls, directory: Path) -> "Bm25Index":
        index = cls.__new__(cls)
        index._index = library().BM25.load(directory, mmap=True)
        index.num_passages = int(index._index.scores["num_docs"])
        return index

    def scores(self, queries: Float[HostOrDevice, "B T"], rows: Int[np.ndarray, "B K"]) -> Float[np.ndarray, "B K"]:
        """Of given passages; 0 for the null passage, whose row follows the last one's."""
        null = np.zeros(1, np.float32)
        return np.stack(
            [
                np.concatenate([self._of_all(query), null])[at]
                for query, at in zip(np.asarray(queries), rows, strict=True)
            ]
        )

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int32)
        for i, query in enumerate(queries):
            of_all = self._of_all(query)
            rows[i] = np.argsort(-of_all, kind="stable")[:k]  # ties go to the lower row
            scores[i] = of_all[rows[i]]
        return scores, rows

    def _of_all(self, query: np.ndarray) -> Float[np.ndarray, "N"]:
        size = len(self._index.scores["indptr"]) - 1
        known = [piece for piece in _pieces(query.astype(np.int64)) if piece < size]
        return self._index.get_scores_from_ids(known) if known else np.zeros(self.num_passages, np.float32)


def _pieces(row: np.ndarray) -> list[int]:
    return [piece for piece in row[1:].tolist() if piece not in SPECIAL]


def library() -> ModuleType:
    """bm25s, imported on first use: with it JAX's devices are taken, and joining other processes is too late."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of every index it builds
    return bm25s
