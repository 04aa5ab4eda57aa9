"""Each task's loss on tiny random models: finite, and its gradient reaches what should learn, and nothing else."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from realm_jax import objectives
from realm_jax.config import Mesh
from realm_jax.index.device_store import DeviceStore
from realm_jax.index.exact import ExactIndex
from realm_jax.index.snapshots import Manifest, Snapshot
from realm_jax.text import features
from realm_jax.training.checkpoints import State
from realm_jax.training.follow import InUse, SnapshotFollower
from realm_jax.training.loop import make_step
from realm_jax.training.mesh import ROWS, WHOLE, make_mesh, put_params, put_rows, shardings
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.queries import ict_batches
from realm_jax.training.stages import start_of_pretraining
from realm_jax.training.tasks import pretrain as pretrain_module
from realm_jax.training.tasks.closed_book import ClosedBook, cloze_answers
from realm_jax.training.tasks.finetune import Finetune, read_spans
from realm_jax.training.tasks.ict import Ict
from realm_jax.training.tasks.pretrain import Pretrain, read_candidates
from realm_jax.training.tasks.warm_up import WarmUp

B, K = 3, 4
join = jax.jit(features.join, static_argnums=2)
SILENT = ("attention/key/bias",)
"""Softmax is blind to these: their gradient is rounding error."""


@pytest.fixture(scope="module")
def experiment(world, tmp_path_factory):
    return world.experiment(
        tmp_path_factory.mktemp("tasks"), pretrain={"candidates": K, "batch_size": B}, ict={"batch_size": 5}
    )


@pytest.fixture(scope="module")
def params(experiment):
    """Embedder, reader and span reader, with LayerNorms that differ from one and biases that differ from zero."""
    params = start_of_pretraining(experiment)(jax.random.key(1))
    params["span_reader"] = experiment.models.span_reader(jax.random.key(2), params["reader"])
    draw = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + 0.1 * draw.normal(size=leaf.shape).astype(np.float32), params)


@pytest.fixture(scope="module")
def vectors(experiment, params):
    return np.asarray(experiment.models.embed(params["embedder"], experiment.store.rows(slice(None))))


def key():
    return jax.random.key(11)


def never(*_):
    raise AssertionError("not to be called")


def leaves(tree):
    """{path: leaf}"""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in flat}


@functools.cache
def differentiated(task):
    """Compiled once per task."""
    return jax.jit(jax.value_and_grad(lambda params, batch: task.loss(params, batch, key()), has_aux=True))


def gradients(task, params, batch):
    """Loss, metrics and gradients, as the loop takes them; all checked to be finite."""
    (loss, metrics), found = differentiated(task)(params, batch)
    assert loss.shape == () and np.isfinite(loss) and all(np.isfinite(value) for value in metrics.values())
    assert all(np.shape(value) == () for value in metrics.values())
    found = leaves(found)
    assert all(np.isfinite(leaf).all() for leaf in found.values())
    return float(loss), {name: float(value) for name, value in metrics.items()}, found


def learns(found, part):
    """Whether every leaf of a part gets a gradient."""
    of_part = {name: leaf for name, leaf in found.items() if name.startswith(part)}
    assert of_part
    return [name for name, leaf in of_part.items() if not leaf.any() and not name.endswith(SILENT)] == []


def words_that_learn(found, part):
    return set(np.flatnonzero(found[f"{part}/trunk/embeddings/word"].any(1)).tolist())


# Pre-training


class Follower(SnapshotFollower):
    """Always the same index."""

    def __init__(self, vectors, step=0, mesh=None):
        self.waited_s = 0.25
        self.in_use, self.closed = InUse(step, ExactIndex(vectors[:-1], mesh)), False

    def at(self, step):
        return self.in_use

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def pretrain(experiment, vectors):
    batches = experiment.masked_queries("train").batches(B * experiment.config.pretrain.oversample, 1)
    return Pretrain(experiment.config, experiment.models, experiment.store, batches, Follower(vectors), never, never)


@pytest.fixture(scope="module")
def pretrain_batch(pretrain, params):
    batch = next(iter(pretrain.batches()))
    return pretrain.retrieve(pretrain.embed(params, batch), batch, 7)[0]


@pytest.fixture(scope="module")
def read_out(experiment, pretrain, params, pretrain_batch):
    """Scores and log p(y|z,x) without dropout."""
    config, models, null_row = experiment.config, experiment.models, pretrain._null_row
    return jax.jit(lambda params, batch: read_candidates(config, models, params, batch, null_row, None))(
        params, pretrain_batch
    )


def row_ids(experiment, passages):
    """Rows of the store that these token rows are."""
    ids = {row.tobytes(): i for i, row in enumerate(experiment.store.rows(slice(None)))}
    assert len(ids) == experiment.store.num_passages + 1
    return np.array([[ids[row.tobytes()] for row in rows] for rows in np.asarray(passages)])


def test_pretrain_reads_the_null_passage_and_the_best_but_the_origin(experiment, pretrain, params, vectors):
    for batch, _ in zip(pretrain.batches(), range(6), strict=False):
        embedded = pretrain.embed(params, batch)
        found, metrics = pretrain.retrieve(embedded, batch, 7)
        ids = row_ids(experiment, found["passages"])
        assert ids.shape == (B, K) and (ids[:, 0] == experiment.store.null_id).all()
        queries = pretrain.embed(params, found)
        for candidates, query, origin in zip(ids, np.asarray(queries), found["origin"], strict=True):
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
    store, models = experiment.store, experiment.models
    device_store = DeviceStore(store.tokens, mesh)
    task = Pretrain(config, models, store, None, follower, never, never, device_store=device_store, mesh=mesh)
    return task, Pretrain(config, models, store, None, host_follower, never, never), mesh


def test_retrieval_on_the_devices_finds_what_the_host_finds(experiment, params, on_devices):
    task, host_task, mesh = on_devices
    params = put_params(mesh, params)
    for batch, _ in zip(experiment.masked_queries("train").batches(16, 2), range(3), strict=False):
        placed = put_rows(mesh, batch)
        found, metrics = task.retrieve(task.embed(params, placed), placed, 7)
        expected, host_metrics = host_task.retrieve(host_task.embed(params, placed), batch, 7)
        assert found.keys() == expected.keys() and len(found["passages"]) == 8
        for name, value in expected.items():
            assert found[name].dtype == value.dtype and found[name].sharding.spec == ROWS
            np.testing.assert_array_equal(found[name], value)
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
            found, _ = task.retrieve(task.embed(state.params, batch), batch, step)
            state, figures = take_step(state, found, at)
    assert np.isfinite(float(figures["loss/total"]))


def test_queries_that_retrieve_a_holder_are_trained_on_first(world, experiment, params, vectors):
    config = world.settings(pretrain={"candidates": K, "batch_size": B, "oversample": 5})
    task = Pretrain(config, experiment.models, experiment.store, None, Follower(vectors), never, never)
    batch = next(iter(experiment.masked_queries("train").batches(5 * B, 1)))
    found, metrics = task.retrieve(task.embed(params, batch), batch, 0)
    ids = row_ids(experiment, found["passages"])
    hits = [bool(set(row) & set(holders)) for row, holders in zip(ids[:, 1:], found["holders"], strict=True)]
    assert len(hits) == B and all(len(value) == B for value in found.values())
    assert hits == sorted(hits, reverse=True) and sum(hits) == min(B, round(metrics["retrieval/hits"] * 5 * B))
    drawn = {row.tobytes() for row in batch["query"]}
    assert all(row.tobytes() in drawn for row in found["query"])


def test_the_origin_is_never_among_the_candidates(experiment, pretrain, vectors):
    """Not even where every query's vector is its origin's own."""
    batch = next(iter(pretrain.batches()))
    found, _ = pretrain.retrieve(jnp.asarray(100 * vectors[batch["origin"]]), batch, 0)
    ids = row_ids(experiment, found["passages"])
    assert not (ids == found["origin"][:, None]).any() and len({*ids[0]}) == K


@pytest.mark.parametrize("marginalize", ["token", "span"])
def test_pretrain_gradient_of_the_scores_is_the_candidates_gain(
    world, experiment, vectors, params, pretrain_batch, read_out, marginalize, monkeypatch
):
    """d loss / d f(x, z) = - r(z) / number of masks, through the task's own loss."""
    config = world.settings(pretrain={"candidates": K, "marginalize": marginalize})
    task = Pretrain(config, experiment.models, experiment.store, None, Follower(vectors), never, never)
    original, shift = objectives.scores, jnp.zeros((B, K))

    @jax.jit
    def found_for(shift, params):
        def loss(shift):
            monkeypatch.setattr(pretrain_module.objectives, "scores", lambda *given: original(*given) + shift)
            return task.loss(params, pretrain_batch, key())[0]

        return jax.grad(loss)(shift)

    f, log_p_y = read_out
    found = found_for(shift, params)
    spans = pretrain_batch["mask_spans"] if marginalize == "span" else None
    weights = pretrain_batch["mask_weights"]
    gain = objectives.candidate_gain(objectives.retrieval_log_probs(f), log_p_y, weights, spans)
    np.testing.assert_allclose(found, -gain / weights.sum(), rtol=1e-3, atol=1e-6)
    assert np.abs(found).max() > 1e-5
    np.testing.assert_allclose(np.asarray(found).sum(1), 0.0, atol=1e-6)


def test_pretrain_teaches_embedder_and_reader(experiment, pretrain, params, pretrain_batch):
    both = {part: params[part] for part in ("embedder", "reader")}
    loss, metrics, found = gradients(pretrain, both, pretrain_batch)
    assert learns(found, "embedder") and learns(found, "reader")
    assert 0 < metrics["retrieval/p_null"] < 1 and 0 < metrics["retrieval/p_best"] < 1 and loss > 0
    embedded = np.unique([*np.unique(pretrain_batch["query"]), *np.unique(pretrain_batch["passages"])])
    assert words_that_learn(found, "embedder") == set(embedded.tolist()) - {0}, "what was embedded, and no padding"


def test_the_null_passage_embedded_once_is_as_good_as_per_query(experiment, params, pretrain_batch, read_out):
    f, _ = read_out
    embed, rows = experiment.models.embed, pretrain_batch["passages"]
    queries = np.asarray(embed(params["embedder"], pretrain_batch["query"]))
    for i in range(B):
        passages = np.asarray(embed(params["embedder"], rows[i]))
        scale = experiment.config.pretrain.score_scale
        np.testing.assert_allclose(f[i], scale * passages @ queries[i], rtol=1e-4, atol=1e-5)


def test_each_candidate_is_read_with_its_own_query(experiment, params, pretrain_batch, read_out):
    _, log_p_y = read_out
    for i in range(B):
        for k in range(K):
            joint, segments, _ = join(
                pretrain_batch["query"][i : i + 1], pretrain_batch["passages"][i : i + 1, k : k + 1], 56
            )
            positions = pretrain_batch["mask_positions"][i : i + 1]
            logits = experiment.models.read(params["reader"], joint[:, 0], segments[:, 0], positions)
            expected = objectives.target_log_probs(logits, pretrain_batch["mask_targets"][i : i + 1])[0]
            np.testing.assert_allclose(log_p_y[i, k], expected, rtol=1e-3, atol=1e-5)


def variant(world, experiment, vectors, **settings):
    """The task with other settings of pre-training."""
    config = world.settings(pretrain={"candidates": K, "batch_size": B} | settings)
    return Pretrain(config, experiment.models, experiment.store, None, Follower(vectors), never, never)


def test_without_the_null_passage_the_others_share_all(world, experiment, vectors, params, pretrain_batch, read_out):
    task = variant(world, experiment, vectors, null_passage=False)
    both = {part: params[part] for part in ("embedder", "reader")}
    loss, metrics, found = gradients(task, both, pretrain_batch)
    f, log_p_y = map(np.asarray, read_out)
    log_p_z = np.log(np.exp(f[:, 1:]) / np.exp(f[:, 1:]).sum(1, keepdims=True))
    weights = pretrain_batch["mask_weights"]
    marginal = np.log(np.exp(log_p_z[:, :, None] + log_p_y[:, 1:]).sum(1))
    assert loss == pytest.approx(-(marginal * weights).sum() / weights.sum(), rel=1e-3)
    utility = ((marginal - log_p_y[:, 0]) * weights).sum() / weights.sum()
    assert metrics["retrieval/utility"] == pytest.approx(utility, abs=1e-3) and metrics["retrieval/p_null"] == 0
    assert learns(found, "embedder") and learns(found, "reader")


def test_without_the_ban_the_origin_may_be_a_candidate(world, experiment, vectors, pretrain):
    """As it is where every query's vector is its origin's own."""
    task, batch = variant(world, experiment, vectors, ban_origin=False), next(iter(pretrain.batches()))
    found, _ = task.retrieve(jnp.asarray(100 * vectors[batch["origin"]]), batch, 0)
    ids = row_ids(experiment, found["passages"])
    order = np.argsort(-(vectors[found["origin"]] @ vectors[:-1].T), axis=1, kind="stable")
    np.testing.assert_array_equal(ids[:, 1:], order[:, : K - 1])
    assert (ids == found["origin"][:, None]).any()


def test_a_query_counts_only_where_its_answer_is_near(world, experiment, params, vectors):
    task, near = variant(world, experiment, vectors, answer_within=4), 4
    seen = set()
    for batch, _ in zip(experiment.masked_queries("train").batches(B, 1), range(8), strict=False):
        found, metrics = task.retrieve(task.embed(params, batch), batch, 0)
        queries = np.asarray(task.embed(params, found))
        for i, origin in enumerate(found["origin"]):
            order = [row for row in np.argsort(-(vectors[:-1] @ queries[i]), kind="stable") if row != origin]
            hit = bool(set(order[:near]) & set(found["holders"][i].tolist()))
            assert found["mask_weights"][i].any() == hit
            seen.add(hit)
        assert found["passages"].shape[:2] == (B, K)
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
    probe = lambda params: probed.append(params) or {}  # noqa: E731
    task = Pretrain(experiment.config, experiment.models, experiment.store, None, follower, never, probe)
    task.probe({"embedder": jnp.arange(3.0), "reader": jnp.zeros(1)})
    task.close()
    assert [params.tolist() for params in probed] == [[0, 1, 2]] and follower.closed


# Inverse cloze task


def test_ict_teaches_the_embedder(world, experiment, params):
    batches = ict_batches(experiment.config, world.data, world.tokenizer, experiment.store, 1)
    task, batch = Ict(experiment.config, experiment.models, batches, never), next(iter(batches))
    loss, metrics, found = gradients(task, {"embedder": params["embedder"]}, batch)
    assert learns(found, "embedder")
    queries, passages = (experiment.models.embed(params["embedder"], batch[key]) for key in ("query", "passage"))
    f = np.asarray(queries @ passages.T, np.float64)
    right = np.exp(np.diag(f)) / np.exp(f).sum(1)
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-3)
    assert metrics["retrieval/in_batch_accuracy"] == pytest.approx((f.argmax(1) == np.arange(5)).mean())


# Reader warm-up


def warm_up(world, experiment, **settings):
    settings = {"steps": 101, "distractor": 0.0, "null_passage": 0.0} | settings
    return WarmUp(world.settings(warm_up=settings), experiment.models, experiment.store, None, never)


def drawn(task, experiment, steps, holders=(5, 6, -1)):
    """Which rows the queries of passage 2 were read with, over many steps."""
    count = 50
    batch = {"origin": np.full(count, 2, np.int32), "holders": np.tile(np.array(holders, np.int32), (count, 1))}
    passages = [task.retrieve(None, batch, step)[0]["passages"] for step in steps]
    return row_ids(experiment, np.concatenate(passages)).ravel()


def share(rows, *which):
    return float(np.isin(rows, which).mean())


def test_warm_up_reads_a_falling_share_of_own_passages(world, experiment):
    task = warm_up(world, experiment, own_passage_start=1.0, own_passage_end=0.2)
    assert share(drawn(task, experiment, [0]), 2) == 1.0
    middle = drawn(task, experiment, range(40, 61))
    assert share(middle, 2) == pytest.approx(0.6, abs=0.06)
    assert share(middle, 5) == pytest.approx(0.2, abs=0.05) == share(middle, 6)
    assert share(drawn(task, experiment, [100] * 1), 2) == pytest.approx(0.2, abs=0.2)
    assert share(middle, 2, 5, 6) == 1.0


def test_warm_up_reads_its_own_passage_where_no_other_holds_the_answer(world, experiment):
    task = warm_up(world, experiment, own_passage_start=0.0, own_passage_end=0.0)
    assert share(drawn(task, experiment, range(3), holders=(-1, -1, -1)), 2) == 1.0
    assert share(drawn(task, experiment, range(3)), 2) == 0.0


def test_warm_up_reads_the_null_passage_and_distractors(world, experiment):
    task = warm_up(world, experiment, null_passage=0.25, distractor=0.5)
    rows, null = drawn(task, experiment, range(40)), experiment.store.null_id
    told = share(rows, 2, 5, 6)
    assert told == pytest.approx(0.25, abs=0.04)
    assert share(rows, null) >= 0.25 - 0.04
    distractors = set(rows.tolist()) - {2, 5, 6, null}
    assert len(distractors) > experiment.store.num_passages // 2


def test_warm_up_draws_the_same_in_every_run_and_anew_at_every_step(world, experiment):
    task, again = (warm_up(world, experiment, null_passage=0.2, distractor=0.3) for _ in range(2))
    np.testing.assert_array_equal(drawn(task, experiment, [3, 4]), drawn(again, experiment, [3, 4]))
    assert not np.array_equal(drawn(task, experiment, [3]), drawn(task, experiment, [4]))


def test_warm_up_teaches_the_reader(world, experiment, params):
    task = warm_up(world, experiment)
    batch, _ = task.retrieve(None, next(iter(experiment.masked_queries("train").batches(B, 1))), 0)
    loss, metrics, found = gradients(task, {"reader": params["reader"]}, batch)
    assert learns(found, "reader") and loss > 0 and 0 <= metrics["reader/token_accuracy"] <= 1


# Fine-tuning


@pytest.fixture(scope="module")
def questions(experiment):
    return experiment.questions("train")


@pytest.fixture(scope="module")
def finetune(experiment, questions, vectors):
    manifest = Manifest(0, len(vectors) - 1, vectors.shape[1], "exact", "", None, {}, {})
    snapshot = Snapshot(0, Path(), vectors, manifest)
    index, labels = ExactIndex(vectors[:-1]), experiment.labels(questions)
    batches = questions.batches(B, 1)
    return Finetune(experiment.config, experiment.models, experiment.store, batches, snapshot, index, labels, never)


@pytest.fixture(scope="module")
def fine_params(params):
    return {"embedder": params["embedder"], "reader": params["span_reader"]}


@pytest.fixture(scope="module")
def fine_batch(finetune, fine_params):
    batch = next(iter(finetune.batches()))
    return finetune.retrieve(finetune.embed(fine_params, batch), batch, 0)


def test_finetune_takes_the_beam_as_it_is_indexed(experiment, questions, fine_batch, fine_params, finetune, vectors):
    batch, metrics = fine_batch
    queries = np.asarray(finetune.embed(fine_params, batch))
    beam = np.argsort(-(queries @ vectors[:-1].T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(row_ids(experiment, batch["passages"]), beam)
    np.testing.assert_allclose(batch["beam_vectors"], vectors[beam])
    np.testing.assert_array_equal(batch["beam_labels"], experiment.labels(questions)(batch["question"], beam))
    assert metrics["retrieval/beam_recall"] == batch["beam_labels"].any(1).mean()


def test_finetune_teaches_the_query_side_and_the_reader(finetune, fine_params, fine_batch):
    batch = dict(fine_batch[0])
    batch["beam_labels"] = np.arange(10)[None] == np.arange(1, B + 1)[:, None]
    loss, metrics, found = gradients(finetune, fine_params, batch)
    assert learns(found, "embedder") and loss > 0
    assert loss == pytest.approx(metrics["loss/retriever"] + metrics["loss/reader"], rel=1e-5)
    # Passage vectors stay: no passage token teaches the embedder.
    assert words_that_learn(found, "embedder") == set(np.unique(batch["query"]).tolist()) - {0}


def test_finetune_teaches_the_reader_where_an_answer_is_read(finetune, fine_params, fine_batch):
    batch = dict(fine_batch[0])
    # The first answer is what stands in the body of the first question's best passage.
    logits, places, joint, is_body = read_spans(
        finetune._config, finetune._models, fine_params["reader"], batch["query"], batch["passages"],
        jnp.zeros((B, 10)).at[:, :3].set(1.0), 3,
    )  # fmt: skip
    assert logits.shape == (B, 3, len(features.span_table(56, 6))) and places.tolist() == [[0, 1, 2]] * B
    body = np.asarray(joint[0, 0])[np.asarray(is_body[0, 0])]
    batch["answers"] = np.zeros_like(batch["answers"])
    batch["answers"][:, 0, :2] = body[3:5]
    batch["passages"] = np.tile(batch["passages"][:1, :1], (B, 10, 1))
    _, metrics, found = gradients(finetune, fine_params, batch)
    assert metrics["reader/answer_in_read"] == 1.0 and metrics["loss/reader"] > 0
    assert learns({name: leaf for name, leaf in found.items() if name != "reader/output/bias"}, "reader")


def test_finetune_without_any_answer_teaches_nothing(finetune, fine_params, fine_batch):
    batch = dict(fine_batch[0])
    batch["beam_labels"] = np.zeros_like(batch["beam_labels"])
    batch["answers"] = np.full_like(batch["answers"], 5)  # a wordpiece that stands nowhere
    loss, metrics, found = gradients(finetune, fine_params, batch)
    assert loss == 0.0 and metrics["retrieval/recall_read"] == 0.0 and metrics["reader/answer_in_read"] == 0.0
    assert not any(leaf.any() for leaf in found.values())


def test_finetune_with_an_answer_in_the_beam_alone_teaches_the_retriever_alone(finetune, fine_params, fine_batch):
    batch = dict(fine_batch[0])
    batch["answers"] = np.full_like(batch["answers"], 5)
    batch["beam_labels"] = np.zeros_like(batch["beam_labels"])
    batch["beam_labels"][:, -1] = True
    _, metrics, found = gradients(finetune, fine_params, batch)
    assert metrics["retrieval/recall_read"] == 0.0 and metrics["loss/reader"] == 0.0 < metrics["loss/retriever"]
    assert learns(found, "embedder")
    assert not any(leaf.any() for name, leaf in found.items() if name.startswith("reader"))


def test_finetune_by_patterns_learns_what_literal_answers_teach(world, tmp_path, fine_params, finetune, fine_batch):
    """A set whose answers are patterns of the literal ones gives the same labels, loss and gradients."""
    experiment = world.experiment(tmp_path, questions=world.patterns(tmp_path))
    questions = experiment.questions("train")
    assert not questions.pieces.any() and len(questions.trainable()) == len(questions)
    snapshot, index, labels = finetune._snapshot, finetune._index, experiment.labels(questions)
    task = Finetune(experiment.config, experiment.models, experiment.store, None, snapshot, index, labels, never)
    batch = {name: fine_batch[0][name] for name in ("query", "answers", "question")}
    batch, metrics = task.retrieve(task.embed(fine_params, batch), batch, 0)
    np.testing.assert_array_equal(batch["beam_labels"], fine_batch[0]["beam_labels"])
    assert metrics == fine_batch[1] and batch["beam_labels"].any()
    assert batch["answer_widths"].shape == batch["passages"].shape
    loss, metrics, found = gradients(task, fine_params, batch)
    expected = gradients(finetune, fine_params, fine_batch[0])
    assert loss == expected[0] and metrics == expected[1] and metrics["reader/answer_in_read"] > 0
    assert all(np.array_equal(leaf, expected[2][name]) for name, leaf in found.items())


def test_spans_are_read_in_the_best_passages_only(experiment, fine_params, fine_batch, finetune):
    batch, scores = fine_batch[0], jnp.asarray(np.random.default_rng(0).normal(size=(B, 10)), jnp.float32)
    logits, places, joint, _ = read_spans(
        finetune._config, finetune._models, fine_params["reader"], batch["query"], batch["passages"], scores, 3
    )
    np.testing.assert_array_equal(places, np.argsort(-np.asarray(scores), axis=1)[:, :3])
    for i in range(B):
        for k, place in enumerate(np.asarray(places[i])):
            row, segments, _ = join(batch["query"][i : i + 1], batch["passages"][i : i + 1, place : place + 1], 56)
            np.testing.assert_array_equal(joint[i, k], row[0, 0])
            alone = experiment.models.score_spans(fine_params["reader"], row[:, 0], segments[:, 0])[0]
            np.testing.assert_allclose(logits[i, k], alone + scores[i, place], rtol=1e-3, atol=1e-3)


# The rival


def test_closed_book_teaches_the_reader(experiment, questions, params):
    batches = questions.cloze_batches(B, 1)
    task = ClosedBook(experiment.models, batches, never, never)
    loss, _, found = gradients(task, {"reader": params["reader"]}, next(iter(batches)))
    assert learns(found, "reader") and loss > 0


def test_cloze_answers_end_at_the_first_padding(world, tmp_path):
    """A reader that says the right answer, then padding, then rubbish."""
    experiment = world.experiment(tmp_path, evaluation={"batch_size": 4})
    questions = experiment.questions("dev")
    pieces = [world.tokenizer.encode(answers[0]).ids for answers in questions.answers]
    said = np.full((len(questions), 6), 150)
    for row, ids in zip(said, pieces, strict=True):
        row[: len(ids) + 1] = [*ids, 0][:6]
    assert said.shape == (4, 6)
    experiment.models.read = lambda *_: jax.nn.one_hot(jnp.asarray(said), world.tokenizer.vocab_size)
    assert cloze_answers(experiment, {}, questions) == [world.tokenizer.decode(ids) for ids in pieces]


def test_cloze_answers_do_not_depend_on_the_batch(world, tmp_path, questions, params):
    found = []
    for size in (4, 14):
        experiment = world.experiment(tmp_path, evaluation={"batch_size": size})
        found.append(cloze_answers(experiment, params["reader"], questions))
    assert found[0] == found[1] and len(found[0]) == len(questions)
