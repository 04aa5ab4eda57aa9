"""A step is the same on every mesh: 20 steps of real stages, on 8 virtual devices and in 2 processes of 4."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
from jax.sharding import PartitionSpec

from realm_jax.config import Config, Ict, Mesh
from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.training import checkpoints, loop, masked_queries
from realm_jax.training import mesh as layout
from realm_jax.training.checkpoints import State
from realm_jax.training.metrics import read_metrics
from realm_jax.training.open_run import OpenRun
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.tasks.ict import Ict as IctTask
from realm_jax.training.train_stage import train_stage
from realm_jax.workdir import IMPORTED, Workdir, write_json
from tests.devices import have

STEPS, BATCH = 20, 8
STAGES = ("ict", "pretrain", "finetune")
PARTS = ("embedder", "reader")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(world):
    """The same experiment, whatever computes it."""

    def of(mesh: Mesh = Mesh(), accumulate: int = 1) -> Config:  # noqa: B008
        stage = {"steps": STEPS, "batch_size": BATCH, "accumulate": accumulate, "checkpoint_every": 10, "log_every": 1}
        ict = Ict(**stage, learning_rate=1e-3, warmup_steps=1)
        pretrain = {**stage, "probe_queries": 0}
        return world.settings(mesh=mesh, ict=ict, pretrain=pretrain, finetune=stage, index={"refresh": "inline"})

    return of


def losses(folder: Workdir, name: str) -> list[float]:
    found = [line["loss/total"] for line in read_metrics(folder.stage(name).metrics) if "loss/total" in line]
    assert len(found) == STEPS
    return found


def begin(folder: Path, other: Workdir, name: str) -> Workdir:
    """A workdir in which all that stage `name` starts from is another's, the snapshots of pre-training too."""
    for before in (IMPORTED, *STAGES[: STAGES.index(name)]):
        shutil.copytree(other.stage(before).root, folder / before)
    if name == "pretrain":
        shutil.copytree(other.stage(name).snapshots, folder / name / "snapshots")
    return Workdir(folder)


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> Workdir:
    """The run on one device, in one process.

    It starts from models that tell passages apart, as trained ones do. To tiny random ones all are nearly the same:
    rounding would choose what is retrieved, and be most of the embedder's gradient.
    """
    folder = Workdir(tmp_path_factory.mktemp("alone"))
    experiment, draw = OpenRun(settings(), folder), np.random.default_rng(7)
    params = {part: getattr(experiment.models, part)(jax.random.key(0), experiment.sample_rows()) for part in PARTS}
    params = jax.tree.map(lambda leaf: leaf + 0.4 * draw.normal(size=leaf.shape).astype(np.float32), params)
    checkpoints.write_params(folder.stage(IMPORTED).checkpoints, 0, params)
    write_json(folder.stage(IMPORTED).done, {"step": 0, "parts": PARTS})
    with pytest.MonkeyPatch.context() as patch:
        have(patch, 1)
        for name in STAGES:
            train_stage(name, settings(), folder)
    return folder


def test_the_run_on_one_device_is_worth_comparing_with(alone):
    for name in STAGES:
        found = losses(alone, name)
        assert len(set(found)) == STEPS and np.isfinite(found).all()


@pytest.fixture
def made(monkeypatch) -> list:
    """The steps that a stage makes."""
    made, make_step = [], loop.make_step
    monkeypatch.setattr(loop, "make_step", lambda *given: made.append(make_step(*given)) or made[-1])
    return made


@pytest.mark.parametrize(
    "name, sizes, accumulate",
    [
        ("pretrain", (8, 1, 1), 1),
        ("pretrain", (1, 1, 1), 4),
        ("ict", (2, 2, 2), 2),
        ("finetune", (2, 2, 2), 2),
    ],
    ids=str,
)
def test_losses_agree_and_the_step_is_compiled_once(
    settings, alone, tmp_path, monkeypatch, made, name, sizes, accumulate
):
    """The start of a stage is a checkpoint that one device wrote."""
    have(monkeypatch, int(np.prod(sizes)))
    folder = begin(tmp_path, alone, name)
    train_stage(name, settings(Mesh(*sizes), accumulate), folder)
    np.testing.assert_allclose(losses(folder, name), losses(alone, name), rtol=1e-5)
    assert [step._cache_size() for step in made] == [1]


def test_a_run_goes_on_on_another_mesh(settings, alone, tmp_path, made):
    """From its middle; from its start, two processes below do so on this mesh."""
    folder = begin(tmp_path, alone, "finetune")
    stage = folder.stage("pretrain")
    stage.done.unlink()
    shutil.rmtree(stage.checkpoints / str(STEPS))
    train_stage("pretrain", settings(Mesh(2, 2, 2)), folder)
    np.testing.assert_allclose(losses(folder, "pretrain"), losses(alone, "pretrain"), rtol=1e-5)
    assert [step._cache_size() for step in made] == [1]


# Parameters and rows


def test_parameters_are_divided_by_the_rules(world, tmp_path):
    models = world.experiment(tmp_path).models
    found = layout.shardings(layout.make_mesh(Mesh(2, 2, 2)), {"reader": models.shapes("reader")})["reader"]
    layer = found["trunk"]["layer_0"]
    assert layer["attention"]["query"]["kernel"].spec == PartitionSpec("fsdp", "tensor")
    assert layer["attention"]["output"]["kernel"].spec == PartitionSpec("tensor", "fsdp")
    assert layer["intermediate"]["bias"].spec == PartitionSpec("tensor")
    assert layer["attention"]["norm"]["scale"].spec == PartitionSpec()
    # An axis of 12 does not divide by 8: it stays whole.
    whole = layout.shardings(layout.make_mesh(Mesh(1, 8, 1)), models.shapes("reader"))
    assert whole["trunk"]["layer_0"]["attention"]["query"]["kernel"].spec == PartitionSpec(None, "tensor")


def test_moments_lie_where_their_parameters_lie_and_a_step_uses_its_state_up(settings, world, tmp_path):
    mesh, stage = layout.make_mesh(Mesh(2, 2, 2)), settings().ict
    experiment, optimizer = world.experiment(tmp_path), bert_optimizer(stage)
    params = layout.put_params(
        mesh, {"embedder": experiment.models.embedder(jax.random.key(0), experiment.sample_rows())}
    )
    moments = layout.shardings(mesh, jax.eval_shape(optimizer.init, params))
    places = [found.spec for found in jax.tree.leaves(moments) if found.spec]
    assert len(places) == 2 * sum(bool(leaf.sharding.spec) for leaf in jax.tree.leaves(params)) > 0
    state = State(params, jax.jit(optimizer.init, out_shardings=moments)(params))
    batches = masked_queries.ict_batches(settings(), world.data, world.tokenizer, experiment.store, 1)
    task = IctTask(settings(), experiment.models, batches, lambda key: params)
    step = loop.make_step(task, optimizer, jax.random.key(1), 1, (layout.shardings(mesh, state), None))
    after, _ = step(state, layout.put_rows(mesh, next(iter(batches))), np.int32(0))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert all(a.sharding == b.sharding for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True))


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 4, 1), (2, 2, 2), (1, 1, 8)])
def test_rows_go_to_the_devices_and_come_back(sizes):
    mesh, rows = layout.make_mesh(Mesh(*sizes)), np.arange(48).reshape(16, 3)
    placed = layout.put_rows(mesh, {"rows": rows, "number": np.float32(2)})
    np.testing.assert_array_equal(layout.local_rows(placed["rows"]), rows)
    assert placed["rows"].addressable_shards[0].data.shape == (16 // layout.shards(mesh), 3)
    assert layout.process_part(mesh) == (0, 1) and placed["number"].shape == ()


def test_whole_parameters_are_a_copy_on_every_device():
    params = {"query": {"kernel": np.arange(64.0, dtype=np.float32).reshape(8, 8)}}
    found = layout.whole(layout.put_params(layout.make_mesh(Mesh(2, 2, 2)), params))["query"]["kernel"]
    assert found.sharding.is_fully_replicated and len(found.addressable_shards) == 8
    np.testing.assert_array_equal(found, params["query"]["kernel"])


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((3, 1, 1), r"mesh: data 3 x fsdp 1 x tensor 1 does not fit 8 cpu devices; the product .* must be 8"),
        ((-1, 3, 1), r"mesh: data -1 x fsdp 3 x tensor 1 does not fit 8"),
        ((2, 2, 4), r"does not fit 8"),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(sizes, message):
    with pytest.raises(UserError, match=message):
        layout.make_mesh(Mesh(*sizes))


@pytest.mark.parametrize("sizes", [(0, 1, 1), (-1, -1, 1)])
def test_a_mesh_that_says_nothing_is_refused(sizes):
    with pytest.raises(UserError, match=r"mesh: data .*each must be at least 1, or one of them -1"):
        Config(mesh=Mesh(*sizes))


def test_a_batch_that_does_not_divide_is_refused(settings, tmp_path):
    message = r"pretrain.batch_size: 8 rows .* mesh.data 2 x mesh.fsdp 4 x pretrain.accumulate 2 = 16; .* multiple"
    with pytest.raises(UserError, match=message):
        train_stage("pretrain", settings(Mesh(2, 4, 1), accumulate=2), Workdir(tmp_path))
    assert not list(tmp_path.iterdir())


def test_another_platform_is_never_taken_silently(monkeypatch):
    with pytest.raises(UserError, match="mesh.platform: gpu is asked for, but JAX runs on cpu"):
        layout.make_mesh(Mesh(platform="gpu"))
    monkeypatch.setattr(layout, "accelerated", lambda: True)
    layout.make_mesh(Mesh())  # JAX_PLATFORMS says so
    jax.config.update("jax_platforms", None)
    try:
        with pytest.raises(UserError, match="JAX is installed for an accelerator but finds only the CPU"):
            layout.make_mesh(Mesh())
    finally:
        jax.config.update("jax_platforms", "cpu")
    layout.make_mesh(Mesh(platform="cpu"))


# Two processes of four devices each


@dataclasses.dataclass
class Pair:
    """A job as two real processes."""

    name: str
    folder: Workdir

    def __post_init__(self):
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        options = ["--coordinator", f"localhost:{port}", "--process_count", "2", "--process_id"]
        command = [sys.executable, "-m", "realm_jax", self.name, str(self.folder.root), *options]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4",
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "http_proxy": "http://localhost:1",  # where nobody is: they find each other around it
        }
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        self.processes = [subprocess.Popen([*command, str(i)], env=environment, **pipes) for i in range(2)]

    def ends(self) -> list[tuple[int, str]]:
        """Exit code and messages of both."""
        errors = [process.communicate(timeout=200)[1] for process in self.processes]
        return [(process.returncode, error) for process, error in zip(self.processes, errors, strict=True)]


def record(folder: Workdir, config: Config) -> None:
    values = dataclasses.asdict(config)
    write_json(folder.config, {"experiment": values, "config": values})


def test_two_processes_agree_with_one_also_after_one_of_them_was_killed(settings, alone, tmp_path, monkeypatch):
    folder = begin(tmp_path / "two", alone, "pretrain")
    shutil.rmtree(folder.stage("pretrain").snapshots)
    record(folder, settings(Mesh(2, 2, 2)))
    pair, stage = Pair("pretrain", folder), folder.stage("pretrain")
    end = time.monotonic() + 200
    while not checkpoints.steps(stage.checkpoints) and time.monotonic() < end:
        time.sleep(0.05)
    worker = psutil.Process(pair.processes[1].pid).children()[0]
    worker.send_signal(signal.SIGKILL)
    (code, error), (killed, _) = pair.ends()
    assert (code, killed) == (75, 137) and "process 1 of 2" in error and "exit code 137" in error
    assert [code for code, _ in Pair("pretrain", folder).ends()] == [0, 0]
    np.testing.assert_allclose(losses(folder, "pretrain"), losses(alone, "pretrain"), rtol=1e-5)

    assert snapshots.list_steps(stage.snapshots) == snapshots.list_steps(alone.stage("pretrain").snapshots)
    # One process reads what two wrote, and goes on from it.
    experiment = OpenRun(settings(), folder)
    models, rows = experiment.models, experiment.store.rows(slice(None))
    for step in (0, STEPS):
        embedder = checkpoints.restore_part(stage.checkpoints, step, "embedder", models.shapes("embedder"))
        found = snapshots.load(stage.snapshots, step, experiment.store.fingerprint)
        np.testing.assert_allclose(found.vectors, models.embed_with(embedder)(rows), rtol=1e-4, atol=1e-5)
    have(monkeypatch, 1)
    train_stage("finetune", settings(), folder)
    assert np.isfinite(losses(folder, "finetune")).all()


def test_two_processes_go_on_from_what_one_wrote(settings, alone, tmp_path):
    folder = begin(tmp_path / "two", alone, "finetune")
    record(folder, settings(Mesh(4, 2, 1)))
    assert [code for code, _ in Pair("finetune", folder).ends()] == [0, 0]
    np.testing.assert_allclose(losses(folder, "finetune"), losses(alone, "finetune"), rtol=1e-5)
