"""What the watcher does with slices, in the fake cloud."""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from realm_jax.errors import UserError
from tests.clock import Clock
from tests.tpu.cloud import Cloud
from tpu import gcloud, slices, upkeep
from tpu.gcloud import Gcloud, Refused
from tpu.record import Launch
from tpu.slices import Slice
from tpu.upkeep import look_after


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    cloud = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("FAKE_CLOUD", str(cloud.root))
    monkeypatch.setenv("PATH", f"{cloud.root / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return cloud


@pytest.fixture
def sleeps(monkeypatch):
    """Gives the watcher another sleep; nobody else, such as `subprocess`, has it."""

    def sleeps(sleep: Callable[[float], None]) -> None:
        monkeypatch.setattr(upkeep, "time", SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=sleep))

    return sleeps


def launched(cloud: Cloud, code: int | None = None, ours: bool = True, hours: float = 1.0) -> Launch:
    """A slice that is ready, and the code with which its job ended."""
    one = Slice("mine-trainer", "mine-trainer", "v5litepod-8", "us-west4-a", ours=ours)
    (cloud.root / "nodes").mkdir(exist_ok=True)
    cloud.write("nodes/mine-trainer.json", {"state": "READY", "networkEndpoints": []})
    deadline = int(time.time() + hours * 3600)
    launch = Launch("mine", "gs://mine-b/mine", "c", "x.py", [], 24.0, deadline, [one])
    if code is not None:
        end(cloud, launch, code)
    return launch


def end(cloud: Cloud, launch: Launch, code: int) -> None:
    """What a worker leaves when its job has ended."""
    ended: Path = cloud.object(f"mine/launch/mine-trainer-{launch.deadline}.ended")
    ended.parent.mkdir(parents=True, exist_ok=True)
    ended.write_text(f"{code}\n")


@pytest.mark.parametrize(("ours", "left"), [(True, set()), (False, {"mine-trainer"})])
def test_a_slice_whose_job_is_done_is_deleted_if_it_is_ours(cloud, sleeps, capsys, ours, left):
    sleeps(lambda seconds: pytest.fail("it waits"))
    look_after(launched(cloud, code=0, ours=ours), Gcloud())
    assert cloud.nodes() == left
    assert "mine-trainer: its job is done" in capsys.readouterr().out


def test_when_the_time_is_up_only_ours_is_deleted(cloud, capsys):
    look_after(launched(cloud, hours=-1.0), Gcloud())
    assert not cloud.nodes() and "24 hours are over; slice deleted" in capsys.readouterr().out
    look_after(launched(cloud, ours=False, hours=-1.0), Gcloud())
    assert cloud.nodes() and "yours, stays" in capsys.readouterr().out


@pytest.mark.parametrize("refused", ["describe", "storage cat", "delete"])
def test_a_command_that_fails_is_told_and_tried_again(cloud, sleeps, capsys, refused):
    launch = launched(cloud, code=0)
    cloud.refuse((refused, "The service is currently unavailable."))
    sleeps(lambda seconds: cloud.refuse())
    look_after(launch, Gcloud())
    assert "unavailable" in (said := capsys.readouterr()).err and "looking again in 60 s" in said.err
    assert not cloud.nodes()


def test_nothing_but_failures_end_the_watch_with_a_word(cloud, monkeypatch):
    launch, clock = launched(cloud), Clock()
    cloud.refuse(("describe", "The service is currently unavailable."))
    monkeypatch.setattr(upkeep, "GIVE_UP_S", 150.0)
    monkeypatch.setattr(upkeep, "time", clock)
    with pytest.raises(UserError, match="mine-trainer may cost.*watch mine.*delete mine.*\n.*unavailable"):
        look_after(launch, Gcloud())
    assert clock.now == 180.0 and cloud.nodes()


def test_a_resume_elsewhere_counts_for_who_watches(cloud, sleeps, capsys):
    """What the watcher began with says that the time is up, and that the job has ended."""
    old = launched(cloud, code=143, hours=-1.0)
    new = dataclasses.replace(old, deadline=int(time.time()) + 3600)
    cloud.object("mine/launch/launch.json").write_text(json.dumps(dataclasses.asdict(new)))

    def sleep(seconds: float) -> None:
        assert cloud.nodes() == {"mine-trainer"}
        end(cloud, new, code=0)

    sleeps(sleep)
    look_after(old, Gcloud())
    said = capsys.readouterr().out
    assert f"mine: was resumed, and ends at {new.until()}" in said and "mine-trainer: its job is done" in said
    assert "hours are over" not in said and not cloud.nodes()


def test_a_slice_that_another_watcher_makes_again_is_left_to_it(cloud, sleeps, capsys):
    launch, node = launched(cloud), cloud.root / "nodes/mine-trainer.json"
    cloud.refuse(("tpu-vm create", "ALREADY_EXISTS: Resource 'nodes/mine-trainer' already exists"))
    there = node.read_text()
    node.unlink()

    def sleep(seconds: float) -> None:
        node.write_text(there)
        end(cloud, launch, code=1)
        sleeps(lambda seconds: end(cloud, launch, code=0))

    sleeps(sleep)
    look_after(launch, Gcloud())
    assert "not back yet" in capsys.readouterr().err
    assert len(cloud.commands("tpu-vm delete")) == 1  # when its job was done


def test_a_deletion_that_does_not_come_is_told(cloud, monkeypatch):
    monkeypatch.setattr(slices, "POLL_S", 0.01)
    monkeypatch.setattr(slices, "DELETION_S", 0.0)
    (one,) = launched(cloud).slices
    with pytest.raises(UserError, match="mine-trainer: READY still, 0 minutes after .* run `gcloud .* delete mine-tr"):
        one.await_deletion(Gcloud())


def test_a_slice_that_never_gets_ready_is_told(cloud, monkeypatch):
    monkeypatch.setattr(slices, "POLL_S", 0.01)
    (one,) = launched(cloud).slices
    cloud.write("nodes/mine-trainer.json", {"state": "REPAIRING"})
    with pytest.raises(UserError, match="the slice is REPAIRING, and was not ready within 0 hours"):
        one.wait(Gcloud(), 0.0, lambda message: None)


def test_a_gcloud_that_gives_no_answer_is_ended(cloud, monkeypatch):
    monkeypatch.setattr(gcloud, "LONGEST_S", 0.1)
    cloud.executable("gcloud", "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(Refused, match="`gcloud auth list` failed: no answer within 0 minutes, so it was ended"):
        Gcloud()("auth", "list")
