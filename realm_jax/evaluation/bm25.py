"""BM25, the rival without learning, tuned as fairly as the others: on dev questions, with one look at test."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from realm_jax.errors import UserError
from realm_jax.evaluation.recall import DEPTHS, recalls
from realm_jax.index.bm25 import library
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
class Parameters:
    """What is tuned."""

    stopwords: str = "none"
    """Which words do not count: `none`, or bm25s's lists `en` (Lucene's) and `en_plus` (with what, who, which ...)."""
    title_weight: int = 1
    """How often a passage's title is counted."""
    k1: float = 1.2
    """How late a word's repetitions stop to count."""
    b: float = 0.75
    """How much long passages are held down."""


@dataclasses.dataclass(frozen=True)
class Result:
    """BM25 at its best on dev, and what that gives on the other splits."""

    parameters: Parameters
    dev_recall: float
    """Share of dev questions with an answer among the best 5 passages."""
    recall: dict[str, dict[int, float]]
    """{split: {1, 5, 20, 100: share of questions with an answer among so many passages}}, dev aside."""


class Bm25:
    """An index of passages under given parameters."""

    def __init__(self, titles: Sequence[list[str]], bodies: Sequence[list[str]], parameters: Parameters = Parameters()):
        """Titles and bodies are words, see `words`."""
        lists = library().stopwords
        ignored = {"none": (), "en": lists.STOPWORDS_EN, "en_plus": lists.STOPWORDS_EN_PLUS}[parameters.stopwords]
        self._size, self._ignored = len(bodies), frozenset(ignored)
        self._index = library().BM25(k1=parameters.k1, b=parameters.b, backend="numpy")
        texts = [title * parameters.title_weight + body for title, body in zip(titles, bodies, strict=True)]
        self._index.index(texts, show_progress=False, leave_progress=False)

    def search(self, questions: Sequence[list[str]], k: int) -> tuple[Float[np.ndarray, "B k"], Int[np.ndarray, "B k"]]:
        """Scores and rows of the best passages, best first; k at most the number of passages."""
        counted = self._index.vocab_dict.keys() - self._ignored
        known = [[word for word in question if word in counted] for question in questions]
        scores = np.zeros((len(known), k), np.float32)
        rows = np.zeros((len(known), k), np.int64)
        for i, question in enumerate(known):
            all_scores = self._index.get_scores(question) if question else np.zeros(self._size, np.float32)
            rows[i] = np.argsort(-all_scores, kind="stable")[:k]
            scores[i] = all_scores[rows[i]]
        return scores, rows


def words(text: str) -> list[str]:
    """Lower case, without accents; everything but letters and digits separates words."""
    return re.findall(r"\w+", strip_accents(text).lower())


class Collection:
    """Passages cut into words once, to be indexed under many parameters."""

    def __init__(self, titles: Sequence[str], texts: Sequence[str]):
        self._titles, self._bodies = [words(title) for title in titles], [words(text) for text in texts]

    def search(self, questions: Sequence[str], parameters: Parameters, k: int) -> Int[np.ndarray, "B k"]:
        """The best k passages of every question, or all that there are."""
        index = Bm25(self._titles, self._bodies, parameters)
        return index.search([words(question) for question in questions], min(k, len(self._bodies)))[1]


def tune(collection: Collection, questions: Sequence[str], hits: Hits) -> tuple[Parameters, float]:
    """The parameters with the best recall@5 on dev, and that recall.

    One parameter after the other is set to its best value in `GRID`, in rounds, until a round changes nothing.
    """
    known: dict[Parameters, float] = {}

    def recall(parameters: Parameters) -> float:
        if parameters not in known:
            found = hits("dev", collection.search(questions, parameters, TUNED_AT))
            known[parameters] = float(found.any(1).mean())
        return known[parameters]

    best = Parameters()
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
    parameters, dev_recall = tune(collection, asked["dev"], hits)
    others = {split: questions for split, questions in asked.items() if split != "dev"}
    found = {split: collection.search(questions, parameters, max(DEPTHS)) for split, questions in others.items()}
    return Result(parameters, dev_recall, {split: recalls(hits(split, rows)) for split, rows in found.items()})


def measure(texts: Any, questions: dict[str, Any], hits: Hits, suffixes: dict[str, str]) -> dict[str, Any]:
    """Metrics of `evaluate` under their names in reports.

    Args:
      texts: passages by row of the store, with `title` and `text`.
      questions: of each split, dev among them; their wordings in `texts`.
      suffixes: of each split, the end of the names of its figures.
    """
    passages = [texts[row] for row in range(len(texts))]
    collection = Collection([passage.title for passage in passages], [passage.text for passage in passages])
    result = evaluate(collection, {split: asked.texts for split, asked in questions.items()}, hits)
    recall = {
        f"bm25/recall@{k}{suffixes[split]}": value
        for split, shares in result.recall.items()
        for k, value in shares.items()
    }
    tuned = {f"bm25/{name}": value for name, value in dataclasses.asdict(result.parameters).items()}
    return recall | {"bm25/recall@5_dev": result.dev_recall} | tuned
