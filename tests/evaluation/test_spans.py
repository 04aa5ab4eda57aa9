"""Held-out spans against brute force, query by query."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from realm_jax import objectives
from realm_jax.evaluation import spans
from realm_jax.evaluation.spans import measure
from realm_jax.index.exact import ExactIndex
from realm_jax.text import features
from realm_jax.training.results import start_of_pretraining

K = 3


@pytest.fixture(scope="module")
def experiment(world, tmp_path_factory):
    return world.experiment(
        tmp_path_factory.mktemp("spans"), pretrain={"candidates": K, "score_scale": 0.6}, evaluation={"batch_size": 4}
    )


@pytest.fixture(scope="module")
def params(experiment):
    draw = np.random.default_rng(3)
    params = start_of_pretraining(experiment)(jax.random.key(1))
    return jax.tree.map(lambda leaf: leaf + 0.2 * draw.normal(size=leaf.shape).astype(np.float32), params)


@pytest.fixture(scope="module")
def vectors(experiment, params):
    return np.asarray(experiment.models.embed(params["embedder"], experiment.store.rows(slice(None))))


@pytest.fixture(scope="module")
def queries(experiment):
    """Not a multiple of the batch."""
    queries = experiment.masked_queries("train").fixed(10, seed=3)
    assert len(queries.query) == 10
    return queries


def measured(experiment, params, vectors, queries, **evaluation):
    config = dataclasses.replace(
        experiment.config, evaluation=dataclasses.replace(experiment.config.evaluation, **evaluation)
    )
    index = ExactIndex(vectors[:-1])
    return measure(config, experiment.models, params, index, experiment.store, queries)


def ranked(experiment, params, vectors, queries):
    """Rows of all passages but the origin, best first, per query."""
    embedded = np.asarray(experiment.models.embed(params["embedder"], jnp.asarray(queries.query)))
    for vector, origin in zip(embedded, queries.origin, strict=True):
        yield vector, [row for row in np.argsort(-(vectors[:-1] @ vector), kind="stable") if row != origin]


def stands(row, pieces):
    return any(row[i : i + len(pieces)].tolist() == list(pieces) for i in range(len(row)))


def test_recall_equals_brute_force(experiment, params, vectors, queries):
    hits = []
    for i, (_, order) in enumerate(ranked(experiment, params, vectors, queries)):
        hidden = queries.mask_targets[i][queries.mask_weights[i] > 0]
        hits.append(any(stands(experiment.store.rows(row), hidden) for row in order[:5]))
    assert measured(experiment, params, vectors, queries).recall == pytest.approx(np.mean(hits))
    assert 0 < np.mean(hits) < 1


@pytest.mark.parametrize("read_queries", [10, 7])
def test_utility_and_p_null_equal_the_formula(experiment, params, vectors, queries, read_queries):
    read = jax.jit(experiment.models.read)
    null, utilities, p_null, readings = vectors[-1], [], [], []
    for i, (vector, order) in enumerate(ranked(experiment, params, vectors, queries)):
        if i == read_queries:
            break
        rows = [experiment.store.null_id, *order[: K - 1]]
        f = 0.6 * np.array([null @ vector, *(vectors[row] @ vector for row in rows[1:])], np.float64)
        p_z = np.exp(f) / np.exp(f).sum()
        joint, segments, _ = features.join(queries.query[i][None], experiment.store.rows(np.array(rows))[None], 56)
        masks = queries.mask_weights[i] > 0
        positions = np.tile(queries.mask_positions[i], (K, 1))
        logits = read(params["reader"], joint[0], segments[0], positions)
        targets = jnp.asarray(np.tile(queries.mask_targets[i], (K, 1)))
        p_y = np.exp(np.asarray(objectives.target_log_probs(logits, targets), np.float64))[:, masks]
        utilities += list(np.log(p_z @ p_y) - np.log(p_y[0]))
        p_null.append(p_z[0])
        whole = p_y.prod(1)
        best = 1 + int(whole[1:].argmax())
        readings.append((i, rows[best], p_z[best], whole[best], whole[0], p_z @ whole))
    found = measured(experiment, params, vectors, queries, read_queries=read_queries)
    assert found.utility == pytest.approx(np.mean(utilities), rel=1e-3, abs=1e-5)
    assert found.p_null == pytest.approx(np.mean(p_null), rel=1e-4)
    for ours, theirs in zip(found.readings, readings, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_figures_do_not_depend_on_the_batch(experiment, params, vectors, queries):
    first = measured(experiment, params, vectors, queries, batch_size=4)
    for size in (3, 16):
        found = measured(experiment, params, vectors, queries, batch_size=size)
        assert found[:3] == pytest.approx(first[:3], rel=1e-4)
        for ours, theirs in zip(found.readings, first.readings, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3)


def test_a_corpus_of_few_passages_is_searched_no_deeper_than_it_is(experiment, params, vectors, queries, monkeypatch):
    count = experiment.store.num_passages
    monkeypatch.setattr(spans, "DEPTH", count + 3)
    hits = []
    for i, (_, order) in enumerate(ranked(experiment, params, vectors, queries)):
        hidden = queries.mask_targets[i][queries.mask_weights[i] > 0]
        hits.append(any(stands(experiment.store.rows(row), hidden) for row in order))
    assert measured(experiment, params, vectors, queries).recall == pytest.approx(np.mean(hits))
