"""The jobs that train: one for each stage of training, all alike."""

import functools

from realm_jax.config import Config
from realm_jax.jobs.job import Job
from realm_jax.runtime.peers import Processes
from realm_jax.stages import STAGES
from realm_jax.workdir import Workdir


def train(name: str, config: Config, workdir: Workdir, arguments: Processes | None = None) -> None:
    from realm_jax.training.train_stage import train_stage

    train_stage(name, config, workdir)


JOBS = tuple(
    Job(
        name,
        f"{stage.help}\n\nWrites <workdir>/{name}; a job that was stopped goes on from its last checkpoint.",
        functools.partial(train, name),
        Processes,
    )
    for name, stage in STAGES.items()
)
