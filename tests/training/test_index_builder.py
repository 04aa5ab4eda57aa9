"""The builder's side: which checkpoint it embeds, what it survives, what it keeps, and when it ends."""

import dataclasses
import os
import shutil
import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_jax.config import Config, Index, Pretrain
from realm_jax.errors import UserError
from realm_jax.index import embed_passages, snapshots
from realm_jax.index.snapshots import Manifest
from realm_jax.locks import sole_owner
from realm_jax.runtime import sharing
from realm_jax.training import checkpoints, index_builder
from realm_jax.training.checkpoints import CheckpointWriter, State
from realm_jax.training.index_builder import build_one, follow_and_build, next_step
from realm_jax.training.snapshot_follower import scheduled, snapshot_every
from realm_jax.workdir import StageDir, SweepDir, write_json
from tests.waiting import until


class Trainer:
    """Saves checkpoints as the loop does; each has an embedder of its own."""

    def __init__(self, experiment):
        self.experiment, self.stage = experiment, experiment.workdir.stage("pretrain")
        self.writer = CheckpointWriter(self.stage.checkpoints, 4)

    def embedder(self, step):
        return self.experiment.models.embedder(jax.random.key(step), self.experiment.sample_rows())

    def save(self, step):
        params = {"embedder": self.embedder(step), "reader": {"kernel": np.zeros(3)}}
        self.writer.save(step, State(params, {"mean": np.zeros(2)}), {"data": {}}, None)
        self.writer.wait()

    def end(self, step):
        write_json(self.stage.done, {"step": step, "last_step": step, "reason": "test"})

    def vectors(self, step):
        return self.experiment.models.embed(self.embedder(step), self.experiment.store.rows(slice(None)))


@pytest.fixture
def trainer(world, tmp_path):
    trainer = Trainer(world.experiment(tmp_path / "run"))
    yield trainer
    trainer.writer.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(index_builder, "POLL_S", 0.02)


class Running:
    """A builder in a thread of this process."""

    def __init__(self, trainer):
        self.error, arguments = None, (trainer.experiment.config, trainer.experiment.workdir)

        def run():
            try:
                follow_and_build(*arguments)
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def ends(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.error


class Folders:
    """Checkpoints and snapshots that are no more than names."""

    def __init__(self, root, steps, every, after, keep=4, refresh_every=1, **pretrain):
        self.stage = StageDir(root)
        self.config = Config(
            index=Index(swap_after=after, refresh_every=refresh_every),
            pretrain=Pretrain(steps=steps, checkpoint_every=every, keep=keep, **pretrain),
        )

    def save(self, step):
        (self.stage.checkpoints / str(step)).mkdir(parents=True)
        for old in checkpoints.steps(self.stage.checkpoints)[: -self.config.pretrain.keep]:
            shutil.rmtree(self.stage.checkpoints / str(old))

    def publish(self, step, store="store"):
        manifest = Manifest(step, 9, 2, "exact", store, None, {}, {"vectors.npy": ""})
        write_json(self.stage.snapshots / str(step) / "manifest.json", dataclasses.asdict(manifest))

    def next(self):
        return next_step(self.config, self.stage, "store")


def test_with_a_schedule_the_oldest_that_will_be_searched_is_next(tmp_path):
    run = Folders(tmp_path, steps=20, every=5, after=5)
    assert run.next() is None
    for step in (0, 5, 10, 15):
        run.save(step)
    for step in (0, 5, 10):
        assert run.next() == step
        run.publish(step)
    assert run.next() is None  # that of 15 would be searched from step 20 on, which there is none


def test_a_snapshot_that_was_deleted_is_made_again_while_it_is_searched(tmp_path):
    """As its message advises where it is damaged: a trainer that goes on from its last checkpoint may need it."""
    run = Folders(tmp_path, steps=40, every=5, after=5)
    for step in (0, 5, 10, 15):
        run.save(step)
        run.publish(step)
    for step in (10, 15):
        shutil.rmtree(run.stage.snapshots / str(step))
    assert scheduled(15, 5, 5) == 10 == run.next()
    run.publish(10)
    assert run.next() == 15
    run.publish(15)
    shutil.rmtree(run.stage.snapshots / "5")  # nobody searches it any more
    assert run.next() is None


@pytest.mark.parametrize("after", [5, 0])
def test_of_rare_refreshes_only_those_that_are_due(tmp_path, after):
    run = Folders(tmp_path, steps=100, every=5, after=after, refresh_every=3)
    for step in (0, 5, 10):
        run.save(step)
        assert run.next() == (0 if step == 0 else None)
        if step == 0:
            run.publish(0)
    run.save(15)
    assert run.next() == 15
    assert [scheduled(step, snapshot_every(run.config), 5) for step in (0, 19, 20, 34, 35)] == [0, 0, 15, 15, 30]


def test_an_embedder_that_stays_needs_one_snapshot(tmp_path):
    run = Folders(tmp_path, steps=100, every=5, after=5, embedder_rate=0.0, probe_queries=0)
    for step in (0, 5, 10):
        run.save(step)
    assert run.next() == 0
    run.publish(0)
    assert run.next() is None and scheduled(99, snapshot_every(run.config), 5) == 0


def test_without_a_schedule_the_newest_is_next(tmp_path):
    run = Folders(tmp_path, steps=20, every=5, after=0)
    for step in (0, 5, 10):
        run.save(step)
    assert run.next() == 10
    run.publish(10)
    assert run.next() is None
    run.save(15)
    assert run.next() == 15


@pytest.mark.parametrize("after", [0, 5])
def test_once_training_is_done_only_its_result_is_next(tmp_path, after):
    run = Folders(tmp_path, steps=20, every=5, after=after)
    for step in (0, 5, 10, 15):
        run.save(step)
    run.publish(10)
    write_json(run.stage.done, {"step": 5})
    assert run.next() == 5  # the best one; older than the newest snapshot
    run.publish(5, "passages before documents changed")
    assert run.next() == 5
    run.publish(5)
    assert run.next() is None


@settings(max_examples=30)
@given(every=st.integers(1, 5), after=st.integers(1, 12), steps=st.integers(1, 30), eager=st.booleans())
def test_trainer_and_builder_never_wait_for_each_other(tmp_path_factory, every, after, steps, eager):
    """With the fewest checkpoints kept that the schema allows, and a builder that is quick or as slow as can be."""
    run = Folders(tmp_path_factory.mktemp("run"), steps, every, after, after // every + 2)
    published, asked = [], []

    def build():
        step = run.next()
        if step is not None:
            run.publish(step)
            published.append(step)
        return step

    for step in range(steps):
        if step % every == 0:
            run.save(step)
            while eager and build() is not None:
                pass
        due = scheduled(step, every, after)
        while due not in published:
            assert build() is not None, "the trainer waits for what the builder does not build"
        asked.append(due)
    assert published == sorted(set(asked)), "nothing is built in vain"


def test_settings_that_would_wait_for_ever_are_refused():
    with pytest.raises(UserError, match=r"pretrain.keep: 5 .* index.swap_after 40 .* must be at least 6"):
        Config(index=Index(swap_after=40), pretrain=Pretrain(checkpoint_every=10, keep=5))
    Config(index=Index(swap_after=40), pretrain=Pretrain(checkpoint_every=10, keep=6))


def test_follows_training_to_its_end(trainer):
    stage, running = trainer.stage, Running(trainer)
    with sole_owner(stage.root, "pretrain"):
        for step in (0, 2):
            trainer.save(step)
            until(lambda step=step: step in snapshots.list_steps(stage.snapshots))
        with pytest.raises(UserError, match=f"build_index is already running there .process {os.getpid()}"):
            follow_and_build(trainer.experiment.config, trainer.experiment.workdir)
        trainer.save(4)
        trainer.save(6)
        trainer.end(4)
    assert running.ends() is None
    assert snapshots.list_steps(stage.snapshots) == [0, 2, 4]
    for step in (0, 2, 4):
        snapshot = snapshots.load(stage.snapshots, step, trainer.experiment.store.fingerprint)
        np.testing.assert_allclose(snapshot.vectors, trainer.vectors(step), rtol=1e-4, atol=1e-5)
    assert not list(stage.snapshots.glob(".*")), "nothing half-done is left"


def test_a_finished_run_needs_no_builder(trainer):
    for step in (0, 2):
        trainer.save(step)
        build_one(trainer.experiment, step, trainer.embedder(step))
    trainer.end(2)
    before = [path.stat().st_mtime_ns for path in trainer.stage.snapshots.rglob("*")]
    follow_and_build(trainer.experiment.config, trainer.experiment.workdir)
    assert before == [path.stat().st_mtime_ns for path in trainer.stage.snapshots.rglob("*")]


@pytest.mark.parametrize("part", ["", "embedder", "files"])
def test_a_checkpoint_that_is_deleted_under_it_is_passed_over(trainer, monkeypatch, part):
    """Whole at once, or piece by piece while it is read."""
    trainer.save(0)
    folder, abstract, deleted = trainer.stage.checkpoints / "0", checkpoints.abstract, []

    def delete(*arguments):
        if not deleted:
            deleted.append(1)
            if part == "files":
                for path in [path for path in (folder / "embedder").rglob("*") if path.is_file()]:
                    path.unlink()
            else:
                shutil.rmtree(folder / part)
            threading.Timer(0.3, shutil.rmtree, (folder,), {"ignore_errors": True}).start()
        return abstract(*arguments)

    monkeypatch.setattr(checkpoints, "abstract", delete)
    monkeypatch.setattr(checkpoints, "DELETION_S", 60.0)  # a slow machine may delete slowly
    running = Running(trainer)
    until(lambda: not folder.exists())
    trainer.save(2)
    until(lambda: snapshots.list_steps(trainer.stage.snapshots) == [2])
    trainer.end(2)
    assert running.ends() is None and deleted


def test_a_checkpoint_that_stays_broken_is_an_error(trainer):
    trainer.save(0)
    shutil.rmtree(trainer.stage.checkpoints / "0" / "embedder")
    with pytest.raises(UserError, match="0/embedder/.*is missing. Delete the checkpoint 0"):
        follow_and_build(trainer.experiment.config, trainer.experiment.workdir)
    assert snapshots.list_steps(trainer.stage.snapshots) == []


def test_a_result_that_is_gone_is_an_error(trainer):
    trainer.save(0)
    trainer.end(0)
    shutil.rmtree(trainer.stage.checkpoints)
    assert "checkpoint of step 0, which done.json names as the result, is not there" in str(Running(trainer).ends())


def test_a_checkpoint_of_another_architecture_is_an_error(trainer, world):
    trainer.save(0)
    other = world.settings(model={"vector_size": 5})
    with pytest.raises(UserError, match=r"other shapes: .*projection/kernel \(12, 8\) here, \(12, 5\) in the model"):
        follow_and_build(other, trainer.experiment.workdir)


def test_ends_when_the_trainer_is_away(trainer, world):
    config = world.settings(index={"stop_after_s": 0.6})
    with pytest.raises(UserError, match=r"no trainer at work in .*pretrain since 0.6 s.*realm pretrain"):
        follow_and_build(config, trainer.experiment.workdir)


def test_waits_as_long_as_a_trainer_is_at_work(trainer, world):
    trainer.experiment.config = world.settings(index={"stop_after_s": 0.3})
    with sole_owner(trainer.stage.root, "pretrain"):
        running = Running(trainer)
        time.sleep(1.2)
        assert running.thread.is_alive()
    assert "no trainer at work" in str(running.ends())


@pytest.mark.parametrize("every, after, keep", [(2, 2, 2), (2, 6, 2), (3, 2, 4)])
def test_keeps_what_a_resumed_trainer_needs(trainer, world, monkeypatch, every, after, keep):
    """Whichever kept checkpoint training goes on from, and the comparison with the start."""
    steps = 30
    trainer.experiment.config = world.settings(
        index={"swap_after": after, "keep": keep},
        pretrain={"checkpoint_every": every, "steps": steps, "keep": after // every + 2},
    )
    for step in range(0, steps - after, every):
        build_one(trainer.experiment, step, trainer.embedder(step))
        there = snapshots.list_steps(trainer.stage.snapshots)
        # Training may have come as far as to wait for the next snapshot; its newest checkpoint is then ...
        newest = (step + every + after) // every * every
        assert 0 in there and len(there) <= max(keep, after // every + 2) + 1
        for saved in (newest, newest - every):
            if 0 <= saved < steps and scheduled(saved, every, after) <= step:
                assert scheduled(saved, every, after) in there
    trainer.end(0)


def test_runs_of_a_sweep_embed_once_what_an_equal_embedder_makes(world, tmp_path, monkeypatch):
    """Snapshot 0 of all that start alike; not where the vectors would differ in a bit, or another sweep has them."""

    def build(sweep: str, variant: str, **changes) -> tuple[bool, np.ndarray]:
        """Whether anything was embedded, and the vectors."""
        experiment = world.experiment(SweepDir(tmp_path / sweep).run(variant, 0).root, **changes)
        experiment.workdir.root.mkdir(parents=True)
        sharing.link(experiment.config, experiment.workdir, SweepDir(tmp_path / sweep))
        embedded.clear()
        build_one(experiment, 0, experiment.models.embedder(jax.random.key(0), experiment.sample_rows()))
        return bool(embedded), snapshots.load(experiment.workdir.stage("pretrain").snapshots, 0).vectors

    embedded, embed_all = [], embed_passages.embed_all
    monkeypatch.setattr(embed_passages, "embed_all", lambda *given: embedded.append(1) or embed_all(*given))
    first, vectors = build("one", "first", pretrain={"steps": 6})
    again, others = build("one", "longer", pretrain={"steps": 8})
    assert first and not again
    np.testing.assert_array_equal(vectors, others)
    assert build("one", "other_batches", index={"rows_per_batch": 8})[0]
    assert build("one", "other_model", model={"projection_eps": 0.1})[0]
    assert build("two", "first", pretrain={"steps": 6})[0]


def test_recall_is_measured_with_queries_that_are_held_out(world, tmp_path, monkeypatch):
    """Embedded as queries are, and not as passages."""
    experiment = world.experiment(tmp_path, model={"query_prefix": "what is "})
    params, given = experiment.models.embedder(jax.random.key(0), experiment.sample_rows()), []
    build = index_builder.embed_passages.build_snapshot
    monkeypatch.setattr(
        index_builder.embed_passages,
        "build_snapshot",
        lambda *arguments, queries, **options: given.append(queries()) or build(*arguments, **options),
    )
    build_one(experiment, 0, params)
    rows = experiment.masked_queries("heldout").fixed(256, experiment.config.seed).query
    assert 5 < len(rows) == len(given[0])
    np.testing.assert_allclose(given[0], experiment.models.embed(params, rows), rtol=1e-4, atol=1e-5)
    assert not np.allclose(given[0], experiment.models.embed_passages(params, rows), rtol=1e-4, atol=1e-5)
