"""BM25, the baseline without learning, tuned as fairly as the others: on dev questions, with one look at test."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from realm_jax.config import Bm25 as Bm25Settings
from realm_jax.errors import UserError
from realm_jax.evaluation.recall import DEPTHS, SUFFIXES, recalls
from realm_jax.index.bm25 import Bm25
from realm_jax.qa.answers import strip_accents

GRID = {
    "stopwords": ("none", "en", "en_plus"),
    "title_weight": (1, 2, 4, 8, 16),
    "k1": (0.6, 1.2, 2.4, 4.8, 9.6),
    "b": (0.0, 0.25, 0.5, 0.75, 1.0),
}
ROUNDS = 3
TUNED_AT = 5
Hits = Callable[[str, np.ndarray], np.ndarray]
"""(a split, rows int [B,k] found for its questions) -> bool [B,k]: whether a passage holds an answer."""


@dataclasses.dataclass(frozen=True)
class Result:
    """BM25 at its best on dev, and its figures on the other splits."""

    settings: Bm25Settings
    dev_recall: float
    """Share of dev questions with an answer among the best 5 passages."""
    recall: dict[str, dict[int, float]]
    """{split: {1, 5, 20, 100: share of questions with an answer among so many passages}}, dev aside."""


def words(text: str) -> list[str]:
    """Lower case, without accents; everything but letters and digits separates words."""
    return re.findall(r"\w+", strip_accents(text).lower())


class Collection:
    """Passages cut into words once, to be indexed under many settings."""

    def __init__(self, titles: Sequence[str], texts: Sequence[str]):
        self._vocabulary: dict[str, int] = {}
        self._titles, self._bodies = [self._number(title) for title in titles], [self._number(text) for text in texts]

    def _number(self, text: str) -> list[int]:
        """Words by their numbers, new ones too."""
        return [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words(text)]

    def search(self, questions: Sequence[str], settings: Bm25Settings, k: int) -> Int[np.ndarray, "B k"]:
        """The best k passages of every question, or all that there are."""
        index, number = Bm25(self._titles, self._bodies, self._vocabulary, settings), self._vocabulary
        known = [[number[word] for word in words(question) if word in number] for question in questions]
        return index.search(known, min(k, index.num_passages))[1]


def tune(collection: Collection, questions: Sequence[str], hits: Hits) -> tuple[Bm25Settings, float]:
    """The settings with the best recall@5 on dev, and that recall.

    One option after the other is set to its best value in `GRID`, in rounds, until a round changes nothing.
    """
    known: dict[Bm25Settings, float] = {}

    def recall(settings: Bm25Settings) -> float:
        if settings not in known:
            found = hits("dev", collection.search(questions, settings, TUNED_AT))
            known[settings] = float(found.any(1).mean())
        return known[settings]

    best = Bm25Settings()
    for _ in range(ROUNDS):
        before = best
        for name, values in GRID.items():
            # `best` stands first, so that it stays where another is no better.
            best = max([best, *(dataclasses.replace(best, **{name: value}) for value in values)], key=recall)
        if best == before:
            break
    return best, recall(best)


def evaluate(collection: Collection, asked: dict[str, Sequence[str]], hits: Hits) -> Result:
    """Tunes on dev questions, then looks at each other split once.

    Raises:
      UserError: a split has no questions.
    """
    for split, questions in asked.items():
        if not questions:
            raise UserError(f"questions, split {split}: there are none, which BM25 needs; prepare a set that has some")
    settings, dev_recall = tune(collection, asked["dev"], hits)
    others = {split: questions for split, questions in asked.items() if split != "dev"}
    found = {split: collection.search(questions, settings, max(DEPTHS)) for split, questions in others.items()}
    return Result(settings, dev_recall, {split: recalls(hits(split, rows)) for split, rows in found.items()})


def measure(texts: Any, questions: dict[str, Any], hits: Hits) -> dict[str, Any]:
    """Metrics of `evaluate` under their names in reports.

    Args:
      texts: passages by row of the store, with `title` and `text`.
      questions: of each split, dev among them; their wordings in `texts`.
    """
    passages = [texts[row] for row in range(len(texts))]
    collection = Collection([passage.title for passage in passages], [passage.text for passage in passages])
    result = evaluate(collection, {split: asked.texts for split, asked in questions.items()}, hits)
    recall = {
        f"bm25/recall@{k}{SUFFIXES[split]}": value
        for split, shares in result.recall.items()
        for k, value in shares.items()
    }
    tuned = {f"bm25/{name}": value for name, value in dataclasses.asdict(result.settings).items()}
    return recall | {"bm25/recall@5_dev": result.dev_recall} | tuned
