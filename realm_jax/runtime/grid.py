"""Many runs on this machine, several at a time; a stage that two of them share is never waited for by a process."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from realm_jax.config import Config
from realm_jax.errors import last_words
from realm_jax.locks import owner
from realm_jax.runtime import costs, sharing
from realm_jax.runtime.pipeline import Step, steps_of
from realm_jax.runtime.processes import Child, stop
from realm_jax.stages import BESIDE
from realm_jax.workdir import Workdir, read_usage, write_json

POLL_S = 0.5
SHOWN_S = 60.0
"""Seconds after which the last line of a run's log is shown anew: its stage, rate, time left and metrics."""
P = TypeVar("P")
"""A place for one run: its share of the machine."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    variant: str
    seed: int
    config: Config
    workdir: Workdir

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}"

    def next_step(self) -> Step | None:
        """The first step that is not complete."""
        if self.workdir.is_finished:
            return None
        return next((step for step in steps_of(self.config, self.workdir) if not step.is_complete()), None)


def run_all(
    runs: Sequence[Run],
    places: Sequence[P],
    start: Callable[[Run, P], Child],
    keep_for: Sequence[Run] | None = None,
) -> int:
    """Runs those that are not finished, one at a time in each of `places`; returns how many failed. Ctrl-C stops all of
    them.

    A run whose next step another one is at work on waits its turn. Where a step failed, those that need the same one
    fail with it.

    Args:
      keep_for: where given, a stage is removed, but for its metrics, once none of these that is unfinished has it.
    """
    left = [run for run in runs if not run.workdir.is_finished]
    failed: list[Run] = []
    broken: dict[Path, Run] = {}
    running: dict[Run, Child] = {}
    free, jobs = list(places), len(places)
    taken: dict[Run, P] = {}
    since: dict[Run, float] = {}
    shown: dict[Run, float] = {}
    told: set[Run] = set()

    def tell(what: str) -> None:
        done = len(runs) - len(left) - len(failed) - len(running)
        counts = f"{done} done, {len(failed)} failed, {len(running)} running, {len(left)} left"
        say(f"{what} | {counts}{_time_left(runs, [*running, *left], jobs)}")

    def forget(run: Run) -> None:
        if keep_for is None:
            return
        unfinished = [other for other in keep_for if not other.workdir.is_finished]
        needed = {stage.root.resolve() for other in unfinished for stage in sharing.stages(other.config, other.workdir)}
        for stage in sharing.stages(run.config, run.workdir):
            if stage.root.resolve() not in needed:
                sharing.forget(stage)

    for run in runs:
        if run.workdir.is_finished:  # before, as by a call that kept more, or was killed as it removed this
            forget(run)
    tell("1 run" if len(runs) == 1 else f"{len(runs)} runs")
    try:
        while left or running:
            for run, child in list(running.items()):
                if (code := child.exit_code()) is None:
                    continue
                del running[run]
                free.append(taken.pop(run))
                if code == 0:
                    forget(run)
                    tell(f"{run}: done in {time.monotonic() - since[run]:.0f} s")
                    continue
                failed.append(run)
                if step := run.next_step():
                    if not run.workdir.failed_job:  # it could not begin: nothing to those that share the step
                        _note(run, step.job)
                    elif run.workdir.failed_job == step.job and step.folder:
                        broken[step.folder.resolve()] = run
                tell(f"{run}: failed, see {run.workdir.log}: {last_words(run.workdir.log)}")
            # A step may become complete at any moment, so that two looks at different times do not fit each other: what
            # the runs left wait for is looked at before and after.
            before = {run: run.next_step() for run in left} if len(running) < jobs else {}
            busy = {step.folder.resolve() for run in running if (step := run.next_step()) and step.folder}
            for run in list(left):
                if len(running) == jobs:
                    break
                step = run.next_step()
                if (step and step.job) != (before[run] and before[run].job):
                    continue
                folder = step.folder.resolve() if step and step.folder else None
                if folder in broken:
                    left.remove(run)
                    failed.append(run)
                    _fail_with(run, step, broken[folder])
                    tell(f"{run}: failed with {broken[folder]}")
                elif folder is not None and folder in busy:
                    continue
                elif held := [
                    place for place in (run.workdir.root, folder) if place and owner(place, "run") is not None
                ]:
                    if run not in told:  # no child of this sweep; one of a sweep that was killed is still stopping
                        told.add(run)
                        say(f"{run}: waiting for another `realm run`, which is at work in {held[0]}")
                else:
                    left.remove(run)
                    taken[run] = free.pop(0)
                    if run.workdir.failed_job:
                        _note(run, "")
                    running[run], since[run] = start(run, taken[run]), time.monotonic()
                    shown[run] = since[run]
                    busy |= {folder} - {None}
                    say(f"{run}: {step.job if step else 'nothing left'}, log in {run.workdir.log}")
            for run in running:
                if time.monotonic() - shown[run] >= SHOWN_S:
                    shown[run] = time.monotonic()
                    say(f"{run}: {last_words(run.workdir.log)}")
            time.sleep(POLL_S)
    finally:
        stop(running.values())
    return len(failed)


def _fail_with(run: Run, step: Step, other: Run) -> None:
    """Records that a run cannot go on, as the run itself would have."""
    with open(run.workdir.log, "a", encoding="utf-8") as log:
        log.write(f"{step.job} failed in the run that does it for this one too: {other.workdir.root}\n")
    _note(run, step.job)


def _note(run: Run, job: str) -> None:
    """Records the failure of a run, or by "" that it is tried again."""
    usage = read_usage(run.workdir.usage)
    write_json(run.workdir.usage, usage | {"failed": job})


def _time_left(runs: Sequence[Run], unfinished: Sequence[Run], jobs: int) -> str:
    """By the mean time of each job so far; nothing where a job that is still to be done has not been seen yet."""
    found = costs.seconds((run.config, run.workdir) for run in runs)
    to_do = {
        (step.job, costs.folder_of((run.config, run.workdir), step.job))
        for run in unfinished
        for step in steps_of(run.config, run.workdir)
        if step.job not in BESIDE and not step.is_complete()
    }
    known: dict[str, list[float]] = {}
    for made, seconds in found.items():
        if made not in to_do:
            known.setdefault(made[0], []).append(max(seconds))
    if not to_do or not {job for job, _ in to_do} <= set(known):
        return ""
    total = sum(sum(known[job]) / len(known[job]) for job, _ in to_do) / jobs
    return f", about {total / 60:.0f} min"


def say(message: str) -> None:
    print(f"sweep: {message}", file=sys.stderr, flush=True)
