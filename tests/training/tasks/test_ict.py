"""The inverse cloze task: what it teaches the embedder."""

import dataclasses

import jax
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from realm_jax.training.masked_queries import IctBatch, ict_batches
from realm_jax.training.tasks.ict import Ict
from tests.training.tasks.losses import gradients, learns, never


def test_ict_teaches_the_embedder(world, experiment, params):
    batches = ict_batches(experiment.config, world.data, world.tokenizer, experiment.store, 1)
    task, batch = Ict(experiment.config, experiment.models, batches, never), next(iter(batches))
    loss, metrics, found = gradients(task, {"embedder": params["embedder"]}, batch)
    assert learns(found, "embedder")
    queries, passages = (experiment.models.embed(params["embedder"], rows) for rows in (batch.query, batch.passage))
    f = np.asarray(queries @ passages.T, np.float64)
    right = np.exp(np.diag(f)) / np.exp(f).sum(1)
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-3)
    assert metrics["retrieval/in_batch_accuracy"] == pytest.approx((f.argmax(1) == np.arange(5)).mean())


def test_a_batch_of_other_shapes_is_refused():
    """Under jit too: a batch is made anew there."""
    query = np.zeros((3, 5), np.int32)
    with pytest.raises(TypeCheckError):
        IctBatch(query, query[:2])
    with pytest.raises(TypeCheckError):
        jax.jit(lambda batch: dataclasses.replace(batch, passage=batch.passage[0]))(IctBatch(query, query))
    assert jax.jit(lambda batch: batch[:2])(IctBatch(query, query)).passage.shape == (2, 5)
