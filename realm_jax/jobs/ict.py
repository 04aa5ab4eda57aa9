"""Inverse cloze task: warm the embedder up without labels, before pre-training.

A sentence is the query, its passage the positive, the batch's other passages the negatives (Lee et al. 2019). Reads the
prepared data, writes <workdir>/ict; a job that was stopped goes on from its last checkpoint.
"""

from realm_jax.config import Config
from realm_jax.runtime.peers import Processes as Arguments
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Arguments | None = None) -> None:
    from realm_jax.training.stages import train

    train("ict", config, workdir)
