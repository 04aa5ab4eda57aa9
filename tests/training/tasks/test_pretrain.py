"""Pre-training: what is retrieved, on the host and on the devices, and what it teaches embedder and reader."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from realm_jax import objectives
from realm_jax.config import Mesh
from realm_jax.index.device_store import DeviceStore
from realm_jax.index.exact import ExactIndex
from realm_jax.text import features
from realm_jax.training.checkpoints import State
from realm_jax.training.loop import make_step
from realm_jax.training.mesh import ROWS, WHOLE, make_mesh, put_params, put_rows, shardings
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.snapshot_follower import InUse, SnapshotFollower
from realm_jax.training.tasks import pretrain as pretrain_module
from realm_jax.training.tasks.pretrain import Pretrain, Retrieval, read_candidates
from tests.training.tasks.losses import B, K, gradients, key, learns, never, row_ids, words_that_learn

join = jax.jit(features.join, static_argnums=2)


class Follower(SnapshotFollower):
    """Always the same index."""

    def __init__(self, vectors, step=0, mesh=None):
        self.waited_s = 0.25
        self.in_use, self.closed = InUse(step, ExactIndex(vectors[:-1], mesh)), False

    def at(self, step):
        return self.in_use

    def close(self):
        self.closed = True


def made(experiment, config, follower, device_store=None, mesh=None, batches=None, probe=never):
    retrieval = Retrieval(follower, experiment.store, device_store, mesh)
    return Pretrain(config, experiment.models, retrieval, batches=batches, start=never, probe=probe)


@pytest.fixture(scope="module")
def pretrain(experiment, vectors):
    batches = experiment.masked_queries("train").batches(B * experiment.config.pretrain.oversample, 1)
    return made(experiment, experiment.config, Follower(vectors), batches=batches)


@pytest.fixture(scope="module")
def pretrain_batch(pretrain, params):
    batch = next(iter(pretrain.batches()))
    return pretrain.retrieve(pretrain.embed(params, batch.query), batch, 7)[0]


@pytest.fixture(scope="module")
def read_out(experiment, params, pretrain_batch):
    """Scores and log p(y|z,x) without dropout."""
    given = (experiment.config, experiment.models, params, pretrain_batch, experiment.store.null_row, None)
    return jax.jit(read_candidates, static_argnums=(0, 1))(*given)


def test_pretrain_reads_the_null_passage_and_the_best_but_the_origin(experiment, pretrain, params, vectors):
    for batch, _ in zip(pretrain.batches(), range(6), strict=False):
        embedded = pretrain.embed(params, batch.query)
        found, metrics = pretrain.retrieve(embedded, batch, 7)
        ids = row_ids(experiment, found.passages)
        assert ids.shape == (B, K) and (ids[:, 0] == experiment.store.null_id).all()
        queries = pretrain.embed(params, found.query)
        for candidates, query, origin in zip(ids, np.asarray(queries), found.origin, strict=True):
            order = np.argsort(-(vectors[:-1] @ query), kind="stable")
            assert candidates[1:].tolist() == [row for row in order if row != origin][: K - 1]
        assert (metrics["index/staleness_steps"], metrics["index/snapshot"]) == (7, 0)
        assert metrics["time/index_wait_s"] == 0.25


@pytest.fixture(params=[(1, 1, 1), (2, 4, 1)], ids=str, scope="module")
def on_devices(request, world, experiment, vectors):
    """A task that retrieves on the devices of a mesh, the same that does not, and the mesh; batches divide by 8."""
    data, fsdp, tensor = request.param
    mesh = make_mesh(Mesh(data, fsdp, tensor), jax.devices()[: data * fsdp * tensor])
    settings = {"candidates": K, "batch_size": 8, "oversample": 2}
    config = world.settings(pretrain=settings, index={"kind": "exact", "store": "device"})
    follower, host_follower = Follower(vectors, mesh=mesh), Follower(vectors)
    task = made(experiment, config, follower, DeviceStore(experiment.store.tokens, mesh), mesh)
    return task, made(experiment, config, host_follower), mesh


def test_retrieval_on_the_devices_finds_what_the_host_finds(experiment, params, on_devices):
    task, host_task, mesh = on_devices
    params = put_params(mesh, params)
    for batch, _ in zip(experiment.masked_queries("train").batches(16, 2), range(3), strict=False):
        placed = put_rows(mesh, batch)
        found, metrics = task.retrieve(task.embed(params, placed.query), placed, 7)
        expected, host_metrics = host_task.retrieve(host_task.embed(params, placed.query), batch, 7)
        assert (
            jax.tree.structure(found) == jax.tree.structure(expected)
            and len(found.passages) == 8
            and found.scores is None
        )
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert ours.dtype == theirs.dtype and ours.sharding.spec == ROWS
            np.testing.assert_array_equal(ours, theirs)
        assert {name: float(value) for name, value in metrics.items()} == pytest.approx(host_metrics)


def test_retrieval_on_the_devices_and_the_step_never_wait_for_the_host(experiment, params, on_devices):
    task, _, mesh = on_devices
    optimizer = bert_optimizer(experiment.config.pretrain)
    # Copies: the step uses its state up.
    both = put_params(mesh, jax.tree.map(np.array, {part: params[part] for part in ("embedder", "reader")}))
    moments = shardings(mesh, jax.eval_shape(optimizer.init, both))
    state = State(both, jax.jit(optimizer.init, out_shardings=moments)(both))
    take_step = make_step(task, optimizer, jax.random.key(3), 1, (shardings(mesh, state), NamedSharding(mesh, WHOLE)))
    batches = iter(experiment.masked_queries("train").batches(16, 2))
    for step in range(2):  # the first one compiles
        batch, at = put_rows(mesh, next(batches)), put_rows(mesh, np.int32(step))
        with jax.transfer_guard("allow" if step == 0 else "disallow"):
            found, _ = task.retrieve(task.embed(state.params, batch.query), batch, step)
            state, figures = take_step(state, found, at)
    assert np.isfinite(float(figures["loss/total"]))


def test_queries_that_retrieve_a_holder_are_trained_on_first(world, experiment, params, vectors):
    config = world.settings(pretrain={"candidates": K, "batch_size": B, "oversample": 5})
    task = made(experiment, config, Follower(vectors))
    batch = next(iter(experiment.masked_queries("train").batches(5 * B, 1)))
    found, metrics = task.retrieve(task.embed(params, batch.query), batch, 0)
    ids = row_ids(experiment, found.passages)
    hits = [bool(set(row) & set(holders)) for row, holders in zip(ids[:, 1:], found.holders, strict=True)]
    assert len(hits) == B and all(len(value) == B for value in jax.tree.leaves(found))
    assert hits == sorted(hits, reverse=True) and sum(hits) == min(B, round(metrics["retrieval/hits"] * 5 * B))
    drawn = {row.tobytes() for row in batch.query}
    assert all(row.tobytes() in drawn for row in found.query)


def test_the_origin_is_never_among_the_candidates(experiment, pretrain, vectors):
    """Not even where every query's vector is its origin's own."""
    batch = next(iter(pretrain.batches()))
    found, _ = pretrain.retrieve(jnp.asarray(100 * vectors[batch.origin]), batch, 0)
    ids = row_ids(experiment, found.passages)
    assert not (ids == found.origin[:, None]).any() and len({*ids[0]}) == K


@pytest.mark.parametrize("marginalize", ["token", "span"])
def test_pretrain_gradient_of_the_scores_is_the_candidates_gain(
    world, experiment, vectors, params, pretrain_batch, read_out, marginalize, monkeypatch
):
    """d loss / d f(x, z) = - r(z) / number of masks, through the task's own loss."""
    config = world.settings(pretrain={"candidates": K, "marginalize": marginalize})
    task = made(experiment, config, Follower(vectors))
    original, shift = objectives.scores, jnp.zeros((B, K))

    @jax.jit
    def found_for(shift, params):
        def loss(shift):
            monkeypatch.setattr(pretrain_module.objectives, "scores", lambda *given: original(*given) + shift)
            return task.loss(params, pretrain_batch, key())[0]

        return jax.grad(loss)(shift)

    f, log_p_y = read_out
    found = found_for(shift, params)
    spans = pretrain_batch.mask_spans if marginalize == "span" else None
    weights = pretrain_batch.mask_weights
    gain = objectives.candidate_gain(objectives.retrieval_log_probs(f), log_p_y, weights, spans)
    np.testing.assert_allclose(found, -gain / weights.sum(), rtol=1e-3, atol=1e-6)
    assert np.abs(found).max() > 1e-5
    np.testing.assert_allclose(np.asarray(found).sum(1), 0.0, atol=1e-6)


def test_pretrain_teaches_embedder_and_reader(experiment, pretrain, params, pretrain_batch):
    both = {part: params[part] for part in ("embedder", "reader")}
    loss, metrics, found = gradients(pretrain, both, pretrain_batch)
    assert learns(found, "embedder") and learns(found, "reader")
    assert 0 < metrics["retrieval/p_null"] < 1 and 0 < metrics["retrieval/p_best"] < 1 and loss > 0
    embedded = np.unique([*np.unique(pretrain_batch.query), *np.unique(pretrain_batch.passages)])
    assert words_that_learn(found, "embedder") == set(embedded.tolist()) - {0}, "what was embedded, and no padding"


def test_the_null_passage_embedded_once_is_as_good_as_per_query(experiment, params, pretrain_batch, read_out):
    f, _ = read_out
    embed, rows = experiment.models.embed, pretrain_batch.passages
    queries = np.asarray(embed(params["embedder"], pretrain_batch.query))
    for i in range(B):
        passages = np.asarray(embed(params["embedder"], rows[i]))
        scale = experiment.config.pretrain.score_scale
        np.testing.assert_allclose(f[i], scale * passages @ queries[i], rtol=1e-4, atol=1e-5)


def test_each_candidate_is_read_with_its_own_query(experiment, params, pretrain_batch, read_out):
    _, log_p_y = read_out
    for i in range(B):
        for k in range(K):
            joint, segments, _ = join(
                pretrain_batch.query[i : i + 1], pretrain_batch.passages[i : i + 1, k : k + 1], 56
            )
            positions = pretrain_batch.mask_positions[i : i + 1]
            logits = experiment.models.read(params["reader"], joint[:, 0], segments[:, 0], positions)
            expected = objectives.target_log_probs(logits, pretrain_batch.mask_targets[i : i + 1])[0]
            np.testing.assert_allclose(log_p_y[i, k], expected, rtol=1e-3, atol=1e-5)


def variant(world, experiment, vectors, **settings):
    """The task with other settings of pre-training."""
    config = world.settings(pretrain={"candidates": K, "batch_size": B} | settings)
    return made(experiment, config, Follower(vectors))


def test_without_the_null_passage_the_others_share_all(world, experiment, vectors, params, pretrain_batch, read_out):
    task = variant(world, experiment, vectors, null_passage=False)
    both = {part: params[part] for part in ("embedder", "reader")}
    loss, metrics, found = gradients(task, both, pretrain_batch)
    f, log_p_y = map(np.asarray, read_out)
    log_p_z = np.log(np.exp(f[:, 1:]) / np.exp(f[:, 1:]).sum(1, keepdims=True))
    weights = pretrain_batch.mask_weights
    marginal = np.log(np.exp(log_p_z[:, :, None] + log_p_y[:, 1:]).sum(1))
    assert loss == pytest.approx(-(marginal * weights).sum() / weights.sum(), rel=1e-3)
    utility = ((marginal - log_p_y[:, 0]) * weights).sum() / weights.sum()
    assert metrics["retrieval/utility"] == pytest.approx(utility, abs=1e-3) and metrics["retrieval/p_null"] == 0
    assert learns(found, "embedder") and learns(found, "reader")


def test_without_the_ban_the_origin_may_be_a_candidate(world, experiment, vectors, pretrain):
    """As it is where every query's vector is its origin's own."""
    task, batch = variant(world, experiment, vectors, ban_origin=False), next(iter(pretrain.batches()))
    found, _ = task.retrieve(jnp.asarray(100 * vectors[batch.origin]), batch, 0)
    ids = row_ids(experiment, found.passages)
    order = np.argsort(-(vectors[found.origin] @ vectors[:-1].T), axis=1, kind="stable")
    np.testing.assert_array_equal(ids[:, 1:], order[:, : K - 1])
    assert (ids == found.origin[:, None]).any()


def test_a_query_counts_only_where_its_answer_is_near(world, experiment, params, vectors):
    task, near = variant(world, experiment, vectors, answer_within=4), 4
    seen = set()
    for batch, _ in zip(experiment.masked_queries("train").batches(B, 1), range(8), strict=False):
        found, metrics = task.retrieve(task.embed(params, batch.query), batch, 0)
        queries = np.asarray(task.embed(params, found.query))
        for i, origin in enumerate(found.origin):
            order = [row for row in np.argsort(-(vectors[:-1] @ queries[i]), kind="stable") if row != origin]
            hit = bool(set(order[:near]) & set(found.holders[i].tolist()))
            assert found.mask_weights[i].any() == hit
            seen.add(hit)
        assert found.passages.shape[:2] == (B, K)
    assert seen == {True, False}


def test_an_embedder_that_stays_gets_no_gradient(world, experiment, vectors, params, pretrain, pretrain_batch):
    task = variant(world, experiment, vectors, embedder_rate=0.0, probe_queries=0)
    both = {part: params[part] for part in ("embedder", "reader")}
    loss, _, found = gradients(task, both, pretrain_batch)
    assert learns(found, "reader") and not any(leaf.any() for name, leaf in found.items() if name.startswith("embed"))
    assert loss == pytest.approx(gradients(pretrain, both, pretrain_batch)[0], rel=1e-5)


def test_pretrain_probes_the_embedder_and_closes_its_follower(experiment, vectors):
    follower = Follower(vectors)
    probed = []
    task = made(experiment, experiment.config, follower, probe=lambda params: probed.append(params) or {})
    task.probe(0, {"embedder": jnp.arange(3.0), "reader": jnp.zeros(1)})
    task.close()
    assert [params.tolist() for params in probed] == [[0, 1, 2]] and follower.closed
