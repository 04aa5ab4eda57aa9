"""REALM pre-training: retrieve, read, marginalise; needs build_index beside it.

Starts from what ict and warm_up left, waits for the first snapshot of build_index, swaps newer ones in on schedule
(with --index.refresh inline it makes them itself).
Reads the prepared data and <workdir>/pretrain/snapshots, writes <workdir>/pretrain; a job that was stopped goes on from
its last checkpoint. The job `run` starts both.
"""

from realm_jax.config import Config
from realm_jax.runtime.peers import Processes as Arguments
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Arguments | None = None) -> None:
    from realm_jax.training.stages import train

    train("pretrain", config, workdir)
