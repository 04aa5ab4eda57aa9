"""Pre-training whole, on eight devices, retrieval included; what does not fit is refused first."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from realm_jax.answering.learned import Stages
from realm_jax.errors import UserError
from realm_jax.index import placement, snapshots
from realm_jax.runtime import sharing
from realm_jax.stages import STAGES, of_run
from realm_jax.training import checkpoints, loop
from realm_jax.training.index_builder import build_one
from realm_jax.training.metrics import read_metrics
from realm_jax.training.results import finetuned_snapshot, restore_result, start_of_pretraining
from realm_jax.training.train_stage import task_of, train_stage
from realm_jax.workdir import Workdir
from tests.answering.finished import save
from tests.devices import have

ON_DEVICES = {"kind": "exact", "store": "device", "refresh": "inline"}


def train(world, folder, **index):
    """Trains, and gives the metrics of each step."""
    stage = {"steps": 4, "checkpoint_every": 2, "batch_size": 8, "probe_queries": 0}
    train_stage("pretrain", world.settings(pretrain=stage, index=index), Workdir(folder))
    return [json.loads(line) for line in Workdir(folder).stage("pretrain").metrics.read_text().splitlines()]


def test_retrieval_on_the_devices_from_the_first_snapshot_to_the_next(world, tmp_path):
    lines = train(world, tmp_path, **ON_DEVICES)
    assert [(line["step"], line["index/snapshot"]) for line in lines] == [(1, 0), (2, 0), (3, 2), (4, 2)]
    assert all(np.isfinite(line["loss/total"]) and 0 <= line["retrieval/hits"] <= 1 for line in lines)


def test_what_does_not_fit_is_refused_before_training(world, tmp_path, monkeypatch):
    store = world.experiment(tmp_path).store
    tokens, vectors = -(-len(store.tokens) // 8) * 40 * 2, -(-store.num_passages // 8) * 8 * 4
    monkeypatch.setattr(placement, "free", lambda device: tokens + 2 * vectors - 1)
    with pytest.raises(UserError, match=rf"over 8 devices need .*{tokens + 2 * vectors:,} bytes.*next snapshot"):
        train(world, tmp_path, **ON_DEVICES)
    assert not Workdir(tmp_path).stage("pretrain").checkpoints.exists()


def test_a_store_on_the_devices_needs_the_exact_index(world):
    with pytest.raises(UserError, match="index.store: device needs index.kind exact, not scann"):
        world.settings(index={"kind": "scann", "store": "device"})


def test_a_resumed_run_writes_the_same_metrics_with_learned_salience(world, tmp_path, monkeypatch):
    """Gone on with from checkpoint 2, as after a kill at step 3: what was measured comes back, too."""
    have(monkeypatch, 2)
    settings = {"steps": 4, "checkpoint_every": 2, "batch_size": 8, "oversample": 2, "probe_queries": 0}
    config = world.settings(masking={"kind": "learned"}, pretrain=settings, index={"refresh": "inline"})
    whole, killed = Workdir(tmp_path / "whole"), Workdir(tmp_path / "killed")
    train_stage("pretrain", config, whole)
    shutil.copytree(whole.root, killed.root)
    stage = killed.stage("pretrain")
    stage.done.unlink()
    shutil.rmtree(stage.checkpoints / "4")
    shutil.rmtree(stage.snapshots / "4")
    stage.metrics.write_text("".join(stage.metrics.read_text().splitlines(keepends=True)[:3]))
    train_stage("pretrain", config, killed)
    lines, expected = (
        [{name: value for name, value in line.items() if not name.startswith("time")} for line in read_metrics(path)]
        for path in (stage.metrics, whole.stage("pretrain").metrics)
    )
    assert lines == expected and len(lines) == 4
    assert len({line["salience/name"] for line in lines}) == 4


@pytest.mark.parametrize("rate", [1.0, 0.0])
def test_a_snapshot_that_was_deleted_is_made_again(world, tmp_path, rate):
    """That of checkpoint 0, when training goes on from 2; of an embedder that stays, without checkpoint 0."""
    settings = {
        "index": {"refresh": "inline", "refresh_every": 2},
        "pretrain": {"embedder_rate": rate, "probe_queries": 0},
    }
    experiment = world.experiment(tmp_path, **settings)
    stage, task = experiment.workdir.stage("pretrain"), task_of("pretrain", experiment)
    now = task.init(jax.random.key(0))
    then = jax.tree.map(lambda leaf: leaf + rate * 0.1 * jnp.cos(jnp.arange(leaf.size).reshape(leaf.shape)), now)
    if rate:
        checkpoints.write_params(stage.checkpoints, 0, then)
    task.saved(2, now)
    vectors = snapshots.load(stage.snapshots, 0).vectors
    expected = experiment.models.embed(then["embedder"], experiment.store.rows(slice(None)))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    shutil.rmtree(stage.snapshots)
    if rate:
        shutil.rmtree(stage.checkpoints)
        task.saved(2, now)
        with pytest.raises(UserError, match="snapshot of checkpoint 0.*both were deleted: put one back"):
            task.retrieve(jnp.zeros((1, 8)), next(iter(task.batches())), 2)
    task.close()


def test_fine_tuning_searches_vectors_of_its_last_checkpoint(world, tmp_path, monkeypatch):
    have(monkeypatch, 1)
    settings = {
        "steps": 4, "checkpoint_every": 2, "learning_rate": 0.1, "warmup_steps": 0, "probe_questions": 3,
        "refresh": "inline",
    }  # fmt: skip
    whole, killed = (
        world.experiment(tmp_path / name, pretrain={"steps": 0}, finetune=settings) for name in ("whole", "killed")
    )
    start = start_of_pretraining(whole)(jax.random.key(0))
    build_one(whole, 0, start["embedder"])
    save(whole, "pretrain", start)
    shutil.copytree(whole.workdir.root, killed.workdir.root)
    train_stage("finetune", whole.config, whole.workdir)
    folder, step = finetuned_snapshot(whole.config, whole.workdir)
    assert folder == whole.workdir.stage("finetune") and snapshots.list_steps(folder.snapshots) == [0, 2, 4]
    found = {}
    for at in (0, 2, 4):
        embedder = checkpoints.restore_part(folder.checkpoints, at, "embedder", whole.models.shapes("embedder"))
        expected = whole.models.embed(embedder, whole.store.rows(slice(None)))
        found[at] = np.asarray(snapshots.load(folder.snapshots, at).vectors)
        np.testing.assert_allclose(found[at], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found[4] - found[2]).max() > 0.1
    learned = Stages(whole)["finetune"]
    np.testing.assert_array_equal(learned.index.vectors[: len(found[step]) - 1], found[step][:-1])

    # Gone on with from checkpoint 2, whose snapshot is lost, as well as the end.
    shutil.copytree(folder.root, killed.workdir.stage("finetune").root)
    stage = killed.workdir.stage("finetune")
    stage.done.unlink()
    shutil.rmtree(stage.checkpoints / "4")
    shutil.rmtree(stage.snapshots)
    train_stage("finetune", killed.config, killed.workdir)
    assert checkpoints.digest(result(killed)) == checkpoints.digest(result(whole))
    np.testing.assert_array_equal(snapshots.load(stage.snapshots, 4).vectors, found[4])


def test_vectors_that_would_stay_are_not_refreshed(world):
    for changes, still in (
        ({"finetune": {"embedder_rate": 0.0}}, "finetune.embedder_rate 0"),
        ({"index": {"kind": "bm25"}, "pretrain": {"steps": 0}}, "index.kind bm25"),
    ):
        finetune = {"refresh": "inline"} | changes.get("finetune", {})
        with pytest.raises(UserError, match=f"finetune.refresh: inline .* with {still} .* it must be none"):
            world.settings(**changes | {"finetune": finetune})


def result(run):
    """The parameters that fine-tuning left."""
    parts = {"embedder": "embedder", "reader": "span_reader"}
    return {name: restore_result(run.workdir, "finetune", name, run.models, kind) for name, kind in parts.items()}


def seen(name, part, options):
    """A part of the settings, of which a stage sees some options only."""

    class Seen(type(part)):
        def __getattribute__(self, option):
            assert option in options or option.startswith("__"), (
                f"{name}.{option} is read, but its row of STAGES does not say so"
            )
            return getattr(part, option) if option in options else object.__getattribute__(self, option)

    return object.__new__(Seen)


def seen_by(stage, config):
    """The settings as a stage may see them, whose folder all runs share that agree in what it reads."""
    before, reads = [stage], set()
    while before:
        one = before.pop()
        reads |= set(sharing.reads(one, config))
        starts = STAGES[one].starts_from if one in STAGES else ()
        # Whether a stage that it may start from is there at all shows in its key.
        reads |= {f"{name}.steps" for name in starts}
        before += [name for name in starts if name in sharing.made_from(config)]
    config = dataclasses.replace(config)
    for field in dataclasses.fields(config):
        part = getattr(config, field.name)
        if dataclasses.is_dataclass(part) and field.name not in reads and field.name != "mesh":
            options = {name.partition(".")[2] for name in reads if name.startswith(f"{field.name}.")}
            object.__setattr__(config, field.name, seen(field.name, part, options))
    return config


@pytest.mark.usefixtures("one_device")
def test_a_stage_reads_no_option_that_runs_may_differ_in_which_share_it(world, tmp_path, monkeypatch):
    """Or a run would be given what another one's settings made. A step reads its options when it is traced."""
    make_step, traced = loop.make_step, []

    def make_traced_step(*given):
        def step(*arguments):
            traced.append(given[0])
            shapes = jax.eval_shape(make_step(*given), *arguments)
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        return step

    monkeypatch.setattr(loop, "make_step", make_traced_step)
    one = {"steps": 1, "batch_size": 3}
    config = world.settings(
        ict=one,
        warm_up=one,
        pretrain=one | {"probe_queries": 3, "patience": 7},
        finetune=one | {"patience": 8},
        closed_book=one,
        index={"refresh": "inline"},
    )
    for stage in of_run(config):
        train_stage(stage, seen_by(stage, config), Workdir(tmp_path))
        assert Workdir(tmp_path).stage(stage).done.exists()
    assert [task.patience for task in traced] == [0, 0, 7, 8, 0]
    with pytest.raises(AssertionError, match="index.kind is read, but"):
        seen_by("warm_up", config).index.kind  # noqa: B018
