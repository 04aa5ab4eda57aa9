"""Passages by their numbers: the article around one, and its neighbours in the index."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from realm_jax.answering.results import Passage, Stored
from realm_jax.corpus.store import PassageStore
from realm_jax.corpus.texts import PassageTexts
from realm_jax.index.base import Retriever
from realm_jax.training.jitted_models import Models

LONGEST = 500
"""Passages of an article that are told, in each direction."""


def look_up(texts: PassageTexts, id: int, neighbours: tuple[Passage, ...]) -> Stored:
    """Everything known of passage `id`."""
    found = texts[id]

    def end(step: int) -> int:
        row = id
        while 0 <= row + step < len(texts) and abs(row - id) < LONGEST and texts[row + step].article == found.article:
            row += step
        return row

    article = tuple(range(end(-1), end(1) + 1))
    return Stored(id, found.title, found.text, found.where, article, neighbours)


def nearest(
    models: Models, embedder: Any, index: Retriever, store: PassageStore, id: int, count: int
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Rows and inner products of the passages that passage `id` finds beside itself, at most `count`."""
    depth = min(count + 1, index.num_passages)
    scores, rows = index.retrieve(functools.partial(models.embed_passages, embedder), store.rows(id)[None], depth)
    others = (rows[0] != id) & (rows[0] >= 0)
    return rows[0][others][:count], scores[0][others][:count]
