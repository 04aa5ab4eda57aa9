"""Options `evaluation`."""

import dataclasses
from typing import Annotated

from realm_jax.settings import Added, NotNegative, Part, Positive, Range, Rows


@dataclasses.dataclass(frozen=True)
class Evaluation(Part):
    """Measures after training."""

    batch_size: Rows = 16
    """Questions or queries at once."""
    read: Annotated[int, Range(1, 4096)] = 5
    """Passages read to answer a question."""
    heldout_queries: Positive = 400
    """Held-out masked queries, for recall."""
    read_queries: Positive = 160
    """How many of these are read with their candidates, for utility and p(null)."""
    examples: Positive = 20
    """Questions shown in the report."""
    wrong_costs: Annotated[NotNegative, Added()] = 1.0
    """Right answers that a wrong one costs you with `ask --unknown`, which may give none. The least probability of an
    answer is chosen on dev questions: it makes the right ones, less this many times the wrong ones, the most. 0 answers
    always."""
    bm25: bool = True
    """Whether BM25 is measured, alone and together with the vectors; it holds the words of all passages in memory."""
