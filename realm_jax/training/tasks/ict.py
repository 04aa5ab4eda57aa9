"""Inverse cloze task: which passage did this sentence come from? (Lee et al. 2019, section 4)."""

import jax
from jaxtyping import Array, Float

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.training import masked_queries
from realm_jax.training.jitted_models import Models
from realm_jax.training.masked_queries import IctBatch
from realm_jax.training.mesh import process_part
from realm_jax.training.open_run import OpenRun
from realm_jax.training.results import fresh_embedder
from realm_jax.training.task import Metrics, Outputs, Params, Task


class Ict(Task):
    """The passages of the batch's other queries, on whichever device, are the negatives."""

    def __init__(self, config: Config, models: Models, batches, start):
        super().__init__(start, batches)
        self._config, self._models = config, models

    def outputs(self, params: Params, batch: IctBatch, key: jax.Array) -> Outputs:
        query_key, passage_key = jax.random.split(key)
        return {
            "queries": self._models.embed(params["embedder"], batch.query, query_key),
            "passages": self._models.embed_passages(params["embedder"], batch.passage, passage_key),
        }

    def objective(
        self, batch: IctBatch, queries: Float[Array, "B E"], passages: Float[Array, "B E"]
    ) -> tuple[jax.Array, Metrics]:
        loss = objectives.ict_loss(queries, passages, scale=self._config.ict.score_scale)
        right = (queries @ passages.T).argmax(1) == jax.numpy.arange(len(queries))
        return loss, {"retrieval/in_batch_accuracy": right.mean()}


def ict_task(run: OpenRun) -> Task:
    config, models = run.config, run.models
    settings = (config, run.data, run.tokenizer, run.store, config.seed)
    batches = masked_queries.ict_batches(*settings, process_part(run.mesh))
    return Ict(config, models, batches, lambda key: {"embedder": fresh_embedder(run, key)})
