"""BM25: retrieval without learning and without vectors, from an inverted index in host memory."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, Integer

from realm_jax.config import Bm25 as Bm25Config
from realm_jax.config import Index as IndexConfig
from realm_jax.index.base import Embed, Found, HostOrDevice, Passages, Retriever
from realm_jax.text.features import PAD

Terms = Sequence[list[int]]
"""Of each passage or query."""


class Bm25:
    """Passages by the terms that they share with a query; a term is the number of a word, or of a wordpiece."""

    def __init__(self, titles: Terms, bodies: Terms, vocabulary: Mapping[str, int], settings: Bm25Config):
        """`vocabulary` has the number of each term."""
        index = library().BM25(k1=settings.k1, b=settings.b, backend="numpy")
        texts = [title * settings.title_weight + body for title, body in zip(titles, bodies, strict=True)]
        index.index((texts, dict(vocabulary)), create_empty_token=False, show_progress=False)
        self._take(index, settings)

    def save(self, directory: Path) -> None:
        self._index.save(directory, show_progress=False)

    @classmethod
    def load(cls, directory: Path, settings: Bm25Config) -> "Bm25":
        """Of the settings the stop words alone still matter: they count in passages, and not in queries."""
        bm25 = cls.__new__(cls)
        bm25._take(library().BM25.load(directory, mmap=True), settings)
        return bm25

    def _take(self, index: Any, settings: Bm25Config) -> None:
        lists, vocabulary = library().stopwords, index.vocab_dict
        ignored = {"none": (), "en": lists.STOPWORDS_EN, "en_plus": lists.STOPWORDS_EN_PLUS}[settings.stopwords]
        self._index, self._ignored = index, {vocabulary[word] for word in ignored if word in vocabulary}
        self.num_passages = int(index.scores["num_docs"])

    def scores(self, query: list[int]) -> Float[np.ndarray, " N"]:
        """Of all passages."""
        size = len(self._index.scores["indptr"]) - 1
        known = [term for term in query if term < size and term not in self._ignored]
        return self._index.get_scores_from_ids(known) if known else np.zeros(self.num_passages, np.float32)

    def search(self, queries: Terms, k: int) -> Found:
        """The best passages; k at most their number."""
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int32)
        for i, query in enumerate(queries):
            of_all = self.scores(query)
            rows[i] = np.argsort(-of_all, kind="stable")[:k]  # ties go to the lower row
            scores[i] = of_all[rows[i]]
        return scores, rows


class Bm25Index(Retriever):
    """Takes the wordpieces of query rows themselves. Nothing of it learns, so the loss takes its scores."""

    def __init__(self, bm25: Bm25):
        self._bm25, self.num_passages = bm25, bm25.num_passages

    @classmethod
    def build(cls, passages: Passages, settings: IndexConfig) -> "Bm25Index":
        titles, bodies = zip(*map(_title_and_body, passages.tokens), strict=True)
        return cls(Bm25(titles, bodies, passages.vocabulary, settings.bm25))

    def save(self, directory: Path) -> None:
        self._bm25.save(directory)

    @classmethod
    def open(cls, directory: Path, vectors: np.ndarray, settings: IndexConfig, mesh: Mesh | None) -> "Bm25Index":
        return cls(Bm25.load(directory, settings.bm25))

    @staticmethod
    def encode(embed: Embed, queries: Int[HostOrDevice, "B Q"]) -> Int[HostOrDevice, "B Q"]:
        return queries

    def own_scores(self, encoded: Int[HostOrDevice, "B Q"], rows: Int[HostOrDevice, "B K"]) -> Float[np.ndarray, "B K"]:
        """0 for the null passage, whose row follows the last one's."""
        null = np.zeros(1, np.float32)
        scores = (np.concatenate([of_passages, null]) for of_passages in self.all_scores(encoded))
        return np.stack([of_all[at] for of_all, at in zip(scores, rows, strict=True)])

    def all_scores(self, encoded: Int[HostOrDevice, "B Q"]) -> Iterator[Float[np.ndarray, " N"]]:
        """Of each query, those of all passages."""
        return map(self._bm25.scores, _pieces(encoded))

    def _search(self, encoded: Int[HostOrDevice, "B Q"], k: int) -> Found:
        return self._bm25.search(_pieces(encoded), k)


def _pieces(queries: Int[HostOrDevice, "B Q"]) -> list[list[int]]:
    """The wordpieces of `[CLS] query [SEP] PAD...`."""
    rows = (row[row != PAD].tolist() for row in np.asarray(queries))
    return [[piece for piece in row[1:] if piece != row[-1]] for row in rows]


def _title_and_body(row: Integer[np.ndarray, " P"]) -> tuple[list[int], list[int]]:
    """The wordpieces of `[CLS] title [SEP] body [SEP] PAD...`."""
    first, last = np.flatnonzero(row == row[row != PAD][-1])[[0, -1]]
    return row[1:first].tolist(), row[first + 1 : last].tolist()


def library() -> ModuleType:
    """bm25s, imported on first use: with it JAX's devices are taken, and joining other processes is too late."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of every index it builds
    return bm25s
