"""The baseline without retrieval: a masked-LM cloze reader that answers from its weights alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from realm_jax import objectives
from realm_jax.qa.answers import exact_match
from realm_jax.training.jitted_models import Models
from realm_jax.training.mesh import process_part, whole
from realm_jax.training.open_run import OpenRun
from realm_jax.training.question_arrays import ClozeBatch, QuestionSet, cloze_row
from realm_jax.training.results import start_reader
from realm_jax.training.task import Metrics, Outputs, Params, Task, padded


class ClosedBook(Task):
    """`[CLS] question [MASK]... [SEP]`: as many masks as the longest answer, [PAD] after its end."""

    def __init__(self, models: Models, batches, start, probe):
        super().__init__(start, batches)
        self._models, self._probe = models, probe

    def outputs(self, params: Params, batch: ClozeBatch, key: jax.Array) -> Outputs:
        segments = jnp.zeros_like(batch.query)
        logits = self._models.read(params["reader"], batch.query, segments, batch.mask_positions, key)
        targets = batch.mask_targets
        return {"log_p_y": objectives.target_log_probs(logits, targets), "right": (logits.argmax(-1) == targets).all(1)}

    def objective(
        self, batch: ClozeBatch, log_p_y: Float[Array, "B L"], right: Bool[Array, " B"]
    ) -> tuple[jax.Array, Metrics]:
        return -objectives.masked_mean(log_p_y, batch.mask_weights), {"qa/exact_tokens": right.mean()}

    def probe(self, step: int, params: Params) -> Metrics:
        return self._probe(whole(params["reader"]))


def cloze_answers(run: OpenRun, reader: Params, questions: QuestionSet) -> list[str]:
    """The most likely wordpiece at each mask, up to the first padding, as text."""
    config, size = run.config, run.config.evaluation.batch_size
    rows = [cloze_row(config, run.tokenizer, text) for text in questions.texts]
    answers = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        batch = [padded(np.stack([row[key] for row in part]), size) for key in ("query", "mask_positions")]
        for pieces in np.asarray(_predict(reader, *batch, run.models))[: len(part)]:
            ends = np.flatnonzero(pieces == run.tokenizer.pad_id)
            answers.append(run.tokenizer.decode(pieces[: ends[0]] if len(ends) else pieces))
    return answers


@functools.partial(jax.jit, static_argnames="models")
def _predict(reader, query, positions, models):
    """The most likely wordpiece at each mask [B,M]. Compiled once for all probes of a run."""
    return models.read(reader, query, jnp.zeros_like(query), positions).argmax(-1)


def closed_book_task(run: OpenRun) -> Task:
    config, models = run.config, run.models
    part = process_part(run.mesh)
    batches = run.questions("train").cloze_batches(config.closed_book.batch_size, config.seed, part)
    dev = run.questions("dev")

    def probe(reader: Params) -> Metrics:
        pairs = zip(cloze_answers(run, reader, dev), dev.answers, strict=True)
        matches = [exact_match(*pair, config.questions.match) for pair in pairs]
        return {"probe/exact_match": float(np.mean(matches)), "probe/score": float(np.mean(matches))}

    return ClosedBook(models, batches, lambda key: {"reader": start_reader(run, key)}, probe)
