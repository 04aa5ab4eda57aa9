"""ScaNN: approximate search in host memory (Guo et al. 2020, arXiv 1908.10396), for corpora past device memory."""

import contextlib
import copy
import dataclasses
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float

from realm_jax.config import Index as IndexConfig
from realm_jax.errors import UserError
from realm_jax.index.base import Index, Passages
from realm_jax.workdir import read_json, write_json

BRUTE_FORCE_BELOW = 2_000
TRAINING_ROWS = 100_000
NEIGHBORS = 10
DOUBLINGS = 4


@dataclasses.dataclass(frozen=True)
class Parameters:
    """How ScaNN divides and scores `count` vectors; without leaves it scans them all."""

    count: int
    leaves: int = 0
    leaves_to_search: int = 0
    min_leaf_size: int = 0
    reorder: int = 0
    """Best approximate scores that are computed again, exactly."""
    soar: float = 0.0
    """Lambda of SOAR, by which each vector lies in a second leaf too (Sun et al. 2023, arXiv 2404.00774); 0: in one."""

    @property
    def most_effort(self) -> int:
        """Past all leaves, each step of effort computes twice as many scores exactly."""
        return self.leaves + DOUBLINGS * (self.leaves > 0)

    def with_effort(self, effort: int) -> "Parameters":
        """`effort` leaves are searched; steps past the last leaf reorder more."""
        more = max(0, effort - self.leaves)
        reorder = min(self.count, self.reorder << more)
        return dataclasses.replace(self, leaves_to_search=min(effort, self.leaves), reorder=reorder)

    def for_depth(self, k: int) -> dict[str, int]:
        """Arguments of a search for `k` neighbours: deep ones look into more leaves and score more of them exactly."""
        if not self.leaves:
            return {"final_num_neighbors": k}
        enough = math.ceil(4 * k * self.leaves / self.count)
        return {
            "final_num_neighbors": k,
            "pre_reorder_num_neighbors": min(self.count, max(self.reorder, 4 * k)),
            "leaves_to_search": min(self.leaves, max(self.leaves_to_search, enough)),
        }

    def for_everything(self, k: int) -> dict[str, int]:
        """Arguments of a search that is sure to find `k` neighbours."""
        return self.for_depth(k) | ({"leaves_to_search": self.leaves} if self.leaves else {})


def choose_parameters(count: int) -> Parameters:
    """ScaNN's rules of thumb: about sqrt(N) leaves, asymmetric hashing of 2 dimensions a block, then exact reordering.

    They advise a plain scan below 20,000 points; here a tree is built from 2,000 on, because it costs little (half the
    leaves of a small tree are searched, falling to a tenth at 100,000 points) and makes small experiments run the code
    of large ones.
    """
    if count < BRUTE_FORCE_BELOW:
        return Parameters(count)
    leaves = round(math.sqrt(count))
    share = min(0.5, max(0.1, 10_000 / count))
    return Parameters(count, leaves, math.ceil(leaves * share), max(1, count // leaves // 10), reorder=200)


class ScannIndex(Index):
    """ScaNN's searcher over passage vectors."""

    def __init__(self, vectors: Float[np.ndarray, "N E"], parameters: Parameters | None = None):
        """Trains and builds a searcher; `parameters` default to `choose_parameters`."""
        self.num_passages, self.dimension = vectors.shape
        self.parameters = parameters or choose_parameters(self.num_passages)
        builder = _library().builder(np.ascontiguousarray(vectors, np.float32), NEIGHBORS, "dot_product")
        if self.parameters.leaves:
            builder = builder.tree(
                num_leaves=self.parameters.leaves,
                num_leaves_to_search=self.parameters.leaves_to_search,
                training_sample_size=min(self.num_passages, TRAINING_ROWS),
                min_partition_size=self.parameters.min_leaf_size,
                random_init=False,  # k-means++, whose seed is fixed: equal vectors give an equal index in every run
                soar_lambda=self.parameters.soar or None,
            )
            builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(self.parameters.reorder)
        else:
            builder = builder.score_brute_force()
        with _without_log_lines():
            self._searcher = builder.build()

    @classmethod
    def build(cls, passages: Passages, settings: IndexConfig) -> "ScannIndex":
        vectors = passages.vectors
        return cls(vectors, dataclasses.replace(choose_parameters(len(vectors)), soar=settings.soar))

    @property
    def effort(self) -> int:  # type: ignore[override]
        return self.parameters.leaves_to_search

    @property
    def most_effort(self) -> int:  # type: ignore[override]
        return self.parameters.most_effort

    def with_effort(self, effort: int) -> "ScannIndex":
        other = copy.copy(self)  # of one searcher, which is told with each search how far to look
        other.parameters = self.parameters.with_effort(effort)
        return other

    @property
    def looks(self) -> dict[str, int]:
        parameters = dataclasses.asdict(self.parameters)
        return {name: parameters[name] for name in ("leaves", "leaves_to_search", "reorder") if parameters[name]}

    def save(self, directory: Path) -> None:
        # ScaNN writes absolute paths unless told otherwise, and a published folder is renamed.
        self._searcher.serialize(str(directory), relative_path=True)
        write_json(directory / "index.json", dataclasses.asdict(self.parameters) | {"dimension": self.dimension})

    @classmethod
    def load(cls, directory: Path) -> "ScannIndex":
        index = cls.__new__(cls)
        saved = read_json(directory / "index.json")
        index.dimension = saved.pop("dimension")
        index.parameters = Parameters(**saved)
        index.num_passages = index.parameters.count
        index._searcher = _library().load_searcher(str(directory))
        return index

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = self._searcher.search_batched(queries, **self.parameters.for_depth(k))
        # The leaves that were searched may hold fewer than k passages; ScaNN then fills up with NaN.
        if short := np.flatnonzero(np.isnan(scores).any(axis=1)).tolist():
            found = self._searcher.search_batched(queries[short], **self.parameters.for_everything(k))
            ids[short], scores[short] = found
        missing = np.isnan(scores)
        ids, scores = np.where(missing, -1, ids.astype(np.int32)), np.where(missing, -np.inf, scores)
        order = np.lexsort((ids, -scores))  # ties go to the lower row, as in the exact index
        return np.take_along_axis(scores, order, 1).astype(np.float32), np.take_along_axis(ids, order, 1)


def _library() -> ModuleType:
    """ScaNN's Python module, imported on first use: it exists for Linux only."""
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise UserError(
            f"index.kind: scann cannot be loaded on this machine ({error}); it is made for Linux on x86-64 and arm64 "
            "with Python 3.9 to 3.13. Use `--index.kind exact`, or install it with `pip install scann`"
        ) from None
    return scann_ops_pybind


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Keeps ScaNN's log lines, which no option silences, out of the terminal; any other output passes."""
    log_line = re.compile(rb"^([IW]\d{4} [^\n]*\]|WARNING: All log messages before absl)[^\n]*\n", re.MULTILINE)
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            rest = log_line.sub(b"", held.read())
            if rest:
                os.write(2, rest)
