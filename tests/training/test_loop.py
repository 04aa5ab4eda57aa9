"""The loop: stopping, resuming, best checkpoints, non-finite losses; with a toy task and real processes."""

import gc
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from realm_jax import disk
from realm_jax.config import Training
from realm_jax.errors import UserError
from realm_jax.training import checkpoints, loop
from realm_jax.training.metrics import read_metrics
from realm_jax.workdir import StageDir, read_json
from tests.training.toy import Toy
from tests.trees import same

STAGE = Training(steps=23, batch_size=4, checkpoint_every=5, log_every=2, learning_rate=0.1, keep=2)


def train(folder: Path, task=None, patience=0, stage=STAGE) -> StageDir:
    directory = StageDir(folder)
    task = task or Toy()
    task.patience = patience
    loop.train(task, "pretrain", stage, directory, seed=3)
    return directory


def final_state(directory: StageDir, step=STAGE.steps):
    params = Toy().init(None)
    like = checkpoints.State(params, loop.bert_optimizer(STAGE).init(params))
    return checkpoints.restore(directory.checkpoints, step, like)


def deterministic(directory: StageDir):
    return [{k: v for k, v in line.items() if not k.startswith("time")} for line in read_metrics(directory.metrics)]


def test_retrieval_runs_one_step_ahead_and_the_pipeline_is_empty_at_checkpoints(tmp_path):
    task = Toy()
    train(tmp_path / "run", task)
    steps = [step for step, _ in task.retrieved_with]
    assert steps == list(range(STAGE.steps))
    kernels = [value for _, value in task.retrieved_with]
    # Batch 1 was embedded before step 0 changed the parameters, batch 5 after the checkpoint of step 5.
    assert kernels[0] == kernels[1] == 0.0 != kernels[2]
    assert len(set(kernels[4:6])) == 2


def test_other_passages_are_no_place_to_go_on_in(tmp_path):
    directory = StageDir(tmp_path / "run")
    arguments = (STAGE, directory, 3)
    with pytest.raises(UserError, match="nan"):
        loop.train(Toy(nan_at=12), "pretrain", *arguments, passages="these")
    before = checkpoints.steps(directory.checkpoints)
    with pytest.raises(UserError, match=f"^pretrain: {directory.root} was begun with other passages: .* Delete that"):
        loop.train(Toy(), "pretrain", *arguments, passages="those")
    assert checkpoints.steps(directory.checkpoints) == before and not directory.done.exists()
    loop.train(Toy(), "pretrain", *arguments, passages="these")
    assert directory.done.exists()


def test_learns(tmp_path):
    lines = [line for line in read_metrics(train(tmp_path / "run").metrics) if "loss/total" in line]
    assert lines[-1]["loss/total"] < 0.5 * lines[0]["loss/total"]


def test_non_finite_loss_stops_names_the_step_and_keeps_the_checkpoint(tmp_path):
    message = r"pretrain: the loss of step 13 is nan; the last checkpoint is kept.*learning-rate"
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", Toy(nan_at=12))
    directory = StageDir(tmp_path / "run")
    assert checkpoints.steps(directory.checkpoints) == [5, 10] and not directory.done.exists()
    state, position = final_state(train(tmp_path / "run"))
    whole, whole_position = final_state(train(tmp_path / "whole"))
    assert same(state, whole) and position == whole_position


def test_a_gradient_that_is_not_finite_is_no_checkpoint(tmp_path):
    """The loss of step 15, a checkpoint's, is that of the parameters before it."""
    with pytest.raises(UserError, match=r"pretrain: the gradient's norm of step 15 is nan.*learning-rate"):
        train(tmp_path / "run", Toy(steep_at=14))
    assert checkpoints.steps(StageDir(tmp_path / "run").checkpoints) == [5, 10]


def test_a_resumed_run_holds_no_second_state(tmp_path, monkeypatch):
    """Not even while it reads the checkpoint."""
    with pytest.raises(UserError, match="nan"):
        train(tmp_path / "run", Toy(nan_at=12))
    restore, before, held = checkpoints.restore, jax.live_arrays(), []

    def watched(*arguments):
        gc.collect()
        others = {id(array) for array in before}
        held.append([array.shape for array in jax.live_arrays() if array.ndim == 2 and id(array) not in others])
        return restore(*arguments)

    monkeypatch.setattr(checkpoints, "restore", watched)
    train(tmp_path / "run")
    assert held == [[]]


def test_best_probe_is_kept_and_named(tmp_path):
    directory = train(tmp_path / "run", Toy(scores=[0.1, 0.5, 0.2, 0.5, 0.2, 0.1]))
    done = read_json(directory.done)
    assert (done["step"], done["last_step"], done["reason"]) == (5, 23, "all steps done")
    assert checkpoints.steps(directory.checkpoints) == [5, 20, 23]


def test_patience_stops_early(tmp_path):
    directory = train(tmp_path / "run", Toy(scores=[0.1, 0.5, 0.2, 0.4, 0.2, 0.1]), patience=2)
    done = read_json(directory.done)
    assert (done["step"], done["last_step"]) == (5, 15) and "no better probe within 2" in done["reason"]


def test_no_steps_leaves_the_start_as_result(tmp_path):
    directory = train(tmp_path / "run", stage=Training(steps=0))
    assert read_json(directory.done)["step"] == 0 and checkpoints.steps(directory.checkpoints) == [0]


def test_a_finished_stage_is_not_run_again(tmp_path):
    directory = train(tmp_path / "run")
    before = directory.metrics.read_bytes()
    task = Toy()
    train(tmp_path / "run", task)
    assert directory.metrics.read_bytes() == before and not task.retrieved_with


def test_steps_are_traced_once(tmp_path):
    traces = []

    class Counting(Toy):
        def outputs(self, params, batch, key):
            traces.append(1)
            return super().outputs(params, batch, key)

    train(tmp_path / "run", Counting())
    assert len(traces) == 1


def test_a_second_trainer_is_refused(tmp_path):
    from realm_jax.locks import sole_owner

    with sole_owner(tmp_path / "run", "pretrain"), pytest.raises(UserError, match=f"already running.*{os.getpid()}"):
        train(tmp_path / "run")


def test_checkpoint_of_another_architecture_lists_both_sides(tmp_path):
    directory = train(tmp_path / "run", stage=Training(steps=0))
    other = {"kernel": jax.ShapeDtypeStruct((4, 1), np.float32), "scale": jax.ShapeDtypeStruct((2,), np.float32)}
    with pytest.raises(UserError) as error:
        checkpoints.restore_part(directory.checkpoints, 0, "embedder", other)
    for part in ("only in the checkpoint: bias", "only in the model: scale", "kernel (3, 1) here, (4, 1) in the model"):
        assert part in str(error.value)
    with pytest.raises(UserError, match="no part 'reader'"):
        checkpoints.restore_part(directory.checkpoints, 0, "reader", other)
    with pytest.raises(FileNotFoundError):
        checkpoints.restore_part(directory.checkpoints, 7, "embedder", other)


SCRIPT = """
import sys
from pathlib import Path
from tests.training.test_loop import train
from tests.training.toy import Toy
train(Path(sys.argv[1]), Toy(seconds=0.1))
"""


def start(run: Path) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(run)], env=environment, cwd=root)


def flip(folder: Path) -> Path:
    """One bit of the largest file."""
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return path


def empty(folder: Path) -> Path:
    """As a power cut leaves files that were not synced."""
    for path in [path for path in folder.rglob("*") if path.is_file() and path.name != disk.CHECKSUMS]:
        path.write_bytes(b"")
    return folder


def unsealed(folder: Path) -> Path:
    (folder / disk.CHECKSUMS).unlink()
    return empty(folder)


def without_a_file(folder: Path) -> Path:
    (folder / "position" / "metadata").unlink()
    return folder / "position" / "metadata"


@pytest.mark.parametrize("harm", [flip, empty, unsealed, without_a_file])
def test_a_damaged_newest_checkpoint_is_named_and_the_last_whole_one_gone_on_from(tmp_path, capfd, harm):
    undisturbed = train(tmp_path / "undisturbed")
    expected, place = final_state(undisturbed)
    directory = train(tmp_path / "run")
    directory.done.unlink()
    named = harm(directory.checkpoints / "23")
    train(tmp_path / "run")
    said = capfd.readouterr().out
    assert f"pretrain: warning: {named}" in said and "checkpoint 23 is set aside" in said
    assert "going on from checkpoint 20" in said
    state, position = final_state(directory)
    assert same(state, expected) and position == place
    assert deterministic(directory) == deterministic(undisturbed)
    assert (directory.checkpoints / "23.aside").is_dir() and checkpoints.steps(directory.checkpoints)[-1] == 23


def test_where_no_checkpoint_is_whole_training_begins_anew(tmp_path, capfd):
    directory = train(tmp_path / "run")
    expected, _ = final_state(directory)
    directory.done.unlink()
    for step in checkpoints.steps(directory.checkpoints):
        flip(directory.checkpoints / str(step))
    train(tmp_path / "run")
    assert "going on from" not in capfd.readouterr().out
    assert same(final_state(directory)[0], expected)


def test_a_checkpoint_that_lacks_something_else_is_not_gone_on_from(tmp_path, capfd):
    directory, task = train(tmp_path / "run"), Toy()
    directory.done.unlink()
    task.lacks = lambda step: f"no snapshot of {step}" if step > 20 else ""
    train(tmp_path / "run", task)
    said = capfd.readouterr().out
    assert "warning: no snapshot of 23; so checkpoint 23 is set aside" in said and "going on from checkpoint 20" in said


def test_metrics_that_are_lost_are_missed(tmp_path, capfd):
    directory = train(tmp_path / "run")
    directory.done.unlink()
    directory.metrics.unlink()
    train(tmp_path / "run")
    assert f"warning: {directory.metrics}: tells nothing up to step 23" in capfd.readouterr().out


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> StageDir:
    """An undisturbed run, in a process of its own as the disturbed ones: this one compiles with other settings."""
    directory = StageDir(tmp_path_factory.mktemp("loop") / "whole")
    assert start(directory.root).wait(120) == 0
    return directory


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_ends_in_the_same_state(tmp_path, whole, seed):
    draw, run = random.Random(seed), StageDir(tmp_path / "run")
    kills = 0
    for _ in range(8):
        process = start(run.root)
        if kills < 2:
            deadline = time.monotonic() + 60
            while not run.metrics.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(draw.uniform(0.1, 2.0))
            process.send_signal(signal.SIGKILL)
            kills += process.wait(60) == -signal.SIGKILL
        else:
            assert process.wait(120) == 0
            break
    assert kills == 2
    (state, position), (expected, expected_position) = final_state(run), final_state(whole)
    assert same(state, expected) and position == expected_position
    assert deterministic(run) == deterministic(whole)
