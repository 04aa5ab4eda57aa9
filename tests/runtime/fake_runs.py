"""Runs of a sweep whose jobs are small scripts, in place of `realm run`: the real pipeline, with its locks.

    python tests/runtime/fake_runs.py run WORKDIR           one run
    python tests/runtime/fake_runs.py sweep FILE DIR JOBS   a sweep

Each job adds "start JOB FOLDER" and "end JOB FOLDER" to SWEEP/made, takes a moment, and leaves what completes it. The
job whose name and variant stand in SWEEP/fails does not; with `begin` for a name, the run does not begin.
"""

import os
import sys
from pathlib import Path

from realm_jax.config.experiment_file import load_sweep
from realm_jax.jobs import sweep
from realm_jax.runtime import grid
from realm_jax.runtime.pipeline import Pipeline, steps_of
from realm_jax.runtime.processes import Child
from realm_jax.runtime.settings_record import read_record
from realm_jax.runtime.sharing import prune
from realm_jax.runtime.signals import stop_with_parent, stoppable
from realm_jax.workdir import SweepDir, Workdir

JOB = """
import json, os, pathlib, sys, time
job, root = sys.argv[1], pathlib.Path(sys.argv[2])
above = root.parents[2]
names = {"prepare": "data", "build_index": "pretrain", "evaluate": "evaluation"}
folder = root / names.get(job, job)
folder.mkdir(parents=True, exist_ok=True)
def tell(word):
    with open(above / "made", "a") as file: file.write(f"{word} {job} {folder.resolve()}\\n")
tell("start")
print(f"{job} 1/2", flush=True)
time.sleep(0.15)
fails = above / "fails"
if fails.exists() and f"{job} {root.parent.name}" in fails.read_text().splitlines():
    print("the reason why")
    sys.exit(2)
def write(name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").rename(path)
if job == "prepare": write("manifest.json", json.dumps({"fingerprint": "f"}))
elif job == "build_index": write("snapshots/4/manifest.json", json.dumps({"fingerprint": "f"}))
elif job == "evaluate": write("results.json", json.dumps({"qa/exact_match": 0.5}))
elif job == "report": write("index.html", "finished")
else:
    for step in (2, 4):
        for part in ("reader", "optimizer"): write(f"checkpoints/{step}/{part}/x", "")
    write("metrics.jsonl", '{"step": 4}\\n')
    write("done.json", json.dumps({"step": 4, "last_step": 4}))
tell("end")
"""


def run(root: Path) -> int:
    stop_with_parent(0.05)
    workdir, fails = Workdir(root), root.parents[2] / "fails"
    if fails.exists() and f"begin {root.parent.name}" in fails.read_text().splitlines():
        print("the reason why", flush=True)
        return 2

    def command(job: str) -> list[str]:
        return [sys.executable, "-S", "-c", JOB, job, str(root)]

    pipeline = Pipeline(workdir, command, patience_s=(1.0, 1.0), sample_s=60.0, finish=lambda job: prune(workdir, job))
    return pipeline.run(steps_of(read_record(workdir).config, workdir))


def start(run: grid.Run, place: int) -> Child:
    command = [sys.executable, __file__, "run", str(run.workdir.root)]
    root = str(Path(__file__).parents[2])
    return Child("run", command, {"PYTHONPATH": root}, log=run.workdir.log)


def sweep_of(
    experiment: Path, folder: Path, jobs: int = 2, figures: bool = False, variants: tuple[str, ...] = ()
) -> int:
    """As `realm sweep` does it, with `--keep figures` or `--variants` if told."""
    runs = sweep.plan(load_sweep(experiment), SweepDir(folder))
    options = sweep.Options(experiment, variants=variants)
    asked = [run for run in runs if sweep.is_asked(run.variant, run.seed, options)]
    return grid.run_all(asked, range(jobs), start, keep_for=runs if figures else None)


if __name__ == "__main__":
    grid.POLL_S = 0.02
    with stoppable():
        if sys.argv[1] == "run":
            sys.exit(run(Path(sys.argv[2])))
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        sys.exit(sweep_of(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
