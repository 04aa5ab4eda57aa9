"""Retrievers that are not searched with vectors alone: no task knows what theirs is searched with."""

from pathlib import Path

import jax
import numpy as np
import pytest

from realm_jax.index.base import Passages
from realm_jax.index.bm25 import Bm25Index
from realm_jax.index.hybrid import HybridIndex
from realm_jax.index.snapshots import Manifest, Snapshot
from realm_jax.training.mesh import make_mesh, put_rows
from realm_jax.training.snapshot_follower import InUse
from realm_jax.training.tasks.finetune import Finetune
from tests.training.tasks.losses import B, K, gradients, learns, never, row_ids
from tests.training.tasks.test_pretrain import Follower, made


@pytest.fixture(scope="module")
def passages(experiment, vectors):
    return Passages(vectors[:-1], np.asarray(experiment.store.tokens[:-1]), experiment.tokenizer.vocabulary)


@pytest.fixture
def pretrain(world, experiment, passages, vectors, request):
    """The task, its index of the kind that a test asks for, and a batch that lies on a device."""
    kind, settings = request.param, {"candidates": K, "batch_size": B}
    if kind is Bm25Index:
        settings |= {"embedder_rate": 0.0, "probe_queries": 0}
    config = world.settings(pretrain=settings, index={"kind": "bm25" if kind is Bm25Index else "hybrid"})
    follower = Follower(vectors)
    follower.in_use = InUse(0, kind.build(passages, config.index))
    task = made(experiment, config, follower)
    batch = next(iter(experiment.masked_queries("train").batches(B, 1)))
    return task, follower.in_use.index, batch, put_rows(make_mesh(config.mesh, jax.devices()[:1]), batch)


@pytest.mark.parametrize("pretrain", [Bm25Index], indirect=True)
def test_bm25_retrieves_in_pretraining_and_its_scores_stand(experiment, params, pretrain):
    task, bm25, batch, placed = pretrain
    found, _ = task.retrieve(task.embed(params, placed.query), batch, 0)
    rows = row_ids(experiment, found.passages)
    assert (rows[:, 0] == experiment.store.null_id).all() and not (rows == found.origin[:, None]).any()
    np.testing.assert_array_equal(found.scores, bm25.own_scores(found.query, rows))
    assert not found.scores[:, 0].any() and (np.diff(found.scores[:, 1:]) <= 0).all() and found.scores.any()
    both = {part: params[part] for part in ("embedder", "reader")}
    _, metrics, gradient = gradients(task, both, found)
    assert learns(gradient, "reader")
    assert not any(leaf.any() for name, leaf in gradient.items() if name.startswith("embedder"))
    p_z = np.exp(found.scores) / np.exp(found.scores).sum(1, keepdims=True)
    assert metrics["retrieval/p_null"] == pytest.approx(p_z[:, 0].mean(), rel=1e-4)


@pytest.mark.parametrize("pretrain", [HybridIndex], indirect=True)
def test_two_ways_of_search_together_are_a_retriever_in_pretraining(experiment, params, pretrain):
    task, hybrid, batch, placed = pretrain
    found, _ = task.retrieve(task.embed(params, placed.query), batch, 0)
    _, best = hybrid.retrieve(lambda rows: experiment.models.embed(params["embedder"], rows), found.query, K)
    for candidates, order, origin in zip(row_ids(experiment, found.passages), best, found.origin, strict=True):
        assert candidates[1:].tolist() == [row for row in order if row != origin][: K - 1]
    assert found.scores is None  # the models score them, with the parameters of the moment


@pytest.mark.parametrize("kind", [Bm25Index, HybridIndex])
def test_either_is_a_retriever_in_fine_tuning(experiment, questions, params, vectors, passages, kind):
    config, labels = experiment.config, experiment.labels(questions)
    snapshot = Snapshot(0, Path(), vectors, Manifest(0, len(vectors) - 1, vectors.shape[1], "", "", None, {}, {}))
    index = kind.build(passages, config.index)
    given = {"batches": None, "start": never, "snapshot": snapshot, "index": index, "labels": labels, "probe": never}
    task = Finetune(config, experiment.models, experiment.store, **given)
    batch = next(iter(questions.batches(B, 1)))
    placed = put_rows(make_mesh(config.mesh, jax.devices()[:1]), batch)
    found, _ = task.retrieve(task.embed(params, placed.query), batch, 0)
    scores, beam = index.retrieve(lambda rows: experiment.models.embed(params["embedder"], rows), batch.query, 10)
    np.testing.assert_array_equal(row_ids(experiment, found.passages), beam)
    if kind is HybridIndex:
        np.testing.assert_array_equal(found.vectors, vectors[beam])
    else:
        np.testing.assert_array_equal(found.scores, scores)
    assert (found.vectors is not None) == (found.scores is None) == (kind is HybridIndex)
