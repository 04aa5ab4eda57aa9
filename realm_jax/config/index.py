"""Options `index`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.config.mesh import Mesh
from realm_jax.errors import UserError
from realm_jax.kinds import INDEXES
from realm_jax.settings import MANY, Added, Count, First, Fraction, Machine, NotNegative, Part, Positive, Range, Rows


@dataclasses.dataclass(frozen=True)
class Bm25(Part):
    """How BM25 scores."""

    stopwords: Literal["none", "en", "en_plus"] = "none"
    """Words of a query that do not count: `none`, or bm25s's lists `en` (Lucene's) and `en_plus` (with question
    words)."""
    title_weight: Annotated[int, Range(1, 1000)] = 1
    """How often a passage's title is counted."""
    k1: NotNegative = 1.2
    """How many repetitions of a word count: more with a larger number."""
    b: Fraction = 0.75
    """How much a long passage is held down: 0 not at all, 1 fully."""


@dataclasses.dataclass(frozen=True)
class Index(Part):
    """Maximum inner product search, and the snapshots it reads."""

    kind: Annotated[Literal[*INDEXES], First()] = "scann"
    """How passages are found. `scann`: approximate search in host memory. `exact`: a full scan in device memory.
    `hybrid`: `exact` and `bm25` together, by the sum of their scores (`index.bm25_weight`); p(z|x) comes from the
    vectors alone. `bm25`: by the wordpieces that query and passage share, in training and in answering; its scores
    replace the inner products, and no embedder learns."""
    bm25: Annotated[Bm25, Added()] = Bm25()
    bm25_weight: Annotated[Fraction, Added()] = 0.2
    """Share of BM25 in the scores of `hybrid`, after both are brought to [0, 1]. `evaluate` tells you the best one on
    dev questions."""
    recall: Annotated[Fraction, Added()] = 0.98
    """Share of the ten best passages that an approximate index finds. Each build measures it with held-out queries, and
    chooses the least effort that reaches it (with ScaNN: leaves to search); 0 keeps the effort of the kind's rule."""
    soar: Annotated[NotNegative, Added()] = 0.0
    """With `scann`: lambda of SOAR, such as 1.5, which puts each passage into a second leaf too. Fewer leaves then give
    the same recall, but each is larger, as are memory and the time of a build: docs/results/mips.txt compares them."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the exact index's vectors. bfloat16 halves their memory and rounds products to three digits. Snapshots on
    disk are always float32."""
    store: Annotated[Literal["host", "device"], Machine()] = "host"
    """Where pre-training gathers the tokens of candidates. `host`: from the memory-mapped store; `device`: from a copy
    on the devices beside the exact index, so that nothing waits for the host."""
    refresh_every: Positive = 1
    """Checkpoints from one snapshot to the next. The paper's stale index has 30; the result of pre-training always gets
    one."""
    refresh: Annotated[Literal["beside", "inline"], First()] = "beside"
    """Who embeds the passages again. `beside`: the job build_index, while training goes on. `inline`: the trainer
    itself, at these checkpoints, while training waits; you need no second job. It searches each snapshot from the next
    step on, and ignores `swap_after`."""
    mesh: Annotated[Mesh, Machine()] = Mesh()
    """The devices of one process of build_index; each embeds a part of the passages. `--index.mesh.platform cpu` leaves
    your accelerator to the trainer."""
    swap_after: Count = 40
    """Steps from a checkpoint to the swap to its snapshot. Training waits if the snapshot is late, so that swaps happen
    at the same steps in every run. 0 swaps as soon as a newer snapshot is ready."""
    warn_after_s: Annotated[NotNegative, Machine()] = 120.0
    """Seconds without the due snapshot after which the trainer warns you."""
    stop_after_s: Annotated[NotNegative, Machine()] = 900.0
    """Seconds without the due snapshot and without a passage embedded, after which the trainer stops with an error. A
    builder of several processes stops after as long without progress of the others."""
    keep: Annotated[int, Range(2, MANY), Machine()] = 3
    """Newest snapshots kept on disk; step 0's is always kept."""
    rows_per_batch: Rows = 32
    """Passages embedded at once, by one process."""

    @property
    def delay(self) -> int | None:
        """Steps from a checkpoint to the use of its snapshot; None where it is used as soon as it is there."""
        return 0 if self.refresh == "inline" else self.swap_after or None

    def check(self, name: str) -> None:
        if self.store == "device" and not INDEXES[self.kind].is_program:
            fit = " or ".join(kind for kind, index in INDEXES.items() if index.is_program)
            raise UserError(
                f"index.store: device needs index.kind {fit}, not {self.kind}, whose results come from the host"
            )
