"""Which passages hold a salient span: those with its wordpieces, contiguous and as whole words, in the body."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int

from realm_jax.corpus.store import PassageStore
from realm_jax.text.tokenizer import Tokenizer

MAX_HOLDERS = 16
_ROWS_AT_ONCE = 16384
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Holders:
    """Passages by the wordpieces of a span. Built in one pass over the store, for the spans that are asked about."""

    def __init__(self, store: PassageStore, spans: Iterable[tuple[int, ...]], tokenizer: Tokenizer):
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for span in dict.fromkeys(spans):
            by_length.setdefault(len(span), []).append(span)
        self._places = {span: (length, i) for length, group in by_length.items() for i, span in enumerate(group)}
        wanted = {length: np.array(group, np.int64) for length, group in by_length.items()}
        number, mark = _number_pieces(tokenizer)
        hits: dict[int, list[np.ndarray]] = {length: [] for length in wanted}
        for start in range(0, store.num_passages, _ROWS_AT_ONCE):
            rows = store.rows(slice(start, min(start + _ROWS_AT_ONCE, store.num_passages)))
            body, bounds = _bodies(rows, tokenizer), _bounds(rows, tokenizer, number, mark)
            for length, spans_of_length in wanted.items():
                row, span = _matches(rows, body, bounds, spans_of_length)
                hits[length].append(np.unique(np.stack([span, row + start], 1), axis=0))
        self._hits = {length: _grouped(parts, len(wanted[length])) for length, parts in hits.items()}

    def __call__(self, span: tuple[int, ...], origin: int) -> tuple[Int[np.ndarray, "16"], int]:
        """(the first rows but `origin` that hold the span, -1 where there are no more; how many there are)."""
        length, i = self._places[span]
        rows, limits = self._hits[length]
        others = rows[limits[i] : limits[i + 1]]
        others = others[others != origin]
        result = np.full(MAX_HOLDERS, -1, np.int32)
        result[: len(others)] = others[:MAX_HOLDERS]
        return result, len(others)


def _number_pieces(tokenizer: Tokenizer) -> tuple[Bool[np.ndarray, " V"], Bool[np.ndarray, " V"]]:
    """Wordpieces that begin with a digit; wordpieces that may be within a number ("," and ".")."""
    pieces = [tokenizer.piece(i) for i in range(tokenizer.vocab_size)]
    return np.array([p.lstrip("#")[:1].isdigit() for p in pieces]), np.array([p in (",", ".") for p in pieces])


def _bodies(rows: Int[np.ndarray, "R P"], tokenizer: Tokenizer) -> Bool[np.ndarray, "R P"]:
    separators = rows == tokenizer.sep_id
    return (np.cumsum(separators, 1) == 1) & ~separators


def _bounds(rows: Int[np.ndarray, "R P"], tokenizer: Tokenizer, number, mark) -> Bool[np.ndarray, "R P"]:
    """Whether a word may begin at a position: not amid a word's wordpieces, nor amid a number (1,234 is not 234)."""
    padded = np.pad(rows, ((0, 0), (2, 1)))
    before2, before, here, after = padded[:, :-3], padded[:, 1:-2], padded[:, 2:-1], padded[:, 3:]
    amid = number[here] & mark[before] & number[before2] | mark[here] & number[before] & number[after]
    return ~(tokenizer.continues[here] | amid)


def _matches(rows, body, bounds, spans: Int[np.ndarray, "S n"]) -> tuple[np.ndarray, np.ndarray]:
    """(row, span) of every occurrence."""
    length = spans.shape[1]
    windows = rows.shape[1] - length
    if windows <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    possible = (
        body[:, :windows]
        & body[:, length - 1 : length - 1 + windows]
        & bounds[:, :windows]
        & bounds[:, length : length + windows]
    )
    row, at = np.nonzero(possible)
    grams = np.zeros(len(row), np.uint64)
    keys = np.zeros(len(spans), np.uint64)
    for i in range(length):
        grams = grams * _FACTOR + rows[row, at + i].astype(np.uint64) + np.uint64(1)
        keys = keys * _FACTOR + spans[:, i].astype(np.uint64) + np.uint64(1)
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys[order], grams), len(keys) - 1)
    span = order[place]
    equal = np.ones(len(row), bool)
    for i in range(length):  # a hash only proposes
        equal &= rows[row, at + i] == spans[span, i]
    return row[equal], span[equal]


def _grouped(parts: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows ordered by span, and where each span's rows begin."""
    pairs = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[:, 1].astype(np.int32), np.searchsorted(pairs[:, 0], np.arange(count + 1))
