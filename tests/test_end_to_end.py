"""The shipped experiment, shrunk, on a quarter of its corpus, through every stage as real processes; then the same with
kills and faults."""

import dataclasses
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from realm_jax.factbook import package
from realm_jax.index import snapshots
from realm_jax.index.scann import BRUTE_FORCE_BELOW
from realm_jax.jobs import cli
from realm_jax.reports.run_record import SUMMARY_KEYS
from realm_jax.runtime.settings_record import read_record
from realm_jax.training import checkpoints
from realm_jax.training.checkpoints import State
from realm_jax.training.metrics import read_metrics
from realm_jax.training.open_run import OpenRun
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.workdir import Workdir, read_json, write_json
from tests.trees import same

pytestmark = pytest.mark.timeout(900)  # a machine may be busy; idle, all of this takes about a minute and a half
ROOT = Path(__file__).parents[1]
EXPERIMENT = "experiments/factbook.py"
JOBS = ("prepare", "ict", "warm_up", "pretrain", "build_index", "finetune", "closed_book", "evaluate", "report")
STEPS, EVERY = 10, 2
VOCAB = 4000
SHRUNK = {
    "model.weights": "random",
    "model.bert.vocab_size": VOCAB,
    "model.bert.hidden_size": 32,
    "model.bert.num_layers": 2,
    "model.bert.num_heads": 2,
    "model.bert.intermediate_size": 48,
    "model.bert.max_positions": 128,
    "model.vector_size": 16,
    "model.span_hidden_size": 8,
    "model.max_span_width": 3,
    "index.swap_after": EVERY,
    "index.rows_per_batch": 128,
    "ict.steps": 2,
    "ict.batch_size": 4,
    "warm_up.steps": 2,
    "pretrain.steps": STEPS,
    "pretrain.checkpoint_every": EVERY,
    "pretrain.patience": 0,
    "pretrain.log_every": 1,
    "pretrain.probe_queries": 40,
    "pretrain.probe_passages": 100,
    "finetune.steps": 2,
    "finetune.beam": 20,
    "closed_book.steps": 2,
    "evaluation.batch_size": 64,
    "evaluation.heldout_queries": 40,
    "evaluation.read_queries": 20,
    "evaluation.examples": 4,
}


def write_part_of_the_factbook(packages: Path) -> None:
    """A package of every fourth country, for processes that find it before the whole one."""
    data = packages / package.PACKAGE / "data"
    countries = sorted(package._data_folder().glob("*/*.json"), key=lambda path: path.stem)[1::4]
    assert {"cd", "fr"} <= {path.stem for path in countries}, "Chad, which is asked about, and France"
    for path in countries:
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        (data / path.parent.name / path.name).symlink_to(path)
    (data.parent / "__init__.py").touch()


class Place:
    """Where real processes are started; what a test leaves running is killed."""

    def __init__(self, root: Path):
        self.root, self.processes = root, []
        write_part_of_the_factbook(root / "packages")
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(root / "packages"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONUNBUFFERED": "1",
            # Tests compile much and compute little.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "realm_jax", *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def realm(self, *arguments: str | Path, code: int = 0) -> str:
        """All that a process said."""
        return said(self.start(*arguments), code)

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


def said(process: subprocess.Popen, code: int = 0) -> str:
    """All that the process said by its end, which must have this exit code."""
    out, err = process.communicate()
    assert process.returncode == code, f"{process.args} gave {process.returncode}\n{out}\n{err}"
    return out + err


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("end_to_end"))
    yield place
    place.kill()


@pytest.fixture(scope="module")
def run(place):
    """`realm run` of the shrunk experiment, to its end, and what it said."""
    vocabulary = [sys.executable, "-m", "tests.vocabulary", place.root / "vocab.txt", str(VOCAB)]
    subprocess.run(vocabulary, cwd=ROOT, check=True)
    options = SHRUNK | {"model.vocab": place.root / "vocab.txt", "data.directory": place.root / "data"}
    arguments = itertools.chain.from_iterable((f"--{name}", value) for name, value in options.items())
    workdir = Workdir(place.root / "run")
    output = place.realm("run", EXPERIMENT, "--workdir", workdir.root, *arguments)
    return workdir, output


@pytest.fixture(scope="module")
def finished(run):
    return run[0]


def before_pretraining(finished: Workdir, root: Path, **changes: dict) -> Workdir:
    """The same run as it was when pre-training began; with other settings, if wanted."""
    workdir, record = Workdir(root), read_record(finished)
    parts = {name: dataclasses.replace(getattr(record.config, name), **values) for name, values in changes.items()}
    config = dataclasses.asdict(dataclasses.replace(record.config, **parts))
    for stage in ("ict", "warm_up"):
        shutil.copytree(finished.stage(stage).root, workdir.stage(stage).root)
    write_json(workdir.config, {"experiment": config, "config": config})
    return workdir


def metrics(workdir: Workdir) -> list[dict]:
    """All but the times."""
    lines = read_metrics(workdir.stage("pretrain").metrics)
    return [{name: value for name, value in line.items() if not name.startswith("time")} for line in lines]


def steps_done(workdir: Workdir) -> int:
    return max((line["step"] for line in metrics(workdir)), default=-1)


def until(true, process: subprocess.Popen, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)


def result(workdir: Workdir) -> tuple[State, dict]:
    experiment = OpenRun(read_record(workdir).config, workdir)
    params = {part: experiment.models.shapes(part) for part in ("embedder", "reader")}
    moments = jax.eval_shape(bert_optimizer(experiment.config.pretrain).init, params)
    return checkpoints.restore(workdir.stage("pretrain").checkpoints, STEPS, State(params, moments))


# The whole run


def test_every_stage_was_run_in_its_order(run):
    _, output = run
    assert re.findall(r"^run: (\w+) done in", output, re.MULTILINE) == [job for job in JOBS if job != "build_index"]
    assert "build_index is complete" in output and "build_index | step 0: snapshot published" in output


def test_a_part_of_the_corpus_was_read(place, finished):
    """Large enough for ScaNN to build a tree, as it does of all."""
    manifest = read_json(place.root / "data" / "manifest.json")
    assert BRUTE_FORCE_BELOW <= manifest["passages"] < 6_000


def test_all_files_are_there(finished):
    for name in ("ict", "warm_up", "pretrain", "finetune", "closed_book"):
        stage = finished.stage(name)
        assert read_json(stage.done)["reason"] == "all steps done"
        assert checkpoints.steps(stage.checkpoints)[-1] == SHRUNK[f"{name}.steps"]
        assert read_metrics(stage.metrics) and list(stage.tensorboard.iterdir())
    page = (finished.report / "index.html").read_text()
    assert "REALM: factbook" in page and "not run" not in page
    predictions = (finished.evaluation / "predictions_test.jsonl").read_text().splitlines()
    assert len(predictions) == read_json(finished.evaluation / "results.json")["counts"]["test"]
    leftovers = [
        path for path in finished.root.rglob("*") if path.name.endswith(".tmp") or "orbax-checkpoint-tmp" in path.name
    ]
    assert leftovers == []


def test_the_summary_has_every_figure(finished):
    summary = read_json(finished.report / "summary.json")
    assert set(SUMMARY_KEYS) <= set(summary)
    missing = [key for key in SUMMARY_KEYS if summary[key] is None]
    assert missing == []
    assert summary["config"] == "factbook" and summary["seed"] == 0
    shares = [key for key in SUMMARY_KEYS if re.search("recall|exact_match|p_null|f1", key)]
    assert shares and all(0.0 <= summary[key] <= 1.0 for key in shares)
    assert summary["time/minutes"] > 0 and 0.1 < summary["memory/peak_gib"] < 16
    json.dumps(summary, allow_nan=False)


def test_snapshots_were_swapped_in_at_the_scheduled_steps(finished):
    lines = [line for line in metrics(finished) if "index/snapshot" in line]
    # The line of step s tells what batch s was retrieved with, s - 1 steps done.
    expected = [max(0, (step - EVERY) // EVERY * EVERY) for step in range(STEPS)]
    assert [(line["step"], line["index/snapshot"]) for line in lines] == list(enumerate(expected, 1))
    assert len(set(expected)) >= 4, "the first, and at least three that were swapped in"
    summary = read_json(finished.report / "summary.json")
    assert summary["index/snapshots_used"] == len(set(expected))
    assert summary["index/max_staleness_steps"] == max(line["index/staleness_steps"] for line in lines)


def test_the_result_is_indexed(finished):
    stage = finished.stage("pretrain")
    step = read_json(stage.done)["step"]
    manifest = snapshots.load(stage.snapshots, step).manifest
    assert {0, step} <= set(snapshots.list_steps(stage.snapshots)) and manifest.kind == "scann"
    assert manifest.recall > 0.9


def content(workdir: Workdir) -> dict[Path, int]:
    """When each file was written, but for what tells of the runs themselves."""
    own = ("run.json", ".run.lock")
    return {
        path: path.stat().st_mtime_ns for path in workdir.root.rglob("*") if path.is_file() and path.name not in own
    }


def test_a_second_run_skips_everything(place, finished):
    before = content(finished)
    output = place.realm("run", finished.root)
    # Prepared data that several runs may share are looked at again.
    assert re.findall(r"^run: (\w+) is complete", output, re.MULTILINE) == [job for job in JOBS if job != "prepare"]
    assert content(finished) == before


def test_other_settings_are_refused_and_nothing_is_harmed(finished, capsys):
    before = finished.config.read_bytes()
    assert cli.main(["run", str(finished.root), "--pretrain.learning_rate", "0.5"]) == 2
    output = capsys.readouterr().err
    assert "pretrain.learning_rate: " in output and "Traceback" not in output
    assert finished.config.read_bytes() == before


def test_ask_and_report(place, finished):
    (finished.report / "index.html").unlink()
    asked = [
        place.start("ask", finished.root, "What is the capital of Chad?", "--truth", "N'Djamena", "--passages", "3"),
        place.start("ask", finished.root, "The capital of Chad is [MASK].", "--truth", "N'Djamena", "--passages", "99"),
    ]
    place.realm("report", finished.root)
    assert (finished.report / "index.html").exists()
    question, cloze = map(said, asked)
    for text in (question, cloze):
        assert text.startswith("answer: ") and "truth: N'Djamena" in text
    shown, read = (
        [float(p) for p in re.findall(r"^p\(z\|x\) (\S+)", text, re.MULTILINE)] for text in (question, cloze)
    )
    assert len(shown) == 3 and sum(shown) < 1.01  # of more that are read
    assert sum(read) == pytest.approx(1.0, abs=0.01)
    assert "(the null passage)" in cloze and cloze.count("r(z) ") == len(read) > 3


# Kills


HALF = {
    "pretrain": ["checkpoints/9.orbax-checkpoint-tmp/embedder/half", "checkpoints/8.orbax-checkpoint-tmp-17/half"],
    "build_index": ["snapshots/.8.tmp/vectors.npy", "snapshots/9/vectors.npy"],
}
"""What a writer that is killed may leave behind."""


def disturb(place: Place, workdir: Workdir, victim: str) -> None:
    """Both jobs side by side; the victim is killed twice, at random moments, and started again."""
    draw, stage = random.Random(victim), workdir.stage("pretrain")
    running = {job: place.start(job, workdir.root) for job in ("pretrain", "build_index")}
    # Not so late that it might have ended: the trainer has one more snapshot to wait for, which takes longer to build.
    for step in sorted(draw.sample(range(STEPS - 2 * EVERY), 2)):
        until(
            lambda step=step: steps_done(workdir) >= step and checkpoints.steps(stage.checkpoints), running["pretrain"]
        )
        time.sleep(draw.uniform(0.0, 0.5))
        running[victim].kill()
        running[victim].communicate()
        assert running[victim].returncode == -signal.SIGKILL
        for name in HALF[victim]:
            path = stage.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
        running[victim] = place.start(victim, workdir.root)
    for process in running.values():
        said(process)


@pytest.fixture(scope="module")
def disturbed(place, finished):
    """{victim: workdir}; both at the same time."""
    workdirs = {job: before_pretraining(finished, place.root / f"killed_{job}") for job in HALF}
    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(disturb, place, workdir, job) for job, workdir in workdirs.items()]:
            future.result()
    return workdirs


@pytest.mark.parametrize("victim", HALF)
def test_killed_at_random_moments_ends_in_the_same_state(finished, disturbed, victim):
    (state, position), (expected, expected_position) = result(disturbed[victim]), result(finished)
    assert same(state.params, expected.params)
    assert same(state.optimizer, expected.optimizer)
    assert position == expected_position
    assert metrics(disturbed[victim]) == metrics(finished)
    assert read_json(disturbed[victim].stage("pretrain").done) == read_json(finished.stage("pretrain").done)


@pytest.mark.parametrize("victim", HALF)
def test_killed_at_random_moments_the_result_has_the_same_index(finished, disturbed, victim):
    step = read_json(finished.stage("pretrain").done)["step"]
    vectors = [
        snapshots.load(workdir.stage("pretrain").snapshots, step).manifest.files[snapshots.VECTORS]
        for workdir in (finished, disturbed[victim])
    ]
    assert vectors[0] == vectors[1]


def test_equal_settings_write_equal_metrics(place, finished):
    """Bit for bit but for the times, in every stage, by other processes, which are killed and started again."""

    def without_times(workdir: Workdir, stage: str) -> str:
        return re.sub(r'"time[^"]*": [^,}]+(, )?', "", workdir.stage(stage).metrics.read_text())

    def again(stage: str) -> None:
        workdir = before_pretraining(finished, place.root / f"again_{stage}")
        if stage == "finetune":
            shutil.copytree(finished.stage("pretrain").root, workdir.stage("pretrain").root)
        else:
            shutil.rmtree(workdir.stage(stage).root)
        process, metrics = place.start(stage, workdir.root), workdir.stage(stage).metrics
        until(metrics.exists, process)
        process.kill()
        process.communicate()
        said(place.start(stage, workdir.root))
        assert without_times(workdir, stage) == without_times(finished, stage)

    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(again, stage) for stage in ("ict", "warm_up", "finetune")]:
            future.result()


def test_what_was_half_written_is_not_read_and_swept_away(disturbed):
    stage = disturbed["pretrain"].stage("pretrain")
    assert not list(stage.checkpoints.glob("*tmp*"))
    stage = disturbed["build_index"].stage("pretrain")
    assert not list(stage.snapshots.glob(".*")) and 9 not in snapshots.list_steps(stage.snapshots)


# Faults


def test_a_stopped_job_ends_at_once(place, finished):
    """The trainer while it waits for a snapshot, the builder while it waits for a checkpoint."""
    trainer = before_pretraining(finished, place.root / "stopped_pretrain")
    builder = before_pretraining(finished, place.root / "stopped_build_index")
    running = place.start("pretrain", trainer.root), place.start("build_index", builder.root)
    until(lambda: checkpoints.steps(trainer.stage("pretrain").checkpoints) == [0], running[0])
    until((builder.stage("pretrain").root / ".build_index.lock").exists, running[1])
    time.sleep(0.5)
    start = time.monotonic()
    running[0].send_signal(signal.SIGTERM)
    running[1].send_signal(signal.SIGINT)
    assert "realm: stopped by SIGTERM" in said(running[0], 143)
    assert "realm: stopped by Ctrl-C" in said(running[1], 130)
    assert time.monotonic() - start < 60, "index.stop_after_s is 900 s: the wait must be cut short"
    assert not trainer.stage("pretrain").done.exists()
    assert checkpoints.steps(trainer.stage("pretrain").checkpoints) == [0]


def test_a_builder_that_stays_away_stops_the_trainer(place, finished):
    bounds = {"warn_after_s": 0.5, "stop_after_s": 4.0}
    workdir = before_pretraining(finished, place.root / "alone", index=bounds)
    output = place.realm("pretrain", workdir.root, code=2)
    assert re.search(r"warning: waiting for the snapshot of checkpoint 0 since \d+ s. build_index is not runn", output)
    assert re.search(
        r"^realm: error: waited \d+ s for the snapshot of checkpoint 0, in vain. build_index is not running in .*"
        r"start it with `realm build_index",
        output,
        re.MULTILINE,
    )
    assert "Traceback" not in output and not workdir.stage("pretrain").done.exists()
