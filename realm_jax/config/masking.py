"""Options `masking`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.kinds import MASKINGS
from realm_jax.settings import Count, Fraction, Part, Positive, Range


@dataclasses.dataclass(frozen=True)
class Masking(Part):
    """What a pre-training query hides."""

    kind: Literal[*MASKINGS] = "salient"
    """What pre-training hides. `salient`: one salient span; `learned`: one span of any kind or one other word, in
    proportion to the retrieval utility measured for such ones, of pretrain.oversample drawn for each; `spans`: random
    spans of SpanBERT's lengths; `words`: whole words; `tokens`: wordpieces. Warm-up, probe and evaluation always hide
    salient spans."""
    temperature: Annotated[float, Range(0.05)] = 1.0
    """Of kind `learned`: 1 is in proportion to utility; more is more even, less prefers the best."""
    floor: Fraction = 0.2
    """Of kind `learned`: share of the draw that is even, whatever was measured."""
    decay: Fraction = 0.99
    """Of kind `learned`: what a measured utility counts for one step later."""
    fraction: Fraction = 0.15
    """Share of wordpieces hidden by the kinds that are not `salient`."""
    max_masks: Positive = 10
    """Masked positions per query at most, M; a salient span longer than this is not chosen."""
    types: tuple[str, ...] = ()
    """Types of salient spans that are chosen (`name`, `date`, `number`); none means all."""
    min_holders: Count = 0
    """A salient span is trained on only if its text stands in at least so many passages besides its origin ..."""
    max_holders: Count = 0
    """... and in at most so many; 0 means no limit. Not in the paper (there: 0 and 0)."""
    hide_label: bool = False
    """Whether a sentence's label ("Capital: ") is left out of its query, so that retrieval cannot go by it. Not in the
    paper."""
    subject: bool = True
    """Whether what the article is about opens the query: [CLS] subject : sentence [SEP]. Not in the paper; a sentence
    such as "Capital: Paris." says little without it."""

    def check(self, name: str) -> None:
        if 0 < self.max_holders < self.min_holders:
            raise UserError(
                f"masking.max_holders: {self.max_holders} is below masking.min_holders {self.min_holders}; it must be "
                "0 (no limit) or at least as large"
            )
