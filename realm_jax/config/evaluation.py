"""Options `evaluation`."""

import dataclasses

from realm_jax.settings import Part, Positive


@dataclasses.dataclass(frozen=True)
class Evaluation(Part):
    """What is measured after training."""

    batch_size: Positive = 16
    """Questions or queries at once."""
    read: Positive = 5
    """Passages read to answer a question."""
    heldout_queries: Positive = 400
    """Held-out masked queries, for recall."""
    read_queries: Positive = 160
    """Of these, how many are read with their candidates, for utility and p(null)."""
    examples: Positive = 20
    """Questions shown in the report."""
    bm25: bool = True
    """Whether BM25 is measured, which holds the words of all passages in memory."""
