"""Options `masking`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.kinds import MASKINGS, MaskingKind
from realm_jax.settings import Count, Fraction, Part, Range


@dataclasses.dataclass(frozen=True)
class Masking(Part):
    """The words that a pre-training query hides."""

    kind: Literal[*MASKINGS] = "salient"
    """The words that pre-training hides. `salient`: one salient span; `learned`: one span of any kind or one other
    word, in proportion to the retrieval utility measured for such ones, of pretrain.oversample drawn for each; `spans`:
    random spans of SpanBERT's lengths; `words`: whole words; `tokens`: wordpieces. Warm-up, probe and evaluation always
    hide salient spans."""
    temperature: Annotated[float, Range(0.05, 1e6)] = 1.0
    """For kind `learned`: 1 draws in proportion to utility, more draws more evenly, less prefers the best."""
    floor: Fraction = 0.2
    """For kind `learned`: share of the draw that is even, independent of all measures."""
    decay: Fraction = 0.99
    """For kind `learned`: the weight of a measured utility one step later."""
    fraction: Fraction = 0.15
    """Share of wordpieces hidden by the kinds `spans`, `words` and `tokens`."""
    max_masks: Annotated[int, Range(1, 512)] = 10
    """Most masked positions per query, M; a longer salient span is not chosen."""
    types: tuple[str, ...] = ()
    """Types of salient spans that are chosen (`name`, `date`, `number`); none means all."""
    min_holders: Count = 0
    """Train on a salient span only if at least this many passages besides its origin have its text ..."""
    max_holders: Count = 0
    """... and at most this many; 0 means no limit. Not in the paper (there: 0 and 0)."""
    hide_label: bool = False
    """Whether to leave a sentence's label ("Capital: ") out of its query, so that retrieval cannot go by it. Not in the
    paper."""
    subject: bool = True
    """Whether the article's subject opens the query: [CLS] subject : sentence [SEP]. Not in the paper; a sentence
    such as "Capital: Paris." says little without it."""

    @property
    def choice(self) -> MaskingKind:
        """The row of `kind`."""
        return MASKINGS[self.kind]

    def check(self, name: str) -> None:
        if 0 < self.max_holders < self.min_holders:
            raise UserError(
                f"masking.max_holders: {self.max_holders} is below masking.min_holders {self.min_holders}; it must be "
                "0 (no limit) or at least as large"
            )
