"""How two jobs, or several runs, share one machine: by devices, by memory, by cores, or not at all."""

import os
import sys
import time

import pytest

from realm_jax.config import Config, Index, Mesh, Pretrain, WarmUp
from realm_jax.errors import UserError
from realm_jax.runtime import devices
from realm_jax.runtime.devices import Share, check_batches, divide, parts, shares
from realm_jax.runtime.processes import Child
from realm_jax.workdir import Workdir, write_json


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in (devices.VISIBLE, "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)


def visible(found: dict[str, dict[str, str]]) -> tuple[list[str], list[str]]:
    assert all(list(share) == [devices.VISIBLE] for share in found.values())
    return tuple(found[job][devices.VISIBLE].split(",") for job in ("pretrain", "build_index"))


def test_one_gpu_is_shared_by_memory(monkeypatch):
    found = divide(Config(), "gpu", 1)
    assert found["pretrain"] == found["build_index"] == {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".45"}
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".3")
    assert divide(Config(), "gpu", 1)["pretrain"] == {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".3"}


@pytest.mark.parametrize("count, builders", [(2, 1), (4, 1), (8, 1), (10, 2), (16, 3)])
def test_several_gpus_are_divided(count, builders):
    trainer, builder = visible(divide(Config(), "gpu", count))
    assert len(builder) == builders and trainer + builder == [str(i) for i in range(count)]


def test_the_builder_gets_what_its_mesh_asks_for_of_what_is_visible(monkeypatch):
    monkeypatch.setenv(devices.VISIBLE, "GPU-a,GPU-b,GPU-c,GPU-d")
    config = Config(index=Index(mesh=Mesh(data=1, fsdp=3)))
    assert visible(divide(config, "gpu", 4)) == (["GPU-a"], ["GPU-b", "GPU-c", "GPU-d"])
    assert visible(divide(Config(mesh=Mesh(2, 1, 1)), "gpu", 4)) == (["GPU-a", "GPU-b"], ["GPU-c", "GPU-d"])
    for wrong in (Config(index=Index(mesh=Mesh(data=4))), Config(mesh=Mesh(4, 1, 1)), Config(mesh=Mesh(8, 1, 1))):
        with pytest.raises(UserError, match="4 gpu devices cannot be . for pretrain and .* for build_index"):
            divide(wrong, "gpu", 4)


def test_a_tpu_is_not_shared_silently():
    with pytest.raises(UserError, match="a tpu serves one process.*--index.refresh inline.*--index.mesh.platform cpu"):
        divide(Config(), "tpu", 4)


def test_the_cpu_needs_no_division(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, "_devices", lambda: asked.append(1) or ("cpu", 1))
    assert shares(Config()) == {} and asked == [1]
    assert shares(Config(mesh=Mesh(platform="cpu"))) == {} == shares(Config(index=Index(refresh="inline")))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert shares(Config()) == {} and asked == [1], "JAX is started only where it must be asked"


def test_a_run_sees_before_its_first_stage_what_its_last_ones_need(monkeypatch, tmp_path):
    workdir = Workdir(tmp_path)
    batches = {"warm_up": WarmUp(steps=1, batch_size=8), "pretrain": Pretrain(steps=1, batch_size=6)}
    monkeypatch.setattr(devices, "_devices", lambda: ("cpu", 8))
    with pytest.raises(UserError, match="pretrain.batch_size: 6 rows do not divide by mesh.data 8"):
        check_batches(Config(**batches), workdir)
    with pytest.raises(UserError, match="mesh: data 3 .* does not fit 8 cpu devices"):
        check_batches(Config(**batches, mesh=Mesh(data=3)), workdir)
    check_batches(Config(warm_up=batches["warm_up"]), workdir)
    # The trainer has three of four GPUs, every other stage has all of them.
    monkeypatch.setattr(devices, "_devices", lambda: ("gpu", 4))
    check_batches(Config(**batches), workdir)
    with pytest.raises(UserError, match=r"pretrain.batch_size: 6 rows .* mesh.data 4"):
        check_batches(Config(**batches, index=Index(refresh="inline")), workdir)
    # It goes on with more of them, and the stage that would not divide is done.
    write_json(workdir.stage("pretrain").done, {"step": 1})
    check_batches(Config(**batches, index=Index(refresh="inline")), workdir)


def test_a_builder_on_the_cpu_leaves_the_accelerator_to_the_trainer():
    assert shares(Config(index=Index(mesh=Mesh(platform="cpu")))) == {"build_index": {"JAX_PLATFORMS": "cpu"}}


def test_jax_is_asked_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "no_such_platform")
    with pytest.raises(UserError, match="mesh.platform: JAX finds no device.*no_such_platform"):
        devices._devices()


class TestRuns:
    """Of a sweep, several at a time."""

    @pytest.fixture(autouse=True)
    def eight_cores(self, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        monkeypatch.setattr(devices, "_devices", lambda: ("cpu", 1))

    @pytest.mark.parametrize("jobs", [2, 3, 5, 8])
    def test_cores_are_divided_and_none_is_left_out(self, jobs):
        found = [share.cores for share in parts(jobs)]
        assert len(found) == jobs and all(found) and sum(map(len, found)) == 8
        assert frozenset().union(*found) == frozenset(range(8))

    def test_one_run_has_all_as_have_more_than_there_are_cores(self):
        assert parts(1) == [Share()] and parts(9) == [Share()] * 9

    def test_gpus_are_divided(self, monkeypatch):
        monkeypatch.setattr(devices, "_devices", lambda: ("gpu", 4))
        assert [share.env[devices.VISIBLE] for share in parts(2)] == ["0,1", "2,3"]
        monkeypatch.setenv(devices.VISIBLE, "7,5,4,1")
        assert [share.env[devices.VISIBLE] for share in parts(3)] == ["7", "5", "4,1"]
        with pytest.raises(UserError, match="--jobs: 5 runs at a time, but 4 GPUs are here; it must be at most 4"):
            parts(5)

    def test_a_tpu_takes_one(self, monkeypatch):
        monkeypatch.setattr(devices, "_devices", lambda: ("tpu", 8))
        with pytest.raises(UserError, match="--jobs: 2, but a tpu serves one process"):
            parts(2)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_a_job_and_what_it_starts_keep_to_their_cores(tmp_path):
    core = max(os.sched_getaffinity(0))
    says = "import os; print(sorted(os.sched_getaffinity(0)), flush=True)"
    code = f"import subprocess, sys; {says}; subprocess.run([sys.executable, '-c', {says!r}])"
    before = os.sched_getaffinity(0)
    child = Child("job", [sys.executable, "-c", code], {}, log=tmp_path / "log", cores=[core])
    end = time.monotonic() + 60
    while child.exit_code() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert (tmp_path / "log").read_text().split("\n") == [f"[{core}]"] * 2 + [""]
    assert os.sched_getaffinity(0) == before
