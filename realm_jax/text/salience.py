"""Learned salience: spans are worth hiding as far as retrieval was worth something for spans like them.

Not in the paper, where a tagger decides once and for all which spans are hidden. Retrieval utility, which the model
measures in every step, is kept for each kind of span and for each span, older measurements counting less and less. The
mean of a span is filled up with that of its kind, and that with the mean of all.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from realm_jax.config import Masking

BUCKETS = 1 << 16
"""Places for single spans; two spans of one place are not told apart."""
PRIOR = 1.0
"""The number of measurements that the mean of the larger group counts for."""


def bucket(pieces: Int[np.ndarray, " n"]) -> int:
    """The place of a span of these wordpieces."""
    return zlib.crc32(np.asarray(pieces, np.int32).tobytes()) % BUCKETS


class LearnedSalience:
    """Utilities by kind and by span, and how likely each drawn query is to be trained on."""

    def __init__(self, masking: Masking, kinds: Sequence[str]):
        self.kinds, self._masking = tuple(kinds), masking
        # Each a sum of utilities and the number of them, both decayed.
        self._by_kind, self._by_span = np.zeros((len(self.kinds), 2)), np.zeros((BUCKETS, 2))

    def observe(
        self, kinds: Int[np.ndarray, " B"], spans: Int[np.ndarray, " B"], utilities: Float[np.ndarray, " B"]
    ) -> None:
        """The worth of retrieval for the queries of one step, in nats per wordpiece."""
        measured = np.stack([np.asarray(utilities, np.float64), np.ones(len(utilities))], 1)
        for table, places in ((self._by_kind, kinds), (self._by_span, spans)):
            table *= self._masking.decay
            np.add.at(table, places, measured)

    def of_kinds(self) -> Float[np.ndarray, " kinds"]:
        """Estimated utility of each kind; of all together where none was measured, 0 before any was."""
        total, count = self._by_kind.sum(0)
        return _filled_up(self._by_kind, total / count if count else 0.0)

    def estimates(self, kinds: Int[np.ndarray, " B"], spans: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Estimated utility of each span."""
        return _filled_up(self._by_span[spans], self.of_kinds()[kinds])

    def probabilities(self, kinds: Int[np.ndarray, " B"], spans: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """In proportion to utility^(1 / temperature), no utility below 0; `floor` of the whole is shared evenly."""
        worth = np.maximum(self.estimates(kinds, spans), 0.0)
        worth = (worth / max(worth.max(), 1e-12)) ** (1.0 / self._masking.temperature)
        even = np.full(len(worth), 1.0 / len(worth))
        share = worth / worth.sum() if worth.any() else even
        return (1.0 - self._masking.floor) * share + self._masking.floor * even

    def draw(
        self, kinds: Int[np.ndarray, " B"], spans: Int[np.ndarray, " B"], count: int, generator: np.random.Generator
    ) -> Int[np.ndarray, " {count}"]:
        """Which of the queries are trained on, ascending: drawn one after the other without being put back."""
        with np.errstate(divide="ignore"):
            keys = np.log(self.probabilities(kinds, spans)) + generator.gumbel(size=len(kinds))
        return np.sort(np.argsort(-keys, kind="stable")[:count])

    def state(self) -> dict[str, Any]:
        """As JSON has it, exactly; only spans that were measured."""
        spans = np.flatnonzero(self._by_span[:, 1])
        return {
            "kinds": dict(zip(self.kinds, self._by_kind.tolist(), strict=True)),
            "spans": dict(zip(map(str, spans.tolist()), self._by_span[spans].tolist(), strict=True)),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._by_kind[:] = [state["kinds"][kind] for kind in self.kinds]
        self._by_span[:] = 0.0
        for place, values in state["spans"].items():
            self._by_span[int(place)] = values


def _filled_up(sums: Float[np.ndarray, "n 2"], larger: Any) -> Float[np.ndarray, " n"]:
    return (sums[:, 0] + PRIOR * larger) / (sums[:, 1] + PRIOR)
