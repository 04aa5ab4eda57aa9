"""Options `index`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.config.mesh import Mesh
from realm_jax.errors import UserError
from realm_jax.kinds import INDEXES
from realm_jax.settings import Added, Count, Fraction, Machine, NotNegative, Part, Positive, Range


@dataclasses.dataclass(frozen=True)
class Bm25(Part):
    """How BM25 counts."""

    stopwords: Literal["none", "en", "en_plus"] = "none"
    """Which words of a query do not count: `none`, or bm25s's lists `en` (Lucene's) and `en_plus` (with what, who,
    which ...)."""
    title_weight: Positive = 1
    """How often a passage's title is counted."""
    k1: NotNegative = 1.2
    """How late a word's repetitions stop to count."""
    b: Fraction = 0.75
    """How much long passages are held down."""


@dataclasses.dataclass(frozen=True)
class Index(Part):
    """Maximum inner product search, and the snapshots it reads."""

    kind: Literal[*INDEXES] = "scann"
    """`scann`: host memory, approximate; `exact`: device memory, a full scan; `bm25`: no search of vectors but of
    wordpieces that query and passage share, in training and in answering; its scores take the place of the inner
    products, and no embedder learns."""
    bm25: Annotated[Bm25, Added()] = Bm25()
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the exact index's vectors; bfloat16 halves them, and rounds products to three digits. Snapshots on disk
    are float32 always."""
    store: Annotated[Literal["host", "device"], Machine()] = "host"
    """Where pre-training gathers the tokens of candidates. `host`: from the memory-mapped store; `device`: from a copy
    on the devices beside the exact index, so that nothing waits for the host."""
    refresh_every: Positive = 1
    """Checkpoints from one snapshot to the next. The paper's stale index has 30; the result of pre-training always gets
    one."""
    refresh: Literal["beside", "inline"] = "beside"
    """Who embeds the passages again. `beside`: the job build_index, while training goes on; `inline`: the trainer
    itself, at these checkpoints, while training waits, for one accelerator without a second job; it searches each
    snapshot from the next step on, whatever `swap_after` is."""
    mesh: Annotated[Mesh, Machine()] = Mesh()
    """Of build_index: the devices of one process, each of which embeds a part of the passages. `--index.mesh.platform
    cpu` leaves the accelerator to the trainer."""
    swap_after: Count = 40
    """Steps after a checkpoint at which training swaps in the snapshot of that checkpoint, waiting if it is late: swaps
    then happen at the same steps in every run. 0: as soon as a newer snapshot is ready."""
    warn_after_s: Annotated[NotNegative, Machine()] = 120.0
    """Seconds without the snapshot that is due, after which the trainer warns."""
    stop_after_s: Annotated[NotNegative, Machine()] = 900.0
    """Seconds without the snapshot that is due, and without a passage embedded, after which the trainer stops with an
    error; and without any sign of progress from the others, after which a builder of several processes does."""
    keep: Annotated[int, Range(2), Machine()] = 3
    """Newest snapshots kept on disk; step 0's is always kept."""
    rows_per_batch: Positive = 32
    """Passages embedded at once, by one process."""

    @property
    def delay(self) -> int | None:
        """Steps from a checkpoint to the use of its snapshot; None where it is used as soon as it is there."""
        return 0 if self.refresh == "inline" else self.swap_after or None

    def check(self, name: str) -> None:
        if self.store == "device" and not INDEXES[self.kind].on_devices:
            fit = " or ".join(kind for kind, index in INDEXES.items() if index.on_devices)
            raise UserError(
                f"index.store: device needs index.kind {fit}, not {self.kind}, whose results come from the host"
            )
