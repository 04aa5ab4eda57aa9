"""The wall-clock time of the stages of runs; a stage that runs share is counted once."""

from collections.abc import Iterable
from pathlib import Path

from realm_jax import stages
from realm_jax.config import Config
from realm_jax.workdir import Workdir, read_usage

Run = tuple[Config, Workdir]
Made = tuple[str, Path]
"""A job and the folder that it filled."""


def folder_of(run: Run, job: str) -> Path:
    """The folder that a job of a run fills: the folder itself, not the link by which the run has it."""
    config, workdir = run
    if job == "prepare":
        return workdir.data(config.data.directory).root.resolve()
    stage = workdir.stage_of(job)
    return (stage.root if stage else workdir.root).resolve()


def seconds(runs: Iterable[Run]) -> dict[Made, list[float]]:
    """Seconds of each job in each folder, of every run that worked there: the one that made its content, and those that
    looked whether it is there, went on with it, or made it again.

    A job that works beside a stage is counted with it: the longer of the two times.
    """
    found: dict[Made, list[float]] = {}
    for run in runs:
        usage = run[1].usage
        spent: dict[str, float] = {}
        for job, value in read_usage(usage).get("stages", {}).items():
            name = stages.worked_in(job) or job
            spent[name] = max(spent.get(name, 0.0), value)
        for job, value in spent.items():
            found.setdefault((job, folder_of(run, job)), []).append(value)
    return found


def unknown(run: Run, found: dict[Made, list[float]]) -> list[str]:
    """Jobs of which a run has the result, data or a stage, and nobody the time: that was made elsewhere."""
    return [job for job in ("prepare", *stages.of_run(run[0])) if (job, folder_of(run, job)) not in found]


def of_run(run: Run, found: dict[Made, list[float]]) -> dict[str, float]:
    """{job: seconds} of all that a run consists of, as the run that worked longest at it took."""
    return {job: max(values) for (job, folder), values in found.items() if folder == folder_of(run, job)}
