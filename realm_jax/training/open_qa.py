"""Answers questions with a retriever, an index and a span reader."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.corpus.texts import PassageTexts
from realm_jax.index.base import Retriever
from realm_jax.text import features
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.jitted_models import Models
from realm_jax.training.task import Params, padded


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was retrieved and read for one question."""

    rows: np.ndarray
    """int [k]: passages, best first."""
    scores: np.ndarray
    """float [k]: f(x, z)."""
    row: int
    """The passage that the answer stands in."""
    first: int
    """First wordpiece of the answer in the passage's body ..."""
    last: int
    """... and its last one, inclusive."""
    readings: np.ndarray
    """float [k]: the best span score within each read passage, the retrieval score included."""


def retrieve(models: Models, embedder: Any, index: Retriever, queries: np.ndarray, depth: int):
    """Scores and rows [B,depth] of the best passages for query rows [B,Q]; of all, where there are fewer."""
    return index.retrieve(models.embed_many_with(embedder), queries, min(depth, index.num_passages))


def answer(
    config: Config, models: Models, params: dict[str, Any], index: Retriever, store: PassageStore, queries: np.ndarray
) -> list[Answer]:
    """Reads the best `evaluation.read` passages for every query row [B,Q] and picks the best span of all."""
    size, read, width = config.evaluation.batch_size, config.evaluation.read, config.model.max_span_width
    scores, rows = retrieve(models, params["embedder"], index, queries, read)
    scores = config.finetune.score_scale * scores
    table = features.span_table(config.finetune.joint_length, width)

    answers = []
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        batch = [padded(array, size) for array in (queries[part], store.rows(rows[part]), scores[part])]
        best, span, places, body_start = jax.device_get(_read(params["reader"], *batch, config, models))
        for i in range(len(queries[part])):
            k = int(best[i].argmax())
            first, last = table[span[i, k]] - body_start[i, k]
            order = rows[start + i]
            answers.append(Answer(order, scores[start + i], int(order[places[i, k]]), int(first), int(last), best[i]))
    return answers


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read(reader, query, passages, scores, config, models):
    """Each passage's best span: its score and number [B,K]; places in the beam, and where the body starts [B,K]."""
    logits, places, _, is_body = read_spans(config, models, reader, query, passages, scores, passages.shape[1])
    return logits.max(-1), logits.argmax(-1), places, is_body.argmax(-1)


def read_spans(
    config: Config, models: Models, reader: Params, query, passages, scores, read: int, key: jax.Array | None = None
):
    """Reads the best `read` passages of a beam.

    Args:
      query: int [B,Q].
      passages: int [B,beam,P].
      scores: float [B,beam], f(x, z).
      key: of dropout; None turns it off.

    Returns:
      Span logits [B,K,S] with the retrieval score added, the places [B,K] of the read passages in the beam, best first,
      the joint tokens [B,K,J] that were read, and which of them are the body's [B,K,J].
    """
    read_scores, places = jax.lax.top_k(scores, read)
    chosen = jnp.take_along_axis(passages, places[..., None], axis=1)
    joint, segments, is_body = features.join(
        query, chosen, config.finetune.joint_length, truncation=config.finetune.truncation
    )
    b, k, j = joint.shape
    logits = models.score_spans(reader, joint.reshape(b * k, j), segments.reshape(b * k, j), key)
    return logits.reshape(b, k, -1) + read_scores[..., None], places, joint, is_body


def texts_of(answers: list[Answer], tokenizer: Tokenizer, texts: PassageTexts) -> list[str]:
    """What the answers are in words."""
    return [answer_text(tokenizer, texts[found.row].text, found.first, found.last) for found in answers]


def answer_text(tokenizer: Tokenizer, body: str, first: int, last: int) -> str:
    """The characters of the body that wordpieces `first` to `last` were made of; "" outside the body."""
    offsets = tokenizer.encode(body).offsets
    return body[offsets[first, 0] : offsets[last, 1]] if 0 <= first <= last < len(offsets) else ""
