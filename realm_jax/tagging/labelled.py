"""Labelled sentences as token rows: the sentences that the classifier behind the tagger `ner` is trained and scored
on."""

import dataclasses
from collections.abc import Sequence

import grain
import jax
import numpy as np
from jaxtyping import Int

from realm_jax.errors import UserError
from realm_jax.index.base import HostOrDevice
from realm_jax.tagging.conll import Labelled
from realm_jax.tagging.iob import entities
from realm_jax.text.tokenizer import Encoding, Tokenizer
from realm_jax.training.task import Batch, Row, in_batches

UNCOUNTED = -1
"""Target of a position that teaches nothing: [CLS], [SEP], padding, and pieces that go on with a word ("##")."""


def label_names(sentences: Sequence[Labelled], option: str) -> tuple[str, ...]:
    """ "O", then "B-" and "I-" of every type: the outputs of a classifier, in their order.

    Raises:
      UserError: there is no entity.
    """
    types = sorted({kind for sentence in sentences for _, _, kind in entities(sentence.labels)})
    if not types:
        raise UserError(f"{option}: every label is O; there is no entity to learn from")
    return ("O", *(f"{begins}-{kind}" for kind in types for begins in "BI"))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TaggerBatch(Batch):
    """Sentences, and the number of each wordpiece's label."""

    tokens: Int[HostOrDevice, "B T"]
    targets: Int[HostOrDevice, "B T"]


class LabelledSet:
    """Sentences, encoded."""

    def __init__(self, sentences: Sequence[Labelled], tokenizer: Tokenizer):
        self._sentences, self._tokenizer = sentences, tokenizer
        self.encodings = tokenizer.encode_batch([" ".join(sentence.words) for sentence in sentences])
        self._words = [_words_of(*pair) for pair in zip(sentences, self.encodings, strict=True)]

    def __len__(self) -> int:
        return len(self.encodings)

    def batches(
        self, names: Sequence[str], length: int, batch_size: int, seed: int, part: tuple[int, int] = (0, 1)
    ) -> grain.IterDataset:
        """Endless shuffled batches of rows of `length` wordpieces, of which this is `part` (i, n)."""
        number = {name: i for i, name in enumerate(names)}

        def row(i: int) -> Row:
            targets = np.full(length, UNCOUNTED, np.int32)
            found = [number.get(label, UNCOUNTED) for label in self._piece_labels(i)][: length - 2]
            targets[1 : 1 + len(found)] = found
            return {"tokens": self._tokenizer.row(self.encodings[i].ids, length), "targets": targets}

        dataset = grain.MapDataset.range(len(self)).seed(seed).shuffle().repeat()
        return in_batches(dataset.map(row), TaggerBatch, batch_size, part)

    def _piece_labels(self, i: int) -> list[str]:
        """Label of each wordpiece, "" where it has none. Of a word that BERT splits at punctuation ("U.N.") the first
        piece has the word's label, the others go on with it: so `ner` reads them, which sees no words but BERT's."""
        labels, before = [], -1
        for piece, word in zip(self.encodings[i].ids, self._words[i], strict=True):
            label = self._sentences[i].labels[word]
            if self._tokenizer.continues[piece]:
                label = ""
            elif word == before and label != "O":
                label = f"I-{label[2:]}"
            labels.append(label)
            before = word
        return labels

    def f1(self, predicted: Sequence[np.ndarray], names: Sequence[str]) -> float:
        """Micro-averaged F1 of entities, exact in both ends and type, as CoNLL's scorer counts: by words, each of which
        has the label of its first wordpiece.

        Args:
          predicted: int, for each sentence the label of each wordpiece; pieces that are cut off are outside.
        """
        right = found = wanted = 0
        for sentence, words, labels in zip(self._sentences, self._words, predicted, strict=True):
            shown = ["O"] * len(sentence.words)
            for word, label in zip(words[: len(labels)][::-1], labels[::-1]):
                shown[word] = names[int(label)]  # the first piece of a word is the last to be put down
            ours, theirs = set(entities(shown)), set(entities(sentence.labels))
            right, found, wanted = right + len(ours & theirs), found + len(ours), wanted + len(theirs)
        return 2 * right / max(found + wanted, 1)


def _words_of(sentence: Labelled, encoding: Encoding) -> Int[np.ndarray, " n"]:
    """The word that each wordpiece is of."""
    ends = np.cumsum([len(word) + 1 for word in sentence.words])
    return np.searchsorted(ends, encoding.offsets[:, 0], side="right")
