"""Inverse cloze task: which passage did this sentence come from? (Lee et al. 2019, section 4)."""

import jax

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.training.models import Models
from realm_jax.training.task import Batch, Metrics, Params, Task


class Ict(Task):
    """The passages of the batch's other queries are the negatives."""

    def __init__(self, config: Config, models: Models, batches, start):
        super().__init__(start, batches)
        self._config, self._models = config, models

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        query_key, passage_key = jax.random.split(key)
        queries = self._models.embed(params["embedder"], batch["query"], query_key)
        passages = self._models.embed(params["embedder"], batch["passage"], passage_key)
        loss = objectives.ict_loss(queries, passages, scale=self._config.ict.score_scale)
        right = (queries @ passages.T).argmax(1) == jax.numpy.arange(len(queries))
        return loss, {"retrieval/in_batch_accuracy": right.mean()}
