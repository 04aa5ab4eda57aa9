"""Which snapshot is in use at which step, and what happens when one stays away."""

import functools
import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax import disk, locks
from realm_jax.config import Index
from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.locks import sole_owner
from realm_jax.training import snapshot_follower
from realm_jax.training.snapshot_follower import SnapshotFollower, scheduled
from realm_jax.workdir import StageDir
from tests import waiting
from tests.clock import Clock

ROWS, STORE = 7, "a store"
QUERY = np.eye(1, ROWS - 1, dtype=np.float32)


@pytest.fixture
def stage(tmp_path):
    return StageDir(tmp_path / "pretrain")


@pytest.fixture
def followers():
    opened = []
    yield opened
    for follower in opened:
        follower.close()


@pytest.fixture
def follower(stage, followers):
    def make(swap_after, checkpoint_every=5, **settings):
        settings = {"kind": "exact", "warn_after_s": 30.0, "stop_after_s": 60.0} | settings
        followers.append(SnapshotFollower(stage, Index(swap_after=swap_after, **settings), checkpoint_every, STORE))
        return followers[-1]

    return make


def publish(stage, step):
    """A snapshot in which the best passage for QUERY tells the step."""
    vectors = np.zeros((ROWS, ROWS - 1), np.float32)
    vectors[step % (ROWS - 1), 0] = 1 + step
    snapshots.publish_snapshot(stage.snapshots, step, vectors, kind="exact", fingerprint=STORE)


def searched(in_use):
    scores, _ = in_use.index.search(QUERY, 1)
    return int(scores[0, 0]) - 1


def damage(stage, step):
    path = stage.snapshots / str(step) / snapshots.VECTORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


until = functools.partial(waiting.until, seconds=20.0)


@given(step=st.integers(0, 1000), every=st.integers(1, 50), after=st.integers(1, 120))
def test_schedule(step, every, after):
    at = scheduled(step, every, after)
    assert at % every == 0 and (at == 0 or at + after <= step)
    assert at + every + after > step, "a newer one was due"


@given(step=st.integers(0, 1000), every=st.integers(1, 50), after=st.integers(1, 120))
def test_schedule_asks_only_for_what_can_be_there(step, every, after):
    """Checkpoint c is saved before step c is retrieved for."""
    assert scheduled(step, every, after) <= step // every * every
    assert scheduled(step, every, after) <= scheduled(step + 1, every, after)


def test_swaps_at_exactly_the_scheduled_steps(stage, follower):
    for step in (0, 5, 10, 15, 20):  # newer ones than are due lie there from the start
        publish(stage, step)
    following = follower(swap_after=3)
    used = [following.at(step) for step in range(20)]
    assert [use.step for use in used] == 8 * [0] + 5 * [5] + 5 * [10] + 2 * [15]
    assert [searched(use) for use in used] == [use.step for use in used]


def test_a_resumed_trainer_begins_with_the_one_in_use_then(stage, follower):
    for step in (0, 5, 10):
        publish(stage, step)
    assert follower(swap_after=3).at(12).step == 5


def test_the_next_one_is_loaded_ahead(stage, follower, monkeypatch):
    loaded, load = [], snapshots.load_index
    monkeypatch.setattr(
        snapshot_follower.snapshots, "load_index", lambda *arguments: loaded.append(arguments[1]) or load(*arguments)
    )
    for step in (0, 5):
        publish(stage, step)
    following = follower(swap_after=3)
    following.at(0)
    until(lambda: loaded == [0, 5])
    following.at(8)
    assert loaded == [0, 5]


def test_waits_for_the_one_that_is_due_and_says_how_long(stage, follower):
    following = follower(swap_after=3)
    late = threading.Timer(0.6, publish, (stage, 0))
    late.start()
    assert following.at(2).step == 0
    assert following.waited_s == 0.0  # the first one is no delay of the builder's
    publish(stage, 10)  # not the one that is due
    late = threading.Timer(0.6, publish, (stage, 5))
    late.start()
    assert following.at(8).step == 5
    assert following.waited_s > 0.0
    before = following.waited_s
    following.at(9)
    assert following.waited_s == before


def test_ready_mode_takes_the_newest_without_waiting(stage, follower):
    following = follower(swap_after=0)
    threading.Timer(0.3, publish, (stage, 0)).start()
    assert following.at(0).step == 0
    publish(stage, 5)
    publish(stage, 10)
    until(lambda: following.at(12).step == 10)
    assert searched(following.at(12)) == 10 and following.waited_s == 0.0


def test_ready_mode_does_without_one_that_is_removed_while_it_is_read(stage, follower, monkeypatch):
    publish(stage, 0)
    following, load = follower(swap_after=0), snapshots.load_index
    following.at(0)

    def removed(directory, step, *arguments):
        os.rename(directory / str(step), directory / f".{step}.removed")
        return load(directory, step, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(snapshot_follower.snapshots, "load_index", removed)
        publish(stage, 5)
        following.at(6)
        until(lambda: not (stage.snapshots / "5").exists())
        until(lambda: following._loading is None or following._loading[1].done())
        assert following.at(7).step == 0
    publish(stage, 10)
    until(lambda: following.at(11).step == 10)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(snapshot_follower, "time", clock)
    monkeypatch.setattr(locks, "time", clock)
    return clock


@pytest.mark.parametrize("swap_after", [0, 3])
def test_a_builder_that_is_not_running_is_named(stage, follower, clock, capfd, swap_after):
    following = follower(swap_after, warn_after_s=10.0, stop_after_s=70.0)
    with pytest.raises(
        UserError, match=r"waited 70 s for .*in vain.*build_index is not running in .*realm build_index"
    ):
        following.at(0)
    said = capfd.readouterr().out
    assert said.count("warning: waiting for the") == 1 and "build_index is not running" in said


@pytest.mark.parametrize("swap_after", [0, 3])
def test_a_builder_that_runs_and_brings_nothing_is_named(stage, follower, clock, capfd, swap_after):
    following = follower(swap_after, warn_after_s=10.0, stop_after_s=50.0)
    named = pytest.raises(UserError, match=f"build_index is running as process {os.getpid()}: see its output")
    with sole_owner(stage.root, "build_index"), named:
        following.at(0)
    assert f"process {os.getpid()}" in capfd.readouterr().out


@pytest.mark.parametrize("swap_after", [0, 3])
def test_a_builder_that_gets_on_is_waited_for(stage, follower, clock, swap_after):
    """Embedding takes longer than the limit, which counts from the last batch."""
    following, parts = follower(swap_after, stop_after_s=50.0), stage.snapshots / f".0-x-y{snapshots.PARTS}"
    parts.mkdir(parents=True)

    def embeds(now):
        if now <= 170:
            os.utime(parts, ns=(0, int(now * 1e9)))

    clock.show = embeds
    with pytest.raises(UserError, match="in vain"):
        following.at(0)
    assert 170 + 50 < clock.now < 170 + 3 * 50


def test_ready_mode_counts_from_the_checkpoint_that_has_no_snapshot(stage, follower, clock, capfd):
    publish(stage, 0)
    following = follower(swap_after=0, warn_after_s=20.0, stop_after_s=80.0)
    (stage.checkpoints / "0").mkdir(parents=True)
    following.at(0)
    clock.sleep(100.0)
    assert following.at(1).step == 0 and "warning" not in capfd.readouterr().out, "there was nothing to build"
    (stage.checkpoints / "5").mkdir()
    following.at(5)
    clock.sleep(40.0)
    following.at(6)
    following.at(6)
    said = capfd.readouterr().out
    assert said.count("warning: no snapshot newer than that of step 0") == 1 and "not running" in said
    clock.sleep(60.0)
    with pytest.raises(UserError, match=r"no snapshot newer than that of step 0.*--index.stop-after-s 80.*not running"):
        following.at(7)


@pytest.mark.parametrize("swap_after", [0, 3])
def test_a_bucket_is_not_listed_at_every_step(stage, follower, monkeypatch, swap_after):
    publish(stage, 0)
    following, listed = follower(swap_after), []
    following.at(0)
    monkeypatch.setattr(snapshot_follower, "is_remote", lambda path: True)
    for module, name in ((snapshot_follower.snapshots, "list_steps"), (snapshot_follower.checkpoints, "steps")):
        monkeypatch.setattr(module, name, lambda folder, *_: listed.append(folder) or [0])
    following._looked = time.monotonic() - 2 * snapshot_follower.REMOTE_LOOK_S
    following.at(1)
    looks, following._looked = len(listed), time.monotonic() + snapshot_follower.REMOTE_LOOK_S
    following.at(2)
    assert looks and len(listed) == looks


def test_nobody_is_waited_for_where_the_trainer_embeds(stage, follower):
    following = follower(swap_after=3, refresh="inline")
    with pytest.raises(
        UserError, match="--index.refresh inline the trainer makes it of that checkpoint, and both were"
    ):
        following.at(2)


@pytest.mark.parametrize("swap_after", [0, 3])
def test_a_damaged_snapshot_is_never_searched(stage, follower, swap_after):
    publish(stage, 0)
    publish(stage, 5)
    damage(stage, 5)
    following = follower(swap_after)
    with pytest.raises(
        UserError, match=r"5/vectors.npy: damaged.*build_index makes the snapshot again if training needs it"
    ):
        for _ in range(2000):
            following.at(8)
            time.sleep(0.01)


def test_a_snapshot_of_other_passages_is_refused(stage, follower):
    publish(stage, 0)
    following = follower(swap_after=3)
    following._fingerprint = "another store"
    with pytest.raises(UserError, match="made from passage store a store, but this is store another store"):
        following.at(0)


def test_closing_ends_a_wait(stage, follower):
    following, ended = follower(swap_after=3, stop_after_s=600.0), []

    def wait():
        try:
            following.at(0)
        except UserError as error:
            ended.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    following.close()
    thread.join(60)  # at once, and not when the wait ends, after longer
    assert ended == ["stopped while waiting for the snapshot of checkpoint 0"]


def test_what_training_lacks_to_go_on_is_named(stage, follower):
    """By a schedule of 3 steps, with checkpoints every 5: at 10 the snapshot of 5 is searched, then that of 10."""
    following = follower(swap_after=3)
    for step in (0, 10):
        (stage.checkpoints / str(step)).mkdir(parents=True)
    publish(stage, 0)
    assert following.lacks(0) == ""
    assert "checkpoint 5 was deleted before its snapshot was made" in following.lacks(10)
    publish(stage, 5)
    assert following.lacks(10) == "", "its own can still be made"
    (stage.checkpoints / "10" / "embedder").mkdir()
    (stage.checkpoints / "10" / "embedder" / "a").write_bytes(b"1")
    disk.seal(stage.checkpoints / "10")
    (stage.checkpoints / "10" / "embedder" / "a").write_bytes(b"2")
    assert "embedder/a: damaged" in following.lacks(10)
    assert follower(swap_after=0).lacks(10) == "", "whatever is there is searched"


def test_a_checkpoint_that_is_deleted_before_its_snapshot_is_made_is_not_waited_for(stage, follower, clock):
    following = follower(swap_after=3)
    publish(stage, 0)
    (stage.checkpoints / "5").mkdir(parents=True)
    following.at(5)
    (stage.checkpoints / "5").rmdir()
    with pytest.raises(UserError, match="checkpoint 5 was deleted before its snapshot was made"):
        following.at(8)
    assert clock.now < 60.0
