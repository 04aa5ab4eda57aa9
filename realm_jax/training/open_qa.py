"""Answers questions with a retriever, an index and a span reader."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.corpus.texts import PassageTexts
from realm_jax.index.base import HostOrDevice, Retriever
from realm_jax.text import features
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.jitted_models import Models
from realm_jax.training.task import Params, padded


@dataclasses.dataclass(frozen=True)
class Reading:
    """The passages retrieved and read for one question: k passages, best first."""

    rows: Int[np.ndarray, " k"]
    scores: Float[np.ndarray, " k"]
    """f(x, z)."""
    spans: Int[np.ndarray, "k 2"]
    """Each passage's best span: its first and last wordpiece in the body, inclusive."""
    readings: Float[np.ndarray, " k"]
    """Those spans' scores, the retrieval score included; the answer is the span with the largest."""
    log_mass: Float[np.ndarray, " k"]
    """Log of the sum of exp(score) over all spans of a passage ..."""
    log_truth: Float[np.ndarray, " k"] | None
    """... and over those that are the truth, -inf where none is; None where no truth was given."""

    @property
    def best(self) -> int:
        """Place of the passage that has the answer."""
        return int(self.readings.argmax())

    @property
    def log_p(self) -> Float[np.ndarray, " k"]:
        """Log of the probability of each passage's best span, among all spans of all the passages read."""
        return self.readings - np.logaddexp.reduce(self.log_mass)

    @property
    def probability(self) -> float:
        """Of the answer."""
        return float(np.exp(self.log_p[self.best]))

    @property
    def p_truth(self) -> float:
        """Probability of the truth, at all its places."""
        return float(np.exp(np.logaddexp.reduce(self.log_truth) - np.logaddexp.reduce(self.log_mass)))

    @property
    def gains(self) -> Float[np.ndarray, " k"] | None:
        """r(z) = p(z|y,x) - p(z|x) of the truth y, the push of the span loss on a passage's score; None where no
        passage read holds it."""
        if not np.isfinite(self.log_truth).any():
            return None
        shares = (np.exp(part - np.logaddexp.reduce(part)) for part in (self.log_truth, self.log_mass))
        return np.subtract(*shares)


def batch_size(config: Config, count: int) -> int:
    """Rows at once for `count` rows: few sizes, so that few programs are compiled. More rows than the last size holds
    are read in parts of it."""
    sizes = sorted({1, 4, config.evaluation.batch_size})
    return next((size for size in sizes if size >= count), config.evaluation.batch_size)


def retrieve(config: Config, models: Models, embedder: Any, index: Retriever, queries: np.ndarray, depth: int):
    """Scores and rows [B,depth] of the best passages for query rows [B,Q]; of all, where there are fewer."""
    count, depth = len(queries), min(depth, index.num_passages)
    if count > (size := batch_size(config, count)):
        return index.retrieve(models.embed_many_with(embedder), queries, depth)
    scores, rows = index.retrieve(functools.partial(models.embed, embedder), padded(queries, size), depth)
    return scores[:count], rows[:count]


def answer(
    config: Config,
    models: Models,
    params: dict[str, Any],
    index: Retriever,
    store: PassageStore,
    queries: Int[np.ndarray, "B Q"],
    truths: Int[np.ndarray, "B L"] | None = None,
) -> list[Reading]:
    """Reads the best `evaluation.read` passages for every query row and picks the best span of all.

    Args:
      truths: wordpieces of the right answers, padded; with them you get the share of each passage in its question's.
    """
    size, read, width = batch_size(config, len(queries)), config.evaluation.read, config.model.max_span_width
    scores, rows = retrieve(config, models, params["embedder"], index, queries, read)
    scores = config.finetune.score_scale * scores
    table = features.span_table(config.finetune.joint_length, width)

    answers = []
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        batch = [padded(array, size) for array in (queries[part], store.rows(rows[part]), scores[part])]
        given = None if truths is None else padded(truths[part], size)
        read = jax.device_get(_read(params["reader"], *batch, given, config, models))
        for i in range(len(queries[part])):
            best, span, places, body_start, mass, truth = (None if array is None else array[i] for array in read)
            order = rows[start + i][places], scores[start + i][places]
            answers.append(Reading(*order, table[span] - body_start[:, None], best, mass, truth))
    return answers


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _read(reader, query, passages, scores, truths, config, models):
    """Each passage's best span: its score and number [B,K]; places in the beam, and where the body starts [B,K]; the
    scores of all its spans together, and of those that are the truth [B,K]."""
    logits, places, joint, is_body = read_spans(config, models, reader, query, passages, scores, passages.shape[1])
    truth = None
    if truths is not None:
        labels = features.span_labels(joint, truths[:, None, None], is_body, config.model.max_span_width)
        truth = jax.nn.logsumexp(jnp.where(labels, logits, -jnp.inf), axis=-1)
    mass = jax.nn.logsumexp(logits, axis=-1)
    return logits.max(-1), logits.argmax(-1), places, is_body.argmax(-1), mass, truth


def read_spans(
    config: Config,
    models: Models,
    reader: Params,
    query: Int[HostOrDevice, "B Q"],
    passages: Integer[HostOrDevice, "B N P"],
    scores: Float[HostOrDevice, "B N"],
    read: int,
    key: jax.Array | None = None,
) -> tuple[Float[Array, "B K S"], Int[Array, "B K"], Int[Array, "B K J"], Bool[Array, "B K J"]]:
    """Reads the best `read` passages of a beam.

    Args:
      scores: f(x, z).
      key: of dropout; None turns it off.

    Returns:
      Span logits with the retrieval score added, the places of the read passages in the beam, best first, the joint
      tokens that were read, and which of them are the body's.
    """
    read_scores, places = jax.lax.top_k(scores, read)
    chosen = jnp.take_along_axis(passages, places[..., None], axis=1)
    joint, segments, is_body = features.join(
        query, chosen, config.finetune.joint_length, truncation=config.finetune.truncation
    )
    b, k, j = joint.shape
    logits = models.score_spans(reader, joint.reshape(b * k, j), segments.reshape(b * k, j), key)
    return logits.reshape(b, k, -1) + read_scores[..., None], places, joint, is_body


def texts_of(answers: list[Reading], tokenizer: Tokenizer, texts: PassageTexts) -> list[str]:
    """The answers in words."""
    places = [(found.rows[found.best], found.spans[found.best]) for found in answers]
    return [answer_text(tokenizer, texts[row].text, *span) for row, span in places]


def answer_text(tokenizer: Tokenizer, body: str, first: int | np.integer, last: int | np.integer) -> str:
    """The characters of the body that wordpieces `first` to `last` were made of; "" outside the body."""
    return body[slice(*answer_place(tokenizer, body, first, last))]


def answer_place(tokenizer: Tokenizer, body: str, first: int | np.integer, last: int | np.integer) -> tuple[int, int]:
    """Their first and past-the-last character; (0, 0) outside the body."""
    offsets = tokenizer.encode(body).offsets
    return (int(offsets[first, 0]), int(offsets[last, 1])) if 0 <= first <= last < len(offsets) else (0, 0)
