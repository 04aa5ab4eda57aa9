"""How two jobs share one machine: by devices, by memory, or not at all."""

import pytest

from realm_jax.config import Config, Index, Mesh, Pretrain, WarmUp
from realm_jax.errors import UserError
from realm_jax.jobs import devices
from realm_jax.jobs.devices import check_batches, divide, shares


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


def test_a_run_sees_before_its_first_stage_what_its_last_ones_need(monkeypatch):
    batches = {"warm_up": WarmUp(steps=1, batch_size=8), "pretrain": Pretrain(steps=1, batch_size=6)}
    monkeypatch.setattr(devices, "_devices", lambda: ("cpu", 8))
    with pytest.raises(UserError, match="pretrain.batch_size: 6 rows do not divide by mesh.data 8"):
        check_batches(Config(**batches))
    with pytest.raises(UserError, match="mesh: data 3 .* does not fit 8 cpu devices"):
        check_batches(Config(**batches, mesh=Mesh(data=3)))
    check_batches(Config(warm_up=batches["warm_up"]))
    # The trainer has three of four GPUs, every other stage has all of them.
    monkeypatch.setattr(devices, "_devices", lambda: ("gpu", 4))
    check_batches(Config(**batches))
    with pytest.raises(UserError, match=r"pretrain.batch_size: 6 rows .* mesh.data 4"):
        check_batches(Config(**batches, index=Index(refresh="inline")))


def test_a_builder_on_the_cpu_leaves_the_accelerator_to_the_trainer():
    assert shares(Config(index=Index(mesh=Mesh(platform="cpu")))) == {"build_index": {"JAX_PLATFORMS": "cpu"}}


def test_jax_is_asked_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "no_such_platform")
    with pytest.raises(UserError, match="mesh.platform: JAX finds no device.*no_such_platform"):
        devices._devices()
