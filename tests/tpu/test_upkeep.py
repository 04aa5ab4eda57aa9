"""What the watcher does with slices, in the fake cloud."""

import os
import time
from pathlib import Path

import pytest

from realm_jax.errors import UserError
from tests.tpu.test_launch import Cloud
from tpu import upkeep
from tpu.gcloud import Gcloud
from tpu.record import Launch
from tpu.slices import Slice
from tpu.upkeep import look_after


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    cloud = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("FAKE_CLOUD", str(cloud.root))
    monkeypatch.setenv("PATH", f"{cloud.root / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return cloud


def launched(cloud: Cloud, code: int | None = None, ours: bool = True, hours: float = 1.0) -> Launch:
    """A slice that is ready, and the code with which its job ended."""
    one = Slice("mine-trainer", "mine-trainer", "v5litepod-8", "us-west4-a", ours=ours)
    (cloud.root / "nodes").mkdir(exist_ok=True)
    cloud.write("nodes/mine-trainer.json", {"state": "READY", "networkEndpoints": []})
    deadline = int(time.time() + hours * 3600)
    launch = Launch("mine", "gs://b/mine", "c", "x.py", [], 24.0, deadline, [one])
    if code is not None:
        ended: Path = cloud.object(f"mine/launch/mine-trainer-{deadline}.ended")
        ended.parent.mkdir(parents=True)
        ended.write_text(f"{code}\n")
    return launch


@pytest.mark.parametrize(("ours", "left"), [(True, set()), (False, {"mine-trainer"})])
def test_a_slice_whose_job_is_done_is_deleted_if_it_is_ours(cloud, monkeypatch, capsys, ours, left):
    monkeypatch.setattr(upkeep.time, "sleep", lambda seconds: pytest.fail("it waits"))
    look_after(launched(cloud, code=0, ours=ours), Gcloud())
    assert cloud.nodes() == left
    assert "mine-trainer: its job is done" in capsys.readouterr().out


def test_when_the_time_is_up_only_ours_is_deleted(cloud, capsys):
    look_after(launched(cloud, hours=-1.0), Gcloud())
    assert not cloud.nodes() and "24 hours are over; slice deleted" in capsys.readouterr().out
    look_after(launched(cloud, ours=False, hours=-1.0), Gcloud())
    assert cloud.nodes() and "yours, stays" in capsys.readouterr().out


@pytest.mark.parametrize("refused", ["describe", "storage cat", "delete"])
def test_a_command_that_fails_is_told_and_tried_again(cloud, monkeypatch, capsys, refused):
    launch = launched(cloud, code=0)
    cloud.refuse((refused, "The service is currently unavailable."))
    monkeypatch.setattr(upkeep.time, "sleep", lambda seconds: cloud.refuse())
    look_after(launch, Gcloud())
    assert "unavailable" in (said := capsys.readouterr()).err and "looking again in 60 s" in said.err
    assert not cloud.nodes()


def test_nothing_but_failures_end_the_watch_with_a_word(cloud, monkeypatch):
    launch, moments = launched(cloud), []
    cloud.refuse(("describe", "The service is currently unavailable."))
    monkeypatch.setattr(upkeep, "GIVE_UP_S", 0.5)
    monkeypatch.setattr(upkeep.time, "sleep", lambda seconds: moments.append(time.monotonic()))
    with pytest.raises(UserError, match="mine-trainer may cost.*watch mine.*delete mine.*\n.*unavailable"):
        look_after(launch, Gcloud())
    assert moments and cloud.nodes()
