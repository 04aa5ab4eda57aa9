"""The interface of every kind of retriever, and of those that search vectors."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, Integer

from realm_jax.config import Index as IndexConfig
from realm_jax.errors import UserError

HostOrDevice = np.ndarray | jax.Array
Embed = Callable[[Any], Any]
"""Token rows [R, T] int32 -> their vectors [R, E], an array of NumPy or of the device."""
Found = tuple[Float[np.ndarray, "B k"], Int[np.ndarray, "B k"]]
"""f(x, z) of passages, and their rows, best first; row -1 and score -inf where nothing was found."""


@dataclasses.dataclass(frozen=True)
class Passages:
    """The input of an index: all passages but the null passage."""

    vectors: Float[np.ndarray, "N E"]
    tokens: Integer[np.ndarray, "N P"]
    vocabulary: Mapping[str, int]
    """The number of each wordpiece."""


class Retriever(abc.ABC):
    """Finds passages for query rows, and is built, saved and opened with a snapshot.

    It holds the real passages, rows 0 to N - 1 of the passage store, and searches with the output of `encode` for query
    rows: a tree of arrays that have a row for each query.
    """

    num_passages: int
    approximate = False
    """Whether it may miss the largest inner products: its recall is then measured when it is built."""
    effort = most_effort = 0
    """How far an approximate index looks, in steps of its own, and can look; see `with_effort`."""

    @classmethod
    @abc.abstractmethod
    def build(cls, passages: Passages, settings: IndexConfig) -> "Retriever | None":
        """The files that are saved with a snapshot; None where `open` needs nothing but the snapshot's vectors."""

    def with_effort(self, effort: int) -> "Retriever":
        """The same index, which looks as far as `effort` says: recall and the time of a search grow with it."""
        raise NotImplementedError(f"{type(self).__name__} has no effort to choose")

    @property
    def looks(self) -> dict[str, int]:
        """How far it looks, in the words of its kind; for the manifest and the results."""
        return {}

    def save(self, directory: Path) -> None:
        """Writes its files into a folder that is there, and that may be moved afterwards."""
        raise NotImplementedError(f"{type(self).__name__} has no files")

    @classmethod
    @abc.abstractmethod
    def open(cls, directory: Path, vectors: np.ndarray, settings: IndexConfig, mesh: Mesh | None) -> "Retriever":
        """From the files that `save` wrote and the passages' vectors [N,E]; a kind that lies on devices takes those of
        `mesh`, or this process's first one."""

    @staticmethod
    @abc.abstractmethod
    def encode(embed: Embed, queries: Int[HostOrDevice, "B Q"]) -> Any:
        """The search input for query rows; waits for the devices only if `embed` does."""

    def retrieve(self, embed: Embed, queries: Int[HostOrDevice, "B Q"], k: int) -> Found:
        """The best `k` passages for query rows."""
        return self.search(self.encode(embed, queries), k)

    def search(self, encoded: Any, k: int) -> Found:
        """Raises UserError if the index has fewer than `k` passages, or the search input is not finite."""
        if not 1 <= k <= self.num_passages:
            raise UserError(f"search for {k} passages: the index holds {self.num_passages}; ask for 1 to that many")
        return self._search(encoded, k)

    @abc.abstractmethod
    def _search(self, encoded: Any, k: int) -> Found:
        """`search`, for input that fits."""

    def own_scores(self, encoded: Any, rows: Int[HostOrDevice, "B K"]) -> Float[np.ndarray, "B K"] | None:
        """Scores of given passages, the null one among them, that the loss takes as they are; None where the models
        score them anew, with the parameters of the moment."""
        return None


class Index(Retriever):
    """Maximum inner product search: the passages whose vectors have the largest products with a query's.

    A kind that has files is made of vectors, and has `save` and `load`; another has `build` and `open` of its own.
    """

    dimension: int
    approximate = True

    @classmethod
    def load(cls, directory: Path) -> "Index":
        """From the files that `save` wrote."""
        raise NotImplementedError(f"{cls.__name__} has no files")

    @classmethod
    def build(cls, passages: Passages, settings: IndexConfig) -> "Index | None":
        return cls(passages.vectors)  # type: ignore[call-arg]

    @classmethod
    def open(cls, directory: Path, vectors: np.ndarray, settings: IndexConfig, mesh: Mesh | None) -> "Index":
        return cls.load(directory)

    @staticmethod
    def encode(embed: Embed, queries: Int[HostOrDevice, "B Q"]) -> Float[HostOrDevice, "B E"]:
        return embed(queries)

    def search(self, encoded: Float[HostOrDevice, "B E"], k: int) -> Found:
        if encoded.shape[1] != self.dimension:
            raise ValueError(f"queries of size {encoded.shape[1]} do not fit vectors of size {self.dimension}")
        vectors = np.ascontiguousarray(encoded, dtype=np.float32)
        if bad := int((~np.isfinite(vectors).all(axis=1)).sum()):
            raise UserError(f"{bad} of {len(vectors)} query vectors are not finite: training has diverged")
        return super().search(vectors, k)
