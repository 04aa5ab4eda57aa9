"""Sentences to mask, by random access: the source that pre-training, warm-up and ICT draw from."""

import bisect
import dataclasses
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from realm_jax.config import Masking
from realm_jax.corpus import tfds_files
from realm_jax.corpus.holders import MAX_HOLDERS
from realm_jax.corpus.tables import SPLITS, read_blocks, read_places
from realm_jax.errors import UserError
from realm_jax.text.tokenizer import characters
from realm_jax.workdir import DataDir

NO_HOLDERS = np.full(MAX_HOLDERS, -1, np.int32)


class NoSentence(UserError):
    """No sentence has a span that may be hidden."""


@dataclasses.dataclass(frozen=True)
class Span:
    """A salient span that may be masked."""

    start: int
    """first character, within the sentence"""
    limit: int
    kind: str
    """"date", "name" or "number", or the type of the corpus's own tagger"""
    holders: np.ndarray
    """int32 [16]: rows of other passages that hold its text, -1 where there are no more"""
    holder_count: int
    """how many there are in all"""


@dataclasses.dataclass(frozen=True)
class Sentence:
    title: str
    subject: str
    """the article's subject"""
    text: str
    spans: list[Span]
    """those that the masking options allow; for kinds of masking other than `salient`, all"""
    origin: int
    """row of the passage that has it; -1 where no passage of the corpus holds it"""
    place: tuple[int, int]
    """first and past-the-last position of the sentence in that row"""
    record: int
    index: int
    """which sentence of which record"""


def can_be_masked(data: DataDir, split: str, masking: Masking) -> bool:
    """Whether any sentence of a split can."""
    return any(len(pairs) for pairs in _blocks(data, split, masking))


class SentenceSource:
    """The sentences of a split that can be masked, in the corpus's order; picklable, as Grain wants it."""

    def __init__(self, data: DataDir, split: str, masking: Masking):
        """Raises UserError if there are no prepared data, NoSentence if no sentence has a span that `masking` allows,
        and UserError again if that names a type that no span of the corpus has."""
        self._data, self._split, self._masking = data, split, masking
        self._pairs = _distinct(np.concatenate([np.zeros((0, 2), np.int32), *_blocks(data, split, masking)]))
        if not len(self._pairs):
            raise NoSentence(
                f"{data.root}: no sentence of split {split!r} has a salient span that masking.types {masking.types}, "
                f"masking.min_holders {masking.min_holders}, masking.max_holders {masking.max_holders} and "
                f"masking.max_masks {masking.max_masks} allow; relax them"
            )
        if masking.choice.hides_salient and masking.types:
            kinds = _kinds(data, SPLITS)
            if unknown := [type_ for type_ in masking.types if type_ not in kinds]:
                raise UserError(
                    f"{data.root}: no salient span is of type {unknown[0]!r}, which masking.types names; there are "
                    f"{', '.join(kinds)}"
                )
        self._records  # noqa: B018  (what is missing is missed here, not at the first sentence)

    def kinds(self) -> tuple[str, ...]:
        """Kinds of all salient spans of the split, in the order of the alphabet."""
        return _kinds(self._data, [self._split])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, i: int) -> Sentence:
        record, sentence = (int(x) for x in self._pairs[i])
        return _sentence(self._records[record], record, sentence, self._masking)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_records"}

    def __repr__(self) -> str:
        # The same source looks the same in a later process.
        return f"SentenceSource({self._split!r}, {self._masking!r}, {len(self)} sentences)"

    @cached_property
    def _records(self):
        return tfds_files.read(self._data.tfds, "queries", self._split, raw=True)


class Place(NamedTuple):
    """The place of a sentence of the knowledge corpus; named as in `Sentence`."""

    origin: int
    place: tuple[int, int]


class PlaceSource:
    """The sentences of the knowledge corpus, where pre-training masks another one: all that ICT needs; picklable."""

    def __init__(self, data: DataDir):
        """Raises UserError if they are not prepared."""
        self._data = data
        self._places  # noqa: B018  (what is missing is missed here, not at the first sentence)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> Place:
        origin, first, limit = (int(x) for x in self._places[i])
        return Place(origin, (first, limit))

    def __getstate__(self) -> dict[str, Any]:
        return {"_data": self._data}

    def __repr__(self) -> str:
        return f"PlaceSource({len(self)} sentences)"

    @cached_property
    def _places(self) -> np.ndarray:
        return read_places(self._data)


def _kinds(data: DataDir, splits: Iterable[str]) -> tuple[str, ...]:
    """Kinds of all salient spans, in the order of the alphabet."""
    tables = (rows for split in splits for rows in read_blocks(data, split, "spans"))
    return tuple(sorted({kind.decode() for rows in tables for kind in np.unique(rows["kind"])}))


def _blocks(data: DataDir, split: str, masking: Masking) -> Iterator[np.ndarray]:
    """(record, sentence) of those that `masking` allows, block by block of the table."""
    name = "spans" if masking.choice.hides_salient else "sentences"
    return (_pairs(rows, masking) for rows in read_blocks(data, split, name))


def _pairs(rows: np.ndarray, masking: Masking) -> np.ndarray:
    """int32 [n, 2]: record and sentence of the rows of a table that may be masked, each pair once."""
    if masking.choice.hides_salient:
        rows = rows[_allowed(masking, rows["holders"], rows["pieces"], rows["kind"])]
    return _distinct(np.stack([rows["record"], rows["sentence"]], 1))


def _distinct(pairs: np.ndarray) -> np.ndarray:
    """Without repetitions; equal ones are neighbours."""
    is_new = np.ones(len(pairs), bool)
    is_new[1:] = (pairs[1:] != pairs[:-1]).any(1)
    return pairs[is_new]


def _allowed(masking: Masking, holders: np.ndarray, pieces: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    most = masking.max_holders or np.iinfo(np.int32).max
    right_kind = np.isin(kinds, [kind.encode() for kind in masking.types]) if masking.types else True
    return right_kind & (holders >= masking.min_holders) & (holders <= most) & (pieces <= masking.max_masks)


def _sentence(record: bytes, number: int, index: int, masking: Masking) -> Sentence:
    """Takes the fields it needs out of a record: to decode all of a long article would take ten times as long."""
    fields = tfds_files.Fields(record)
    starts, limits = fields["spans/start"], fields["spans/limit"]
    start, limit = fields["sentences/start"][index], fields["sentences/limit"][index]
    inside = slice(bisect.bisect_left(starts, start), bisect.bisect_right(limits, limit))
    kinds, counts = fields["spans/type"][inside], fields["holder_count"][inside]
    chosen = np.arange(inside.start, inside.stop)
    if masking.choice.hides_salient and len(chosen):
        pieces = np.array(fields["span_pieces"][inside])
        chosen = chosen[_allowed(masking, np.array(counts), pieces, np.array(kinds))]
    text = fields["text"][0][start:limit].decode()
    places = characters(text, np.array([(starts[i], limits[i]) for i in chosen], np.int64).reshape(-1, 2) - start)
    return Sentence(
        title=fields["title"][0].decode(),
        subject=fields["subject"][0].decode(),
        text=text,
        spans=[
            Span(
                int(a),
                int(b),
                kinds[i - inside.start].decode(),
                _holders(fields["holders"], int(i)),
                counts[i - inside.start],
            )
            for i, (a, b) in zip(chosen, places, strict=True)
        ],
        origin=fields["origin"][index],
        place=tuple(fields["places"][2 * index : 2 * index + 2]),
        record=number,
        index=index,
    )


def _holders(flat, i: int) -> np.ndarray:
    if not flat:  # they were not looked up
        return NO_HOLDERS
    return np.array(flat[i * MAX_HOLDERS : (i + 1) * MAX_HOLDERS], np.int32)
