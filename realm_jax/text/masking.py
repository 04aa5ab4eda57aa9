"""The words that a pre-training query hides: salient spans (REALM, section 3.4), random spans, whole words or
wordpieces.

On the host, and a function of its arguments and a NumPy generator alone. A hidden wordpiece always becomes [MASK], as
in REALM: BERT's random and kept replacements are not used.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

GEOMETRIC_P = 0.2
"""SpanBERT (Joshi et al. 2020, section 3.1): lengths of random spans in words, cut at ..."""
LONGEST_SPAN = 10


@dataclasses.dataclass(frozen=True)
class Special:
    """Ids of the special tokens."""

    pad: int
    cls: int
    sep: int
    mask: int


@dataclasses.dataclass(frozen=True)
class MaskedQuery:
    """A query and its hidden words; arrays of max_masks elements are filled up with zeros."""

    query: Int32[np.ndarray, " Q"]
    """[CLS] prefix sentence [SEP] PAD..., with [MASK] in places."""
    mask_positions: Int32[np.ndarray, " M"]
    """Places of the masks in `query`, ascending."""
    mask_targets: Int32[np.ndarray, " M"]
    """Wordpieces that stood there."""
    mask_weights: Float32[np.ndarray, " M"]
    """1 for a mask, 0 for filling."""
    mask_spans: Int32[np.ndarray, " M"]
    """Which hidden span a mask belongs to, counted from 0 in the order of the text."""
    chosen: int
    """Index of the salient span that is hidden; -1 for the other kinds."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A sentence as a kind of masking sees it. Wordpieces go by their places in it."""

    ids: Int[np.ndarray, " n"]
    continues: Bool[np.ndarray, " n"]
    """Which go on with a word."""
    spans: list[tuple[int, int, int]]
    """(index, first, limit) of the salient spans that may be hidden."""
    budget: int
    """How many to hide: `masking.fraction` of them, but at least one and at most `masking.max_masks`."""

    @cached_property
    def words(self) -> list[np.ndarray]:
        """Places of each word's wordpieces."""
        starts = np.flatnonzero(~self.continues[1:]) + 1
        return np.split(np.arange(len(self.ids)), starts) if len(self.ids) else []


class Hidden(NamedTuple):
    """The choice of a kind of masking."""

    groups: list[np.ndarray]
    """Places that are hidden together, in one array each, which do not overlap: one of `Pieces.spans`, or at most
    `Pieces.budget` places; no array where nothing can be hidden."""
    span: int = -1
    """Index of the salient span that this is; -1 for other things."""


Hide = Callable[[Pieces, np.random.Generator], Hidden]
"""A kind of masking; kinds.MASKINGS has them by name."""


def mask_query(
    ids: Int[np.ndarray, " n"],
    offsets: Int[np.ndarray, "n 2"],
    spans: Sequence[Sequence[int]],
    hide: Hide,
    generator: np.random.Generator,
    *,
    query_length: int,
    max_masks: int,
    special: Special,
    continues: Bool[np.ndarray, " V"],
    fraction: float = 0.15,
    prefix: Sequence[int] | Int[np.ndarray, " p"] = (),
) -> MaskedQuery | None:
    """Hides a part of one sentence; None where nothing of it can be hidden.

    Args:
      ids, offsets: the sentence's wordpieces, without special tokens, and their characters.
      spans: salient spans (start, limit, ...) in characters of the sentence; those may be hidden that are whole within
        the query and no longer than `max_masks`.
      query_length: wordpieces of a query, Q; the end of a sentence that does not fit is cut off.
      continues: True for wordpieces of the vocabulary that go on with a word.
      prefix: wordpieces before the sentence (the title) that are never hidden; cut at half of the query.
    """
    prefix = np.asarray(prefix, np.int32)[: (query_length - 2) // 2]
    ids = np.asarray(ids, np.int32)[: query_length - 2 - len(prefix)]
    budget = min(max_masks, max(1, round(fraction * len(ids)))) if len(ids) else 0
    usable = usable_spans(offsets, spans, len(ids), max_masks)
    groups, chosen = hide(Pieces(ids, continues[ids], usable, budget), generator)
    return _masked(ids, prefix, groups, chosen, query_length, max_masks, special) if groups else None


def salient_span(pieces: Pieces, generator: np.random.Generator) -> Hidden:
    """One of the salient spans (REALM, section 3.4)."""
    if not pieces.spans:
        return Hidden([])
    index, first, limit = pieces.spans[int(generator.integers(len(pieces.spans)))]
    return Hidden([np.arange(first, limit)], index)


def random_tokens(pieces: Pieces, generator: np.random.Generator) -> Hidden:
    return Hidden(_drawn([np.array([i]) for i in range(len(pieces.ids))], pieces.budget, generator))


def random_words(pieces: Pieces, generator: np.random.Generator) -> Hidden:
    return Hidden(_drawn(pieces.words, pieces.budget, generator))


def usable_spans(
    offsets: Int[np.ndarray, "n 2"], spans: Sequence[Sequence[int]], length: int, max_masks: int
) -> list[tuple[int, int, int]]:
    """(index, first, limit) of the spans whose wordpieces lie within the first `length` and are at most `max_masks`.

    A wordpiece that a span shares with its surroundings belongs to it, so that no part of a span can be read.
    """
    usable = []
    for index, (start, end, *_) in enumerate(spans):
        inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end))
        if 0 < len(inside) <= max_masks and inside[-1] < length:
            usable.append((index, int(inside[0]), int(inside[-1]) + 1))
    return usable


def _drawn(words: list[np.ndarray], budget: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Words in random order, each that still fits into `budget` wordpieces."""
    groups = []
    for i in generator.permutation(len(words)):
        if len(words[i]) <= budget:
            groups.append(words[i])
            budget -= len(words[i])
    return groups


def random_spans(pieces: Pieces, generator: np.random.Generator) -> Hidden:
    """Runs of whole words, apart from each other, of geometric lengths; a run that fits nowhere is drawn shorter."""
    words, budget = pieces.words, pieces.budget
    groups, taken = [], np.zeros(len(words), bool)
    ends = np.cumsum([0] + [len(word) for word in words])
    while budget > 0:
        length = min(int(generator.geometric(GEOMETRIC_P)), LONGEST_SPAN, len(words))
        starts = np.array([], int)
        while length and not len(starts):
            places = np.arange(len(words) - length + 1)
            takes = np.cumsum(np.append(0, taken))
            fits = ends[places + length] - ends[places] <= budget
            starts = places[fits & (takes[places + length] == takes[places])]
            length -= not len(starts)
        if not len(starts):
            break
        start = int(generator.choice(starts))
        groups.append(np.concatenate(words[start : start + length]))
        budget -= len(groups[-1])
        taken[max(0, start - 1) : start + length + 1] = True  # its neighbours too: two runs that touch would be one
    return Hidden(groups)


def _masked(
    ids: np.ndarray,
    prefix: np.ndarray,
    groups: list[np.ndarray],
    chosen: int,
    query_length: int,
    max_masks: int,
    special: Special,
) -> MaskedQuery:
    groups = sorted(groups, key=lambda group: group[0])
    places = np.concatenate(groups)
    query = np.full(query_length, special.pad, np.int32)
    tokens = np.concatenate([[special.cls], prefix, ids, [special.sep]])
    query[: len(tokens)] = tokens
    positions = places + 1 + len(prefix)
    query[positions] = special.mask

    def filled(values, dtype=np.int32):
        result = np.zeros(max_masks, dtype)
        result[: len(places)] = values
        return result

    return MaskedQuery(
        query=query,
        mask_positions=filled(positions),
        mask_targets=filled(ids[places]),
        mask_weights=filled(np.ones(len(places)), np.float32),
        mask_spans=filled(np.repeat(np.arange(len(groups)), [len(group) for group in groups])),
        chosen=chosen,
    )
