"""`python -m tests.robustness.chaos`: kills and faults while a tiny trainer and its builder run as real processes.

Every trial must end in the state of an undisturbed run, to the last bit, and leave no process behind; and a process
that swaps many snapshots in must stay as large as it was. `make chaos` calls it: 60 kills, some ten minutes.
"""

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import numpy as np
import psutil

from realm_jax import disk
from realm_jax.index import snapshots
from realm_jax.runtime.settings_record import settle
from realm_jax.training import checkpoints
from realm_jax.training.index_builder import build_one
from realm_jax.training.metrics import read_metrics
from realm_jax.training.open_run import OpenRun
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.snapshot_follower import SnapshotFollower
from realm_jax.workdir import StageDir, Workdir
from tests import world
from tests.trees import same

STEPS, EVERY, KILLS_A_TRIAL = 24, 2, 6
JOBS = ("pretrain", "build_index")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ORPHANS_S = 15.0
MORE_MIB, MORE_FILES = 12.0, 4
"""What a process may grow by over `SWAPS` snapshots; TensorStore keeps 18 KiB a checkpoint that is read."""
SWAPS = 60


def flip(stage: StageDir) -> None:
    """One bit of the newest checkpoint."""
    if saved := checkpoints.steps(stage.checkpoints):
        files = [path for path in (stage.checkpoints / str(saved[-1])).rglob("*") if path.is_file()]
        path = max(files, key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def power_cut(stage: StageDir) -> None:
    """Files of the newest checkpoint that were not on disk yet are empty."""
    if saved := checkpoints.steps(stage.checkpoints):
        for path in (stage.checkpoints / str(saved[-1])).rglob("*"):
            if path.is_file() and path.name != disk.CHECKSUMS:
                path.write_bytes(b"")


def delete(stage: StageDir) -> None:
    """The newest checkpoint, perhaps before its snapshot is made."""
    if saved := checkpoints.steps(stage.checkpoints):
        shutil.rmtree(stage.checkpoints / str(saved[-1]))


def leave(stage: StageDir) -> None:
    """What killed writers and removers leave."""
    for name in (
        "snapshots/.0.removed/vectors.npy",
        "snapshots/.2.tmp/half",
        "checkpoints/4.orbax-checkpoint-tmp/half",
    ):
        (stage.root / name).parent.mkdir(parents=True, exist_ok=True)
        (stage.root / name).write_bytes(b"half")
    for path in (stage.snapshots).glob(f".*{snapshots.PARTS}"):
        for block in path.glob("*.npy"):
            block.write_bytes(b"")


FAULTS: tuple[Callable[[StageDir], None] | None, ...] = (None, flip, power_cut, delete, leave)
"""Of each trial in turn, what happens to the stage beside the kills, while no job runs."""


class Chaos:
    """A world, and an undisturbed run in it."""

    def __init__(self, root: Path):
        self.root = root
        made = world.make(root / "world")
        pretrain = {"steps": STEPS, "checkpoint_every": EVERY, "probe_queries": 0, "keep": 3}
        self.config = made.settings(pretrain=pretrain, index={"swap_after": EVERY, "stop_after_s": 300.0})
        self.workdirs: list[Workdir] = []
        self.whole = self.workdir("whole")
        for process in [self.start(job, self.whole) for job in JOBS]:
            self.ended(process)

    def workdir(self, name: str) -> Workdir:
        workdir = Workdir(self.root / name)
        settle(None, self.config, self.config, workdir)
        self.workdirs.append(workdir)
        return workdir

    def start(self, job: str, workdir: Workdir) -> subprocess.Popen:
        log = open(workdir.root / f"{job}.log", "a")  # noqa: SIM115
        command = [sys.executable, "-m", "realm_jax", job, str(workdir.root)]
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ended(self, process: subprocess.Popen) -> None:
        if process.wait(600):
            raise AssertionError(f"{process.args} ended with {process.returncode}")

    def trial(self, name: str, kills: int, fault: Callable[[StageDir], None] | None, draw: random.Random) -> None:
        """Both jobs, killed at random moments and started again, to their end."""
        workdir = self.workdir(name)
        stage, running = workdir.stage("pretrain"), {job: self.start(job, workdir) for job in JOBS}
        for kill in range(kills):
            self._until_step(stage, running, draw.randrange(STEPS))
            time.sleep(draw.uniform(0.0, 2.0))
            victims = JOBS if fault and kill == kills // 2 else (draw.choice(JOBS),)
            for victim in victims:
                running[victim].send_signal(signal.SIGKILL if len(victims) > 1 else draw.choice(SIGNALS))
            for victim in victims:
                running[victim].wait(300)
            if len(victims) > 1 and not stage.done.exists():
                fault(stage)
            for victim in victims:
                running[victim] = self.start(victim, workdir)
        for process in running.values():
            self.ended(process)
        self.compare(workdir)

    def _until_step(self, stage: StageDir, running: dict[str, subprocess.Popen], step: int) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and any(process.poll() is None for process in running.values()):
            if max((line["step"] for line in read_metrics(stage.metrics)), default=-1) >= step:
                return
            time.sleep(0.05)

    def compare(self, workdir: Workdir) -> None:
        """Raises AssertionError where the end is not that of the undisturbed run."""
        (state, position), (expected, place) = self._result(workdir), self._result(self.whole)
        if not (same(state.params, expected.params) and same(state.optimizer, expected.optimizer)):
            raise AssertionError(f"{workdir.root}: another final state")
        if position != place or self._metrics(workdir) != self._metrics(self.whole):
            raise AssertionError(f"{workdir.root}: another position, or other metrics")
        stage = workdir.stage("pretrain")
        left = [*stage.snapshots.glob(".*"), *stage.checkpoints.glob("*tmp*"), *stage.root.glob(".*.tmp")]
        if left:
            raise AssertionError(f"left behind: {left}")

    def _result(self, workdir: Workdir) -> tuple[checkpoints.State, dict]:
        run = OpenRun(self.config, workdir)
        params = {part: run.models.shapes(part) for part in ("embedder", "reader")}
        moments = jax.eval_shape(bert_optimizer(self.config.pretrain).init, params)
        return checkpoints.restore(workdir.stage("pretrain").checkpoints, STEPS, checkpoints.State(params, moments))

    def _metrics(self, workdir: Workdir) -> list[dict]:
        lines = read_metrics(workdir.stage("pretrain").metrics)
        return [{name: value for name, value in line.items() if not name.startswith("time")} for line in lines]

    def orphans(self) -> list[int]:
        """Processes that still have one of our folders on their command line, after a while."""
        end = time.monotonic() + ORPHANS_S
        while (left := list(self._at_work())) and time.monotonic() < end:
            time.sleep(0.5)
        return left

    def _at_work(self) -> Iterator[int]:
        for process in psutil.process_iter(["cmdline"]):
            if str(self.root) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
                yield process.pid


def growth(chaos: Chaos, swaps: int = SWAPS) -> dict[str, float]:
    """MiB and open files that this process grows by while so many snapshots are built and swapped in."""
    workdir = chaos.workdir("swaps")
    index = dataclasses.replace(chaos.config.index, swap_after=1)
    pretrain = dataclasses.replace(chaos.config.pretrain, checkpoint_every=1)
    config = dataclasses.replace(chaos.config, index=index, pretrain=pretrain)
    run, stage, source = OpenRun(config, workdir), workdir.stage("pretrain"), chaos.whole.stage("pretrain")
    shapes, saved = run.models.shapes("embedder"), checkpoints.steps(source.checkpoints)[-1]
    follower = SnapshotFollower(stage, index, 1, run.store.fingerprint)
    me, queries = psutil.Process(), np.ones((1, config.model.vector_size), np.float32)
    try:
        for step in range(swaps + 20):
            params = checkpoints.restore_part(source.checkpoints, saved, "embedder", shapes)
            params = jax.tree.map(lambda leaf, by=step: leaf + np.float32(1e-3 * by), params)
            build_one(run, step, params)
            follower.at(step + 1).index.search(queries, 2)
            if step == 19:  # what is compiled and kept once is
                start = me.memory_info().rss, me.num_fds()
        return {"MiB": (me.memory_info().rss - start[0]) / 2**20, "open files": me.num_fds() - start[1]}
    finally:
        follower.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, faults = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="realm-chaos-") as name:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{name}/jax")
        chaos, start = Chaos(Path(name)), time.monotonic()
        for number in range(-(-options.kills // KILLS_A_TRIAL)):
            kills = min(KILLS_A_TRIAL, options.kills - number * KILLS_A_TRIAL)
            fault = FAULTS[number % len(FAULTS)]
            told = f"trial {number}: {kills} kills, {fault.__name__ if fault else 'no fault'}"
            try:
                chaos.trial(f"trial{number}", kills, fault, draw)
                print(f"{told}: the same end", flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                faults += 1
                print(f"{told}: {error}", flush=True)
                for log in chaos.workdirs[-1].root.glob("*.log"):
                    print(log.read_text()[-3000:], flush=True)
        left, grown = chaos.orphans(), growth(chaos)
        faults += bool(left) + (grown["MiB"] > MORE_MIB) + (grown["open files"] > MORE_FILES)
        report = {"kills": options.kills, "unequal": faults, "orphans": len(left), f"grown over {SWAPS} swaps": grown}
        print(json.dumps(report | {"minutes": round((time.monotonic() - start) / 60, 1)}))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
