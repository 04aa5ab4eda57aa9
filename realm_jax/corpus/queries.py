"""Sentences to mask, by random access: what pre-training, warm-up and ICT draw from."""

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np

from realm_jax.config import Masking
from realm_jax.corpus import builders
from realm_jax.corpus.tables import read_table
from realm_jax.errors import UserError
from realm_jax.text.tokenizer import characters
from realm_jax.workdir import DataDir


@dataclasses.dataclass(frozen=True)
class Span:
    """A salient span that may be masked."""

    start: int
    """first character, within the sentence"""
    limit: int
    kind: str
    """"date", "name" or "number", or what the corpus's own tagger says"""
    holders: np.ndarray
    """int32 [16]: rows of other passages that hold its text, -1 where there are no more"""
    holder_count: int
    """how many there are in all"""


@dataclasses.dataclass(frozen=True)
class Sentence:
    title: str
    subject: str
    """what the article is about"""
    text: str
    spans: list[Span]
    """those that the masking options allow; for kinds of masking other than `salient`, all"""
    origin: int
    """row of the passage it stands in"""
    place: tuple[int, int]
    """first and past-the-last position of the sentence in that row"""
    record: int
    index: int
    """which sentence of which record"""


class SentenceSource:
    """The sentences of a split that can be masked, in the corpus's order; picklable, as Grain wants it."""

    def __init__(self, data: DataDir, split: str, masking: Masking):
        """Raises UserError if there are no prepared data, or no sentence has a span that `masking` allows."""
        self._data, self._split, self._masking = data, split, masking
        if masking.kind == "salient":
            spans = read_table(data, split, "spans")
            spans = spans[_allowed(masking, spans["holders"], spans["pieces"], spans["kind"])]
            self._pairs = np.unique(np.stack([spans["record"], spans["sentence"]], 1), axis=0)
        else:
            sentences = read_table(data, split, "sentences")
            self._pairs = np.stack([sentences["record"], sentences["sentence"]], 1)
        if not len(self._pairs):
            raise UserError(
                f"{data.root}: no sentence of split {split!r} has a salient span that masking.types {masking.types}, "
                f"masking.min_holders {masking.min_holders}, masking.max_holders {masking.max_holders} and "
                f"masking.max_masks {masking.max_masks} allow; relax them"
            )
        self._records  # noqa: B018  (what is missing is missed here, not at the first sentence)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, i: int) -> Sentence:
        record, sentence = (int(x) for x in self._pairs[i])
        return _sentence(self._records[record], record, sentence, self._masking)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_records"}

    def __repr__(self) -> str:
        # Grain compares this when it restores an iterator: the same source must look the same in a later process.
        return f"SentenceSource({self._split!r}, {self._masking!r}, {len(self)} sentences)"

    @cached_property
    def _records(self):
        return builders.read(self._data.tfds, "queries", self._split)


def _allowed(masking: Masking, holders: np.ndarray, pieces: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    most = masking.max_holders or np.iinfo(np.int32).max
    right_kind = np.isin(kinds, [kind.encode() for kind in masking.types]) if masking.types else True
    return right_kind & (holders >= masking.min_holders) & (holders <= most) & (pieces <= masking.max_masks)


def _sentence(record: dict[str, Any], number: int, index: int, masking: Masking) -> Sentence:
    sentences, spans = record["sentences"], record["spans"]
    start, limit = int(sentences["start"][index]), int(sentences["limit"][index])
    text = record["text"][start:limit].decode()
    starts, limits = np.asarray(spans["start"], np.int64), np.asarray(spans["limit"], np.int64)
    inside = (starts >= start) & (limits <= limit)
    if masking.kind == "salient":
        inside &= _allowed(masking, record["holder_count"], record["span_pieces"], np.asarray(spans["type"], "S16"))
    chosen = np.nonzero(inside)[0]
    places = characters(text, np.stack([starts[chosen], limits[chosen]], 1) - start)
    return Sentence(
        title=record["title"].decode(),
        subject=record["subject"].decode(),
        text=text,
        spans=[
            Span(int(a), int(b), spans["type"][i].decode(), record["holders"][i], int(record["holder_count"][i]))
            for i, (a, b) in zip(chosen, places, strict=True)
        ],
        origin=int(record["origin"][index]),
        place=(int(record["places"][index][0]), int(record["places"][index][1])),
        record=number,
        index=index,
    )
