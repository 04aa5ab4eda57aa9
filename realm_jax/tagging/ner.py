"""The tagger `ner`: named entities by a BERT token classifier, as REALM's authors tagged theirs (section 3.4)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax.config import Config, Model
from realm_jax.corpus.articles import Article, Span
from realm_jax.corpus.taggers import Tagger
from realm_jax.models import TokenClassifier, load_token_classifier
from realm_jax.tagging.iob import entities
from realm_jax.text.tokenizer import Encoding, Tokenizer, byte_offsets, characters
from realm_jax.training.task import padded

ROWS = 256
"""Sentences at once; a GPU is busy with so many."""
BUCKET = 32
"""Rows are padded to a multiple of so many wordpieces."""


def open_ner(config: Config) -> "Ner | None":
    """The tagger of data.tagger_weights, where data.taggers has it."""
    return Ner(Path(config.data.tagger_weights), config.model) if "ner" in config.data.taggers else None


class Labeller:
    """The most likely label of every wordpiece, many sentences at once."""

    def __init__(self, module: TokenClassifier, tokenizer: Tokenizer):
        self._tokenizer, self._longest = tokenizer, module.bert.max_positions

        @jax.jit
        def label(params, tokens):
            return module.apply({"params": params}, tokens, jnp.zeros_like(tokens)).argmax(-1)

        self._label = label

    def __call__(self, params: Any, encodings: Sequence[Encoding]) -> list[np.ndarray]:
        """int [n] for each sentence; n ends with the model's positions where a sentence is longer."""
        results: list[np.ndarray] = [np.zeros(0, int)] * len(encodings)
        order = sorted(range(len(encodings)), key=lambda i: len(encodings[i]))
        for begin in range(0, len(order), ROWS):
            group = order[begin : begin + ROWS]
            longest = min(len(encodings[group[-1]]) + 2, self._longest)
            length = min(-(-longest // BUCKET) * BUCKET, self._longest)
            tokens = padded(np.stack([self._tokenizer.row(encodings[i].ids, length) for i in group]), ROWS)
            labels = np.asarray(self._label(params, tokens))
            for row, i in zip(labels, group):
                results[i] = row[1 : 1 + min(len(encodings[i]), length - 2)]
        return results


class Ner(Tagger):
    """Entities by IOB labels ("B-PER", "I-PER", "O"), taken from each word's first wordpiece.

    Args:
      folder: a BERT for token classification in Hugging Face's format: model.safetensors, config.json with id2label,
        vocab.txt; lower-cased unless tokenizer_config.json has `do_lower_case` false.
    """

    uses_device = True

    def __init__(self, folder: Path, model: Model):
        """Raises UserError where the folder holds no such model."""
        module, self._params, self._labels = load_token_classifier(folder, model)
        self._tokenizer = Tokenizer.from_vocab(folder / "vocab.txt")
        self._label = Labeller(module, self._tokenizer)

    def tag(self, articles: Sequence[Article]) -> list[list[Span]]:
        texts, owners, starts = [], [], []
        for owner, article in enumerate(articles):
            for start, limit in characters(article.text, np.asarray(article.sentences, np.int64).reshape(-1, 2)):
                texts.append(article.text[start:limit])
                owners.append(owner)
                starts.append(int(start))
        encodings = self._tokenizer.encode_batch(texts)
        found: list[list[Span]] = [[] for _ in articles]
        to_byte = [byte_offsets(article.text) for article in articles]
        all_labels = self._label(self._params, encodings)
        for owner, start, encoding, labels in zip(owners, starts, encodings, all_labels, strict=True):
            for first, limit, kind in self._entities(encoding, labels):
                place = to_byte[owner][start + first], to_byte[owner][start + limit]
                found[owner].append((int(place[0]), int(place[1]), kind))
        return found

    def _entities(self, encoding: Encoding, labels: np.ndarray) -> Iterator[tuple[int, int, str]]:
        """(first, past-the-last character, type) of each entity in a sentence."""
        begins = np.flatnonzero(~self._tokenizer.continues[encoding.ids[: len(labels)]])
        ends = [*begins[1:], len(labels)]
        for first, limit, kind in entities([self._labels[int(i)] for i in labels[begins]]):
            yield int(encoding.offsets[begins[first], 0]), int(encoding.offsets[ends[limit - 1] - 1, 1]), kind
