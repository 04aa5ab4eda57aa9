"""Masked queries and ICT pairs as Grain iterators, whose position is a checkpoint's."""

import dataclasses
import re
from functools import cached_property

import grain
import jax
import numpy as np
from jaxtyping import Float, Int, Integer

from realm_jax.config import Config, Masking
from realm_jax.corpus.sentence_source import NO_HOLDERS, Place, PlaceSource, Sentence, SentenceSource, Span
from realm_jax.corpus.store import PassageStore
from realm_jax.errors import UserError
from realm_jax.index.base import HostOrDevice
from realm_jax.text.masking import Special, mask_query
from realm_jax.text.salience import bucket
from realm_jax.text.salient import body_start
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.task import READ_AHEAD, Batch, Row, Stream, in_batches, rng
from realm_jax.workdir import DataDir

WORD = "word"
"""The kind, in learned salience, of words that no tagger found."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedBatch(Batch):
    """Sentences in which something is hidden."""

    query: Int[HostOrDevice, "B Q"]
    mask_positions: Int[HostOrDevice, "B M"]
    """Places of the masks in `query`; these and the next three are filled up with zeros."""
    mask_targets: Int[HostOrDevice, "B M"]
    mask_weights: Float[HostOrDevice, "B M"]
    mask_spans: Int[HostOrDevice, "B M"]
    origin: Int[HostOrDevice, " B"]
    holders: Int[HostOrDevice, "B 16"]
    """-1 where there are no more."""
    kind: Int[HostOrDevice, " B"] | None = None
    """Of learned salience, as is the next: which of `MaskedQueries.kinds` is hidden."""
    span: Int[HostOrDevice, " B"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadBatch(MaskedBatch):
    """Masked sentences with the passages that each is read with."""

    passages: Integer[HostOrDevice, "B K P"]
    scores: Float[HostOrDevice, "B K"] | None = None
    """Of a retriever whose own scores the loss takes."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IctBatch(Batch):
    """Sentences, and the passages that they are from."""

    query: Int[HostOrDevice, "B Q"]
    passage: Integer[HostOrDevice, "B P"]


class NothingFits(UserError):
    """No sentence has anything to hide that fits into a query."""


class MaskedQueries:
    """The sentences of one split, masked as the experiment says."""

    def __init__(self, config: Config, data: DataDir, tokenizer: Tokenizer, split: str, masking: Masking | None = None):
        self._config, self._tokenizer, self._split = config, tokenizer, split
        self._masking = masking or config.masking
        self._hide_how = self._masking.choice.load()
        self._source = SentenceSource(data, split, self._masking)
        self._passed_over = 0
        self._special = Special(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)

    def batches(self, batch_size: int, seed: int, part: tuple[int, int] = (0, 1), skip: int = 0) -> grain.IterDataset:
        """Endless shuffled batches, of which this is `part` (i, n); a sentence's masks differ from epoch to epoch.

        Args:
          skip: begin behind so many sentences.

        Raises:
          NothingFits: an epoch has passed, and nothing that may be hidden fits into a query.
        """
        sentences = grain.MapDataset.source(self._source).seed(seed).shuffle().repeat()
        # A sentence of which nothing fits into the query gives None, which the iterator passes over. Which batch a
        # sentence falls into depends on all before it: so each process masks all, and any number sees the same batches.
        queries = sentences.random_map(self._mask_next)[skip:]
        batches = queries.to_iter_dataset(READ_AHEAD).batch(batch_size, drop_remainder=True, batch_fn=MaskedBatch.of)
        if part == (0, 1):
            return batches
        rows = slice(part[0] * batch_size // part[1], (part[0] + 1) * batch_size // part[1])
        return batches.map(lambda batch: batch[rows])

    def fixed(self, count: int, seed: int) -> MaskedBatch:
        """One batch of up to `count` queries, the same in every run of a seed.

        Raises:
          NothingFits: nothing that may be hidden fits into a query.
        """
        chosen: list[Row] = []
        for i in rng(seed, Stream.PROBED_SENTENCES).permutation(len(self._source)):
            if len(chosen) == count:
                break
            query = self.mask(self._source[int(i)], rng(seed, Stream.PROBED_MASKS, int(i)))
            if query is not None:
                chosen.append(query)
        if not chosen:
            raise self._nothing_fits()
        return MaskedBatch.of(chosen)

    def _nothing_fits(self) -> NothingFits:
        masking = self._masking
        return NothingFits(
            f"data.query_length: {self._config.data.query_length} wordpieces leave no room for a span that is to be "
            f"hidden, in any of the {len(self._source)} sentences of split {self._split!r}; raise it (or "
            f"masking.max_masks {masking.max_masks}{', or turn masking.hide_label off' * masking.hide_label})"
        )

    def _mask_next(self, sentence: Sentence, generator: np.random.Generator) -> Row | None:
        query = self.mask(sentence, generator)
        # Of few sentences each is tried often, since its masks differ from epoch to epoch.
        self._passed_over = 0 if query is not None else self._passed_over + 1
        if self._passed_over > max(len(self._source), 1000):
            raise self._nothing_fits()
        return query

    def mask(self, sentence: Sentence, generator: np.random.Generator) -> Row | None:
        """A row of `MaskedBatch`; None where nothing can be hidden."""
        masking = self._masking
        if masking.choice.learns:
            return self._mask_any_kind(sentence, generator)
        start = body_start(sentence.text) if masking.hide_label else 0
        spans = [span for span in sentence.spans if span.start >= start]
        return self._hide(sentence, start, spans, generator)

    def _mask_any_kind(self, sentence: Sentence, generator: np.random.Generator) -> Row | None:
        """Hides one span of a kind drawn from those that the sentence has; words outside all spans are a kind too."""
        start = body_start(sentence.text) if self._masking.hide_label else 0
        spans = [span for span in sentence.spans if span.start >= start]
        spans += _other_words(sentence.text, start, spans)
        kinds = sorted({span.kind for span in spans})
        for i in generator.permutation(len(kinds)):
            of_kind = [span for span in spans if span.kind == kinds[i]]
            masked = self._hide(sentence, start, of_kind, generator)
            if masked is not None:
                hidden = masked["mask_targets"][masked["mask_weights"] > 0]
                place = {"kind": np.int32(self.kinds.index(kinds[i])), "span": np.int32(bucket(hidden))}
                return masked | place
        return None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The groups that learned salience tells apart."""
        return (*self._source.kinds(), WORD)

    def _hide(self, sentence: Sentence, start: int, spans: list[Span], generator: np.random.Generator) -> Row | None:
        """Masks the sentence from the character `start` on."""
        masking = self._masking
        encoding = self._tokenizer.encode(sentence.text[start:])
        masked = mask_query(
            encoding.ids,
            encoding.offsets,
            [(span.start - start, span.limit - start) for span in spans],
            self._hide_how,
            generator,
            query_length=self._config.data.query_length,
            max_masks=masking.max_masks,
            special=self._special,
            fraction=masking.fraction,
            continues=self._tokenizer.continues,
            prefix=self._tokenizer.encode(f"{sentence.subject}:").ids if masking.subject else (),
        )
        if masked is None:
            return None
        arrays = dict(vars(masked))  # dataclasses.asdict would copy each array
        chosen = arrays.pop("chosen")
        holders = spans[chosen].holders if chosen >= 0 else NO_HOLDERS
        return {**arrays, "origin": np.int32(sentence.origin), "holders": np.asarray(holders, np.int32)}


def _other_words(text: str, start: int, spans: list[Span]) -> list[Span]:
    """Words of a sentence outside its spans."""
    words = (match.span() for match in re.finditer(r"\w+", text) if match.start() >= start)
    return [
        Span(first, limit, WORD, NO_HOLDERS, 0)
        for first, limit in words
        if all(limit <= span.start or span.limit <= first for span in spans)
    ]


def salient(masking: Masking) -> Masking:
    """Salient spans, even if pre-training hides others: their holders are known."""
    named = ("types", "max_masks", "min_holders", "max_holders", "hide_label", "subject")
    return Masking(kind="salient", **{name: getattr(masking, name) for name in named})


def unfiltered(masking: Masking) -> Masking:
    """All salient spans, with or without holders, as in the paper."""
    return dataclasses.replace(masking, kind="salient", types=(), min_holders=0, max_holders=0)


def ict_batches(
    config: Config,
    data: DataDir,
    tokenizer: Tokenizer,
    store: PassageStore,
    seed: int,
    part: tuple[int, int] = (0, 1),
) -> grain.IterDataset:
    """Endless shuffled sentences of the knowledge corpus and their passages, of which this is `part` (i, n)."""
    # Every sentence, whatever it could be masked for.
    source = PlaceSource(data) if config.data.text_source else SentenceSource(data, "train", Masking(kind="tokens"))

    def pair(sentence: Sentence | Place, generator: np.random.Generator) -> Row:
        row, (first, limit) = store.rows(np.int32(sentence.origin)), sentence.place
        keep = generator.random() < config.ict.keep_sentence
        return {
            "query": sentence_row(row, first, limit, config.data.query_length, tokenizer),
            "passage": row if keep else without(row, first, limit),
        }

    pairs = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(pair)
    return in_batches(pairs, IctBatch, config.ict.batch_size, part)


def sentence_row(
    row: Int[np.ndarray, " P"], first: int, limit: int, length: int, tokenizer: Tokenizer
) -> Int[np.ndarray, " Q"]:
    """`[CLS] sentence [SEP]` of the wordpieces from `first` to `limit` of a passage's row."""
    return tokenizer.row(row[first:limit], length)


def without(row: Int[np.ndarray, " P"], first: int, limit: int) -> Int[np.ndarray, " P"]:
    """The row without a sentence; the rest moves up."""
    return np.concatenate([row[:first], row[limit:], np.zeros(limit - first, row.dtype)])
